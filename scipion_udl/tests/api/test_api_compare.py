"""Classifications compared in memory: of labels, of what classify returns, and of tables as the command does it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import scipion_udl
from scipion_udl.errors import UdlError
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.tests.engine_helpers import run

ONE = np.repeat([0, 1, 2], 20)
OTHER = np.repeat([7, 5, 3], 20)
OTHER[:4] = 5  # four of the first class are with the second
THIRD = ["abc"[k] for k in ONE]
AGAIN = [16 / 20, 1.0, 1.0]


def test_labels_are_compared_whatever_they_are_called():
    found = scipion_udl.compare(ONE, OTHER.tolist(), THIRD)
    assert found.names == ["run 1", "run 2", "run 3"]
    assert [number.tolist() for number in found.numbers] == [[0, 1, 2], [3, 5, 7], ["a", "b", "c"]]
    assert found.matches(0, 1) == {0: 7, 1: 5, 2: 3}
    assert found.matches(2, 0) == {"a": 0, "b": 1, "c": 2}
    assert found.adjusted_rand[0, 2] == found.adjusted_rand[1, 1] == 1
    # 20 + 20 + 20 against 16 + 24 + 20, of which 16, 4, 20 and 20 are shared: Hubert and Arabie 1985, equation 5
    pairs = lambda *sizes: sum(size * (size - 1) / 2 for size in sizes)  # noqa: E731
    chance = pairs(20, 20, 20) * pairs(16, 24, 20) / pairs(60)
    rand = (pairs(16, 4, 20, 20) - chance) / ((pairs(20, 20, 20) + pairs(16, 24, 20)) / 2 - chance)
    np.testing.assert_allclose(found.adjusted_rand[0, 1], rand)
    np.testing.assert_allclose(found.adjusted_rand, found.adjusted_rand.T)
    np.testing.assert_allclose(found.comes_again[0], (np.array(AGAIN) + 1) / 2)  # mean over the two others
    np.testing.assert_allclose(found.comes_again_sd[0], [0.2 / 2**0.5, 0, 0], atol=1e-12)
    assert not np.concatenate(found.alone).any()
    assert found.consensus.tolist() == ONE.tolist()  # two of three have the four where they were
    np.testing.assert_allclose(found.share, np.where(np.arange(60) < 4, 2 / 3, 1))
    assert found.warnings == []


def test_where_two_do_not_agree_there_is_no_consensus():
    found = scipion_udl.compare(ONE, OTHER)
    assert np.flatnonzero(found.consensus.mask).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found.share[[0, 4]], [0.5, 1])
    assert np.isnan(found.comes_again_sd[0]).all()


def test_particles_that_a_run_does_not_hold_are_below_0():
    some = ONE.copy()
    some[::3] = -1
    found = scipion_udl.compare(some, OTHER, least_in_common=0.9)
    held = some >= 0
    np.testing.assert_allclose(found.adjusted_rand, scipion_udl.compare(ONE[held], OTHER[held]).adjusted_rand)
    assert found.share[0] == 0
    assert found.consensus.mask[0]
    assert found.alone[0].tolist() == [True, True, False]  # 0.8 of 0.2 and less is not 0.9


def test_classes_by_chance_are_warned_of():
    (told,) = scipion_udl.compare(ONE, np.tile([0, 1, 2], 20)).warnings
    assert told.code == "compared_by_chance"
    assert told.text.startswith("The classes of run 1 and run 2 agree hardly better than chance")


def test_what_classify_returns_is_compared_by_its_labels():
    made = scipion_udl.simulate(24, 2.0, 32, 4.0, shift=1.0, seed=3)
    result = scipion_udl.classify(made.images, 4.0, classes=2, threads=1, gpu="none", max_shift=3)
    found = scipion_udl.compare(result, result.label + 10)
    assert found.adjusted_rand.min() == 1
    assert found.consensus.tolist() == result.label.tolist()


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Two tables of the same particles in the current folder, in other orders."""
    monkeypatch.chdir(tmp_path)
    write_stack("p.mrcs", np.random.default_rng(0).normal(size=(60, 16, 16)), 3.0)
    for name, label, rows in (("one.star", ONE + 1, np.arange(60)), ("two.star", OTHER, np.arange(60)[::-1])):
        columns = {
            "rlnImageName": [f"{k + 1:06d}@p.mrcs" for k in rows],
            "rlnClassNumber": [str(label[k]) for k in rows],
        }
        write_tables(name, [Table("", columns)])
    return tmp_path


def test_tables_are_compared_as_by_the_command_and_nothing_is_printed_or_written(tables, capfd):
    found = scipion_udl.compare("two.star", Path("one.star"), pixel_size=3.0)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tables.iterdir()) == ["one.star", "p.mrcs", "two.star"]
    assert run("compare", "two.star", "one.star", "-o", "out", "--quiet") == 0
    told = json.loads(Path("out/summary.json").read_text("utf-8"))
    np.testing.assert_allclose(found.adjusted_rand[0, 1], told["pairs"][0]["adjusted_rand"], atol=1e-4)
    again = [one["comes_again"] for one in told["classes"] if one["run"] == 1]
    np.testing.assert_allclose(found.comes_again[0], again, atol=1e-4)
    (table,) = read_tables("out/compare.star")[-1:]
    assert found.consensus.filled(0).tolist() == table.numbers("udlConsensusClass").tolist()
    np.testing.assert_allclose(found.share, table.numbers("udlConsensusShare"), atol=1e-4)
    assert found.names == ["two.star", "one.star"]


@pytest.mark.parametrize(
    "runs, what",
    [
        ((ONE,), "run 1 alone has nothing to be compared with"),
        ((ONE, OTHER[:50]), "There are 50 labels of run 2 and 60 of the first"),
        ((ONE, OTHER[None]), "The labels of run 2 are of shape (1, 60)"),
        ((ONE, OTHER + 0.5), "type float64"),
        ((ONE - 60, OTHER), "run 2 has no particle in common with run 1"),
        (("gone.star", "there.star"), "gone.star"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(runs, what):
    with pytest.raises(UdlError, match=re.escape(what)):
        scipion_udl.compare(*runs)


def test_options_are_those_of_the_command():
    with pytest.raises(TypeError, match=r"compare\(\) has no option least_in_comon: did you mean least_in_common\?"):
        scipion_udl.compare(ONE, OTHER, least_in_comon=0.3)
    with pytest.raises(ValueError, match="least_in_common"):
        scipion_udl.compare(ONE, OTHER, least_in_common=2)
    with pytest.raises(TypeError, match="the paths of all runs, or the labels of all"):
        scipion_udl.compare("one.star", OTHER)
