"""The band shifts, masks and compares images as their pixels do, for even and odd boxes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.band import Band, ShiftMaps
from scipion_udl.imaging.fourier import radii, soft_disc, to_fourier, transform
from scipion_udl.imaging.poses import Poses
from scipion_udl.tests.imaging.test_fourier import BOXES, hook, place, spot


@pytest.fixture(params=BOXES)
def box(request):
    return request.param


def test_a_positive_shift_moves_the_image_to_the_right_and_down(box, device):
    band = Band(box, 20, device)
    centred = band.of_images(spot(box, 0, 0).to(device))
    right = band.images(band.shifted(centred, torch.tensor([5.0, 0.0], device=device)))
    down = band.images(band.shifted(centred, torch.tensor([0.0, 3.0], device=device)))
    assert place(right) == (0, 5)
    assert place(down) == (3, 0)


def test_a_shift_by_part_of_a_pixel_is_exact_for_what_the_band_holds(box):
    shift = np.array([[2.3, -1.7]])
    band = Band(box, 20)
    moved = band.shifted(band.of_images(hook(box)), torch.tensor(shift, dtype=torch.float32))
    # the particle of the pose (0, t) is the template moved by -t
    expected = band.of_images(hook(box, Poses([0.0], -shift)))
    assert float((moved - expected).abs().max() / expected.abs().max()) < 1e-3


def test_the_complex_conjugate_is_the_image_turned_by_180_degrees(box):
    band = Band(box, 20)
    rotated = band.images(band.of_images(hook(box)).conj())
    expected = band.images(band.of_images(transform(to_fourier(hook(box)), box, torch.tensor([180.0]))))
    assert float((rotated - expected).abs().max()) < 0.01 * float(expected.abs().max())


# bands


def test_a_band_keeps_what_lies_inside_it_and_nothing_else(box):
    band = Band(box, 10)
    coefficients = to_fourier(torch.randn(2, box, box))
    kept = band.half_plane(band.crop(coefficients))
    r = radii(box)
    inside = (r <= 10) & (r >= 1)
    assert torch.equal(kept[:, inside], coefficients[:, inside])
    assert float(kept[:, ~inside].abs().max()) == 0


def test_the_inner_product_over_a_half_plane_is_half_of_that_of_the_images(box):
    band = Band(box, 15)
    a, b = (band.of_images(torch.randn(box, box)) for _ in range(2))
    of_images = (band.images(a).double() * band.images(b).double()).sum()
    assert float(2 * band.dot(a, b)) == pytest.approx(float(of_images), rel=1e-3, abs=0.05)
    assert float(2 * band.dot(a, a)) == pytest.approx(float(band.images(a).double().pow(2).sum()), rel=1e-4)


def test_rings_share_out_the_power_and_nothing_is_lost(box):
    band = Band(box, 15)
    a = band.of_images(torch.randn(box, box))
    rings = band.ring_sums(a.abs().pow(2))
    assert rings.shape == (16,)
    assert float(rings[0]) == 0
    assert float(rings.sum()) == pytest.approx(float(band.dot(a, a)), rel=1e-5)
    flat = band.spread(torch.arange(16.0))
    assert float(((flat - band.radius) * band.disc).abs().max()) <= 0.5


def test_a_mask_takes_away_what_lies_outside(box):
    band = Band(box, 20)
    both = band.of_images(spot(box, 0, 0) + spot(box, 18, 0))
    before, after = band.images(both), band.images(band.masked(both, soft_disc(box, 9, 3)))
    middle, outer = (box // 2, box // 2), (box // 2, box // 2 + 18)
    assert float(before[outer] / before[middle]) > 0.9
    assert abs(float(after[outer] / after[middle])) < 0.1
    assert float(after[middle] / before[middle]) == pytest.approx(1, abs=0.1)


# maps of shifts


@pytest.mark.parametrize("step", [1.0, 0.5])
def test_the_map_holds_the_inner_product_at_every_shift(box, step):
    torch.manual_seed(1)
    band = Band(box, 12)
    maps = ShiftMaps(band, 3, step)
    image, reference = (band.of_images(torch.randn(box, box)) for _ in range(2))
    found = maps.correlate(image, reference)
    for row, y in enumerate(maps.shifts):
        for column, x in enumerate(maps.shifts):
            expected = band.dot(band.shifted(image, torch.stack([x, y])), reference)
            assert float(found[row, column]) == pytest.approx(float(expected), rel=1e-3, abs=0.02)


def test_the_highest_point_is_the_shift_that_brings_the_image_back(box):
    band = Band(box, 20)
    maps = ShiftMaps(band, 6)
    reference = band.of_images(hook(box))[0]
    moved = band.shifted(reference, torch.tensor([4.0, -2.0]))
    row, column = divmod(int(maps.correlate(moved, reference).argmax()), len(maps.shifts))
    assert (float(maps.shifts[column]), float(maps.shifts[row])) == (-4, 2)


def test_shifts_are_looked_at_in_a_circle(box):
    maps = ShiftMaps(Band(box, 10), 5)
    assert bool(maps.inside[5, 0])
    assert not bool(maps.inside[0, 0])


def test_blurring_with_all_weight_on_one_shift_is_that_shift(box):
    band = Band(box, 12)
    maps = ShiftMaps(band, 4)
    image = band.of_images(hook(box))[0]
    weights = torch.zeros(len(maps.shifts), len(maps.shifts))
    weights[list(maps.shifts).index(-3.0), list(maps.shifts).index(2.0)] = 1
    expected = band.shifted(image, torch.tensor([2.0, -3.0]))
    assert float((image * maps.blur(weights) - expected).abs().max()) < 1e-4 * float(image.abs().max())
