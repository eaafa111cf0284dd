"""The first average: what it makes of good angles, of a few bad ones, of worthless ones, and of none at all."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

from scipion_udl.compute.context import Context

pytest.importorskip("torch")

import torch

from scipion_udl.alignment import initial_average
from scipion_udl.alignment.initial_average import EXHAUSTIVE_START, First, FirstAverage
from scipion_udl.imaging.fourier import to_fourier
from scipion_udl.imaging.half_set_frc import ring_correlation
from scipion_udl.imaging.poses import Poses, pose_errors, wrap
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.simulation.particles import noise
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import Told, prepared

BOX, K_MAX, MAX_SHIFT, SHARED = 48, 20, 5.0, 10
N = 60


def made(n: int = N, snr: float = 0.3, seed: int = 4) -> tuple[np.ndarray, Poses]:
    """(images (n, BOX, BOX), their poses): the hook rotated and moved at random, in noise of variance 1."""
    rng = np.random.default_rng(seed)
    poses = Poses(rng.uniform(-180, 180, n), rng.integers(-3, 4, (n, 2)))
    images = phantom("hook", BOX).sample(poses)
    images *= np.sqrt(snr) / images.std(axis=(1, 2), keepdims=True)
    return images + rng.normal(size=images.shape).astype(np.float32), poses


def finder(particles: PreparedParticles) -> FirstAverage:
    return FirstAverage(particles, K_MAX, MAX_SHIFT, SHARED)


def errors(found: np.ndarray, poses: Poses, period: float) -> np.ndarray:
    """How far (n,), degrees, angles are from the truth, but for a common turn."""
    return np.abs(pose_errors(Poses(found), Poses(poses.angle), period).rotation)


@pytest.fixture(scope="module")
def hooks(tmp_path_factory):
    """(particles, their poses)"""
    images, poses = made()
    return prepared(tmp_path_factory.mktemp("first"), images), poses


@pytest.fixture(scope="module")
def of_noise(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("noise"), noise(128, BOX, seed=6))


# Angles of the network


def test_right_angles_are_kept(hooks):
    particles, poses = hooks
    angles = wrap(poses.angle, 180.0)
    first = finder(particles).from_angles(np.arange(N), angles)
    assert not first.searched
    assert not first.exhaustive
    assert np.array_equal(first.angle, angles)


def test_the_first_average_shows_the_particle_in_one_of_its_two_ways_round(hooks):
    particles, poses = hooks
    search = finder(particles)
    band = search.band
    average = search.from_angles(np.arange(N), wrap(poses.angle, 180.0)).start.average
    both = torch.from_numpy(phantom("hook", BOX).sample(Poses([0.0, 180.0])))
    shown = band.masked(band.of_images(both), particles.disc.mask)
    norm = (band.dot(shown, shown) * band.dot(average, average)).sqrt()
    best = 0.0
    for x in np.arange(-4, 4.5, 0.5):
        for y in np.arange(-4, 4.5, 0.5):
            moved = band.shifted(average, torch.tensor([x, y], dtype=torch.float32))
            best = max(best, float((band.dot(shown, moved) / norm).max()))
    assert best > 0.9


def test_a_few_wrong_angles_are_put_right_and_the_others_left_alone(hooks):
    particles, poses = hooks
    true = wrap(poses.angle, 180.0)
    angles = true.copy()
    wrong = np.array([7, 31])
    angles[wrong] = wrap(true[wrong] + 60.0, 180.0)
    told = Told()
    particles.reader.context = Context(say=told)
    first = finder(particles).from_angles(np.arange(N), angles.copy())
    assert first.searched
    assert not first.exhaustive
    others = np.setdiff1d(np.arange(N), wrong)
    assert np.array_equal(first.angle[others], angles[others])
    assert errors(first.angle, poses, 180.0)[wrong].max() < 3.0
    assert any("3.3% of 60 particles" in line for line in told)


def test_without_a_search_wrong_angles_stay(hooks):
    """--no-refine: the network's word, right or wrong."""
    particles, poses = hooks
    angles = wrap(poses.angle, 180.0)
    angles[7] = wrap(angles[7] + 60.0, 180.0)
    first = finder(particles).from_angles(np.arange(N), angles, search=False)
    assert not first.searched
    assert np.array_equal(first.angle, angles)


def test_worthless_angles_are_given_up_and_the_truth_is_found(hooks):
    particles, poses = hooks
    angles = np.random.default_rng(1).uniform(-90, 90, N)
    search = finder(particles)
    first = search.from_angles(np.arange(N), angles)
    assert first.searched
    assert first.exhaustive
    assert search.initial_lowpass == EXHAUSTIVE_START
    assert np.median(errors(angles, poses, 360.0)) > 30
    assert (errors(first.angle, poses, 360.0) < 4.0).mean() > 0.95


