"""What polar samples say of a particle: turning and moving it turns and moves them, and power is counted once."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import resize, soft_disc, to_fourier, to_images
from scipion_udl.imaging.polar_samples import EDGE, AngularTransform, PolarSampling
from scipion_udl.imaging.poses import Poses, rotations
from scipion_udl.tests.class_helpers import Grid, away, random_poses, seen

TOLERANCE = Poses.identity(1)


@pytest.fixture(params=[40, 41, 64], ids=lambda box: f"{box} px")
def grid(request):
    return Grid(request.param)


def noise(count: int, box: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, box, box))


def applied(images: np.ndarray, poses: Poses) -> np.ndarray:
    """Images with poses applied, by what makes the averages."""
    tensor = torch.from_numpy(np.asarray(images, np.float32))
    return apply_poses(tensor, torch.zeros(len(images)), poses).numpy()


@pytest.mark.parametrize("angle", [25.0, -110.0, 180.0])
def test_a_positive_angle_turns_the_content_clockwise_in_samples_as_in_images(grid, angle):
    image = seen(0, TOLERANCE, grid.box)
    found = grid.coefficients(applied(image, Poses(np.array([angle]))))
    still = grid.coefficients(image)
    assert away(grid.transform.rotated(still, torch.tensor([angle])), found) < 0.02
    if abs(angle) < 180:
        assert away(grid.transform.rotated(still, torch.tensor([-angle])), found) > 0.4


def test_moving_a_particle_to_the_right_and_down_is_a_wave_on_its_samples(grid):
    image, shift = seen(1, TOLERANCE, grid.box), torch.tensor([[2.5, -1.0]])
    found = grid.samples(applied(image, Poses(np.zeros(1), shift.numpy())))
    still = grid.samples(image)
    assert away(still * grid.transform.waves(shift), found) < 0.02
    for wrong in (-shift, shift.flip(1)):
        assert away(still * grid.transform.waves(wrong), found) > 0.4


def test_the_true_pose_of_a_simulated_particle_brings_it_onto_its_view(grid):
    """Move by R^T t, then turn: the same as turning and moving by t."""
    poses = random_poses(6, 3)
    back = torch.from_numpy(np.einsum("nji,nj->ni", rotations(poses.angle), poses.shift))
    values = grid.samples(seen(2, poses, grid.box)) * grid.transform.waves(back)
    aligned = grid.transform.rotated(grid.transform.forward(values.to(torch.complex64)), torch.from_numpy(poses.angle))
    view = grid.coefficients(seen(2, TOLERANCE, grid.box))
    assert max(away(one, view[0]) for one in aligned) < 0.02
    other = grid.coefficients(seen(3, TOLERANCE, grid.box))
    assert min(away(one, other[0]) for one in aligned) > 0.4


def test_the_mirror_image_has_the_mirrored_coefficients(grid):
    image = seen(0, random_poses(1, 5), grid.box)
    found = grid.coefficients(applied(image, Poses(np.zeros(1), None, np.ones(1, bool))))
    assert away(grid.transform.mirrored(grid.coefficients(image)), found) < 0.02
    assert away(grid.coefficients(image), found) > 0.4


def test_samples_and_orders_are_each_others_inverse(grid):
    samples = grid.samples(seen(np.arange(4), random_poses(4, 7), grid.box))
    orders = grid.transform.forward(samples)
    assert away(grid.transform.backward(orders), samples) < 1e-3
    assert away(grid.transform.forward(grid.transform.backward(orders)), orders) < 1e-5


def test_noise_of_variance_1_has_samples_of_variance_1_and_no_coefficient_is_counted_twice(grid):
    samples = grid.samples(noise(300, grid.box))
    assert samples.abs().square().mean((0, 2))[1:].numpy() == pytest.approx(1, abs=0.06)
    power = (grid.transform.forward(samples).abs().square() * grid.transform.weight).sum(-1).mean(0)
    # Of a half plane, in rings one pixel wide, as far as the disc leaves them independent.
    coefficients = math.pi * torch.arange(1, grid.rings + 1) * grid.sampling.independent
    assert (power / coefficients)[1:8].numpy() == pytest.approx(1, abs=0.06)
    # At the edge of the box noise turns faster than the orders that are kept; of the particle all is in them.
    assert (power / coefficients)[8:].min() > 0.75


@pytest.mark.parametrize("mask", [0.47, 0.35])
def test_what_noise_has_in_common_with_a_view_spreads_as_its_likelihood_says(grid, mask):
    """The log likelihood 2 <noise, view> - |view|^2 counts every independent coefficient once: then the product has
    half the view's power as its variance. Were all of the box counted, it would have 1.6 or 2.9 times as much."""
    grid.sampling = PolarSampling(grid.box, grid.rings, mask=mask)
    grid.transform = AngularTransform(grid.sampling, grid.rings)
    view, images = grid.coefficients(seen(1, TOLERANCE, grid.box))[0], grid.coefficients(noise(3000, grid.box))
    products = ((images * view.conj()).real * grid.transform.weight).sum((-2, -1))
    assert float(products.var() / (grid.power(view) / 2)) == pytest.approx(1.08, abs=0.12)


