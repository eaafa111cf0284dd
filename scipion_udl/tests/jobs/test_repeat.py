"""`classify --repeat`: which share of each class comes again with another seed."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")

from emtable import Table as OtherReader

from scipion_udl.tests.engine_helpers import run

COUNT, BOX = 96, 32
WORDS = ("--classes", 4, "--no-refine", "--starts", 1, "--gpu", "none", "--threads", 1, "--quiet")


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """Particles of few views, in so much noise that classes differ from seed to seed."""
    out = tmp_path_factory.mktemp("set") / "set"
    words = ["--count", COUNT, "--box", BOX, "--snr", 0.3, "--pixel-size", 5, "--phantom", "crane", "--seed", 2]
    assert run("simulate", out, *words, "--views", "random", "--gpu", "none") == 0
    return out / "particles.star"


@pytest.fixture(scope="module")
def again(particles, tmp_path_factory):
    out = tmp_path_factory.mktemp("again") / "out"
    assert run("classify", particles, "-o", out, "--repeat", 3, "--seed", 5, *WORDS) == 0
    return out


def labels(out):
    """The class of each particle by its name."""
    table = OtherReader(fileName=str(out / "classes.star"), tableName="particles")
    return {row.rlnImageName: int(row.rlnClassNumber) for row in table}


def rows(out, name="classes.csv"):
    with open(out / name, newline="") as file:
        return list(csv.DictReader(file))


def test_each_class_is_told_which_share_of_it_comes_again(again):
    first, others = labels(again), [labels(again / f"repeat_{k}") for k in (2, 3)]
    told = [row for row in rows(again / "compared", "compare.csv") if row["run"] == "1"]
    found = rows(again)
    assert [row["class"] for row in found] == [row["class"] for row in told]
    for row, match in zip(found, told):
        members = [name for name, number in first.items() if number == int(row["class"])]
        shares = [
            np.mean([other[name] == int(match[f"match_{k}"] or -1) for name in members])
            for k, other in zip((2, 3), others)
        ]
        assert float(row["comes_again"]) == pytest.approx(np.mean(shares), abs=1e-4)
        assert float(row["comes_again_sd"]) == pytest.approx(np.std(shares, ddof=1), abs=1e-4)
    assert list(found[0])[-3:] == ["comes_again", "comes_again_sd", "note"]
    summary = json.loads((again / "summary.json").read_text())
    assert [one["comes_again"] for one in summary["classes"]] == [float(row["comes_again"]) for row in found]
    assert summary["repeats"]["runs"] == 3
    assert len(summary["repeats"]["adjusted_rand"]) == 2


def test_a_repeat_is_the_run_with_that_seed(again, particles, tmp_path):
    assert run("classify", particles, "-o", tmp_path / "alone", "--seed", 6, *WORDS) == 0
    assert labels(tmp_path / "alone") == labels(again / "repeat_2")
    assert labels(again) != labels(again / "repeat_2")
    assert "comes_again" not in rows(tmp_path / "alone")[0]


def test_what_was_stopped_goes_on_with_the_repeats_that_lack(again, particles, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(again, out)
    shutil.rmtree(out / "repeat_3")
    left = (out / "repeat_2" / "classes.star").stat().st_mtime_ns
    assert run("classify", particles, "-o", out, "--repeat", 3, "--seed", 5, *WORDS, "--continue") == 0
    assert (out / "repeat_2" / "classes.star").stat().st_mtime_ns == left
    assert labels(out / "repeat_3") == labels(again / "repeat_3")
    assert [row["comes_again"] for row in rows(out)] == [row["comes_again"] for row in rows(again)]


def test_one_run_is_no_repeat(particles, tmp_path):
    assert run("classify", particles, "-o", tmp_path / "out", "--repeat", 1, *WORDS) == 0
    assert "comes_again" not in rows(tmp_path / "out")[0]
    assert not (tmp_path / "out" / "compared").exists()


def test_classes_that_are_not_learned_cannot_be_learned_again(again, particles, tmp_path, capsys):
    words = ["--model", again / "model.safetensors", "--repeat", 2, "--gpu", "none"]
    assert run("classify", particles, "-o", tmp_path / "out", *words) == 1
    assert "--model brings its classes along, and none are learned: leave --repeat out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
