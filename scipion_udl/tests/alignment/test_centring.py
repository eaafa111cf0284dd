"""Averages are centred on their centre of mass, whichever particle they were started from and however noisy."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.centring import centre_of_mass, centred
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.poses import Poses
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import prepared

BOX = 64


def shown(shift: tuple[float, float], name: str = "hook") -> np.ndarray:
    image = phantom(name, BOX).sample(Poses([0.0], [shift]))[0]
    return image / image.std()


def mass_centre(image: np.ndarray) -> np.ndarray:
    axis, density = np.arange(BOX) - BOX // 2, image - np.median(image)
    return np.array([(density.sum(0) * axis).sum(), (density.sum(1) * axis).sum()]) / density.sum()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Particles whose disc is known, and a band of their box."""
    noise = np.random.default_rng(0).normal(size=(20, BOX, BOX)).astype(np.float32)
    particles = prepared(tmp_path_factory.mktemp("scene"), noise)
    particles.disc.mask_radius, particles.disc.radius_from = 0.4 * BOX, "given"
    particles.scan()
    return particles, Band(BOX, 28)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (5.0, -3.0), (-2.5, 6.0)])
def test_the_centre_of_mass_is_found_bright_or_dark_through_noise(scene, sign, shift):
    particles, band = scene
    image = shown(shift)
    noisy = sign * image + 0.35 * np.random.default_rng(1).normal(size=image.shape)  # 400 particles at an SNR of 0.02
    found = centre_of_mass(particles, band, band.of_images(torch.from_numpy(noisy).float()))
    assert np.hypot(*(found - mass_centre(image))) < 0.5


def test_a_centred_average_lies_in_the_middle(scene):
    particles, band = scene
    average, centre = centred(particles, band, band.of_images(torch.from_numpy(shown((4.0, 2.0))).float()))
    assert np.hypot(*centre_of_mass(particles, band, average)) < 0.1
    back = band.shifted(average, torch.from_numpy(centre).float())
    torch.testing.assert_close(back, band.of_images(torch.from_numpy(shown((4.0, 2.0))).float()), atol=1e-3, rtol=1e-3)


def test_an_average_that_shows_nothing_stays_where_it_is(scene):
    particles, band = scene
    assert np.array_equal(centre_of_mass(particles, band, torch.zeros(57, 29, dtype=torch.complex64)), np.zeros(2))
