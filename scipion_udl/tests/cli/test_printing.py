"""A command does its work whoever reads what it prints, and whether it can be written at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")

from scipion_udl.tests.engine_helpers import run, simulate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("printing") / "data"
    simulate(folder, 2, 32, 0.5)
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
def whole(data):
    assert run("align", data / "particles.star", "-o", data.parent / "whole", "--max-shift", 2) == 0
    return names(data.parent / "whole")


@pytest.mark.parametrize("way", ["<&- >&- 2>&-", ">/dev/full 2>&1", "| head -c 1"])
def test_a_run_is_whole_where_nothing_can_be_printed(data, whole, tmp_path, way):
    done = shell(f"set -o pipefail; $UDL align {data}/particles.star -o {tmp_path}/out {FEW} {way}")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert names(tmp_path / "out") == whole


def test_an_error_is_one_where_nothing_can_be_printed(tmp_path):
    assert shell(f"$UDL align {tmp_path}/none.star -o {tmp_path}/out >&- 2>&-").returncode == 1
    assert shell("$UDL align --no-such-option >&- 2>&-").returncode == 2
