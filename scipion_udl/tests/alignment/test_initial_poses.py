"""The first average: which way round each particle lies, and where, found together from particles in noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.initial_poses import BranchSolver, Start, expectation, first_of_best, without_underflow
from scipion_udl.imaging.band import Band, ShiftMaps, peaks
from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.poses import Poses
from scipion_udl.simulation.phantoms import phantom

BOX, N = 48, 160
SEARCH_RANGE = 8


def made(name: str, snr: float, n: int = N, box: int = BOX, shift: int = 4) -> tuple[torch.Tensor, np.ndarray]:
    """(images (n, box, box), rotated (n,) bool): the phantom one way round or the other, off centre, noise of variance
    1."""
    rng = np.random.default_rng(11)
    rotated = rng.random(n) < 0.5
    poses = Poses(np.where(rotated, 180.0, 0.0), rng.integers(-shift, shift + 1, (n, 2)))
    images = phantom(name, box).sample(poses)
    images *= np.sqrt(snr) / images.std(axis=(1, 2), keepdims=True)
    return torch.from_numpy(images + rng.normal(size=images.shape).astype(np.float32)), rotated


def solver_of(images: torch.Tensor) -> BranchSolver:
    box = images.shape[-1]
    band = Band(box, 18)
    return BranchSolver(band, ShiftMaps(band, SEARCH_RANGE), soft_disc(box, 0.42 * box, 4), band.of_images(images))


def sides(solver: BranchSolver, reference: torch.Tensor) -> torch.Tensor:
    """The posterior (n,) of the rotated candidate, given an average (band), on half pixels."""
    fine = BranchSolver(solver.band, ShiftMaps(solver.band, SEARCH_RANGE, 0.5), solver.mask, solver.particles)
    return expectation(fine.maps, fine.particles, reference)[1][:, 1].sum((-2, -1))


def sides_of(solver: BranchSolver, start: Start) -> torch.Tensor:
    """The same, given where a start has ended."""
    return sides(solver, start.average * solver.band.spread(start.weight))


def right_way_round(found: torch.Tensor, rotated: np.ndarray) -> float:
    """The share of particles on the right side, whichever side the average took."""
    same = ((found > 0.5).numpy() == rotated).mean()
    return max(same, 1 - same)


# expectation


@pytest.mark.parametrize("spread", [1, 30, 300])
def test_poses_that_are_far_too_unlikely_change_no_bit_of_the_evidence(spread):
    logs = spread * torch.randn(8, 20_000, generator=torch.Generator().manual_seed(1))
    logs[:, ::3] = -torch.inf  # shifts out of reach
    lifted = without_underflow(logs)
    evidence = torch.logsumexp(logs, 1, keepdim=True)
    assert torch.equal(torch.logsumexp(lifted, 1, keepdim=True), evidence)
    posterior = torch.exp(lifted - evidence)
    assert posterior.min() >= torch.finfo(torch.float32).tiny  # exponentials of less are slow
    assert torch.allclose(posterior, torch.exp(logs - evidence), rtol=0, atol=1e-25)


def test_the_posterior_is_a_probability_over_candidates_and_shifts_inside_the_reach():
    images, _ = made("hook", 0.3, 5)
    solver = solver_of(images)
    reference = solver.band.of_images(torch.from_numpy(phantom("hook", BOX).image()))
    logs, posterior = expectation(solver.maps, solver.particles, reference)
    assert posterior.shape == (5, 2, 2 * SEARCH_RANGE + 1, 2 * SEARCH_RANGE + 1)
    assert torch.allclose(posterior.sum((1, 2, 3)), torch.ones(5), atol=1e-5)
    assert float(posterior[:, :, ~solver.maps.inside].abs().max()) == 0
    assert bool(torch.isfinite(logs).all())


@pytest.mark.parametrize("rotated", [False, True])
def test_the_posterior_peaks_at_the_shift_and_the_side_of_the_particle(rotated):
    pose = Poses([180.0 if rotated else 0.0], [[3.0, -5.0]])
    images = torch.from_numpy(phantom("hook", BOX).sample(pose)) * 3
    solver = solver_of(images)
    reference = solver.band.of_images(3 * torch.from_numpy(phantom("hook", BOX).image()))
    _, posterior = expectation(solver.maps, solver.particles, reference)
    side, place = divmod(int(posterior.argmax()), posterior[0, 0].numel())
    row, column = divmod(place, 2 * SEARCH_RANGE + 1)
    assert side == int(rotated)
    assert (column - SEARCH_RANGE, row - SEARCH_RANGE) == (3, -5)


def test_where_the_reference_shows_nothing_either_side_is_as_likely_and_shifts_are_as_expected():
    images, _ = made("hook", 0.3, 5)
    solver = solver_of(images)
    _, posterior = expectation(solver.maps, solver.particles, torch.zeros_like(solver.particles[0]))
    expected = torch.softmax(solver.maps.prior.flatten(), 0).view(solver.maps.prior.shape) / 2
    assert torch.allclose(posterior, expected.expand_as(posterior), atol=1e-7)


def test_the_evidence_is_larger_for_the_image_that_is_there():
    images, _ = made("hook", 0.3, 20)
    solver = solver_of(images)
    band = solver.band
    right, wrong = (band.of_images(torch.from_numpy(phantom(n, BOX).image())) for n in ("hook", "clamp"))
    scale = math.sqrt(0.3) / phantom("hook", BOX).image().std()
    logs = [
        expectation(solver.maps, solver.particles, r * scale)[0] - band.dot(r * scale, r * scale)
        for r in (right, wrong)
    ]
    assert bool((logs[0] > logs[1]).float().mean() > 0.95)


# the solver


@pytest.mark.parametrize(("name", "snr", "box"), [("hook", 0.1, 48), ("hook", 0.1, 49), ("clamp", 0.1, 48)])
def test_every_particle_is_put_the_right_way_round(name, snr, box):
    images, rotated = made(name, snr, box=box)
    solver = solver_of(images)
    assert right_way_round(sides_of(solver, solver.solve()), rotated) >= 0.99


def test_a_nearly_two_fold_view_is_put_right_as_well_as_by_one_who_knows_the_template():
    images, rotated = made("barrel", 1.0, 300, box=64)
    solver = solver_of(images)
    template = phantom("barrel", 64).image()
    known = solver.band.of_images(torch.from_numpy(template / template.std()))
    oracle = right_way_round(sides(solver, known), rotated)
    assert oracle > 0.9  # two ends that can be told apart
    assert right_way_round(sides_of(solver, solver.solve()), rotated) >= oracle - 0.03


def test_the_first_average_shows_the_particle():
    images, _ = made("hook", 0.1)
    solver = solver_of(images)
    band, average = solver.band, solver.solve().average
    template = band.of_images(torch.from_numpy(phantom("hook", BOX).image()))
    likeness = []
    for candidate in (template, template.conj()):
        masked = band.masked(candidate, solver.mask)
        _, value = peaks(solver.maps, solver.maps.correlate(average, masked)[None])
        likeness.append(float(value / (band.dot(masked, masked) * band.dot(average, average)).sqrt()))
    assert max(likeness) > 0.9
    assert min(likeness) < 0.8


def test_the_right_sides_are_likelier_than_the_symmetrised_average():
    images, _ = made("hook", 0.2)
    solver = solver_of(images)
    symmetric = solver.symmetric_start()
    assert float(symmetric.average.imag.abs().max()) == 0  # two-fold: it says nothing of the side
    assert solver.solve().likelihood > symmetric.likelihood + 1


def test_signs_read_off_the_principal_component_are_those_of_the_particles():
    images, rotated = made("clamp", 0.3)
    solver = solver_of(images)
    average = solver.spectral_start(solver.symmetric_start())
    assert right_way_round(sides(solver, average), rotated) >= 0.98


def test_all_starts_end_at_the_same_answer():
    images, rotated = made("hook", 0.2)
    solver = solver_of(images)
    ends = [solver.run(solver.single_start(k), 40, "single") for k in range(3)]
    ends.append(solver.run(solver.spectral_start(solver.symmetric_start()), 40, "spectral"))
    likelihoods = [end.likelihood for end in ends]
    assert max(likelihoods) - min(likelihoods) < 0.02 * max(likelihoods)
    assert all(right_way_round(sides_of(solver, end), rotated) >= 0.99 for end in ends)


def test_the_likelihood_does_not_fall_from_round_to_round():
    images, _ = made("hook", 0.1)
    solver = solver_of(images)
    history = solver.run(solver.single_start(0), 30, "single").history
    assert len(history) > 3
    assert history[-1] > history[0]
    assert min(np.diff(history)) > -0.02 * abs(history[-1])


def test_in_a_two_fold_view_next_to_nothing_is_won_by_choosing_sides():
    gains = []
    for name in ("hook", "dimer"):
        solver = solver_of(made(name, 0.3, 80)[0])
        symmetric = solver.symmetric_start().likelihood
        gains.append(solver.solve().likelihood / symmetric - 1)
    assert gains[1] < 0.02
    assert gains[0] > 10 * gains[1]


def test_noise_is_not_likelier_than_noise():
    """No particle is in its own reference: an average of noise explains the next particle no better than nothing."""
    torch.manual_seed(0)
    noise = torch.randn(N, BOX, BOX)
    signal, _ = made("hook", 0.1)
    of_noise, of_signal = (solver_of(images).solve().likelihood for images in (noise, signal))
    assert of_noise < 0.2 * of_signal


@pytest.mark.parametrize("n", [2, 5])
def test_a_handful_of_particles_is_no_problem(n):
    images, _ = made("hook", 1.0, n)
    start = solver_of(images).solve()
    assert np.isfinite(start.likelihood)
    assert bool(torch.isfinite(start.average.abs()).all())


def test_the_same_particles_give_the_same_answer_bit_by_bit():
    images, _ = made("hook", 0.1, 40)
    first, second = (solver_of(images).solve() for _ in range(2))
    assert torch.equal(first.average, second.average)
    assert first.likelihood == second.likelihood


# what rounding may not decide


def test_of_starts_that_fit_alike_the_first_is_taken():
    fits = [Start(None, None, value, None, str(value), []) for value in (491.5901, 491.7902, 491.7903)]
    assert first_of_best(fits) is fits[1]
    assert first_of_best(fits[:1]) is fits[0]


def test_the_frame_does_not_hang_on_rounding():
    """Clear particles come to the same average from every start, rotated by 180 degrees or not."""
    images, _ = made("hook", 3.0, n=30)
    rng = torch.Generator().manual_seed(1)
    averages = []
    for _ in range(3):
        changed = images * (1 + 1e-6 * torch.randn(images.shape, generator=rng))
        averages.append(solver_of(changed).solve().average)
    for other in averages[1:]:
        assert (averages[0] - other).abs().max() < 1e-2 * averages[0].abs().max()
