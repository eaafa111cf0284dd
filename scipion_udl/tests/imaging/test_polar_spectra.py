"""Polar log spectra: turning a particle rolls them, shifting it changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.fourier import to_fourier
from scipion_udl.imaging.polar_spectra import SpectraSettings, polar_log_spectra
from scipion_udl.imaging.poses import Poses, invert
from scipion_udl.models.polar_network import rotate_spectra
from scipion_udl.simulation.phantoms import phantom

BOXES = [48, 49, 64, 128]


def spectra_of(images: torch.Tensor) -> torch.Tensor:
    box = images.shape[-1]
    return polar_log_spectra(to_fourier(images), box, SpectraSettings.for_box(box))


def posed(box: int, angle: float = 0.0, shift: tuple[float, float] = (0.0, 0.0), name: str = "hook") -> torch.Tensor:
    """The phantom after a pose was applied to it: rotated, then shifted; scaled to stand well above 1."""
    applied = Poses([angle], [shift])
    return 3 * torch.from_numpy(phantom(name, box).sample(invert(applied)))


def likeness(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.corrcoef(a.flatten().cpu(), b.flatten().cpu())[0, 1])


@pytest.mark.parametrize("box", BOXES)
def test_turning_a_particle_by_a_rolls_its_spectrum_by_a(box):
    still = spectra_of(posed(box))
    bins = still.shape[-1]
    rotated = spectra_of(posed(box, 16 * 180 / bins))
    assert likeness(rotated, still.roll(16, -1)) > 0.985
    assert likeness(rotated, still.roll(-16, -1)) < 0.8
    assert likeness(rotated, still) < 0.8


@pytest.mark.parametrize("angle", [37.3, -71.9, 141.0])
def test_a_turn_by_part_of_a_bin_is_a_fourier_shift(angle):
    still, rotated = spectra_of(posed(64)), spectra_of(posed(64, angle))
    assert likeness(rotated, rotate_spectra(still, torch.tensor([angle]))) > 0.985
    assert likeness(rotated, rotate_spectra(still, torch.tensor([angle + 5]))) < 0.9


@pytest.mark.parametrize("box", BOXES)
def test_shifting_a_particle_changes_nothing(box, device):
    still = spectra_of(posed(box).to(device))
    moved = spectra_of(posed(box, shift=(3.0, -2.0)).to(device))
    assert likeness(still, moved) > 0.97
    assert float((still - moved).pow(2).mean() / still.pow(2).mean()) < 0.06


@pytest.mark.parametrize("box", BOXES)
def test_turning_a_particle_by_180_degrees_changes_nothing(box):
    assert likeness(spectra_of(posed(box)), spectra_of(posed(box, 180.0))) > 0.9999


def test_contrast_does_not_matter():
    assert torch.allclose(spectra_of(posed(64)), spectra_of(-posed(64)), atol=1e-4)


@pytest.mark.parametrize("theta", [0.0, 45.0, 112.5])
def test_a_bin_is_the_direction_from_x_towards_y(theta):
    axis = torch.arange(64) - 32.0
    direction = math.radians(theta)
    phase = 2 * math.pi * 10 / 64 * (axis[None] * math.cos(direction) + axis[:, None] * math.sin(direction))
    found = spectra_of(10 * torch.cos(phase)[None])[0]
    settings = SpectraSettings.for_box(64)
    radius, bin_ = divmod(int(found.argmax()), settings.angles)
    assert radius + settings.r_min == pytest.approx(10, abs=1)
    assert (bin_ * 180 / settings.angles - theta + 90) % 180 - 90 == pytest.approx(0, abs=2)


def test_no_radius_favours_a_direction_on_average():
    found = spectra_of(posed(64))
    assert found.shape == (1, SpectraSettings.for_box(64).radii, 128)
    assert found.dtype == torch.float32
    assert float(found.mean(-1).abs().max()) < 1e-4


def test_a_constant_image_has_an_empty_spectrum():
    assert float(spectra_of(torch.full((1, 64, 64), 5.0)).abs().max()) < 1e-3


def test_white_noise_looks_alike_at_every_radius():
    """So that no radius counts for more than another where there is no signal."""
    torch.manual_seed(0)
    spread = spectra_of(torch.randn(100, 64, 64)).var((0, 2))
    assert float(spread.max() / spread.min()) < 1.5


@pytest.mark.parametrize("box", [16, 17, 24, 33, 48, 64, 65, 128, 256])
def test_the_band_stays_inside_of_every_box(box):
    settings = SpectraSettings.for_box(box)
    assert settings.box <= min(box, 64)
    assert settings.box % 2 == 0
    assert 2 <= settings.r_min < settings.r_max < settings.box / 2
    assert settings.radii == settings.r_max - settings.r_min + 1
    found = spectra_of(torch.randn(2, box, box))
    assert found.shape == (2, settings.radii, settings.angles)
    assert bool(torch.isfinite(found).all())
