"""Flags of classes: what shows no particle, and what was brought into register beside it."""

import numpy as np
import pytest
import torch

from scipion_udl.classification.flags import LEAST_MATTER, Inside, mostly, signal_inside, without_particle
from scipion_udl.particles.extent import matter_kernel
from scipion_udl.particles.polarity import RadialProfile

BOX = 64
AXIS = np.arange(BOX) - BOX // 2


def blob(x, y, sigma=3.0):
    return np.exp(-((AXIS - x) ** 2 + (AXIS[:, None] - y) ** 2) / (2 * sigma**2))


def test_a_class_without_the_matter_of_the_others_shows_no_particle():
    random = np.random.default_rng(0)
    label = np.repeat(np.arange(5), [100, 80, 60, 40, 20])
    matter = np.array([1.0, 1.2, 0.6, 0.05, 0.2])[label] + 0.5 * random.standard_normal(len(label))
    found = without_particle(label, matter, np.zeros(5, bool))
    assert found.tolist() == [False, False, False, True, True]


def test_views_with_half_of_the_matter_are_views():
    """The end of a long rod shows about half of what its side does."""
    label = np.repeat(np.arange(2), [200, 50])
    matter = np.array([1.1, 0.5])[label] + 0.1 * np.random.default_rng(1).standard_normal(len(label))
    assert not without_particle(label, matter, np.zeros(2, bool)).any()


def test_the_more_junk_there_is_the_same_is_flagged():
    """Two thirds junk: what good classes show is not measured on it."""
    label = np.repeat(np.arange(3), [100, 120, 80])
    matter = np.array([1.0, 0.1, 0.0])[label] + 0.2 * np.random.default_rng(2).standard_normal(len(label))
    assert without_particle(label, matter, np.zeros(3, bool)).tolist() == [False, True, True]


def test_few_faint_images_are_not_flagged_by_chance():
    """Of three images whose matter is hardly seen nothing can be said."""
    hits = 0
    for seed in range(200):
        label = np.repeat(np.arange(2), [200, 3])
        matter = 1.0 + 2.0 * np.random.default_rng(seed).standard_normal(len(label))
        hits += without_particle(label, matter, np.zeros(2, bool))[1]
    assert hits < 20


def test_where_the_set_shows_no_particle_nothing_is_told():
    assert not without_particle(np.zeros(9, int), np.full(9, np.nan), np.zeros(1, bool)).any()


def test_matter_is_one_for_the_particle_and_none_for_ice_in_any_orientation():
    random = torch.Generator().manual_seed(0)
    shape = torch.from_numpy(blob(-5, 0) + blob(5, 2) + blob(0, 8)).float()
    rotated = torch.stack([torch.rot90(shape, k) for k in range(4)]).repeat(50, 1, 1)
    noise = torch.randn(200, BOX, BOX, generator=random)
    profile = RadialProfile(BOX)
    profile.add(rotated + noise)
    kernel = matter_kernel(profile, 16.0)
    fresh = torch.randn(200, BOX, BOX, generator=random)
    with_particle, ice = (((images * kernel).sum((1, 2))) for images in (rotated + fresh, fresh))
    assert float(with_particle.mean()) == pytest.approx(1, abs=0.1)
    assert abs(float(ice.mean())) < 0.1
    assert float(with_particle.mean() - ice.mean()) > 2 * LEAST_MATTER


@pytest.mark.parametrize(("place", "outside"), [((6, 0), False), ((27, 0), True)])
def test_the_share_inside_tells_what_was_registered(place, outside):
    random = np.random.default_rng(3)
    ring = 2 * blob(0, 0, 9)
    halves = [ring + blob(*place) + 0.2 * random.standard_normal((BOX, BOX)) for _ in range(2)]
    found = signal_inside(halves, 16.0, 19.0)
    assert found.outside == outside
    assert found.share < 0.2 if outside else found.share > 0.8


def test_noise_has_no_place():
    told = 0
    for seed in range(100):
        halves = np.random.default_rng(seed).standard_normal((2, BOX, BOX)) + 2 * blob(0, 0, 9)
        told += signal_inside(tuple(halves), 16.0, 19.0).share is not None
    assert told < 5


def test_a_class_is_of_what_most_of_its_images_are():
    label, loud = np.repeat(np.arange(3), [4, 5, 2]), np.zeros(11, bool)
    loud[[0, 1, 4, 5, 6]] = True
    assert mostly(label, loud, 4).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("found", "beside"),
    [
        (Inside(0.45, True), True),
        (Inside(0.55, True), False),
        (Inside(0.45, False), False),  # what lies outside may be noise
        (Inside(None, False), False),
    ],
)
def test_a_class_is_registered_beside_the_particle_where_most_of_its_signal_lies_there(found, beside):
    assert found.registered_beside is beside
