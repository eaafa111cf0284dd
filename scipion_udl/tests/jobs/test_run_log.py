"""The log of whole runs: short on the screen, however many classes there are, and complete in run.log."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("torch")

from scipion_udl.tests.engine_helpers import run, simulate, subset_star

MOST = 40  # lines on the screen
CLASSES = 8
INTERNAL = re.compile(r"\b(rings?|nats|log likelihood|hands|Traceback|None|nan)\b")
ROUND = "Independent halves, round 1: "


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("particles") / "set", 130, 24, 0.5, max_shift=1) / "particles.star"


@pytest.fixture(scope="module")
def sorted_run(particles, tmp_path_factory):
    """The folder of `classify` with many classes, and its words but the folder."""
    words = ["classify", particles, "--classes", CLASSES, "--starts", 1, "--gpu", "none", "--threads", 1]
    out = tmp_path_factory.mktemp("runs") / "classes"
    return out, words


def lines(capsys):
    printed = capsys.readouterr()
    return (printed.out + printed.err).splitlines()


def test_classes_are_told_on_a_screen_whatever_their_number(sorted_run, capsys):
    out, words = sorted_run
    assert run(*words, "-o", out) == 0
    shown, log = lines(capsys), (out / "run.log").read_text()
    assert 8 < len(shown) <= MOST
    assert not [line for line in shown if INTERNAL.search(line)]
    told = re.findall(r"Class (\d+) \(\d+ of (\d+)\): ", log)
    assert len(told) == int(told[0][1]) > 1
    assert all(f"Class {number}: {ROUND}" in log for number, _ in told)
    assert not [line for line in shown if re.search(r"Class \d+[: ]", line)]
    assert all(line in log for line in shown)


def test_classes_of_a_table_are_too(sorted_run, tmp_path, capsys):
    out, words = sorted_run
    if not out.exists():
        assert run(*words, "-o", out) == 0
    capsys.readouterr()
    given = ["align", out / "classes.star", "--by-class", "--epochs", 1, "--max-shift", 2]
    assert run(*given, "-o", tmp_path / "out") == 0
    shown, log = lines(capsys), (tmp_path / "out" / "run.log").read_text()
    assert 8 < len(shown) <= MOST
    assert not [line for line in shown if INTERNAL.search(line)]
    assert "Class 1 (" in log
    assert not [line for line in shown if "Class 1" in line]


def test_quiet_and_verbose(particles, tmp_path, capsys):
    words = ["align", subset_star(particles.parent, tmp_path / "few.star", range(3)), "--max-shift", 2]
    shown = {}
    for option in ("--quiet", "--verbose"):
        assert run(*words, option, "-o", tmp_path / option) == 0
        printed = capsys.readouterr()
        shown[option] = printed.out.splitlines()
        assert "Warning: " in printed.err and "too few to train on" in printed.err
    assert "Device: CPU" in shown["--quiet"][0]
    assert shown["--quiet"][1] == ""
    assert shown["--quiet"][2].startswith("Particles ")
    told = (tmp_path / "--verbose" / "run.log").read_text().splitlines()
    assert [line for line in told[1:] if not line.startswith("Warning:")] == shown["--verbose"]
    counts = [len((tmp_path / option / "run.log").read_text().splitlines()) for option in shown]
    assert counts[0] == counts[1]
    with pytest.raises(SystemExit):
        run(*words, "--quiet", "--verbose", "-o", tmp_path / "both")


def test_a_run_that_goes_on_adds_to_the_log(particles, tmp_path, capsys):
    words = ["train", particles, "-o", tmp_path / "out", "--epochs", 1]
    assert run(*words) == 0
    first = (tmp_path / "out" / "run.log").read_text()
    assert run(*words, "--continue") == 0
    both = (tmp_path / "out" / "run.log").read_text()
    assert both.startswith(first)
    assert both.count("scipion-udl ") == 2
    assert run("align", particles, "-o", tmp_path / "out", "--continue", "--max-shift", 99) == 1
    assert (tmp_path / "out" / "run.log").read_text().splitlines()[-1].startswith("Error: --max-shift 99 is more than")
    capsys.readouterr()
