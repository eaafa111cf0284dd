"""What is chosen of classes and particles, and why the rest is not: decisions, without images."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.classification.superclasses import Superclasses
from scipion_udl.errors import UdlError
from scipion_udl.pipelines.select_set import (
    BALANCE,
    CLASS,
    JUNK,
    NEAR,
    SHARE,
    Judgement,
    beyond,
    choose,
    most_of_each,
    near_better,
)
from scipion_udl.settings.commands import SelectSettings
from scipion_udl.values import MOST_OR_AUTO

SIZES = (6, 4, 3, 2)
NUMBERS = (2, 3, 5, 9)  # as a table may have them, with gaps
QUALITY = (0.95, 0.5, 0.49, 0.9)
SUPERCLASSES = (1, 2, 2, 1)
CROSSING = (9.0, 12.0, 8.0, np.nan)


def judgement(flag: str = "") -> Judgement:
    label = np.repeat(NUMBERS, SIZES)
    particles = np.linspace(0.99, 0.6, len(label))
    particles[1] = 0.49
    nothing = np.full(len(SIZES), np.nan)
    return Judgement(
        np.array(NUMBERS), label, np.array(SIZES), np.array(QUALITY), [[]] * len(SIZES), np.array(CROSSING), nothing,
        np.full(len(SIZES), flag, object), particles, np.zeros((len(SIZES), 4, 4)),
        Superclasses(np.array(SUPERCLASSES), np.zeros((0, 4))),
    )  # fmt: skip


def chosen(**options: object):
    selection = choose(SelectSettings(input="p.star", output="out", **options), judgement(), None, None)
    return np.array(NUMBERS)[selection.chosen].tolist(), selection


def test_what_is_more_likely_good_than_not_is_chosen_where_nothing_is_said():
    numbers, selection = chosen()
    assert numbers == [2, 3, 9]  # 0.5 is enough, 0.49 is not
    assert selection.why[1] == JUNK  # one particle of a good class
    assert (selection.why[10:13] == CLASS).all()
    assert selection.kept.sum() == 6 + 4 + 2 - 1
    assert selection.refused == ["", "", "quality", ""]


def test_where_every_class_is_flagged_quality_chooses_none():
    flagged = judgement("noise")
    settings = SelectSettings(input="p.star", output="out")
    assert not choose(settings, flagged, None, None).kept.any()
    assert choose(settings.but(chosen=(2,)), flagged, None, None).kept.sum() == 6  # but a person may
    flagged.flag[0] = ""
    assert choose(settings, flagged, None, None).chosen.tolist() == [True, True, False, True]


def test_what_shows_no_particle_is_not_chosen_however_alike_its_images_are():
    flagged = judgement()
    flagged.flag[:] = ["no_particle", "noise", "", ""]
    selection = choose(SelectSettings(input="p.star", output="out"), flagged, None, None)
    assert selection.chosen.tolist() == [
        False,
        True,
        False,
        True,
    ]  # particles at a low SNR may fit no better than noise
    assert selection.refused[0] == "flagged"


def test_classes_that_are_named_come_with_all_their_particles_whatever_their_quality():
    numbers, selection = chosen(chosen=(2, 5))
    assert numbers == [2, 5]
    assert selection.kept.sum() == 6 + 3
    assert chosen(chosen=(2, 5), min_quality=0.5)[0] == [2]  # unless a quality is asked for, too


def test_a_class_that_is_not_there_is_an_error_that_names_it():
    with pytest.raises(UdlError, match=r"p\.star has no class 4, 7: it has 4 classes"):
        chosen(chosen=(2, 4, 7))


def test_size_and_measured_resolution_apply_together_with_quality():
    assert chosen(min_particles=4)[0] == [2, 3]
    assert chosen(max_resolution=9.0)[0] == [2]  # what is not known is not fine enough
    assert chosen(max_resolution=12.0, min_quality=0.0)[0] == [2, 3, 5]


def test_the_best_share_is_of_what_is_chosen():
    _, selection = chosen(keep=0.5)
    kept = judgement().particles[selection.kept]
    assert len(kept) == 6  # of 11, rounded
    assert kept.min() >= judgement().particles[selection.why == SHARE].max()
    assert not chosen(keep=0.0)[1].kept.any()


def groups_of(which: np.ndarray) -> np.ndarray:
    """The superclass of each particle that is chosen."""
    return judgement().superclass_of(which)


def test_no_superclass_has_more_than_it_may_and_the_best_of_it_are_kept():
    quality = judgement().particles
    before = chosen()[1].kept
    for most in (1, 2, 5, 100):
        selection = chosen(balance=most)[1]
        assert selection.most == most
        for one in (1, 2):
            could, kept = before & (groups_of(slice(None)) == one), selection.kept & (groups_of(slice(None)) == one)
            assert kept.sum() == min(could.sum(), most)
            if kept.any() and (could & ~kept).any():
                assert quality[kept].min() >= quality[could & ~kept].max()
        assert ((selection.why == BALANCE) == (before & ~selection.kept)).all()
        assert (selection.why[~before] == chosen()[1].why[~before]).all()  # who was left out is so for the old reason
    assert chosen()[1].most is None


def test_auto_takes_what_the_superclass_in_the_middle_has():
    assert most_of_each(np.repeat([1, 2, 5], [10, 4, 7])) == 7
    assert most_of_each(np.repeat([1, 2], [10, 5])) == 7
    assert most_of_each(np.zeros(0, int)) == 1
    settings = SelectSettings(input="p.star", output="out", balance=MOST_OR_AUTO("auto"))
    selection = choose(settings, judgement(), None, None)
    counts = [np.sum(groups_of(chosen()[1].kept) == one) for one in (1, 2)]
    assert selection.most == int(np.median(counts))
    assert [np.sum(groups_of(selection.kept) == one) for one in (1, 2)] == np.minimum(counts, selection.most).tolist()


def test_balance_is_the_last_of_the_rules():
    """What lies close to a better particle, and what is not of the best share, takes no place of a superclass."""
    selection = chosen(balance=2, keep=0.8)[1]
    assert (selection.why == SHARE).sum() == 2  # of 11
    assert [np.sum(groups_of(selection.kept) == one) for one in (1, 2)] == [2, 2]


def test_of_equals_the_first_are_kept():
    group, quality = np.array([2, 1, 2, 2, 1, 3]), np.array([0.5, 0.9, 0.5, 0.5, 0.9, 0.1])
    assert beyond(group, quality, 1).tolist() == [False, False, True, True, True, False]
    assert not beyond(group, quality, 3).any()
    assert beyond(np.zeros(0, int), np.zeros(0), 1).shape == (0,)


def test_of_particles_that_lie_close_to_each_other_the_best_is_kept():
    line = np.array([[0.0, 0], [50, 0], [100, 0], [400, 0]])
    one = np.zeros(4)
    best_in_the_middle = near_better(line, one, np.array([0.7, 0.9, 0.8, 0.6]), 60)
    assert best_in_the_middle.tolist() == [True, False, True, False]
    # The last of a row is not close to the first, which took the middle one out.
    assert near_better(line, one, np.array([0.9, 0.8, 0.7, 0.6]), 60).tolist() == [False, True, False, False]
    # Nor is one in another micrograph, whatever its coordinates; and the distance itself is far enough.
    assert not near_better(line, np.arange(4), np.ones(4), 60).any()
    assert not near_better(line, one, np.ones(4), 50).any()


def test_duplicates_are_sought_among_what_is_chosen_alone():
    places = np.zeros((15, 2))
    settings = SelectSettings(input="p.star", output="out", min_distance=10.0, chosen=(5, 9))
    selection = choose(settings, judgement(), places, np.full(15, "m"))
    assert selection.kept.sum() == 1
    assert (selection.why == NEAR).sum() == 4
    assert (selection.why[:10] == CLASS).all()
    assert judgement().particles[selection.kept] == judgement().particles[10:].max()
