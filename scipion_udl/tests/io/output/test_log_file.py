"""run.log: it is there while a run goes on, what comes later is added, and a run that comes to nothing leaves none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scipion_udl.errors import UdlError
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.output.log_file import NAME

PACKAGE = Path(__file__).resolve().parents[4]


def text_of(folder):
    return (folder / NAME).read_text()


def a_run(path, line, publish=("a.star",), error=None, **options):
    """A run into a folder that says a line, and leaves these files."""
    with OutputFolder(str(path), command="align", **options) as out:
        out.log(f"early {line}\n")
        out.begin_log()
        out.log(f"{line}\n")
        for name in publish:
            Path(out.scratch(name)).write_text(line)
        out.publish(*publish)
        if error is not None:
            raise error


@pytest.fixture(autouse=True)
def names(monkeypatch):
    monkeypatch.setitem(__import__("scipion_udl.io.output.folder").io.output.folder.WRITTEN, "align", ("a.star", NAME))


def test_it_is_there_as_the_run_goes_on_and_no_sooner_than_the_input_is_known(tmp_path):
    with OutputFolder(str(tmp_path / "out")) as out:
        out.log("one\n")
        assert not (tmp_path / "out" / NAME).exists()
        out.begin_log()
        assert text_of(tmp_path / "out") == "one\n"
        out.log("two\n")
        assert text_of(tmp_path / "out") == "one\ntwo\n"


def test_a_run_that_goes_on_adds_to_it_and_one_that_replaces_another_begins_anew(tmp_path):
    out = tmp_path / "out"
    a_run(out, "first")
    a_run(out, "second", resume=True)
    assert text_of(out) == "early first\nfirst\n\nearly second\nsecond\n"
    a_run(out, "third", overwrite=True)
    assert text_of(out) == "early third\nthird\n"
    assert sorted(name for name in os.listdir(out) if name[0] != ".") == ["a.star", NAME]


def test_it_says_by_which_error_a_run_ended(tmp_path):
    out = tmp_path / "out"
    for error in (UdlError("p.star is not there: give another."), KeyboardInterrupt(), ValueError("odd")):
        with pytest.raises(type(error)):
            a_run(out, "line", error=error, overwrite=True)
        last = text_of(out).splitlines()[-1]
        assert last.startswith("Error: ")
        assert str(error) in last
    assert "Traceback" in text_of(out)  # of what no command foresaw


def test_a_run_that_comes_to_nothing_leaves_all_as_it_was(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UdlError):
        a_run(out, "nothing", publish=(), error=UdlError("no"))
    assert not out.exists()
    a_run(out, "first")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UdlError):
        a_run(out, "nothing", publish=(), error=UdlError("no"), overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_an_error_of_a_run_that_goes_on_is_added(tmp_path):
    out = tmp_path / "out"
    a_run(out, "first")
    with pytest.raises(UdlError):
        a_run(out, "second", publish=(), error=UdlError("was learned with another seed"), resume=True)
    assert text_of(out).splitlines()[-1] == "Error: was learned with another seed"


def test_somebody_elses_log_is_added_to_and_not_replaced(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / NAME).write_text("mine\n")
    a_run(out, "first", overwrite=True)
    assert text_of(out).startswith("mine\n")


@pytest.mark.parametrize("how", [os.symlink, os.link])
def test_a_link_is_not_written_through(tmp_path, how):
    out, other = tmp_path / "out", tmp_path / "other.txt"
    other.write_text("mine\n")
    out.mkdir()
    how(other, out / NAME)
    a_run(out, "first", overwrite=True)
    assert other.read_text() == "mine\n"
    assert text_of(out) == "early first\nfirst\n"


def test_what_a_run_reads_never_bears_its_name(tmp_path):
    (tmp_path / NAME).write_text("particles")
    with pytest.raises(UdlError, match="is read by this run"):
        OutputFolder(str(tmp_path), True, command="align").spare([str(tmp_path / NAME)])


def test_a_run_that_is_killed_leaves_what_it_said(tmp_path):
    program = (
        "import os, signal, sys; from scipion_udl.io.output.folder import OutputFolder\n"
        f"with OutputFolder({str(tmp_path / 'out')!r}) as out:\n"
        "    out.begin_log(); out.log('the last word\\n'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(PACKAGE)})
    assert done.returncode == -signal.SIGKILL
    assert text_of(tmp_path / "out") == "the last word\n"


def test_a_disk_that_takes_nothing_does_not_stop_a_run(tmp_path):
    with OutputFolder(str(tmp_path / "out")) as out:
        (tmp_path / "out" / NAME).mkdir()  # no file can take that name
        out.begin_log()
        out.log("nowhere")
    assert (tmp_path / "out" / NAME).is_dir()
