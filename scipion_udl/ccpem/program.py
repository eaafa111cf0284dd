"""How the jobs of CCP-EM's pipeliner start the engine, which need not be in the pipeliner's own environment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from scipion_udl.constants import UDL_PYTHON
from scipion_udl.engine_env import this_python_fits

PROGRAM = "scipion-udl"
NO_ENGINE = (
    f"no {PROGRAM} with the engine (PyTorch) is on the PATH: install it in an environment of its own (pip install "
    f"'scipion-em-udl[engine]'), and put the folder of its {PROGRAM} on the PATH, or name its Python in {UDL_PYTHON}"
)


def engine_program() -> list[str]:
    """The words that start the engine's command line.

    Returns
    -------
    list of str
        With the Python that UDL_PYTHON names in the environment; else the first scipion-udl on the PATH, and that of
        this environment only where it has the engine. Empty where there is none.
    """
    python = os.environ.get(UDL_PYTHON)
    if python:
        return [python, "-m", "scipion_udl.cli"]
    own = Path(sys.executable).parent.resolve()
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        found = shutil.which(PROGRAM, path=folder) if folder else None
        if found and (this_python_fits() or Path(folder).resolve() != own):
            return [found]
    return []


def version_command(program: list[str]) -> list[str]:
    """What prints the version.

    Parameters
    ----------
    program : list of str
        Of :func:`engine_program`.

    Returns
    -------
    list of str
        A command.
    """
    return [*program, "--version"]
