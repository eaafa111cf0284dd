"""Classifications of the same particles are compared by who is together with whom, and by nothing else."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from scipion_udl.validation.class_agreement import (
    ABSENT,
    UNMATCHED,
    Agreement,
    adjusted_rand,
    agreements,
    consensus,
    like_first,
    shared_particles,
)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def compared(one, other) -> Agreement:
    one, other = np.asarray(one), np.asarray(other)
    return agreements(np.stack([one, other]), (one.max() + 1, other.max() + 1))[0, 1]


def by_pairs(one: np.ndarray, other: np.ndarray) -> float:
    """The adjusted Rand index by its definition: every pair of particles is looked at."""
    pairs = list(combinations(range(len(one)), 2))
    first, second = (np.array([label[i] == label[j] for i, j in pairs]) for label in (one, other))
    chance, most = first.sum() * second.sum() / len(pairs), (first.sum() + second.sum()) / 2
    return ((first & second).sum() - chance) / (most - chance)


def test_the_same_classes_agree_whatever_their_numbers(rng):
    label = rng.integers(0, 7, 500)
    assert compared(label, label).rand == 1
    number = rng.permutation(7)
    renamed = compared(label, number[label])
    assert renamed.rand == 1
    assert renamed.match.tolist() == number.tolist()
    assert (renamed.comes_again == 1).all()


@pytest.mark.parametrize("classes", [(2, 2), (5, 12), (25, 25)])
def test_classes_by_chance_agree_no_more_than_chance(rng, classes):
    count = 4000
    found = [compared(*(rng.integers(0, k, count) for k in classes)).rand for _ in range(20)]
    assert np.abs(found).max() < 4 / np.sqrt(count)
    assert np.abs(np.mean(found)) < 2 / np.sqrt(count * len(found))


def test_the_index_is_that_of_its_definition(rng):
    # Six particles, {1 2 3} {4 5 6} and {1 2} {3 4} {5 6}: of 15 pairs 6 are together in the first, 3 in the second, 2
    # in both. By chance 6 * 3 / 15 = 1.2; at most (6 + 3) / 2 = 4.5: (2 - 1.2) / (4.5 - 1.2) = 8 / 33.
    assert compared([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2]).rand == pytest.approx(8 / 33, rel=1e-12)
    for _ in range(5):
        one, other = rng.integers(0, 3, 30), rng.integers(0, 4, 30)
        other[:20] = one[:20]
        assert compared(one, other).rand == pytest.approx(by_pairs(one, other), rel=1e-9)


def test_the_index_of_millions_of_particles_does_not_overflow():
    table = np.diag([2_000_000_000, 1_000_000_000])
    assert adjusted_rand(table) == 1
    assert adjusted_rand(np.full((2, 2), 2_000_000_000)) == pytest.approx(0, abs=1e-6)


def test_partitions_without_a_choice_are_the_same_and_one_particle_tells_nothing():
    assert compared([0, 0, 0], [0, 0, 0]).rand == 1
    assert compared([0, 1, 2], [2, 0, 1]).rand == 1
    assert compared([0, 0, 0, 0], [0, 0, 1, 1]).rand == 0
    assert np.isnan(adjusted_rand(np.array([[1]])))


def test_only_particles_that_both_runs_hold_count():
    one, other = np.array([0, 0, 1, 1, ABSENT, 0]), np.array([1, 1, 0, ABSENT, 0, ABSENT])
    assert shared_particles(one, other, (2, 2)).tolist() == [[0, 2], [1, 0]]
    found = compared(one, other)
    assert found.rand == 1
    assert found.comes_again.tolist() == [1, 1]


def test_classes_are_matched_so_that_all_of_them_together_fit_best():
    # The first class shares most with the second's first class, but so does the second, which has no other.
    found = Agreement(np.array([[6, 5], [7, 0]]))
    assert found.jaccard.tolist() == [[6 / 18, 5 / 11], [7 / 13, 0]]
    assert found.match.tolist() == [1, 0]
    assert found.comes_again.tolist() == [5 / 11, 1]
    assert found.together.tolist() == [6 / 11, 1]
    assert found.turned.match.tolist() == [1, 0]


def test_a_class_that_comes_apart_is_found_and_so_is_one_that_joins_another():
    one = np.repeat([0, 1, 2], [40, 30, 30])
    other = np.repeat([0, 1, 2], [22, 18, 60])
    found = compared(one, other)
    assert [part.tolist() for part in found.parts] == [[0, 1], [], []]
    assert [part.tolist() for part in found.turned.parts] == [[], [], [1, 2]]
    assert found.match.tolist()[0] == 0
    assert found.comes_again[0] == 22 / 40
    lost = np.flatnonzero(found.match == UNMATCHED)
    assert lost.tolist() in ([1], [2])  # one of both finds its match taken: its particles are together all the same
    assert found.comes_again[lost] == 0
    assert found.together[lost] == 1


def test_single_particles_that_strayed_are_no_part_of_a_class():
    one, other = np.zeros(100, int), np.zeros(100, int)
    other[:3], one[98:], other[98:] = 1, 1, 2
    assert [part.tolist() for part in compared(one, other).parts] == [[], []]


@pytest.mark.parametrize(("size", "inside", "told"), [(20, 20, True), (19, 19, False), (39, 20, True), (40, 20, False)])
def test_a_part_is_a_fifth_of_the_class_and_has_more_than_half_of_its_own_members_there(size, inside, told):
    one, other = np.zeros(100 + size - inside, int), np.zeros(100 + size - inside, int)
    one[100:] = 1
    other[100 - inside :] = 1
    assert compared(one, other).parts[0].tolist() == ([0, 1] if told else [])


def test_a_class_that_one_run_alone_has_is_like_none_of_the_other(rng):
    one = np.repeat([0, 1, 2], 60)
    other = one.copy()
    other[one == 2] = rng.integers(0, 2, 60)  # the others have taken its particles
    assert (compared(one, other).best >= 0.5).tolist() == [True, True, False]
    ring = np.repeat(np.arange(6), 30)
    other = ring.copy()
    other[ring == 5] = np.arange(30) % 5
    assert compared(ring, other).best[5] < 0.2 < compared(ring, other).best[:5].min()


def test_a_class_of_particles_that_the_other_run_lacks_is_not_judged():
    found = compared([0, 0, 1, 1], [0, 0, ABSENT, ABSENT])
    assert found.comes_again[0] == 1
    assert np.isnan([found.comes_again[1], found.together[1]]).all()
    assert found.match[1] == UNMATCHED


def test_what_comes_again_is_known_from_how_much_was_shuffled(rng):
    label = rng.integers(0, 5, 20000)
    moved = rng.random(len(label)) < 0.3
    other = np.where(moved, rng.integers(0, 5, len(label)), label)
    assert compared(label, other).comes_again == pytest.approx(0.7 + 0.3 / 5, abs=0.03)


def test_the_consensus_is_what_most_runs_say_by_the_classes_of_the_first(rng):
    true = rng.integers(0, 6, 3000)
    runs = []
    for _ in range(5):
        wrong = rng.random(len(true)) < 0.2
        runs.append(rng.permutation(6)[np.where(wrong, rng.integers(0, 6, len(true)), true)])
    labels = np.stack(runs)
    matched = like_first(labels, agreements(labels, [6] * 5))
    label, share = consensus(matched)
    own = runs[0]
    name = np.array([np.bincount(own[true == k]).argmax() for k in range(6)])  # what the first run calls them
    alone, all_of_them = (own == name[true]).mean(), (label == name[true]).mean()
    kept = 0.8 + 0.2 / 6
    assert alone == pytest.approx(kept, abs=0.03)
    most = sum(comb(5, k) * kept**k * (1 - kept) ** (5 - k) for k in (3, 4, 5))  # 0.965
    assert all_of_them == pytest.approx(most, abs=0.02)
    assert set(np.round(share * 5).astype(int)) <= {1, 2, 3, 4, 5}
    assert ((label == UNMATCHED) == (share <= 0.5)).all()
    assert (label[share == 1] == own[share == 1]).all()


def test_a_consensus_is_of_two_runs_at_least_and_of_more_than_half():
    labels = np.array(
        [
            [0, 0, 0, ABSENT, 0, 0, 0],
            [0, 1, ABSENT, 1, 1, UNMATCHED, 1],
            [0, 1, ABSENT, 1, 2, UNMATCHED, ABSENT],
        ]
    )
    label, share = consensus(labels)
    assert label.tolist() == [0, 1, UNMATCHED, 1, UNMATCHED, UNMATCHED, UNMATCHED]
    assert share == pytest.approx([1, 2 / 3, 0, 1, 1 / 3, 1 / 3, 1 / 2])


def test_a_class_without_a_match_in_the_first_run_has_no_vote():
    labels = np.array([[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 2, 2, 2, ABSENT]])
    pairs = agreements(labels, (2, 3))
    assert like_first(labels, pairs)[1].tolist() == [0, 0, UNMATCHED, 1, 1, 1, ABSENT]
