"""The engine's own environment: how it is made, and whether a Python can run the engine.

Scipion often lives in an older Python than torch wants. So the protocols start the engine by a command line, in an
environment that ``scipion3 installb udl`` makes: with conda where there is conda, else with the venv of the first
Python that fits and really runs. The package inside is built from the plugin's own folder, so that both sides are of
one version.

As a program: ``python -m scipion_udl.engine_env FOLDER`` lays out that package's source in FOLDER.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.settings.commands import DiameterSettings

DISTRIBUTION = "scipion-em-udl"
OLDEST_PYTHON = (3, 11)
CONDA_PYTHON = "3.12"
ENV_PYTHON = os.path.join("env", "bin", "python")
INSTALLED = "engine.json"

# Run by a Python, says whether it can make the engine's environment. Shims exist that only fail, and distributions
# without venv: so it is run, and not only found.
FITS = f"import ensurepip, sys, venv; sys.exit(sys.version_info < {OLDEST_PYTHON})"

# Run by a Python, tells what it is without importing torch, which takes seconds.
PROBE = (
    "import json, sys, importlib.util as u; from scipion_udl.constants import __version__ as v; "
    "print(json.dumps({'version': v, 'python': sys.version_info[:2], 'torch': u.find_spec('torch') is not None}))"
)


def this_python_fits() -> bool:
    """Whether the Python that runs this can run the engine too: new enough, and torch is installed in it."""
    return sys.version_info[:2] >= OLDEST_PYTHON and importlib.util.find_spec("torch") is not None


def candidate_pythons(wanted: str = "") -> list[str]:
    """Absolute paths of Pythons that may make the environment, the best first; ``wanted`` alone, where it is given.

    They are only found here, not run. Raises UdlError where ``wanted`` is no program.
    """
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise UdlError(message("engine_python_is_no_program", wanted=wanted))
        return [found]
    names = ["python3.12", "python3.11", "python3.13", "python3", "python"]
    folders = os.environ.get("PATH", "").split(os.pathsep)
    paths = [sys.executable, *(os.path.join(folder, name) for name in names for folder in folders)]
    paths += sorted((str(path) for path in Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python")), reverse=True)
    return list(dict.fromkeys(path for path in paths if os.access(path, os.X_OK)))


def install_commands(conda: str | None, wanted: str = "", torch: str = "torch") -> list[tuple[str, list[str]]]:
    """The shell commands that make the environment in the current folder, each with the files it must leave there.

    conda: the command line that makes ``conda`` known ("" where it is on the PATH), None to use venv; wanted: a Python
    for the venv; torch: what pip is asked for, options included (a version, an index with a build for some CUDA).
    """
    python = f"./{ENV_PYTHON}"
    steps = [
        f"{python} -m pip install {torch}",  # first: what comes after it takes the build that was chosen here
        f"{shlex.quote(sys.executable)} -m scipion_udl.engine_env source",
        f"{python} -m pip install ./source",
        "rm -rf source",
        f"{python} -m scipion_udl.cli gpus > gpus.tmp",
        f"mv gpus.tmp {INSTALLED}",
    ]
    if conda is not None:
        prefix = f"{conda.rstrip('&; ')} && " if conda.strip() else ""
        create = f"{prefix}conda create -y -p ./env python={CONDA_PYTHON}"
    else:
        tried = " ".join(map(shlex.quote, candidate_pythons(wanted)))
        create = (
            f'for P in {tried} ""; do test -n "$P" && "$P" -c {shlex.quote(FITS)} 2>/dev/null && break; done; '
            'if test -n "$P"; then "$P" -m venv env; '
            "else echo 'No Python 3.11 or later with venv was found: set UDL_ENGINE_PYTHON to one'; false; fi"
        )
    return [(create, [ENV_PYTHON]), (" && ".join(steps), [INSTALLED])]


def write_source(folder: str) -> None:
    """Lay out the source of the engine's package in ``folder`` (made anew), out of the package this file is in.

    An installed package has no setup.py, so what it must be built with is taken from its metadata. Raises UdlError
    where there is none.
    """
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise UdlError(message("package_not_installed", package=DISTRIBUTION, python=sys.executable)) from None
    shutil.rmtree(folder, ignore_errors=True)
    here = Path(__file__).parent
    shutil.copytree(here, Path(folder) / here.name, ignore=shutil.ignore_patterns("__pycache__", "tests", "*.pyc"))
    project = [
        "[build-system]",
        'requires = ["setuptools>=61"]',
        'build-backend = "setuptools.build_meta"',
        "[project]",
        f'name = "{DISTRIBUTION}"',
        f'version = "{__version__}"',
        f'requires-python = ">={OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]}"',
        f"dependencies = {json.dumps(_requirements(lines))}",
        "[project.scripts]",
        'scipion-udl = "scipion_udl.cli:main"',
        "[tool.setuptools.packages.find]",
        'include = ["scipion_udl*"]',
        "[tool.setuptools.package-data]",
        '"*" = ["*.*"]',
    ]
    (Path(folder) / "pyproject.toml").write_text("\n".join(project) + "\n", encoding="utf-8")


def _requirements(lines: list[str]) -> list[str]:
    """Out of the requirements of a package's metadata: those of the engine, and those of both sides."""
    wanted = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"""extra\s*==\s*['"](.+?)['"]""", marker)
        if extra is None or extra.group(1) == "engine":
            wanted.append(requirement.strip())
    return wanted


