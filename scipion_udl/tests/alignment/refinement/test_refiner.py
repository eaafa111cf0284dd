"""Refinement: every particle finds its pose against an average, and corrections have the right sign."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.refinement.exhaustive_search import exhaustive_search
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.refinement.registration import register
from scipion_udl.alignment.state import State
from scipion_udl.constants import shift_search_range
from scipion_udl.imaging.band import Band, ShiftMaps, peaks
from scipion_udl.imaging.fourier import to_fourier, transform
from scipion_udl.imaging.poses import Poses, compose, pose_errors, wrap
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import prepared

N = 24


def random_poses(n: int = N, shift: float = 4.0, seed: int = 4) -> Poses:
    rng = np.random.default_rng(seed)
    return Poses(rng.uniform(-180, 180, n), rng.uniform(-shift, shift, (n, 2)))


def refiner_of(folder, images: np.ndarray, max_shift: float = 5.0) -> Refiner:
    particles = prepared(folder, images, 10)
    particles.scan()
    return Refiner(particles, Band(particles.box, round(0.45 * particles.box)), max_shift, 16)


def template_reference(refiner: Refiner, name: str = "hook", pose: Poses | None = None) -> Reference:
    """The phantom as the particles show it, noise-free; all rings count."""
    box = refiner.band.box
    image = torch.from_numpy(phantom(name, box).sample(pose or Poses.identity(1))[0])
    band = refiner.band.masked(refiner.band.of_images(image), refiner.prepared.disc.mask)
    return Reference(refiner.band, band, torch.ones(refiner.band.k_max + 1))


@pytest.fixture(params=[48, 49], scope="module")
def scene(request, tmp_path_factory):
    """(refiner, true poses): particles with a little noise, in units in which the template has its own scale."""
    poses = random_poses()
    images = phantom("hook", request.param).sample(poses)
    images = images + 0.2 * np.random.default_rng(0).normal(size=images.shape)
    return refiner_of(tmp_path_factory.mktemp("scene"), images), poses


def everyone(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(n, np.int64), np.arange(n)


def iterate(refiner: Refiner, state: State, rounds: int = 3, **more) -> None:
    member, indices = everyone(len(state.angle))
    # the particles are in units of their noise, and so must be what they are compared with
    reference = scaled(refiner, template_reference(refiner))
    for _ in range(rounds):
        refiner.iterate(state, [reference], member, "test", indices, **more)


def scaled(refiner: Refiner, reference: Reference) -> Reference:
    factor = 1 / float(refiner.prepared.statistics.std.mean())
    return Reference(refiner.band, reference.average * factor, reference.ring_weight)


# peaks


@pytest.mark.parametrize("step", [1.0, 0.75])
def test_the_peak_is_found_between_the_points_of_the_map(step):
    band = Band(48, 18)
    maps = ShiftMaps(band, 6, step)
    reference = band.of_images(torch.from_numpy(phantom("hook", 48).image()))
    true = torch.tensor([[2.3, -1.6], [-4.4, 0.2], [0.0, 0.0]])
    found, value = peaks(maps, maps.correlate(band.shifted(reference, -true), reference))
    assert float((found - true).abs().max()) < 0.15
    assert value.shape == (3,)


def test_shifts_are_looked_for_beyond_the_largest_that_is_expected():
    assert shift_search_range(10.0) > 10 * np.sqrt(2)
    assert shift_search_range(0.0) >= 2


# one iteration


def test_poses_a_little_off_are_set_right(scene):
    refiner, truth = scene
    rng = np.random.default_rng(1)
    state = State.start(truth.angle + rng.normal(0, 1.5, N))
    iterate(refiner, state)
    errors = pose_errors(Poses(state.angle, state.shift), truth)
    assert np.abs(errors.rotation).max() < 0.5
    assert np.hypot(*errors.shift.T).max() < 0.15
    assert abs(float(wrap(errors.common.angle[0]))) < 0.2  # in the frame of the template itself
    assert np.hypot(*errors.common.shift[0]) < 0.2


def test_a_particle_upside_down_is_turned_round(scene):
    refiner, truth = scene
    state = State.start(truth.angle + 180.0 * (np.arange(N) % 2))
    iterate(refiner, state)
    assert np.abs(wrap(state.angle - truth.angle)).max() < 1
    assert state.log_odds.min() > 5


def test_without_turning_only_the_shift_and_the_side_change(scene):
    refiner, truth = scene
    start = truth.angle + 1.0
    state = State.start(start + 180.0 * (np.arange(N) % 3 == 0))
    iterate(refiner, state, rotation=False)
    assert np.abs(wrap(state.angle - start)).max() < 1e-4  # none takes the angle of the orientation it is compared with
    errors = pose_errors(Poses(state.angle, state.shift), truth)
    assert np.hypot(*errors.shift.T).max() < 0.5


def test_the_score_is_a_correlation_and_best_for_the_right_pose(scene):
    refiner, truth = scene
    right, wrong = State.start(truth.angle), State.start(truth.angle + 40)
    iterate(refiner, right, 1)
    iterate(refiner, wrong, 1)
    assert bool((np.abs(right.score) <= 1 + 1e-6).all())
    assert right.score.min() > 0.5
    assert bool((right.score > wrong.score).all())


def test_the_sum_of_the_aligned_particles_shows_the_template(scene):
    refiner, truth = scene
    member, indices = everyone()
    state = State.start(truth.angle)
    reference = scaled(refiner, template_reference(refiner))
    result = refiner.iterate(state, [reference], member, "test", indices)
    assert [one.count for one in result.sums] == [N]
    band = refiner.band
    mean = band.masked(result.sums[0].mean(band), refiner.prepared.disc.mask)
    norm = (band.dot(mean, mean) * reference.powers.sum()).sqrt()
    assert float(band.dot(mean, reference.average) / norm) > 0.97


def test_each_particle_is_aligned_to_its_own_reference(scene):
    """Two references that differ by a pose: their members end up apart by that pose."""
    refiner, truth = scene
    apart = Poses([2.0], [[1.0, -0.5]])
    one = scaled(refiner, template_reference(refiner))
    # the pose (2, t) takes this second image to the first
    other = scaled(refiner, template_reference(refiner, pose=apart))
    member, indices = (np.arange(N) % 2).astype(np.int64), np.arange(N)
    state = State.start(truth.angle)
    for _ in range(4):
        result = refiner.iterate(state, [one, other], member, "test", indices)
    assert [one.count for one in result.sums] == [N // 2, N // 2]
    assert result.rotated < 0.2
    found = Poses(state.angle, state.shift)
    expected = truth[member == 0], compose(Poses([-2.0]), truth[member == 1])
    for number in (0, 1):
        assert np.abs(wrap(found.angle[member == number] - expected[number].angle)).max() < 0.5
    brought = compose(apart, found[member == 1])
    assert np.abs(brought.shift - truth.shift[member == 1]).max() < 0.2


def test_particles_that_are_left_out_are_left_alone(scene):
    refiner, truth = scene
    state = State.start(truth.angle + 1)
    before = state.copy()
    member, _ = everyone()
    refiner.iterate(state, [scaled(refiner, template_reference(refiner))], member, "test", np.arange(5, 12))
    outside = np.r_[0:5, 12:N]
    assert np.array_equal(state.angle[outside], before.angle[outside])
    assert np.array_equal(state.score[outside], before.score[outside])
    assert not np.array_equal(state.angle[5:12], before.angle[5:12])


def test_the_change_that_is_told_is_the_change_of_the_poses(scene):
    refiner, truth = scene
    state = State.start(truth.angle + 1.0)
    member, indices = everyone()
    reference = scaled(refiner, template_reference(refiner))
    before = state.copy()
    first = refiner.iterate(state, [reference], member, "test", indices)
    assert first.rotated == pytest.approx(np.median(np.abs(wrap(state.angle - before.angle))), rel=1e-4)
    assert first.rotated == pytest.approx(1.0, abs=0.4)
    last = [refiner.iterate(state, [reference], member, "test", indices) for _ in range(3)][-1]
    assert last.rotated < 0.1
    assert last.moved < 0.05


# search


def test_the_full_circle_search_finds_any_angle(scene):
    refiner, truth = scene
    state = State.start(np.zeros(N))
    member, indices = everyone()
    refiner.search(state, [scaled(refiner, template_reference(refiner))], member, "test", indices)
    assert np.abs(wrap(state.angle - truth.angle)).max() <= 4.0


def test_search_and_sweep_align_particles_of_which_nothing_is_known(scene):
    refiner, truth = scene
    state = State.start(np.zeros(N))
    member, indices = everyone()
    refiner.search(state, [scaled(refiner, template_reference(refiner))], member, "test", indices)
    iterate(refiner, state)
    errors = pose_errors(Poses(state.angle, state.shift), truth)
    assert np.abs(errors.rotation).max() < 0.5
    assert np.hypot(*errors.shift.T).max() < 0.15


@pytest.mark.parametrize("angle", [0.0, 36.0, -100.0, 180.0])
def test_the_angle_of_the_search_is_the_pose_angle(angle):
    """The angle to apply to the particle, not the one that was applied to it."""
    band = Band(48, 16)
    template = torch.from_numpy(phantom("hook", 48).image())
    particle = band.of_images(torch.from_numpy(phantom("hook", 48).sample(Poses([angle]))))
    angles = torch.arange(0, 180, 4.0)
    rotated = band.of_images(transform(to_fourier(template)[None], 48, -angles))
    found = exhaustive_search(particle, rotated, angles, ShiftMaps(band, 4))
    assert abs(float(wrap(float(found) - angle))) <= 2.01


# two averages


@pytest.mark.parametrize("pose", [Poses([3.0], [[1.0, 0.5]]), Poses([140.0], [[-3.0, 2.0]]), Poses([-70.0])])
def test_one_average_is_brought_onto_another(scene, pose):
    refiner, _ = scene
    fixed = template_reference(refiner)
    moving = template_reference(refiner, pose=pose)  # the pose takes it to the template
    between = register(refiner, moving, fixed)
    assert abs(float(wrap(between.angle[0] - pose.angle[0]))) < 0.2
    assert np.abs(between.shift[0] - pose.shift[0]).max() < 0.1
