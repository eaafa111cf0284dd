"""Spectra as images: they turn with their particles, whoever turns those, and do not see where a particle lies."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from scipy import ndimage

from scipion_udl.imaging.fourier import radii, to_fourier
from scipion_udl.imaging.poses import Poses
from scipion_udl.imaging.spectrum_images import OVERSAMPLING, SpectrumImageSettings
from scipion_udl.simulation.phantoms import phantom

RINGS = SpectrumImageSettings()
PUBLISHED = SpectrumImageSettings.published(64)
SETTINGS = {"rings": RINGS, "published": PUBLISHED}
ANGLES = [12.0, 45.0, -70.0, 90.0, 160.0]


def particles(angle, box=64, shift=(0.0, 0.0), name="hook"):
    """A phantom with pose angles (N,), degrees, applied to it, then moved by (x, y) pixels; (N, box, box)."""
    angle = np.atleast_1d(np.asarray(angle, np.float64))
    # a particle's pose takes it to the phantom: that of a phantom rotated by angle is -angle
    still = phantom(name, box).sample(Poses(-angle))
    wave = to_fourier(torch.from_numpy(still))
    k = torch.fft.fftfreq(box)
    phase = k[:, None] * shift[1] + k[None, : box // 2 + 1].abs() * shift[0]
    return torch.fft.fftshift(
        torch.fft.irfft2(wave * torch.exp(-2j * torch.pi * phase), s=(box, box), norm="ortho"), dim=(-2, -1)
    )


def spectra(images, settings):
    return settings.of(to_fourier(images), images.shape[-1])


def likeness(a, b):
    """The correlation of each pair of spectra (N, 1, S, S) within the largest circle."""
    size = a.shape[-1]
    axis = torch.arange(size) - size // 2
    inside = (axis[:, None] ** 2 + axis[None] ** 2).sqrt() < size // 2 - 1
    a, b = (values[..., inside] - values[..., inside].mean(-1, keepdim=True) for values in (a, b))
    return ((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)))[:, 0]


@pytest.mark.parametrize("scaling", SETTINGS)
def test_a_turned_spectrum_is_that_of_the_particle_turned_by_the_pose_angle(scaling):
    settings = SETTINGS[scaling]
    fine = settings.fine(to_fourier(particles(np.zeros(5))), 64)
    true = spectra(particles(ANGLES), settings)  # blobs turn exactly
    angle = torch.tensor(ANGLES)
    right, wrong = (likeness(settings.rotated(fine, sign * angle), true) for sign in (1, -1))
    assert right.min() > 0.97
    oblique = angle != 90  # which is the same either way, modulo 180
    assert ((1 - wrong)[oblique] > 5 * (1 - right)[oblique]).all()


def test_the_routine_of_another_program_turns_it_alike():
    still = particles(0.0)[0].numpy()
    for angle in (25.0, -60.0):
        # scipy maps a place of the result to one of the input, rows first: about pixel 32, by R(-angle)
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        matrix = np.array([[c, -s], [s, c]])
        rotated = ndimage.affine_transform(still, matrix, offset=32 - matrix @ [32, 32], order=5)
        assert np.abs(rotated - particles(angle)[0].numpy()).max() < 0.05 * still.max()
        mine = RINGS.rotated(RINGS.fine(to_fourier(torch.from_numpy(still)[None]), 64), torch.tensor([angle]))
        assert likeness(mine, spectra(torch.from_numpy(rotated)[None], RINGS)) > 0.97


@pytest.mark.parametrize("scaling", SETTINGS)
def test_no_turn_and_half_a_turn_change_nothing(scaling):
    settings = SETTINGS[scaling]
    fine = settings.fine(to_fourier(particles([0.0, 33.0])), 64)
    still = settings.rotated(fine)
    assert torch.allclose(still[:, 0], fine[:, ::OVERSAMPLING, ::OVERSAMPLING], atol=1e-4)
    assert torch.allclose(settings.rotated(fine, torch.zeros(2)), still, atol=1e-5)
    half = settings.rotated(fine, torch.full((2,), 180.0))
    inner = slice(1, None)  # row and column 0 have no partner
    assert torch.allclose(half[..., inner, inner], still[..., inner, inner], atol=1e-3)


@pytest.mark.parametrize("scaling", SETTINGS)
@pytest.mark.parametrize("box", [24, 41, 64, 65])
def test_every_box_gives_a_point_symmetric_spectrum_of_the_size_asked_for(scaling, box):
    settings = SETTINGS[scaling]
    if scaling == "rings":
        settings = SpectrumImageSettings(box=box - box % 2, size=16, r_max=7)
    found = spectra(particles([0.0, 50.0], box, name="clamp"), settings)
    assert found.shape == (2, 1, settings.size, settings.size)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    inner = found[..., 1:, 1:]
    assert torch.allclose(inner, inner.flip(-2, -1), atol=2e-3)
    assert found.std() > 0.01


@pytest.mark.parametrize("box", [64, 65])
def test_the_spectrum_does_not_see_where_the_particle_lies(box):
    settings = SpectrumImageSettings(mask=0.49)
    here, there = (spectra(particles(20.0, box, shift, "pebble"), settings) for shift in ((0, 0), (4.0, -3.0)))
    assert likeness(here, there) > 0.995
    published = SpectrumImageSettings.published(box - box % 2)
    here, there = (spectra(particles(20.0, box, shift, "pebble"), published) for shift in ((0, 0), (4.0, -3.0)))
    assert likeness(here, there) > 0.99


def test_binned_particles_of_the_same_field_have_the_same_spectrum():
    # the same view at 128 and at 64 pixels: frequencies are counted in parts of the field of view
    coarse, fine = particles(ANGLES, 64), particles(ANGLES, 128)
    assert likeness(spectra(coarse, RINGS), spectra(fine / 2, RINGS)).min() > 0.99


def test_published_spectra_lie_in_0_to_1_also_once_they_are_turned():
    noise = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(1))
    images = torch.cat([particles([0.0, 70.0]), noise, 1000 + 50 * noise])
    fine = PUBLISHED.fine(to_fourier(images), 64)
    assert fine.min() == 0
    assert fine.amax((1, 2)).min() > 0.9
    assert fine.max() <= 1
    rotated = PUBLISHED.rotated(fine, torch.linspace(0, 170, 8))
    assert rotated.min() > -0.1  # cubic interpolation overshoots a little
    assert rotated.max() < 1.1


def test_published_spectra_do_not_know_brightness_and_contrast():
    images = particles([0.0, 70.0])
    one, other = (spectra(those, PUBLISHED) for those in (images, 7 * images - 300))
    assert torch.allclose(one, other, atol=1e-3)


def test_the_mean_over_every_ring_is_0():
    images = particles(ANGLES) + 0.3 * torch.randn(5, 64, 64, generator=torch.Generator().manual_seed(1))
    fine = RINGS.fine(to_fourier(images), 64)
    axis = torch.arange(fine.shape[-1]) - fine.shape[-1] // 2
    ring = (axis[:, None] ** 2 + axis[None] ** 2).float().sqrt().round().long()
    for r in range(int(ring.max()) + 1):
        assert fine[:, ring == r].mean(-1).abs().max() < 1e-5
    outside = (ring > OVERSAMPLING * RINGS.r_max) | (ring < 2 * OVERSAMPLING)
    assert not fine[:, outside].any()
    assert fine[:, ~outside].std() > 0.1


@pytest.mark.parametrize("settings", [RINGS, SpectrumImageSettings(32, 16, 6), PUBLISHED], ids=str)
def test_a_spectrum_is_0_where_inside_says_so_however_it_is_turned(settings):
    noise = torch.randn(40, 64, 64, generator=torch.Generator().manual_seed(2))
    found = settings.rotated(settings.fine(to_fourier(noise), 64), torch.linspace(0, 175, 40))[:, 0]
    inside = settings.inside()
    assert inside.shape == (settings.size, settings.size)
    axis = torch.arange(settings.size) - settings.size // 2
    radius = (axis[:, None] ** 2 + axis[None] ** 2).float().sqrt()
    assert torch.equal(inside == 1, (radius <= settings.r_max) & (radius >= (0 if settings == PUBLISHED else 2)))
    assert not found[:, radius > settings.r_max + 1.5].any()  # interpolation reaches so far
    power = found.square().mean(0)
    well = (inside == 1) & (radius < settings.r_max - 2)
    assert (power[well] > 0.1 * power[well].median()).all()


@pytest.mark.parametrize("box", [48, 64, 65])
@pytest.mark.parametrize("scaling", SETTINGS)
def test_no_pixel_of_a_spectrum_tells_by_how_much_it_was_turned(scaling, box):
    """White noise looks the same in every direction: what changed with the applied turn would teach a network that."""
    settings = SETTINGS[scaling]
    noise = 5 + torch.randn(100, box, box, generator=torch.Generator().manual_seed(3))
    fine = settings.fine(to_fourier(noise), box)
    still, rotated = (settings.rotated(fine, torch.full((100,), angle)) for angle in (0.0, 45.0))
    assert (still.mean(0) - rotated.mean(0)).abs().max() < 0.8 * still.std(0).max()  # 5 standard errors


def test_noise_has_unit_amplitude_in_the_whole_band():
    """White noise of variance 1 behind the disc: log(1 + amplitude) of a Rayleigh distribution, std about 0.27."""
    noise = torch.randn(50, 64, 64, generator=torch.Generator().manual_seed(4))
    found = spectra(noise, RINGS)
    ring = radii(32).round().long()
    centred = torch.fft.ifftshift(found[:, 0], dim=(-2, -1))[..., :17]
    for r in (3, 8, 14):
        assert centred[:, ring == r].std() == pytest.approx(0.27, abs=0.06)


def test_a_spectrum_without_signal_is_finite():
    for settings in SETTINGS.values():
        assert torch.isfinite(spectra(torch.zeros(2, 64, 64), settings)).all()
