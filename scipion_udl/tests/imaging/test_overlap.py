"""The shift between images that show only parts of each other."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from scipion_udl.imaging.overlap import OverlapCorrelation


def scene(seed, size=160):
    """A large image that falls off with frequency as photographs do."""
    image = np.random.default_rng(seed).standard_normal((size, size))
    return ndimage.gaussian_filter(image, 2) * 4 + ndimage.gaussian_filter(image, 8) * 30


def views(box, move, seeds=range(4)):
    """Images of two windows on one scene: what lies at p in the first lies at p - move in the second."""
    first, second = [], []
    for seed in seeds:
        large, start = scene(seed), 50
        first.append(large[start : start + box, start : start + box])
        x, y = move
        second.append(large[start + y : start + y + box, start + x : start + x + box])
    return (torch.from_numpy(np.stack(v)).float() for v in (first, second))


@pytest.mark.parametrize("box", [48, 49])
@pytest.mark.parametrize("move", [(0, 0), (7, -4), (-10, 6)])
def test_the_shift_brings_the_second_window_onto_the_first(box, move):
    # content at p in the second lies at p + move in the first
    first, second = views(box, move)
    shift, score = OverlapCorrelation(box, 14, 0.47 * box).best(first, second)
    assert torch.allclose(shift, torch.tensor(move).float().expand(4, 2), atol=0.1)
    assert (score > 0.99).all()


def test_between_the_pixels():
    large = scene(3)
    moved = ndimage.shift(large, (0.3, -1.4), order=5)  # down by 0.3, left by 1.4
    first, second = (torch.from_numpy(v[50:98, 50:98])[None].float() for v in (moved, large))
    shift, _ = OverlapCorrelation(48, 6, 22).best(first, second)
    assert torch.allclose(shift[0], torch.tensor([-1.4, 0.3]), atol=0.1)


def test_brightness_does_not_count_and_opposite_contrast_does():
    first, second = views(48, (5, 3))
    compare = OverlapCorrelation(48, 8, 22)
    assert torch.allclose(compare.maps(first, second), compare.maps(first * 3 - 40, second + 100), atol=1e-3)
    assert compare.maps(first, -second).min() < -0.99


def test_shifts_end_at_the_reach_and_flat_images_correlate_with_nothing():
    compare = OverlapCorrelation(32, 5, 15)
    first, second = views(32, (9, 0))
    shift, _ = compare.best(first, second)
    assert (shift.norm(dim=1) <= 5.8).all()
    flat = torch.full_like(first, 3.0)
    assert compare.best(flat, second)[1].abs().max() < 1e-3
    axis = torch.arange(-5, 6)
    outside = axis[:, None] ** 2 + axis[None] ** 2 > 25
    assert (compare.maps(first, second)[:, outside] == -1).all()
