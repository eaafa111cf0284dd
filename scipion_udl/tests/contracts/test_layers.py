"""Imports run one way: importlinter.toml says which module may import which, and what still goes the wrong way."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")

ROOT = Path(__file__).resolve().parents[3]
CONTRACTS = ROOT / "importlinter.toml"
# Imports that go the wrong way: none, and it is never raised.
WRONG_WAY = 0

pytestmark = pytest.mark.skipif(not CONTRACTS.exists(), reason="an installed package has no importlinter.toml")


def check(folder):
    """What lint-imports says of the package in a folder: its exit code and its text, in one line."""
    program = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "importlinter.toml", "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def copy(tmp_path):
    """The package without its tests, to be changed, and its contracts."""
    unneeded = shutil.ignore_patterns("tests", "__pycache__")
    shutil.copytree(ROOT / "scipion_udl", tmp_path / "scipion_udl", ignore=unneeded)
    shutil.copy(CONTRACTS, tmp_path)
    return tmp_path


def test_every_contract_is_kept():
    code, text = check(ROOT)
    assert code == 0, text
    assert "0 broken" in text


@pytest.mark.parametrize(
    "file, line, told",
    [
        ("io/stacks.py", "import scipion_udl.jobs.align", "io.stacks -> scipion_udl.jobs.align"),
        ("imaging/fourier.py", "import pyworkflow", "imaging.fourier -> pyworkflow"),
        ("convert/particles.py", "import torch", "scipion_udl.convert.particles -> torch"),
        (
            "io/output/seal.py",
            "import scipion_udl.protocols.forms.cost_warnings",
            "io.output.seal -> scipion_udl.protocols.forms.cost_warnings",
        ),
        (
            "alignment/accumulators.py",
            "import scipion_udl.alignment.aligner",
            "No cycles are allowed in scipion_udl.alignment",
        ),
    ],
)
def test_an_import_that_goes_the_wrong_way_is_found(copy, file, line, told):
    path = copy / "scipion_udl" / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    code, text = check(copy)
    assert code == 1
    assert told in text


def test_the_imports_that_go_the_wrong_way_only_become_fewer():
    ignored = re.findall(r'^    "(\S+ -> \S+)",$', CONTRACTS.read_text(encoding="utf-8"), re.M)
    assert len(ignored) == WRONG_WAY


def test_every_module_has_a_place_in_the_layers():
    layers = re.findall(r"^layers = \[\n(.*?)^\]", CONTRACTS.read_text(encoding="utf-8"), re.M | re.S)
    placed = set(re.findall(r"scipion_udl[.\w]+", "".join(layers)))
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "scipion_udl").rglob("*.py")
        if path.name != "__init__.py" and "tests" not in path.relative_to(ROOT).parts
    }
    without = {name for name in modules if not any(f"{name}.".startswith(f"{place}.") for place in placed)}
    assert without == {"scipion_udl.bibtex"}  # a text that Scipion reads
