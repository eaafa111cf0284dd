"""progress.json: what a program that looks into the folder of a running command is told."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from scipion_udl.compute import progress
from scipion_udl.compute.progress import FILE, Progress
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.tests.engine_helpers import run, simulate
from scipion_udl.training import trainer


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("small") / "particles", 130, 32, 0.5, max_shift=2)


def test_a_run_tells_its_stages_and_epochs_and_leaves_no_trace(small, tmp_path, monkeypatch):
    out, told = tmp_path / "out", []
    write = OutputFolder.tell

    def tell(folder, name, text):
        write(folder, name, text)
        told.append(json.loads((out / FILE).read_text()))

    monkeypatch.setattr(OutputFolder, "tell", tell)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    assert run("align", small / "particles.star", "-o", out, "--epochs", 2) == 0
    assert not (out / FILE).exists()
    assert told[0]["stage"] == "extent of the particles"
    assert "epoch" not in told[0]
    assert all(0 < note["done"] <= note["total"] and note["unit"] in ("particle", "epoch") for note in told)
    assert all(a["seconds"] <= b["seconds"] for a, b in zip(told, told[1:]))
    epochs = [note for note in told if note["unit"] == "epoch"]
    assert [(note["epoch"], note["epochs"], note["done"], note["total"]) for note in epochs] == [(1, 2) * 2, (2, 2) * 2]
    assert all(0 < note["loss"] < 1.5 for note in epochs)
    assert (told[-1]["stage"], told[-1]["done"], told[-1]["epoch"]) == ("heterogeneity", 130, 2)


def test_a_run_that_is_stopped_leaves_it_where_there_is_something_to_go_on_from(small, tmp_path, monkeypatch):
    epoch = trainer._Training.epoch

    def two(self, monitor):
        if self.state.epoch == 2:
            raise KeyboardInterrupt
        return epoch(self, monitor)

    words = ["train", small / "particles.star", "-o", tmp_path / "out", "--epochs", 3]
    words += ["--truth", small / "truth.star"]
    with monkeypatch.context() as patch:
        patch.setattr(trainer._Training, "epoch", two)
        patch.setattr(progress, "EVERY", 0.0)
        assert run(*words) == 130
    left = json.loads((tmp_path / "out" / FILE).read_text())
    assert (left["stage"], left["epoch"], left["epochs"]) == ("training", 2, 3)
    assert 0 < left["true_error"] < 45
    assert run(*words, "--continue") == 0
    assert not (tmp_path / "out" / FILE).exists()


def test_a_run_that_fails_leaves_none(small, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    nothing = small / "particles.star"  # which is no model
    assert run("align", small / "particles.star", "-o", tmp_path / "out", "--max-shift", 99) == 1
    assert run("train", small / "particles.star", "-o", tmp_path / "out", "--model", nothing) == 1
    assert not (tmp_path / "out").exists()


def test_it_is_written_about_once_a_second_whatever_is_told(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    told = []
    bar = Progress(lambda text: told.append(json.loads(text)))
    for number in range(1000):
        clock[0] += 0.01
        bar.show("reading", number + 1, 1000)
    assert 9 <= len(told) <= 11
    assert [note["done"] for note in told[:3]] == pytest.approx([1, 101, 201], abs=2)


def test_a_disk_that_takes_nothing_does_not_stop_a_run(tmp_path):
    with OutputFolder(str(tmp_path / "out")) as out:
        (tmp_path / "out" / FILE).mkdir()  # no file can take that name
        out.tell(FILE, "{}")
        assert (tmp_path / "out" / FILE).is_dir()


@pytest.fixture
def clock(monkeypatch):
    """Seconds, in a list, that pass when the test says so."""
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def goes_on(clock, bar, total, each):
    """Go through ``total`` particles of a stage, which take ``each`` seconds."""
    for number in range(total):
        clock[0] += each
        bar.show("reading", number + 1, total)


def test_a_stage_of_less_than_a_minute_tells_no_time(clock):
    said, facts = [], []
    bar = Progress(lambda text: facts.append(json.loads(text)), said.append)
    goes_on(clock, bar, 59, 1.0)
    assert not said
    assert not any("left" in fact for fact in facts)


def test_a_long_stage_tells_the_time_left_each_time_that_it_has_halved(clock):
    said, facts = [], []
    bar = Progress(lambda text: facts.append(json.loads(text)), said.append)
    goes_on(clock, bar, 1600, 1.0)  # of which nobody knows more than the pace so far
    assert said == [
        "Reading: 4% done, about 26 minutes left",
        "Reading: 52% done, about 13 minutes left",
        "Reading: 76% done, about 6 minutes left",
        "Reading: 88% done, about 3 minutes left",
        "Reading: 94% done, about 2 minutes left",
        "Reading: 98% done, about 40 seconds left",
    ]
    assert all(fact["left"] == 1600 - fact["done"] for fact in facts if "left" in fact)
    assert "left" not in facts[30]
    assert "left" in facts[100]


def test_a_stage_that_slows_down_tells_the_longer_time_too(clock):
    said = []
    bar = Progress(None, said.append)
    for number in range(200):
        clock[0] += 1.0 if number < 100 else 10.0
        bar.show("reading", number + 1, 1000)
    assert said[0] == "Reading: 6% done, about 16 minutes left"
    assert len(said) == 3
    assert [int(line.split("about ")[1].split()[0]) > 16 for line in said] == [False, True, True]


def test_a_stage_within_which_others_go_on_keeps_its_time(clock):
    said = []
    bar = Progress(None, said.append)
    for number in range(10):
        goes_on(clock, bar, 20, 1.0)
        bar.show("alignment of the classes", number + 1, 10)
    assert said[0] == "Alignment of the classes: 40% done, about 2 minutes left"
    assert not any(line.startswith("Reading") for line in said)
