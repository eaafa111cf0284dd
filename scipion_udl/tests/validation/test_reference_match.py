"""An average laid on a reference: what is put in comes out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")
from scipy import ndimage

from scipion_udl.imaging.poses import Poses, compose
from scipion_udl.validation.reference_match import (
    crossing,
    match_reference,
    ring_correlation,
    soft_circle,
    transform,
)


def picture(box: int) -> np.ndarray:
    """An asymmetric smooth image whose blobs lie at known shares of the box."""
    y, x = (np.indices((box, box)) - box // 2) / box
    blobs = [(0, 0, 0.08, 1), (0.15, 0.03, 0.05, 0.9), (-0.12, 0.08, 0.04, 0.8), (0.03, -0.16, 0.04, 0.7)]
    return sum(a * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * s**2)) for u, v, s, a in blobs)


@pytest.mark.parametrize("box", [64, 65])
def test_a_quarter_turn_takes_the_right_to_the_bottom(box):
    image = np.zeros((box, box))
    image[box // 2, box // 2 + 10] = 1.0
    rotated = transform(image, Poses(np.array([90.0])))
    assert np.unravel_index(rotated.argmax(), rotated.shape) == (box // 2 + 10, box // 2)


@pytest.mark.parametrize("box", [64, 65])
def test_a_shift_moves_the_content_right_and_down(box):
    image = np.zeros((box, box))
    image[box // 2, box // 2] = 1.0
    moved = transform(image, Poses(np.zeros(1), np.array([[5.0, 2.0]])))
    assert np.unravel_index(moved.argmax(), moved.shape) == (box // 2 + 2, box // 2 + 5)


@pytest.mark.parametrize("box", [63, 96, 129])
@pytest.mark.parametrize("angle", [-170.3, -45.0, 12.4, 121.0])
def test_turn_and_shift_of_an_average_are_found(box, angle):
    reference = picture(box)
    away = Poses(np.array([angle]), np.array([[3.3, -5.1]]))
    match = match_reference(transform(reference, away), reference, 2.0)
    left = compose(match.pose, away)
    assert abs(left.angle[0]) < 0.1
    assert np.hypot(*left.shift[0]) < 0.1
    assert match.correlation > 0.995


def test_opposite_contrast_is_matched_and_told():
    reference = picture(64)
    match = match_reference(3 - 2 * transform(reference, Poses(np.array([77.0]))), reference, 1.0)
    assert match.correlation < -0.995
    assert match.frc[1:8].min() > 0.9


def test_noise_correlates_with_nothing():
    match = match_reference(np.random.default_rng(0).normal(size=(96, 96)), picture(96), 1.0)
    assert abs(match.correlation) < 0.35
    assert np.abs(match.frc[12:]).mean() < 0.3


def test_frc_of_an_image_with_itself_is_one_and_with_noise_falls():
    rng = np.random.default_rng(1)
    image = ndimage.gaussian_filter(rng.normal(size=(80, 80)), 2.0) * soft_circle(80)
    frequency, frc = ring_correlation(image, image, 2.5)
    assert frc == pytest.approx(np.ones(41))
    assert frequency[-1] == pytest.approx(0.2)  # Nyquist of 2.5 A
    noisy = image + 0.3 * image.std() * rng.normal(size=(80, 80))
    frc = ring_correlation(image, noisy, 2.5)[1]
    assert frc[1:5].min() > 0.9
    assert np.abs(frc[30:]).mean() < 0.2


def test_crossing_is_read_between_the_rings():
    frequency = np.arange(5) * 0.1
    assert crossing(frequency, np.array([1, 0.9, 0.6, 0.4, 0.1]), 0.5) == (pytest.approx(1 / 0.25), False)
    assert crossing(frequency, np.full(5, 0.8), 0.5) == (pytest.approx(1 / 0.4), True)
    assert np.isnan(crossing(frequency, np.array([1, 0.1, 0.9, 0.9, 0.9]), 0.5)[0])
