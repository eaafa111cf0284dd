"""Scores: what lies beside the particle has no part in them, lumps of ice score like noise, noise as noise does."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.particle_scores import ParticleScores
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.state import State
from scipion_udl.imaging.band import Band
from scipion_udl.particles.outliers import score_limit
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import prepared

BOX, N = 48, 96
AXIS = np.arange(BOX) - BOX // 2
DISTANCE = np.hypot(AXIS[:, None], AXIS[None])
STRENGTH = 0.5  # standard deviation of the phantom over the box; that of the noise is 1
SMALL = 0.45  # of the box: the size that the phantom is shrunk to, so that there is something beside it


def small_phantom() -> np.ndarray:
    image = torch.from_numpy(phantom("hook", 2 * BOX).image()).float()
    own = torch.nn.functional.avg_pool2d(image[None, None], 4)[0, 0].numpy()
    out, start = np.zeros((BOX, BOX)), BOX // 2 - len(own) // 2
    out[start : start + len(own), start : start + len(own)] = own
    return out * STRENGTH / out.std()


def scene(folder, added: np.ndarray) -> tuple[ParticleScores, State]:
    """Scores of particles in register, the odd ones with ``added`` (D, D) on top; and their state."""
    folder.mkdir()
    template = small_phantom()
    noise = np.random.default_rng(1).normal(size=(N, BOX, BOX))
    images = noise + template
    images[1::2] += added
    particles = prepared(folder, images.astype(np.float32), 32)
    particles.disc.mask_radius, particles.disc.radius_from = 0.3 * BOX, "given"
    particles.scan()
    band = Band(BOX, 20)
    reference = band.masked(band.of_images(torch.from_numpy(template).float()), particles.disc.mask)
    references = [Reference(band, reference, torch.ones(21))]
    scores = ParticleScores(Refiner(particles, band, 4.0, 12), references, np.zeros(N, np.int64))
    state = State.start(np.zeros(N))
    scores.measure(state, np.arange(N))
    return scores, state


def test_a_neighbour_beside_the_particle_has_no_part_in_its_score(tmp_path):
    neighbour = 5.0 * (np.hypot(AXIS[:, None], AXIS[None] - 20) < 3)
    _, without = scene(tmp_path / "without", np.zeros((BOX, BOX)))
    _, beside = scene(tmp_path / "beside", neighbour)
    _, upon = scene(tmp_path / "upon", np.roll(neighbour, -16, 1))
    assert beside.score[1::2].mean() == pytest.approx(without.score[1::2].mean(), rel=0.1)
    assert upon.score[1::2].mean() < 0.75 * without.score[1::2].mean()


def test_a_lump_of_ice_instead_of_the_particle_scores_like_noise(tmp_path):
    lump = 3.0 * np.exp(-((DISTANCE / 12) ** 2)) - small_phantom()
    scores, state = scene(tmp_path / "lump", lump)
    noise = scores.of_noise(np.arange(N), 0)
    assert state.score[1::2].max() < state.score[::2].min()
    limit = score_limit(state.score, noise)
    assert (state.score < limit).tolist() == [False, True] * (N // 2)


def test_noise_is_aligned_before_it_is_scored_and_depends_on_the_seed_alone(tmp_path):
    scores, _ = scene(tmp_path / "noise", np.zeros((BOX, BOX)))
    noise = scores.of_noise(np.arange(N), 0)
    assert noise.mean() > 2 * noise.std() > 0  # noise that lies anyhow scores 0 in the mean
    scores.prepared.reader.chunk = 20
    np.testing.assert_allclose(np.sort(scores.of_noise(np.arange(N), 0)), np.sort(noise), atol=0.02)
    assert np.abs(scores.of_noise(np.arange(N), 1) - noise).max() > 0.05
    assert scores.of_noise(np.zeros(0, np.int64), 0).shape == (0,)
