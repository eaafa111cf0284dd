"""A Gaussian blur keeps what it must keep."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.blur import gaussian_blur


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_point_becomes_a_gaussian_of_the_same_mass(dtype):
    image = torch.zeros(41, 41, dtype=dtype)
    image[20, 20] = 3.0
    seen = gaussian_blur(image, 2.0)
    assert seen.dtype == dtype
    assert float(seen.sum()) == pytest.approx(3.0, rel=1e-6)
    place = torch.arange(41, dtype=dtype) - 20
    assert float((seen.sum(0) * place.square()).sum() / 3) == pytest.approx(4.0, rel=0.05)
    assert torch.allclose(seen, seen.T)


def test_a_constant_image_stays_up_to_its_edge_where_the_nearest_pixel_goes_on():
    image = torch.full((16, 16), 2.0)
    assert torch.allclose(gaussian_blur(image, 1.5, "nearest"), image)
    assert float(gaussian_blur(image, 1.5)[0, 0]) == pytest.approx(2.0 * 0.63**2, rel=0.1)
