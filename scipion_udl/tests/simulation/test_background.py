"""What lies beneath and upon particles: the ice shows the CTF's zeros, ramps rise as said, hot pixels are counted."""

import numpy as np
import pytest

from scipion_udl.simulation.background import hot_pixels, mean_power, ramp, structure
from scipion_udl.simulation.ctf import CtfSettings, simulated_ctf

SIDE, PIXEL_SIZE = 64, 4.0
WAVELENGTH = 0.0196875  # angstrom, of electrons at 300 kV


@pytest.fixture(scope="module")
def ctf():
    return simulated_ctf(CtfSettings(b_factor=0), np.array([1.2]), SIDE, PIXEL_SIZE)[0]


def powers(ctf, count=200):
    """Mean power spectrum of structural noise, (SIDE, SIDE // 2 + 1)."""
    random = np.random.default_rng(5)
    return sum(np.abs(np.fft.rfft2(structure(random, ctf, SIDE))) ** 2 for _ in range(count)) / count / SIDE**2


def test_structural_noise_vanishes_where_the_ctf_does(ctf):
    power = powers(ctf)
    radius = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]) / PIXEL_SIZE
    # the first zero of a CTF of 1.2 um: near 1 / sqrt(wavelength x defocus)
    zero = 1 / np.sqrt(WAVELENGTH * 12000)
    at_zero = power[np.abs(radius - zero) < 0.002].mean()
    before = power[np.abs(radius - zero / np.sqrt(2)) < 0.002].mean()  # half the phase: the first maximum
    assert before > 1.5
    assert at_zero < 0.05 * before


def test_structural_noise_has_variance_1_whatever_the_ctf(ctf):
    random = np.random.default_rng(1)
    for one in (ctf, 0.1 * ctf, np.ones_like(ctf)):
        variance = np.mean([structure(random, one, SIDE).var() for _ in range(60)])
        assert variance == pytest.approx(1, rel=0.03)


def test_the_mean_power_counts_both_halves_of_the_plane():
    for side in (16, 17):
        kernel = np.random.default_rng(side).normal(size=(side, side))
        whole = np.abs(np.fft.fft2(kernel))
        assert mean_power(whole[:, : side // 2 + 1], side) == pytest.approx((whole**2).mean())


def test_ramps_are_planes_of_any_direction_and_of_the_height_said():
    random = np.random.default_rng(3)
    planes = [ramp(random, 0.5, 32) for _ in range(2000)]
    y, x = np.mgrid[:32, :32] - 16
    slopes = np.array([(plane[16, 17], plane[17, 16]) for plane in planes])
    assert np.allclose(planes[7], slopes[7, 0] * x + slopes[7, 1] * y)
    height = np.linalg.norm(slopes, axis=1) * 16
    assert np.sqrt((height**2).mean()) == pytest.approx(0.5, rel=0.05)
    direction = np.degrees(np.arctan2(*slopes.T))
    assert np.histogram(direction, 4, (-180, 180))[0].min() > 430


def test_hot_pixels_are_as_many_and_as_high_as_said():
    random = np.random.default_rng(4)
    found = [hot_pixels(random, 1.5, 20) for _ in range(1500)]
    number = np.array([len(heights) for _, heights in found])
    assert number.mean() == pytest.approx(1.5, rel=0.1)
    assert number.var() == pytest.approx(1.5, rel=0.15)
    heights = np.concatenate([heights for _, heights in found])
    assert (np.abs(heights) >= 8).all()
    assert (np.abs(heights) <= 30).all()
    assert (heights < 0).mean() == pytest.approx(0.2, abs=0.03)
    for (rows, columns), _ in found[:50]:
        assert len({*zip(rows, columns)}) == len(rows)
        assert ((rows < 20) & (columns < 20)).all()