# No network


def test_with_a_reference_angles_count_from_it(hooks):
    particles, poses = hooks
    image = torch.from_numpy(phantom("hook", BOX).sample(Poses([30.0]))[0])
    first = finder(particles).from_nothing(np.arange(N), to_fourier((image - image.mean()) / image.std()))
    assert first.exhaustive
    # What a particle's pose takes to the phantom is to be rotated back by 30 degrees to lie on the reference.
    off = wrap(first.angle - (poses.angle - 30.0))
    assert abs(np.median(off)) < 2.0
    assert (np.abs(off) < 4.0).mean() > 0.95


def test_without_a_network_single_particles_begin(hooks):
    """The angles found are those of the particles asked for, in the order in which they were asked for."""
    particles, poses = hooks
    subset = np.random.default_rng(3).permutation(N)[:40]
    search = finder(particles)
    first = search.from_nothing(subset, None)
    assert first.searched
    assert first.exhaustive
    assert search.initial_lowpass == EXHAUSTIVE_START
    assert (errors(first.angle, poses[subset], 360.0) < 4.0).mean() > 0.95


# Halves


@pytest.fixture
def few_rounds(monkeypatch):
    """What halves share does not hang on how many rounds they take."""
    monkeypatch.setattr(initial_average, "EXHAUSTIVE_ROUNDS", 8)


def ways(search: FirstAverage, first: First, half: np.ndarray) -> list[torch.Tensor]:
    return search.halves(copy.deepcopy(first), np.arange(len(half)), half)


@pytest.mark.parametrize("exhaustive", [False, True])
def test_halves_share_nothing_beyond_their_common_ring(hooks, few_rounds, exhaustive):
    """Whatever the first average holds farther out, and whatever the other half's images are: the same to the bit."""
    particles, poses = hooks
    half = np.arange(N) % 2
    search = finder(particles)
    first = replace(search.from_angles(np.arange(N), wrap(poses.angle, 180.0)), exhaustive=exhaustive)
    averages = ways(search, first, half)

    outside = search.band.radius > SHARED
    other_start = replace(first.start, average=first.start.average * torch.where(outside, -3.0, 1.0))
    again = ways(search, replace(first, start=other_start), half)
    assert all(torch.equal(a, b) for a, b in zip(averages, again))

    within = replace(first.start, average=first.start.average * torch.where(outside, 1.0, -3.0))
    moved = ways(search, replace(first, start=within), half)
    assert not torch.equal(averages[0], moved[0])


@pytest.mark.parametrize("exhaustive", [False, True])
def test_a_half_does_not_see_the_images_of_the_other(hooks, few_rounds, tmp_path, exhaustive):
    particles, poses = hooks
    half = np.arange(N) % 2
    search = finder(particles)
    first = replace(search.from_angles(np.arange(N), wrap(poses.angle, 180.0)), exhaustive=exhaustive)
    averages = ways(search, first, half)

    images, _ = made()
    images[half == 1] = made(seed=9)[0][half == 1]
    others = prepared(tmp_path, images)
    found = others.statistics
    # Background, noise and extent are those of the whole set; what is asked here is about the rest.
    for name in ("_whitening", "_background", "disc"):
        setattr(others, name, getattr(particles, name))
    known = particles.statistics
    for name in ("mean", "slope", "std"):
        getattr(found, name)[half == 0] = getattr(known, name)[half == 0]
    again = ways(finder(others), first, half)
    assert torch.equal(averages[0], again[0])
    assert not torch.equal(averages[1], again[1])


@pytest.mark.parametrize("exhaustive", [False, True])
def test_halves_of_noise_agree_no_further_than_their_start(of_noise, exhaustive):
    n = len(of_noise)
    angles = np.random.default_rng(2).uniform(-90, 90, n)
    search = finder(of_noise)
    if exhaustive:
        search.initial_lowpass = EXHAUSTIVE_START
    first = replace(search.from_angles(np.arange(n), angles, search=False), exhaustive=exhaustive)
    one, other = ways(search, first, np.arange(n) % 2)
    agreement = ring_correlation(search.band, one, other).numpy()
    edge = search.initial_lowpass
    assert agreement[2 : edge - 1].mean() > 0.2  # what they began with
    assert abs(agreement[edge + 3 :]).mean() < 0.2


def test_a_half_of_one_particle_goes_no_way_of_its_own(hooks):
    particles, poses = hooks
    search = finder(particles)
    first = search.from_angles(np.arange(3), wrap(poses.angle[:3], 180.0), search=False)
    averages = search.halves(first, np.arange(3), np.array([0, 0, 1]))
    assert torch.equal(averages[1], first.start.average)