@functools.lru_cache(maxsize=None)
def engine_problem(python: str) -> str:
    """Why the command ``python`` (shell text) cannot run this version's engine, as a sentence; "" where it can.

    It is asked once in the life of a program; torch is looked for, not imported.
    """
    answer = _last_json(f"{python} -c {shlex.quote(PROBE)}", {"version": str, "python": list, "torch": bool})
    if isinstance(answer, str):
        return message("engine_does_not_start", python=python, answer=answer)
    if answer["version"] != __version__:
        return message("engine_of_other_version", python=python, own=answer["version"], version=__version__)
    if tuple(answer["python"]) < OLDEST_PYTHON or not answer["torch"]:
        return message("engine_python_too_old", python=python)
    return ""


@functools.lru_cache(maxsize=None)
def engine_gpus(program: str) -> tuple[list[str], str]:
    """The names of the GPUs that the engine sees, and a sentence where it could not be asked (else "").

    program: the engine's command line up to its subcommand. It is asked once in the life of a program (seconds).
    """
    answer = _last_json(f"{program} gpus", {"gpus": list})
    if isinstance(answer, str):
        return [], message("engine_gpus_unknown", answer=answer)
    return list(answer["gpus"]), ""


def engine_diameter(program: str, star: str) -> tuple[float, str]:
    """The diameter in A that a run would take by itself on the particles of a table, and a sentence where it cannot be
    told (then 0). program: as of :func:`engine_gpus`. It takes seconds."""
    processor = shlex.join(DiameterSettings.option("gpu").words("none"))
    command = f"{program} diameter {shlex.quote(star)} {processor}"
    answer = _last_json(command, {"diameter": (int, float, type(None))})
    if isinstance(answer, str):
        return 0.0, message("engine_diameter_unknown", answer=answer)
    return float(answer["diameter"] or 0.0), ""


def engine_environment() -> dict[str, str]:
    """The environment variables that the engine runs with: this program's, without what is meant for its Python."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _last_json(command: str, fields: dict[str, type | tuple[type, ...]]) -> dict | str:
    """What a command prints in its last line, as JSON with these fields; else the last line of its error, as text."""
    try:
        done = subprocess.run(
            command,
            shell=True,
            env=engine_environment(),
            capture_output=True,
            timeout=300,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode == 0:
            answer = json.loads(done.stdout.strip().splitlines()[-1])
            if isinstance(answer, dict) and all(isinstance(answer.get(name), kind) for name, kind in fields.items()):
                return answer
            raise ValueError
        return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
    except subprocess.TimeoutExpired:
        return "no answer in five minutes"
    except (ValueError, IndexError):
        return "its answer cannot be understood"


if __name__ == "__main__":
    try:
        write_source(sys.argv[1])
    except UdlError as error:
        sys.exit(f"error: {error}")
