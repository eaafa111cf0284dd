"""What classes are judged by says the same however a class lies, and whatever its particles' contrast."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.quality.class_features import NAMES, ClassEvidence, SetEvidence, class_features, middle

BOX, RADIUS, EACH = 32, 10.0, 40


def lumps(random: np.random.Generator, count: int = 5, spread: float = 4.0) -> np.ndarray:
    axis = np.arange(BOX) - BOX // 2
    x, y = np.meshgrid(axis, axis)
    places = random.normal(size=(count, 2)) * spread / 2
    return sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 6) for a, b in places)


def make(averages: list[np.ndarray], noise: float = 0.05, seed: int = 1) -> tuple[list[ClassEvidence], SetEvidence]:
    """Classes of EACH particles with averages (D, D), halves of which have noise of their own."""
    random = np.random.default_rng(seed)
    classes = []
    for k, average in enumerate(averages):
        members = np.arange(k * EACH, (k + 1) * EACH)
        halves = [average + noise * random.normal(size=average.shape) for _ in range(2)]
        score, shift = 0.3 + 0.05 * random.random(EACH), random.normal(size=(EACH, 2))
        classes.append(ClassEvidence(members, *halves, score, np.zeros(EACH, bool), shift, 0.1))
    count = EACH * len(averages)
    nobody = np.zeros(count, bool)
    return classes, SetEvidence(RADIUS, nobody, nobody, np.ones(count), random.uniform(0.9, 1.1, count))


@pytest.fixture
def averages():
    random = np.random.default_rng(7)
    return [lumps(random) for _ in range(4)]


def column(classes, whole, name):
    return class_features(classes, whole)[:, NAMES.index(name)]


def test_dark_particles_are_as_good_as_bright_ones(averages):
    classes, whole = make(averages)
    numbers = class_features(classes, whole)
    for one in classes:
        one.first, one.second = -one.first, -one.second
    np.testing.assert_allclose(class_features(classes, whole), numbers, atol=1e-9)


def test_a_class_may_lie_any_way_round(averages):
    box = BOX - 1  # odd: a quarter turn about the origin is exact
    classes, whole = make([one[1:, 1:] for one in averages])
    numbers = class_features(classes, whole)
    assert classes[0].first.shape == (box, box)
    for one in classes[::2]:
        one.first, one.second = np.rot90(one.first), np.rot90(one.second)
    np.testing.assert_allclose(class_features(classes, whole), numbers, atol=1e-6)


def test_noise_brings_no_signal_and_halves_that_do_not_agree(averages):
    classes, whole = make([*averages, np.zeros((BOX, BOX))])
    assert column(classes, whole, "signal_middling").argmin() == 4
    assert column(classes, whole, "halves_agree")[4] < 0.5 < column(classes, whole, "halves_agree")[:4].min()


def test_a_ramp_is_told_from_a_particle(averages):
    ramp = np.add.outer(np.zeros(BOX), np.arange(BOX) - BOX / 2) / BOX
    classes, whole = make([*averages, ramp])
    found = column(classes, whole, "ramp")
    assert found[4] > 0.9
    assert found[:4].max() < 0.5


def test_what_lies_beside_the_particle_or_off_its_centre_is_seen(averages):
    axis = np.arange(BOX) - BOX // 2
    beside = np.exp(-((axis - 12.0) ** 2 + axis[:, None] ** 2) / 6)
    off = np.exp(-((axis - 6.0) ** 2 + axis[:, None] ** 2) / 6)
    classes, whole = make([*averages, averages[0] + beside, off])
    assert column(classes, whole, "power_beside").argmax() == 4
    assert column(classes, whole, "off_centre").argmax() == 5
    assert column(classes, whole, "off_centre")[5] == pytest.approx(0.6, abs=0.1)  # of the radius


def test_a_class_unlike_all_others_has_the_least_likeness(averages):
    ring = np.abs(np.hypot(*np.meshgrid(np.arange(BOX) - 16, np.arange(BOX) - 16)) - 8) < 1
    classes, whole = make([*averages, ring.astype(float)])
    assert column(classes, whole, "likeness_mean").argmin() == 4
    assert column(classes, whole, "profile_likeness").argmin() == 4


def test_the_numbers_of_a_lone_class_and_of_blank_images_are_finite(averages):
    classes, whole = make(averages[:1])
    whole.blank[:] = True
    whole.matter[:] = np.nan
    assert np.isfinite(class_features(classes, whole)).all()


def test_the_weighted_median_is_a_value_with_half_of_the_weight_on_either_side():
    assert middle(np.array([5.0, 1.0, 3.0]), np.array([1.0, 1.0, 1.0])) == 3.0
    assert middle(np.array([5.0, 1.0, 3.0]), np.array([9.0, 1.0, 1.0])) == 5.0
    assert middle(np.array([5.0, 1.0, 3.0]), np.array([2.0, 1.0, 1.0])) == 4.0
