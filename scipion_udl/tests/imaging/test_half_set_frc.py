"""What two halves allow to claim: on curves with a known answer, on signal of known strength, and on noise."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import radii, soft_disc, to_fourier, to_images
from scipion_udl.imaging.half_set_frc import (
    CLAIM,
    LEAST,
    estimate_resolution,
    frc_weights,
    image_frc,
    of_more,
    ring_correlation,
)
from scipion_udl.simulation.phantoms import phantom

BOX, PIXEL = 64, 2.0
MASK = soft_disc(BOX, 0.42 * BOX, 4)


def noise(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, BOX, BOX, generator=torch.Generator().manual_seed(seed))


# ring correlation


@pytest.mark.parametrize("box", [48, 49])
def test_an_image_agrees_with_itself_and_with_nothing_else(box):
    band = Band(box, 20)
    a, b = (band.of_images(torch.randn(box, box, generator=torch.Generator().manual_seed(s))) for s in (0, 1))
    assert np.allclose(ring_correlation(band, a, a)[1:], 1)
    assert np.allclose(ring_correlation(band, a, -2 * a)[1:], -1)
    assert float(ring_correlation(band, a, b)[3:].abs().mean()) < 0.2
    assert float(ring_correlation(band, a, b)[0]) == 0


@pytest.mark.parametrize("box", [48, 49])
def test_the_frc_of_images_is_that_of_their_bands(box):
    band = Band(box, 20)
    a, b = torch.randn(2, box, box, generator=torch.Generator().manual_seed(2))
    b = a + b
    of_images = image_frc(a, b, torch.ones(box, box))
    assert of_images.shape == (box // 2,)
    assert np.allclose(of_images[1:20], ring_correlation(band, band.of_images(a), band.of_images(b))[1:20], atol=1e-4)


@pytest.mark.parametrize("snr", [0.3, 1.0, 4.0])
def test_the_frc_of_signal_in_noise_is_snr_over_1_plus_snr(snr):
    signal = noise(1, 5)[0] * np.sqrt(snr)
    curves = [image_frc(signal + a, signal + b, torch.ones(BOX, BOX)) for a, b in noise(40).view(20, 2, BOX, BOX)]
    assert np.mean(curves, 0)[4:].mean() == pytest.approx(snr / (1 + snr), abs=0.05)


def test_signal_outside_of_the_mask_is_not_counted():
    marked = torch.zeros(BOX, BOX)
    marked[:2] = 100 * torch.sign(torch.cos(torch.arange(BOX) * 2 * torch.pi * 5 / BOX + 0.1))
    a, b = noise(2)
    assert image_frc(a + marked, b + marked, torch.ones(BOX, BOX))[5:8].mean() > 0.5
    assert abs(image_frc(a + marked, b + marked, MASK)[5:8].mean()) < 0.3


@pytest.mark.parametrize("offset", [1.0, -300.0, 5e3])
def test_a_background_that_halves_have_in_common_is_no_agreement(offset):
    """Raw images lie far from zero: under a mask, that alone would look like a perfect signal."""
    a, b = noise(2, seed=8) / 30
    assert np.allclose(image_frc(a + offset, b + offset, MASK), image_frc(a, b, MASK), atol=0.05)
    assert not estimate_resolution(image_frc(a + offset, b + offset, MASK), BOX, PIXEL, 8, 27).signal


def test_strong_rings_that_agree_do_not_show_in_weak_rings_that_do_not():
    """Low-passed particles: what a mask carries from the common start outwards is no agreement of its own."""
    ring = radii(BOX)
    falling = torch.exp(-((ring / 8) ** 2))
    agreed, *own = to_fourier(noise(5, seed=9))
    for a, b in ((own[0], own[1]), (own[2], own[3])):
        a, b = (to_images((agreed * (ring <= 8) + 0.5 * c) * falling, BOX) for c in (a, b))
        frc = image_frc(a, b, MASK)
        assert frc[2:7].mean() > 0.5
        assert abs(frc[12:].mean()) < 0.1
        assert not estimate_resolution(frc, BOX, PIXEL, 8, 27).signal


@pytest.mark.parametrize("unit", [1e-20, 1e15])
def test_the_frc_does_not_depend_on_the_unit(unit):
    signal, a, b = noise(3, seed=4)
    a, b = (signal + a).double(), (signal + b).double()
    assert np.allclose(image_frc(unit * a, unit * b, MASK), image_frc(a, b, MASK))


# weights


def test_weights_are_those_of_wiener_for_the_sum_of_the_halves():
    frc = torch.full((20,), 0.5, dtype=torch.float64)
    assert torch.allclose(frc_weights(of_more(frc, 2)), torch.full((20,), 2 / 3, dtype=torch.float64))
    assert torch.allclose(frc_weights(torch.ones(20, dtype=torch.float64)), torch.ones(20, dtype=torch.float64))


def test_no_weight_beyond_the_ring_where_halves_cease_to_agree():
    frc = torch.cat([torch.full((10,), 0.9), torch.full((5,), -0.05), torch.full((5,), 0.8)]).double()
    weight = frc_weights(frc)
    assert float(weight[:9].min()) > 0.8
    assert float(weight[12:].abs().max()) == 0  # what comes again behind is not believed
    assert float(weight.min()) >= 0


def test_halves_that_agree_on_nothing_have_next_to_no_weight():
    weight = frc_weights(torch.full((20,), -0.1, dtype=torch.float64))
    assert float(weight[LEAST + 1 :].sum()) == 0
    assert 0 < float(weight[1 : LEAST + 1].max()) < 0.2  # something must be there to be aligned to


# claims


def curve(reach: float, width: float = 4.0, rings: int = BOX // 2) -> np.ndarray:
    """An FRC that falls from 1 to 0 in a straight line of 2 x width rings about ``reach``."""
    return np.clip(0.5 - (np.arange(rings) - reach) / (2 * width), 0, 1)


@pytest.mark.parametrize("reach", [12, 16, 21])
def test_the_resolution_is_a_little_before_the_curve_falls_to_0_143(reach):
    estimate = estimate_resolution(curve(reach), BOX, PIXEL, initial_lowpass=6, mask_radius=27)
    ring = reach + (0.5 - CLAIM) * 8
    assert estimate.signal
    assert 1 < estimate.resolution / (BOX * PIXEL / ring) < 1.08
    assert f"{estimate.resolution:.1f} A" in estimate.note
    assert f"{BOX * PIXEL / 6:.1f} A" in estimate.note


def test_the_larger_the_box_the_less_caution_is_needed():
    """Rings of large boxes have more coefficients: what is measured well is claimed nearly as it is."""
    ring = 160 + (0.5 - CLAIM) * 80
    estimate = estimate_resolution(curve(160, 40, 512), 1024, PIXEL, initial_lowpass=60, mask_radius=430)
    assert estimate.resolution == pytest.approx(1024 * PIXEL / ring, rel=0.02)


@pytest.mark.parametrize("ring", [14, 20, 26])
def test_a_curve_that_falls_at_once_is_claimed_to_its_fall(ring):
    """Low-passed particles: an average over many rings reaches beyond the fall, the claim may not."""
    estimate = estimate_resolution(np.where(np.arange(32) <= ring, 0.98, 0.0), BOX, PIXEL, 6, 27)
    assert ring - 1 < BOX * PIXEL / estimate.resolution < 1.05 * (ring + (0.98 - CLAIM) / 0.98)


def test_one_ring_that_dips_does_not_end_the_curve():
    dipped = curve(20)
    dipped[13] = 0.1
    claimed = [estimate_resolution(frc, BOX, PIXEL, 6, 27).resolution for frc in (curve(20), dipped)]
    assert claimed[1] == pytest.approx(claimed[0], rel=0.02)


@pytest.mark.parametrize("fall", [20.0, 30.0, 45.0])
def test_no_more_is_claimed_than_the_average_of_both_halves_shows(fall):
    """Signal of known strength in noise, again and again: the claim against the FRC with the signal itself."""
    box, radius = 128, 60
    mask, ring = soft_disc(box, radius, 8), radii(box)
    of_ring = torch.exp(-((ring / fall) ** 2) * 1.5)
    draws = torch.randn(90, box, box, generator=torch.Generator().manual_seed(int(fall)))
    ratios = []
    for signal, a, b in draws.view(30, 3, box, box):
        signal = to_images(to_fourier(signal) * of_ring * 2, box)
        estimate = estimate_resolution(image_frc(signal + a, signal + b, mask), box, PIXEL, 6, radius)
        true = image_frc(signal + (a + b) / 2, signal, mask)
        reached = int(np.flatnonzero(true[1:] < 0.5)[0]) + 1
        ratios.append(box * PIXEL / estimate.resolution / reached)
    assert np.mean(ratios) > 0.88
    assert np.mean(np.array(ratios) > 1.05) < 0.05


def test_the_claim_scales_with_the_pixel_size():
    one, two = (estimate_resolution(curve(16), BOX, size, 6, 27).resolution for size in (1.0, 2.5))
    assert two == pytest.approx(2.5 * one)


def test_agreement_up_to_the_shared_start_proves_nothing():
    initial_lowpass = 12
    frc = np.where(np.arange(32) <= initial_lowpass + 1, 0.99, 0.0)
    estimate = estimate_resolution(frc, BOX, PIXEL, initial_lowpass, 27)
    assert estimate.signal is False
    assert estimate.resolution is None
    assert "No common signal was found" in estimate.note
    assert f"{BOX * PIXEL / initial_lowpass:.1f} A" in estimate.note


def test_the_first_crossing_counts_not_a_later_return():
    frc = curve(16)
    frc[26:] = 0.9
    assert estimate_resolution(frc, BOX, PIXEL, 6, 27).resolution == pytest.approx(
        estimate_resolution(curve(16), BOX, PIXEL, 6, 27).resolution
    )


def test_a_curve_that_never_falls_ends_at_the_last_ring():
    estimate = estimate_resolution(np.full(32, 0.9), BOX, PIXEL, 6, 27)
    assert estimate.signal
    assert estimate.resolution == pytest.approx(BOX * PIXEL / 31)


@pytest.mark.parametrize("initial_lowpass", [30, 31, 40])
def test_where_no_ring_is_left_nothing_is_claimed(initial_lowpass):
    estimate = estimate_resolution(np.full(32, 0.9), BOX, PIXEL, initial_lowpass, 27)
    assert estimate.signal is None
    assert estimate.resolution is None
    assert estimate.note.endswith(".")


@pytest.mark.parametrize(("initial_lowpass", "radius"), [(7, 27), (12, 27), (20, 27), (7, 12)])
def test_halves_of_noise_claim_nothing(initial_lowpass, radius):
    mask = soft_disc(BOX, radius, 4)
    images = noise(400, seed=initial_lowpass)
    claims = [
        estimate_resolution(image_frc(a, b, mask), BOX, PIXEL, initial_lowpass, radius).signal
        for a, b in images.view(200, 2, BOX, BOX)
    ]
    assert sum(claims) <= 1


def test_a_weak_signal_beyond_the_shared_start_is_found():
    signal = torch.from_numpy(phantom("hook", BOX).image())
    signal = 2 * signal / signal.std()
    found = [
        estimate_resolution(image_frc(signal + a, signal + b, MASK), BOX, PIXEL, 8, 27)
        for a, b in noise(20).view(10, 2, BOX, BOX)
    ]
    assert all(estimate.signal and estimate.resolution < BOX * PIXEL / 9 for estimate in found)


def test_where_there_are_no_numbers_nothing_is_claimed():
    frc = np.r_[np.ones(20), np.full(12, np.nan)]
    estimate = estimate_resolution(frc, 64, 2.0, 4.0, 28.0)
    assert (estimate.signal, estimate.resolution) == (None, None)
    assert estimate_resolution(np.r_[np.ones(20), np.zeros(12)], 64, 2.0, 4.0, 28.0).resolution is not None
