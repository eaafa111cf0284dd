"""Averages are what the poses make of the particles: plain means in the full box."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.averages import apply_poses, average_particles, weighted_average
from scipion_udl.imaging.fourier import radii, to_fourier
from scipion_udl.imaging.poses import Poses
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import correlation, prepared

N = 30


def random_poses(n: int = N) -> Poses:
    rng = np.random.default_rng(2)
    return Poses(rng.uniform(-180, 180, n), rng.uniform(-4, 4, (n, 2)))


@pytest.fixture(params=[48, 49])
def box(request):
    return request.param


def nothing(n: int) -> torch.Tensor:
    return torch.zeros(n)


def test_a_pose_of_zero_leaves_an_image_bit_by_bit(box):
    images = torch.randn(3, box, box)
    assert torch.equal(apply_poses(images, images.mean((1, 2)), Poses.identity(3)), images)


def test_true_poses_take_particles_to_the_template(box):
    poses = random_poses(8)
    images = torch.from_numpy(phantom("hook", box).sample(poses))
    template = phantom("hook", box).image()
    for aligned in apply_poses(images, nothing(8), poses):
        assert np.corrcoef(aligned.flatten(), template.ravel())[0, 1] > 0.9998


def test_a_flat_background_stays_flat(box):
    images = torch.full((2, box, box), 7.0)
    moved = apply_poses(images, torch.full((2,), 7.0), Poses([33.0, 90.0], [[5.0, -3.0], [0.5, 0.0]]))
    assert torch.allclose(moved, images, atol=1e-4)


def test_the_average_before_is_the_plain_mean_of_what_is_no_blank_image(tmp_path, box):
    images = np.random.default_rng(0).normal(size=(N, box, box)) + 5
    images[[2, 7]] = 3.0
    averages = average_particles(prepared(tmp_path, images, 7), random_poses(), None, np.zeros(N, np.int64))
    assert np.allclose(averages.before, np.delete(images, [2, 7], 0).mean(0), atol=1e-5)


@pytest.mark.parametrize("chunk", [7, 128])
def test_the_average_is_the_plain_mean_of_the_aligned_images(tmp_path, box, chunk):
    poses = random_poses()
    images = 5 + 2 * phantom("hook", box).sample(poses) + np.random.default_rng(0).normal(size=(N, box, box))
    kept = []
    averages = average_particles(prepared(tmp_path, images, chunk), poses, None, np.zeros(N, np.int64), kept.append)
    stack = np.concatenate(kept)
    assert stack.shape == (N, box, box)
    assert np.allclose(averages.all, stack.mean(0), atol=1e-5)
    assert averages.halves is None
    disc = np.hypot(*(np.indices((box, box)) - box // 2)) < 0.4 * box
    template = phantom("hook", box).image()
    assert np.corrcoef(averages.all[disc], template[disc])[0, 1] > 0.9


def test_the_aligned_images_come_in_the_order_of_the_set(tmp_path):
    poses = Poses.identity(N)
    images = np.random.default_rng(0).normal(size=(N, 32, 32)).astype(np.float32)
    kept = []
    average_particles(prepared(tmp_path, images, 8), poses, None, np.zeros(N, np.int64), kept.append)
    assert np.array_equal(np.concatenate(kept), images)


def noisy(name: str, box: int, poses: Poses, seed: int = 0) -> np.ndarray:
    """Particles in white noise of deviation 1."""
    noise = np.random.default_rng(seed).normal(size=(len(poses), box, box))
    return (phantom(name, box).sample(poses) + noise).astype(np.float32)


def test_halves_by_the_common_poses_make_up_the_whole(tmp_path):
    poses = random_poses()
    images = noisy("clamp", 48, poses)
    half = (np.arange(N) % 3 == 0).astype(np.int64)
    averages = average_particles(prepared(tmp_path, images, 11), poses, poses, half)
    first, second = averages.halves
    together = (20 * first + 10 * second) / 30
    assert correlation(together, averages.all) > 0.995  # each particle's noise is measured anew
    assert np.std(together) == pytest.approx(np.std(averages.all), rel=0.05)


def test_one_particle_does_not_carry_a_half(tmp_path):
    """Gain and background may differ from micrograph to micrograph: what halves agree on must not come of that."""
    poses = random_poses()
    images = noisy("clamp", 48, poses)
    half = np.arange(N) % 2
    other = images.copy()
    other[::3] = 100 * other[::3] + 3000
    other[4] = 1e-3 * other[4]
    one, changed = (average_particles(prepared(tmp_path, v), poses, poses, half).halves for v in (images, other))
    for before, after in zip(one, changed):
        assert correlation(before, after) > 0.999
        assert np.std(after) == pytest.approx(np.std(before), rel=0.02)


def test_an_image_that_comes_twice_counts_once_in_the_halves(tmp_path):
    poses = random_poses()
    images = noisy("clamp", 48, poses)
    half = (np.arange(N) % 2).astype(np.int64)
    images[[20, 23]] = images[5]
    found = prepared(tmp_path, images)
    assert np.flatnonzero(found.duplicates_of != np.arange(N)).tolist() == [20, 23]
    assert found.duplicates_of[[20, 23]].tolist() == [5, 5]
    twice = average_particles(found, poses, poses, half)
    once = np.setdiff1d(np.arange(N), [20, 23])
    folder = tmp_path / "once"
    folder.mkdir()
    alone = average_particles(prepared(folder, images[once]), poses[once], poses[once], half[once])
    for a, b in zip(twice.halves, alone.halves):
        assert correlation(a, b) > 0.9999
    assert correlation(twice.all, alone.all) < 0.9999  # the plain mean is of all there are


def test_halves_go_by_their_own_poses(tmp_path):
    poses = random_poses()
    images = phantom("clamp", 48).sample(poses)
    half = (np.arange(N) % 2).astype(np.int64)
    averages = average_particles(prepared(tmp_path, images), Poses.identity(N), poses, half)
    template = phantom("clamp", 48).image()
    for image in averages.halves:
        assert np.corrcoef(image.ravel(), template.ravel())[0, 1] > 0.99
    assert np.corrcoef(averages.all.ravel(), template.ravel())[0, 1] < 0.9


def test_every_particle_counts_alike(tmp_path):
    """Unweighted: a bright particle counts for as much as it is bright, whatever it looks like."""
    images = np.zeros((4, 32, 32), np.float32)
    images[:, 10, 10] = [1, 2, 3, 100]
    images[:, 0, 0] = 1  # a background that is not constant
    averages = average_particles(prepared(tmp_path, images), Poses.identity(4), None, np.zeros(4, np.int64))
    assert averages.all[10, 10] == pytest.approx(26.5)


# the weighted average


def test_perfect_halves_leave_the_average_as_it_is(box):
    average = phantom("hook", box).image()
    weighted = weighted_average(average, np.ones(box // 2), 0.0, 8)
    inside = radii(box) < box // 2 - 1
    before, after = (to_fourier(torch.from_numpy(image).double()) for image in (average, weighted))
    assert torch.allclose(before[inside], after[inside], atol=1e-4)


def test_halves_that_do_not_agree_leave_the_shared_rings_alone(box):
    average = phantom("hook", box).image() + np.random.default_rng(0).normal(0, 1, (box, box)).astype(np.float32)
    weighted = to_fourier(torch.from_numpy(weighted_average(average, np.zeros(box // 2), 0.0, 8)).double())
    before = to_fourier(torch.from_numpy(average).double())
    r = radii(box)
    assert torch.allclose(weighted[r < 7], before[r < 7], atol=1e-3)
    assert float(weighted[r > 9].abs().max()) < 1e-3


def test_the_background_is_not_weighted_away():
    average = np.full((48, 48), 12.0, np.float32)
    assert np.allclose(weighted_average(average, np.zeros(24), 12.0, 8), 12.0)
