"""Which program the jobs of CCP-EM's pipeliner start, where the pipeliner has an environment of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from scipion_udl.ccpem import program
from scipion_udl.ccpem.program import engine_program, version_command


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Two folders with a scipion-udl: that of the pipeliner's Python, which lacks the engine, and another."""
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scipion-udl").write_text("#!/bin/sh\n")
        (tmp_path / name / "scipion-udl").chmod(0o755)
    monkeypatch.delenv("UDL_PYTHON", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "own" / "python"))
    monkeypatch.setattr(program, "this_python_fits", lambda: False)
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / name) for name in ("own", "other")))
    return tmp_path


def test_the_program_beside_the_pipeliner_is_passed_over_where_it_has_no_engine(places):
    assert engine_program() == [str(places / "other" / "scipion-udl")]


def test_the_program_beside_the_pipeliner_is_taken_where_it_has_the_engine(places, monkeypatch):
    monkeypatch.setattr(program, "this_python_fits", lambda: True)
    assert engine_program() == [str(places / "own" / "scipion-udl")]


def test_the_variable_goes_before_the_path(places, monkeypatch):
    monkeypatch.setenv("UDL_PYTHON", "/opt/udl/bin/python")
    assert engine_program() == ["/opt/udl/bin/python", "-m", "scipion_udl.cli"]
    assert version_command(engine_program())[-1] == "--version"


def test_there_is_none_where_only_the_pipeliners_own_is_there(places, monkeypatch):
    monkeypatch.setenv("PATH", str(places / "own"))
    assert engine_program() == []
    monkeypatch.setenv("PATH", str(Path(places / "nowhere")))
    assert engine_program() == []