def test_the_power_of_a_particle_is_that_of_its_fourier_coefficients(grid):
    """Per image; and in units of noise within the disc alone, of which there is less than in the box."""
    image = seen(1, TOLERANCE, grid.box)
    band = Band(grid.box, grid.rings)
    coefficients = band.crop(to_fourier(torch.from_numpy(image.astype(np.float32))))
    disc = soft_disc(grid.box, grid.sampling.mask * grid.box, EDGE * grid.box)
    expected = float(band.dot(coefficients, coefficients)) / float(disc.square().mean()) * grid.sampling.independent
    # Rings stand for the plane between them, where power falls steeply.
    assert float(grid.power(grid.coefficients(image))) == pytest.approx(expected, rel=0.1)


def test_coefficients_are_drawn_as_the_particle_they_are_of(grid):
    """Not mirrored, not rotated, as loud as it is; a moved particle is drawn moved."""
    image, small = seen(0, TOLERANCE, grid.box), grid.sampling.small
    drawn = grid.transform.images(grid.coefficients(image))
    whole = torch.from_numpy(np.asarray(image, np.float32))
    shown = to_images(resize(to_fourier(whole), grid.box, small), small) * soft_disc(
        small, grid.sampling.mask * small, EDGE * small
    )
    shown = shown - shown.mean()
    assert away(drawn, shown) < 0.15  # what is finer than the last ring is not drawn
    assert away(drawn.flip(-1), shown) > 0.4
    samples = grid.samples(image) * grid.transform.waves(torch.tensor([[3.0, -2.0]]) * grid.box / small)
    moved = grid.transform.images(grid.transform.forward(samples))
    assert away(moved, torch.roll(drawn, (-2, 3), (1, 2))) < 0.15


def test_a_level_background_is_not_seen(grid):
    image = seen(0, TOLERANCE, grid.box)
    assert away(grid.coefficients(image + 30.0), grid.coefficients(image)) < 1e-3


def test_samples_of_a_particle_are_the_same_whatever_comes_with_it(grid):
    coefficients = to_fourier(torch.from_numpy(noise(40, grid.box).astype(np.float32)))
    whole = grid.sampling.of(coefficients)
    for count in (1, 7, 33):
        parts = [grid.sampling.of(part) for part in coefficients.split(count)]
        assert torch.equal(torch.cat(parts), whole)


def test_directions_that_are_left_out_say_nothing_that_the_orders_need():
    """Of few rings every second direction makes the same coefficients, the particle moved as far as it may lie."""
    box, rings = 64, 6
    sampling = PolarSampling(box, rings)
    values = sampling.of(to_fourier(torch.from_numpy(seen(1, random_poses(8, 2, 6.0), box).astype(np.float32))))
    few = AngularTransform(sampling, rings)
    assert few.seen(values).shape[-1] < values.shape[-1]
    every = AngularTransform(PolarSampling(box, rings, sampling.angles), rings)
    order = torch.arange(every.orders)
    theta = torch.arange(2 * sampling.angles) * (math.pi / sampling.angles)
    shift = torch.tensor([[6.4, -6.4]]).expand(8, 2)
    kx, ky = (torch.arange(1, rings + 1)[:, None] * f for f in (theta.cos(), theta.sin()))
    waves = torch.polar(torch.ones(rings, len(theta)), -2 * math.pi / box * (shift[0, 0] * kx + shift[0, 1] * ky))
    circle = torch.cat([values, values.conj()], -1) * waves
    direct = circle @ torch.polar(torch.ones(len(theta), len(order)), -theta[:, None] * order) / len(theta)
    found = few.forward(few.seen(values) * few.waves(shift))
    assert away(found, direct * few.root[:, None]) < 1e-3
