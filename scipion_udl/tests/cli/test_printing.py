"""A command does its work whoever reads what it prints, and whether it can be written at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")

from scipion_udl.tests.engine_helpers import run, simulate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with sets of one particle, which is not rotated, and of two."""
    folder = tmp_path_factory.mktemp("printing")
    for count in (1, 2):
        simulate(folder / f"{count}", count, 32, 0.5)
    return folder


def shell(text, *more):
    """How a shell command line with the program as $UDL ends."""
    environment = {**os.environ, "UDL": f"{sys.executable} -m scipion_udl.cli", "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", "-c", text, *more], env=environment, capture_output=True, text=True, check=False)


# One thread: the cores may be busy with other tests.
FEW = "--gpu none --threads 1 --max-shift 2"


def names(folder):
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


@pytest.fixture(scope="module")
def whole(folder):
    """What a run of one particle leaves."""
    assert run("align", folder / "1" / "particles.star", "-o", folder / "whole") == 0
    return names(folder / "whole")


@pytest.mark.parametrize(("count", "way"), [(2, "<&- >&- 2>&-"), (1, ">/dev/full 2>&1"), (1, "| head -c 1")])
def test_a_run_is_whole_where_nothing_can_be_printed(folder, whole, tmp_path, count, way):
    star = folder / f"{count}" / "particles.star"
    done = shell(f"set -o pipefail; $UDL align {star} -o {tmp_path}/out {FEW} {way}")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert names(tmp_path / "out") == sorted([*whole, *(["joining.json"] if count > 1 else [])])


def test_an_error_is_one_where_nothing_can_be_printed(tmp_path):
    assert shell(f"$UDL simulate {tmp_path}/out --count 2 --template {tmp_path}/none.mrc >&- 2>&-").returncode == 1
    assert shell("$UDL align --no-such-option >&- 2>&-").returncode == 2
