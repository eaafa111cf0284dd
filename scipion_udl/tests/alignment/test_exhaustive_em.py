"""All angles weighed: particles in any turn, off centre and in noise, without anybody's word on their angles."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.exhaustive_em import ANGLES, FOLDS, ExhaustiveFit, ExhaustiveSolver
from scipion_udl.imaging.band import Band, ShiftMaps, peaks
from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.half_set_frc import ring_correlation
from scipion_udl.imaging.poses import Poses, pose_errors
from scipion_udl.simulation.phantoms import phantom

BOX, K_MAX, SEARCH_RANGE = 64, 16, 8
TRANSFERRED = slice(3, 13)  # rings of the phantoms that stand out of the noise of a hundred particles


def made(name: str, snr: float, n: int = 96, seed: int = 5) -> tuple[torch.Tensor, Poses]:
    """(images (n, BOX, BOX), their poses): a phantom rotated and moved at random, in noise of variance 1."""
    rng = np.random.default_rng(seed)
    poses = Poses(rng.uniform(-180, 180, n), rng.integers(-4, 5, (n, 2)))
    images = phantom(name, BOX).sample(poses)
    images *= np.sqrt(snr) / images.std(axis=(1, 2), keepdims=True)
    return torch.from_numpy(images + rng.normal(size=images.shape).astype(np.float32)), poses


def solver_of(images: torch.Tensor, ctfs: torch.Tensor | None = None) -> ExhaustiveSolver:
    """The solver of images; ctfs: per ring (n, K_MAX + 1), by which they were multiplied."""
    band = Band(BOX, K_MAX)
    particles, power = band.of_images(images), None
    if ctfs is not None:
        particles, power = particles * spread(band, ctfs), ctfs.square()
    maps = ShiftMaps(band, SEARCH_RANGE, BOX / (4 * K_MAX))
    return ExhaustiveSolver(band, maps, soft_disc(BOX, 0.42 * BOX, 4), particles, power)


def spread(band: Band, ctfs: torch.Tensor) -> torch.Tensor:
    return torch.stack([band.spread(ctf) for ctf in ctfs])


def single(solver: ExhaustiveSolver, number: int = 0) -> torch.Tensor:
    """One particle, low-passed: what there is to begin with where nothing is known."""
    return solver.band.masked(solver.particles[number] * (solver.band.radius <= 8), solver.mask)


def share_right(fit: ExhaustiveFit, poses: Poses) -> float:
    """The share of particles whose angle is within two steps of the truth."""
    errors = pose_errors(Poses(fit.angle.double().numpy()), Poses(poses.angle))
    return float((np.abs(errors.rotation) <= 2 * 180 / ANGLES).mean())


def likeness(solver: ExhaustiveSolver, average: torch.Tensor, name: str) -> np.ndarray:
    """The correlation per ring of an average with the phantom that it shows in some orientation."""
    band = solver.band
    rotated = phantom(name, BOX).sample(Poses(np.arange(0, 360, 2.0)))
    candidates = band.masked(band.of_images(torch.from_numpy(rotated)), solver.mask)
    places, values = peaks(solver.maps, solver.maps.correlate(candidates, average))
    best = int(values.argmax())
    return ring_correlation(band, band.shifted(candidates[best], places[best]), average).numpy()


@pytest.mark.parametrize(("name", "snr"), [("hook", 0.1), ("clamp", 0.05)])
def test_from_one_particle_the_angles_of_all_are_found(name, snr):
    images, poses = made(name, snr)
    solver = solver_of(images)
    fit = solver.run(single(solver), 40)
    assert fit.angle.shape == (len(images),)
    assert share_right(fit, poses) > 0.9
    assert likeness(solver, fit.average, name)[TRANSFERRED].mean() > 0.8


def test_the_rounds_find_more_than_one_particle_tells():
    images, poses = made("hook", 0.1)
    solver = solver_of(images)
    alone, all_rounds = (share_right(solver.run(single(solver), rounds), poses) for rounds in (1, 40))
    assert all_rounds > alone + 0.05


def test_the_likelihood_grows_until_it_stands_still():
    images, _ = made("hook", 0.1)
    solver = solver_of(images)
    told = []
    fit = solver.run(single(solver), 40, lambda *what: told.append(what))
    assert told == list(enumerate(fit.history, 1))
    assert 5 < len(fit.history) < 40
    assert fit.likelihood == fit.history[-1]
    assert fit.likelihood > fit.history[0] + 5
    gains = np.diff(fit.history[1:])
    assert gains.min() > -0.02 * fit.likelihood
    assert abs(gains[-1]) < 0.1


def second_references(solver: ExhaustiveSolver, start: torch.Tensor) -> list[torch.Tensor]:
    """What particles of each fold are compared with in the second round."""
    seen = []
    expect = solver._expect
    solver._expect = lambda references: (seen.append(references), expect(references))[1]
    solver.run(start, 2)
    return seen[1]


def test_no_particle_is_in_its_own_reference():
    images, _ = made("hook", 0.1, 24)
    solver, other = solver_of(images), solver_of(images)
    start = single(solver, 1)
    own = other.fold == 0
    other.particles[own] = solver_of(made("clamp", 1.0, 24)[0]).particles[own]
    before, after = second_references(solver, start), second_references(other, start)
    # The weight per ring is common to all; the correlation in a ring does not know it.
    same = [ring_correlation(solver.band, a, b)[2:] for a, b in zip(before, after)]
    assert len(same) == FOLDS
    known = before[0].abs().square() * after[0].abs().square()
    assert float(known.sum()) > 0
    rings = solver.band.ring_sums(known)[2:] > 0
    assert float(same[0][rings].min()) > 0.9999
    assert all(float(others[rings].mean()) < 0.95 for others in same[1:])


def test_transfers_are_taken_out_of_the_average():
    """Particles of many defoci, phases not flipped: with their transfers every ring of the average is right."""
    images, poses = made("hook", 0.0, 128)
    rng = np.random.default_rng(2)
    rings = torch.arange(K_MAX + 1)
    ctfs = torch.stack([torch.cos(float(d) * (rings / K_MAX) ** 2) for d in rng.uniform(2.0, 9.0, len(images))])
    band = Band(BOX, K_MAX)
    signal = torch.from_numpy(phantom("hook", BOX).sample(poses))
    signal *= np.sqrt(0.3) / signal.std()
    images = images + band.images(band.of_images(signal) * spread(band, ctfs))

    known, unknown = solver_of(images, ctfs), solver_of(images)
    fits = [solver.run(single(known), 40) for solver in (known, unknown)]
    assert share_right(fits[0], poses) > 0.9
    good, bad = (likeness(known, fit.average, "hook")[TRANSFERRED] for fit in fits)
    assert good.min() > 0.8
    assert bad.min() < 0.5
    # And its height is that of the signal, not of what is left of it.
    power = [band.ring_sums(a.abs().square())[TRANSFERRED] for a in (fits[0].average, band.of_images(signal[0]))]
    assert np.allclose((power[0] / power[1]).sqrt().mean(), 1.0, atol=0.2)


def test_noise_ends_and_wins_next_to_nothing():
    """Against what a reference of nothing gives: the evidence of the prior alone."""
    generator = torch.Generator().manual_seed(4)
    noise, hook = solver_of(torch.randn(96, BOX, BOX, generator=generator)), solver_of(made("hook", 0.1)[0])
    nothing = float(torch.logsumexp(noise.maps.prior.flatten(), 0) + np.log(2 * ANGLES))
    of_noise, of_hook = (solver.run(single(solver), 40) for solver in (noise, hook))
    assert len(of_noise.history) < 40
    assert of_noise.likelihood - nothing < 0.1 * (of_hook.likelihood - nothing)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_handful_of_particles_is_no_problem(n):
    solver = solver_of(made("hook", 1.0, n)[0])
    fit = solver.run(single(solver), 10)
    assert np.isfinite(fit.likelihood)
    assert bool(torch.isfinite(fit.average.abs()).all())
    assert bool(((fit.angle >= 0) & (fit.angle < 360)).all())


def test_the_same_particles_give_the_same_answer_bit_by_bit():
    images, _ = made("hook", 0.1, 32)
    fits = [solver.run(single(solver), 6) for solver in (solver_of(images), solver_of(images))]
    assert torch.equal(fits[0].average, fits[1].average)
    assert torch.equal(fits[0].angle, fits[1].angle)
    assert fits[0].history == fits[1].history
