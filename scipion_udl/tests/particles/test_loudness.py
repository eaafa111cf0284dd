"""Loudness: lumps of contamination are told from particles, however much these differ among each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scipion_udl.io.stacks import StackReader
from scipion_udl.particles.loudness import Loudness, loud_limit
from scipion_udl.simulation.junk import blob
from scipion_udl.tests.engine_helpers import prepared, simulate

BOX, RADIUS = 64, 18.0
AXIS = torch.arange(BOX) - BOX // 2


def lump(sigma: float, x: float = 0.0) -> torch.Tensor:
    return torch.exp(-(((AXIS - x) ** 2)[None] + (AXIS**2)[:, None]) / (2 * sigma**2))


def logs(n: int, seed: int, median: float = 1.0, deviation: float = 0.5) -> np.ndarray:
    return median * np.exp(deviation * np.random.default_rng(seed).normal(size=n))


def test_loudness_is_of_what_is_coarse_and_lies_in_the_disc():
    noise = torch.randn(200, BOX, BOX, generator=torch.Generator().manual_seed(0))
    disc = Loudness(BOX, RADIUS)
    of_noise = float(disc.measure(noise).mean())
    assert of_noise < 0.02  # of the variance 1 of a pixel
    assert float(disc.measure(noise + lump(6.0)).mean()) > 5 * of_noise
    assert float(disc.measure(lump(3.0, 31.0)[None])) < 1e-2 * float(disc.measure(lump(3.0)[None]))


def test_loudness_grows_with_the_square_of_contrast_and_does_not_know_the_level():
    disc = Loudness(BOX, RADIUS)
    once, twice, higher = (float(disc.measure(image[None])) for image in (lump(5.0), 2 * lump(5.0), lump(5.0) + 3))
    assert twice == pytest.approx(4 * once, rel=1e-4)
    assert higher == pytest.approx(once, rel=1e-3)


@pytest.mark.parametrize("deviation", [0.2, 0.5, 0.9])
def test_particles_alone_are_hardly_ever_too_loud(deviation):
    shares = []
    for seed in range(20):
        loudness = logs(1000, seed, 1.0, deviation)
        shares.append((loudness > loud_limit(loudness)).mean())
    assert np.mean(shares) < 2e-4


@pytest.mark.parametrize("junk", [20, 50, 200])
def test_lumps_are_too_loud_however_many_there_are(junk):
    loudness = np.concatenate([logs(junk, 1, 15.0, 0.3), logs(1000 - junk, 2)])
    loud = loudness > loud_limit(loudness)
    assert loud[:junk].mean() > 0.9
    assert loud[junk:].mean() < 0.003


def test_quiet_images_do_not_make_particles_loud():
    """A third of empty ice among them: nobody is flagged for being seen."""
    loudness = np.concatenate([logs(300, 3, 0.1, 0.2), logs(700, 4)])
    assert not (loudness > loud_limit(loudness)).any()


def test_a_handful_and_constant_images_have_no_limit():
    assert loud_limit(np.ones(8)) == np.inf
    assert loud_limit(np.zeros(100)) == np.inf
    assert loud_limit(np.ones(100)) == np.inf


def test_lumps_among_particles_are_told_when_the_set_is_read(tmp_path):
    """Ice lumps three times as high as a particle, as `simulate` puts them in; particles themselves are none, and parts
    of the set go by the limit of the whole."""
    folder = simulate(tmp_path / "p", 200, BOX, 0.1, max_shift=3.0)
    images = StackReader(str(folder / "particles.mrcs")).read().astype(np.float32)
    lumps = [3, 50, 51, 120, 199]
    particle = float(np.sqrt(0.1)) * images.std()
    for item in lumps:
        field = blob(np.random.default_rng(item), BOX, BOX)
        images[item] = images.std() * np.random.default_rng(item).normal(size=(BOX, BOX))
        images[item] += 3 * particle * (field - field.mean()) / field.std()
    particles = prepared(tmp_path, images)
    found = particles.scan()
    assert np.flatnonzero(found.loud).tolist() == lumps
    assert not set(lumps) & set(particles.subset(200, 0).tolist())
    assert particles.part(np.array([3, 4])).statistics.loud.tolist() == [True, False]
