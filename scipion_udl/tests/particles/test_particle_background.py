"""Backgrounds: ramps, hot pixels, the noise beside neighbours."""

import numpy as np
import pytest
import torch

from scipion_udl.particles.background import STICKS_OUT, Background, background_words, repaired, steepness

BOX = 64


def noise(count=60, seed=0, box=BOX):
    return torch.randn(count, box, box, generator=torch.Generator().manual_seed(seed))


def ramp(rise_x, rise_y=0.0, box=BOX):
    """Rises from the centre to the edge by so much."""
    axis = (torch.arange(box) - box // 2) / (box / 2)
    return rise_x * axis + rise_y * axis[:, None]


def test_a_ramp_is_measured_in_units_of_the_noise_and_taken_off():
    images = 50 + 3 * (noise() + ramp(0.8, -0.6))
    background = Background(BOX, 20)
    found = background.measure(images)
    assert steepness(found.slope.numpy(), found.std.numpy(), BOX).mean() == pytest.approx(1.0, abs=0.03)
    assert (found.slope[:, 0] > 0).all()
    assert (found.slope[:, 1] < 0).all()
    level, replaced = background.levelled(images, found.mean, found.slope, found.std)
    left = background.measure(level)
    assert float(left.slope.abs().max()) < 1e-3
    assert not replaced.any()
    # what is left is the noise as it was
    assert float((level * noise()).sum() / (level.norm() * noise().norm())) > 0.995


def test_a_neighbour_in_the_background_tilts_no_plane():
    axis = torch.arange(BOX) - BOX // 2
    disc = ((axis[:, None] - 22) ** 2 + (axis - 22) ** 2 < 12**2).float()
    found = Background(BOX, 18).measure(noise() + 3 * disc)
    assert steepness(found.slope.numpy(), found.std.numpy(), BOX).mean() < 0.2
    assert found.mean.abs().mean() < 0.1
    assert found.std.mean() == pytest.approx(1.0, abs=0.06)
    # least squares over the same pixels would have taken it for a ramp
    outside = Background(BOX, 18).outside.flatten().numpy()
    y, x = np.meshgrid(axis, axis, indexing="ij")
    design = np.stack([np.ones(BOX * BOX), x.ravel() / 32, y.ravel() / 32], 1) * outside[:, None]
    plane = np.linalg.lstsq(design, (noise() + 3 * disc).mean(0).flatten().numpy() * outside, rcond=None)[0]
    assert np.hypot(*plane[1:]) > 0.4


def test_single_pixels_that_stick_out_are_replaced_and_structures_stay():
    images = noise(20)
    images[:, 5, 7], images[:, 40, 41] = 30.0, -12.0
    images[:, 20:24, 30:34] += 25.0  # a gold bead
    out, count = repaired(images)
    assert (count == 2).all()
    assert out[:, 5, 7].abs().max() < 4
    assert out[:, 40, 41].abs().max() < 4
    assert (out[:, 20:24, 30:34] > 15).all()
    rest = torch.ones(BOX, BOX, dtype=torch.bool)
    rest[5, 7] = rest[40, 41] = False
    assert torch.equal(out[:, rest], images[:, rest])


def test_gaussian_noise_is_not_repaired():
    images = noise(400, seed=3)
    assert float(images.abs().max()) < STICKS_OUT
    assert not repaired(images)[1].any()


def test_hot_pixels_change_the_noise_of_no_image():
    images = noise()
    hot = images.clone()
    for k in range(6):
        hot[:, 3 + 9 * k, 2] = 40.0
    background = Background(BOX, 20)
    assert torch.allclose(background.measure(hot).std, background.measure(images).std, rtol=0.03)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e25])
def test_the_unit_of_grey_values_does_not_matter(scale):
    background = Background(BOX, 20)
    one, other = background.measure(noise() + ramp(0.5)), background.measure(scale * (noise() + ramp(0.5)))
    assert torch.allclose(other.std / scale, one.std, rtol=1e-4)
    assert torch.allclose(other.slope / scale, one.slope, atol=1e-5)


def test_constant_images_are_told_and_left_alone():
    images = noise(3)
    images[1] = 7.0
    found = Background(BOX, 20).measure(images)
    assert found.flat.tolist() == [False, True, False]
    assert found.slope[1].tolist() == [0, 0]
    assert float(found.std[1]) == 1


def test_words_count_what_mattered():
    assert background_words(np.array([0.1, 0.19]), np.array([0, 0])) is None
    told = background_words(np.array([0.1, 0.5, 0.9]), np.array([0, 4, 1]))
    assert "2 of 3 images have a ramp" in told
    assert "0.9 at most" in told
    assert "2 of 3 images have pixels that stick out, 5 in all" in told


def test_images_known_to_have_no_hot_pixels_are_not_looked_through_and_come_out_the_same(monkeypatch):
    images = noise()
    images[[1, 4], 3, 2] = 40.0
    background = Background(BOX, 20)
    found = background.measure(images)
    level, replaced = background.levelled(images, found.mean, found.slope, found.std)
    assert replaced.tolist() == [int(k in (1, 4)) for k in range(len(images))]
    looked = []

    def seen(some):
        looked.append(len(some))
        return repaired(some)

    monkeypatch.setattr("scipion_udl.particles.background.repaired", seen)
    again, same = background.levelled(images, found.mean, found.slope, found.std, replaced.numpy())
    assert torch.equal(again, level)
    assert torch.equal(same, replaced)
    assert looked == [2]
