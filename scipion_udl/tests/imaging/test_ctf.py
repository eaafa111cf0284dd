"""The CTF: signs and units by the formula, on images, and relative to what all particles show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.ctf import ParticleCtf, evaluate_ctf
from scipion_udl.imaging.defocus import Defocus
from scipion_udl.imaging.fourier import radii, to_fourier, to_images, transform
from scipion_udl.simulation.phantoms import phantom

BOX, PIXEL = 64, 2.0


def defocus(u, v=None, angle=0.0, phase_shift=0.0, b_factor=0.0, voltage=300.0, cs=2.7, amplitude_contrast=0.07):
    """Of one particle, or of as many as ``u`` has values."""
    u = np.atleast_1d(np.asarray(u, np.float64))
    rest = (u if v is None else v, angle, phase_shift, b_factor, voltage, cs, amplitude_contrast)
    return Defocus(u, *(np.broadcast_to(np.asarray(value, np.float64), u.shape).copy() for value in rest))


def by_formula(u, v, angle, x, y, phase_shift=0.0, voltage=300.0, cs=2.7, amplitude_contrast=0.07):
    """The CTF, positive at the origin, at frequencies x, y (1/A), y down; independent of the code under test."""
    volts = voltage * 1e3
    wave = 12.2643247 / np.sqrt(volts * (1 + 0.978466e-6 * volts))
    along = np.arctan2(y, x) - np.radians(angle)
    depth = u * np.cos(along) ** 2 + v * np.sin(along) ** 2
    square = x**2 + y**2
    phase = np.pi * wave * square * (depth - 0.5 * cs * 1e7 * wave**2 * square)
    return np.sin(phase + np.arcsin(amplitude_contrast) + np.radians(phase_shift))


def frequencies():
    y, x = np.meshgrid(np.fft.fftfreq(BOX, PIXEL), np.fft.rfftfreq(BOX, PIXEL), indexing="ij")
    return x, y


@pytest.mark.parametrize("angle", [0.0, 30.0, -75.0])
def test_astigmatism_lies_as_the_angle_says(angle):
    found = evaluate_ctf(defocus(15000, 11000, angle), BOX, PIXEL)[0].numpy()
    assert np.allclose(found, by_formula(15000, 11000, angle, *frequencies()), atol=2e-3)


def test_either_defocus_may_be_the_larger():
    found = evaluate_ctf(defocus([15000, 9000, 9000], [11000, 14000, 9000], 25.0), BOX, PIXEL).numpy()
    for one, (u, v) in zip(found, [(15000, 11000), (9000, 14000), (9000, 9000)]):
        assert np.allclose(one, by_formula(u, v, 25.0, *frequencies()), atol=2e-3)


def test_the_larger_defocus_lies_along_x_at_angle_0():
    """Said without a formula: along x the first zero comes sooner than along y, at 30 degrees soonest at 30 degrees."""
    straight = evaluate_ctf(defocus(20000, 8000, 0.0), BOX, PIXEL)[0]
    along_x, along_y = straight[0, :], straight[: BOX // 2, 0]
    assert first_zero(along_x) < first_zero(along_y)
    rotated = evaluate_ctf(defocus(20000, 8000, 30.0), BOX, PIXEL)[0]
    k = 8
    at = {a: float(rotated[round(k * np.sin(np.radians(a))), round(k * np.cos(np.radians(a)))]) for a in (30, -60)}
    down, up = float(rotated[4, 7]), float(rotated[-4, 7])  # +30 and -30 degrees from x, y down
    assert down != pytest.approx(up, abs=0.05)
    assert at[30] == pytest.approx(down)


def first_zero(values):
    return int((values < 0).nonzero()[0])


@pytest.mark.parametrize(
    "more",
    [
        {"phase_shift": 90.0},
        {"phase_shift": 40.0},
        {"voltage": 200.0, "cs": 2.0},
        {"voltage": 80.0, "cs": 0.01, "amplitude_contrast": 0.2},
    ],
)
def test_phase_plate_and_microscope(more):
    found = evaluate_ctf(defocus(9000, 8000, 20.0, **more), BOX, PIXEL)[0].numpy()
    assert np.allclose(found, by_formula(9000, 8000, 20.0, *frequencies(), **more), atol=2e-3)


def test_particles_of_different_microscopes_keep_their_own():
    both = defocus([9000, 9000], [9000, 9000], voltage=[200, 300], b_factor=[0, 100])
    found = evaluate_ctf(both, BOX, PIXEL)
    x, y = frequencies()
    assert np.allclose(found[0].numpy(), by_formula(9000, 9000, 0, x, y, voltage=200), atol=2e-3)
    envelope = np.exp(-100 / 4 * (x**2 + y**2))
    assert np.allclose(found[1].numpy(), by_formula(9000, 9000, 0, x, y) * envelope, atol=2e-3)


def test_overfocus_keeps_the_contrast():
    assert float(evaluate_ctf(defocus(-9000), BOX, PIXEL)[0, 0, 0]) > 0


def test_turning_a_particle_turns_its_transfer():
    """What ``rotation`` means, on images: the particle seen through its transfer and then rotated is the rotated
    particle seen through the rotated transfer."""
    contrast = ParticleCtf(defocus(22000, 9000, 25.0, b_factor=200), BOX * PIXEL, "signed")
    image = to_fourier(torch.from_numpy(phantom("hook", BOX).image()))[None]
    rotation = torch.tensor([40.0])
    seen = transform(image * contrast.absolute(np.array([0]), BOX), BOX, rotation)
    right = contrast.absolute(np.array([0]), BOX, rotation=np.array([40.0]))
    wrong = contrast.absolute(np.array([0]), BOX, rotation=np.array([-40.0]))
    found = {
        n: to_images(to_fourier(transform(image, BOX, rotation)) * c, BOX) for n, c in (("+", right), ("-", wrong))
    }
    distance = {n: float((seen - other).norm() / seen.norm()) for n, other in found.items()}
    assert distance["+"] < 0.05 < 0.2 < distance["-"]


def test_modes():
    contrast = ParticleCtf(defocus(20000), BOX * PIXEL, "signed")
    signed = contrast.absolute(np.array([0]), BOX)
    assert (signed < -0.5).any()
    assert torch.equal(contrast.with_mode("flipped").absolute(np.array([0]), BOX), signed.abs())
    assert (contrast.with_mode("none").evaluate(np.array([0]), BOX) == 1).all()
    with pytest.raises(ValueError, match="sideways"):
        contrast.with_mode("sideways")


def test_relative_transfers_have_a_mean_square_of_one_in_every_ring():
    particles = defocus(np.linspace(8000, 22000, 40))
    contrast = ParticleCtf(particles, BOX * PIXEL, "flipped")
    square = contrast.evaluate(np.arange(40), BOX).square().mean(0)
    ring = radii(BOX).round().long()
    means = [float(square[ring == k].mean()) for k in range(BOX // 2)]
    assert means == pytest.approx([1.0] * len(means), abs=1e-3)


def test_relative_transfers_do_not_depend_on_the_order_of_the_particles():
    u = np.random.default_rng(0).uniform(5000, 20000, 600)
    order = np.random.default_rng(1).permutation(600)
    first = ParticleCtf(defocus(u), BOX * PIXEL).evaluate(order[:5], BOX)
    second = ParticleCtf(defocus(u[order]), BOX * PIXEL).evaluate(np.arange(5), BOX)
    assert torch.allclose(first, second, atol=1e-5)


def mixed(**more):
    """Six particles: flipped, not, multiplied, of two each."""
    flags = {
        "flipped": np.array([True, True, False, False, False, False]),
        "premultiplied": np.array([False, False, False, False, True, True]),
    }
    return replace(defocus(np.linspace(9000, 19000, 6)), **flags | more)


def test_each_particle_has_the_transfer_that_its_row_says():
    contrast = ParticleCtf(mixed(), BOX * PIXEL, "table", box=BOX)
    signed = contrast.with_mode("signed").evaluate(np.arange(6), BOX)
    found = contrast.evaluate(np.arange(6), BOX)
    assert torch.equal(found[:2], signed[:2].abs())
    assert torch.equal(found[2:], signed[2:])
    part = contrast.subset(np.array([4, 0, 2]))  # of which rows and words go along
    assert torch.equal(part.evaluate(np.arange(3), BOX), found[[4, 0, 2]])
    assert part.premultiplied.tolist() == [True, False, False]


def test_a_particle_without_defocus_has_the_transfer_1_up_to_where_signs_part():
    known = np.array([True, True, False, True, True, True])
    contrast = ParticleCtf(mixed(known=known, premultiplied=np.zeros(6, bool)), BOX * PIXEL, "table")
    ring, peak = radii(BOX).round().long(), contrast.peak(BOX)
    found = contrast.evaluate(np.arange(6), BOX)
    assert (found[2][ring <= peak] == 1).all()
    assert (found[2][ring > peak] == 0).all()
    assert (contrast.with_mode("flipped").evaluate(np.array([2]), BOX) == 1).all()
    others = np.flatnonzero(known)  # what it has for a defocus moves the level of nobody
    alone = ParticleCtf(mixed(known=known, premultiplied=np.zeros(6, bool)), BOX * PIXEL, "signed")
    few = replace(mixed(), **{k: v[others] for k, v in vars(mixed()).items() if isinstance(v, np.ndarray)})
    assert torch.equal(alone.level(BOX), ParticleCtf(few, BOX * PIXEL, "signed").level(BOX))


@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_multiplied_image_is_matched_as_its_plain_image_is(all_of_them):
    """Noise-free and whitened by the noise of the whole set: the product that is compared is the same for both."""
    flags = np.ones(6, bool) if all_of_them else mixed().premultiplied
    contrast = ParticleCtf(mixed(premultiplied=flags), BOX * PIXEL, "table", box=BOX)
    signed = contrast.with_mode("signed")
    ctf, mean, which = signed.absolute(np.arange(6), BOX), contrast._mean_square("cpu"), np.array([4, 5])
    signal = to_fourier(torch.from_numpy(phantom("hook", BOX).image()))
    white = (contrast.share * contrast._level(BOX, "cpu").square() / mean + 1 - contrast.share).sqrt()
    plain = ctf[which] * signal  # of noise 1; multiplied and brought to a noise of 1, made white with that of the set:
    multiplied = ctf[which] * plain / mean**0.5 / white
    ctf = contrast.evaluate(which, BOX)
    found = multiplied * contrast.factor(which, ctf, BOX)
    expected = plain * signed.evaluate(which, BOX)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    if not all_of_them:  # and a plain one's noise is as white as theirs
        own = contrast.evaluate(np.array([2]), BOX)
        assert torch.allclose(contrast.factor(np.array([2]), own, BOX) / white, own, rtol=1e-4)


def test_where_nothing_was_multiplied_nothing_changes():
    contrast = ParticleCtf(mixed(premultiplied=np.zeros(6, bool)), BOX * PIXEL, "table", box=BOX)
    ctf = contrast.evaluate(np.arange(6), BOX)
    assert contrast.factor(np.arange(6), ctf, BOX) is ctf
