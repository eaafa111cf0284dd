"""The changed SSNR: measured ring by ring on simulated pairs with and without noise."""

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.simulation.particles import Simulation
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.simulation.ssnr import SsnrChange

PIXEL_SIZE = 3.0
COUNT = 150
RADIUS = 15.0  # A: ring box x 3 / 15


def simulation(box, ssnr=None, seed=1, snr=0.1):
    return Simulation(phantom("hook", box), COUNT, snr, PIXEL_SIZE, 4, ctf=CtfSettings(), seed=seed, ssnr=ssnr)


def rings(images):
    """Mean power per Fourier ring, (box // 2 + 1,); ring k: radii k - 0.5 to k + 0.5."""
    box = images.shape[-1]
    power = (np.abs(np.fft.fft2(images)) ** 2).mean(0)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(box, 1 / box), np.fft.fftfreq(box, 1 / box))).round().astype(int)
    return (np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel()))[: box // 2 + 1]


def spectral_snr(sim):
    """Power of the particles over that of their noise, per ring, from pairs without and with noise."""
    indices = np.arange(COUNT)
    clean, noisy = sim.signal(indices), sim.images(indices)
    return rings(clean) / rings(noisy - clean)


@pytest.mark.parametrize("box", [48, 49])
@pytest.mark.parametrize("factor", [4.0, 0.25])
def test_the_spectral_snr_is_divided_below_the_radius_and_nowhere_else(box, factor):
    # another seed for the white noise: the ratio is measured, not the same numbers divided
    ratio = spectral_snr(simulation(box)) / spectral_snr(simulation(box, SsnrChange(RADIUS, factor), seed=2))
    ring = box * PIXEL_SIZE / RADIUS  # 9.6 and 9.8
    below, above = ratio[3 : int(ring)], ratio[int(ring) + 2 :]
    # few modes a ring, and other particles: a few per cent
    assert np.abs(below / factor - 1).max() < 0.25
    assert below.mean() == pytest.approx(factor, rel=0.07)
    assert np.abs(above - 1).max() < 0.25
    assert above.mean() == pytest.approx(1, rel=0.07)


def test_the_snr_is_still_that_of_the_white_noise():
    sim = simulation(48, SsnrChange(RADIUS, 5.0), snr=0.3)
    signal = sim.signal(np.arange(COUNT))
    noise = rings(sim.images(np.arange(COUNT)) - signal) / 48**2
    assert signal.var() == pytest.approx(0.3, rel=1e-3)
    assert noise[12:].mean() == pytest.approx(1, rel=0.02)
    assert noise[2:9].mean() == pytest.approx(5, rel=0.05)


def test_what_is_finer_than_the_radius_is_the_same_noise_as_without():
    plain, changed = (simulation(48, ssnr).images(np.arange(4)) for ssnr in (None, SsnrChange(RADIUS, 4.0)))
    radius = np.hypot(np.fft.fftfreq(48)[:, None], np.fft.rfftfreq(48)[None]) / PIXEL_SIZE
    difference = np.abs(np.fft.rfft2(changed - plain))
    assert difference[:, radius > 1 / RADIUS].max() < 1e-3 * difference.max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (SsnrChange(5.0, 4.0), "between 144 and 6 A"),
        (SsnrChange(150.0, 4.0), "between 144 and 6 A"),
        (SsnrChange(15.0, 0.0), "must be above 0"),
        (SsnrChange(15.0, 1e300), "a factor between 1e-12 and 1e\\+12"),
        (SsnrChange(15.0, 1e-300), "a factor between"),
    ],
)
def test_changes_that_such_images_cannot_hold_are_refused(change, message):
    with pytest.raises(UdlError, match=message):
        simulation(48, change)


def test_without_noise_there_is_nothing_to_change():
    with pytest.raises(UdlError, match="SNR of inf leaves none"):
        simulation(48, SsnrChange(RADIUS, 4.0), snr=np.inf)
