"""How far particles reach, and where their neighbours begin, seen in the particles."""

import numpy as np
import pytest
import torch

from scipion_udl.particles.extent import LARGEST, VarianceProfile, _is_likely, extent_of
from scipion_udl.particles.polarity import RadialProfile
from scipion_udl.simulation.ctf import CtfSettings, simulated_ctf

BOX, PIXEL = 64, 3.0
AXIS = np.arange(BOX) - BOX // 2


def ball(radius, x=0.0, y=0.0, hollow=0.0):
    """The projection of a ball, hollow within a part of its radius, of height 1."""
    square = (AXIS - x) ** 2 + (AXIS[:, None] - y) ** 2
    full, inner = (np.sqrt(np.maximum(r**2 - square, 0)) for r in (radius, hollow * radius))
    return (full - inner) / radius


def particles(count=300, radius=18.0, snr_height=0.7, hollow=0.0, neighbours=0.0, ctf=None, seed=0, off=1.5):
    """Normalised images, bright, off centre by a few pixels; neighbours that touch, in such a share of the places."""
    random = np.random.default_rng(seed)
    images = np.zeros((count, BOX, BOX), np.float32)
    for image in images:
        image += ball(radius, *random.normal(0, off, 2), hollow)
        for angle in random.uniform(0, 2 * np.pi) + np.arange(5) * 2 * np.pi / 5:
            if random.random() < neighbours:
                far = 2.1 * radius + random.exponential(0.2 * radius)
                image += ball(radius, far * np.cos(angle), far * np.sin(angle), hollow)
    images *= snr_height
    if ctf is not None:
        seen = simulated_ctf(ctf, np.full(count, 1.5), BOX, PIXEL)
        coefficients = np.fft.rfft2(np.fft.ifftshift(images, axes=(1, 2))) * seen
        images = np.fft.fftshift(np.fft.irfft2(coefficients, s=(BOX, BOX)), axes=(1, 2)).astype(np.float32)
    return torch.from_numpy(images + random.standard_normal(images.shape).astype(np.float32))


def extent(images):
    profile = RadialProfile(BOX)
    profile.add(images)
    return extent_of(profile, profile.mean_ctfs(PIXEL, None))


@pytest.mark.parametrize("radius", [12.0, 18.0, 24.0])
@pytest.mark.parametrize("hollow", [0.0, 0.75])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_disc_holds_the_particle_and_little_more(radius, hollow, sign):
    """Bright or dark, compact or a shell: and a margin beyond its rim."""
    found = extent(sign * particles(radius=radius, hollow=hollow))
    assert found.found
    assert radius - 1.5 < found.radius < radius + 8  # off centre, and the margin where no CTF is known


@pytest.mark.parametrize("hollow", [0.0, 0.75])
def test_neighbours_do_not_widen_the_disc(hollow):
    alone, crowded = extent(particles(hollow=hollow)), extent(particles(neighbours=0.8, hollow=hollow))
    assert crowded.found
    assert crowded.radius == pytest.approx(alone.radius, abs=3)


def test_fringes_of_the_ctf_do_not_widen_the_disc():
    found = extent(particles(ctf=CtfSettings(amplitude_contrast=0.07), snr_height=2.0))
    assert found.found
    assert 16 < found.radius < 24


def test_noise_has_no_extent():
    for seed in range(5):
        found = extent(torch.randn(300, BOX, BOX, generator=torch.Generator().manual_seed(seed)))
        assert not found.found
        assert found.radius == pytest.approx(LARGEST * BOX)


def test_neighbours_begin_where_particles_vary_again():
    def clear(images, radius):
        variance = VarianceProfile(BOX)
        variance.add(images)
        return variance.clear_radius(radius)

    assert clear(particles(), 18.0) == float("inf")
    assert clear(particles(neighbours=0.8), 18.0) == pytest.approx(20, abs=4)
    assert clear(torch.randn(300, BOX, BOX, generator=torch.Generator().manual_seed(0)), 18.0) == float("inf")


def test_neighbours_are_not_denser_than_the_particle():
    """What lies beyond a particle's end lies there now and then. The negative of a hollow shell, a core, then a gap,
    then a wall that is denser than the core, is no particle with neighbours."""
    solid = np.r_[np.ones(14), np.zeros(4), 0.6 * np.ones(10)]
    core = np.r_[0.5 * np.ones(14), np.zeros(4), np.ones(10)]
    assert _is_likely(solid, 4)
    assert not _is_likely(core, 4)
    assert _is_likely(np.ones(28), 4)  # it has no end: nothing lies beyond
