"""An average in every orientation is that average rotated, and its slope is how it changes with the angle."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import to_fourier, transform
from scipion_udl.imaging.orientations import (
    AngleBins,
    Orientations,
    orientation_count,
    ring_normals,
    rotated_band,
)
from scipion_udl.imaging.poses import Poses
from scipion_udl.simulation.phantoms import phantom


@pytest.fixture(params=[63, 64])
def band(request):
    """A band of two thirds of Nyquist, beyond which pixels of the phantom itself alias."""
    return Band(request.param, 21)


def exact(band: Band, angle, shift=None, name: str = "hook") -> torch.Tensor:
    """Bands (n, ...) of the particles that poses take to the phantom, sampled by formula."""
    return band.of_images(torch.from_numpy(phantom(name, band.box).sample(Poses(angle, shift))))


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of the difference, in parts of what was expected; the largest of all images."""
    found, expected = (torch.view_as_real(v.resolve_conj()).double().flatten(1) for v in (found, expected))
    return float(((found - expected).square().sum(1) / expected.square().sum(1)).sqrt().max())


# orientations


def test_an_orientation_is_the_particle_that_its_angle_takes_to_the_phantom(band):
    made = Orientations(band, exact(band, 0.0)[0])
    angles = np.arange(made.count) * 180.0 / made.count
    assert distance(made.images, exact(band, angles) * band.weight) < 0.015
    assert made.step == pytest.approx(180.0 / made.count)


def test_the_opposite_turn_would_be_far_off(band):
    made = Orientations(band, exact(band, 0.0)[0], 8)
    assert distance(made.images[1:], exact(band, -np.arange(1, 8) * 22.5) * band.weight) > 0.5


def test_the_other_half_circle_is_the_complex_conjugate(band):
    made = Orientations(band, exact(band, 0.0)[0], 9)
    assert distance(made.images.conj(), exact(band, 180.0 + 20.0 * np.arange(9)) * band.weight) < 0.015


def test_slopes_are_what_a_degree_changes(band):
    """Against the difference of two particles sampled by formula a tenth of a degree to either side."""
    made = Orientations(band, exact(band, 0.0)[0], 9)
    angles = 20.0 * np.arange(9)
    change = 5 * (exact(band, angles + 0.1) - exact(band, angles - 0.1))
    assert distance(made.slopes, change * band.weight) < 0.07  # a wrong sign is 2


def test_no_orientation_pulls_the_angle_to_a_side(band):
    """An image and its slope are at right angles, or particles would be rotated by what interpolation leaves."""
    image = exact(band, 0.0)[0]
    made = Orientations(band, image)
    slopes = made.slopes / band.weight.clamp(min=0.5)
    product = (made.images.real * slopes.real + made.images.imag * slopes.imag).sum((1, 2))
    degrees = product / ring_normals(band, image).sum(0)[2, 2]
    assert float(degrees.square().mean().sqrt()) < 0.04


def test_a_background_that_is_not_0_makes_no_edge(band):
    """A band knows no mean; the phantom stays in its place whatever lies around it."""
    image = phantom("hook", band.box).image()
    one, other = (Orientations(band, band.of_images(torch.from_numpy(image + b)), 9).images for b in (0, 50.0))
    assert distance(other, one) < 1e-3


def test_a_turned_band_has_the_pose_applied(band):
    """The particle of pose 20 degrees, rotated by 20 degrees, is the phantom; so for every other angle."""
    angles = np.array([0.0, 20.0, -75.0, 133.0, 180.0])
    for angle in angles:
        rotated = rotated_band(band, exact(band, angle)[0], torch.tensor([angle]))
        assert distance(rotated, exact(band, 0.0)) < 0.015


@pytest.mark.parametrize("angle", [-500, -180, -91, -0.3, 0, 0.3, 89.9, 90, 179.9, 180, 271, 359.99, 725])
def test_the_nearest_orientation_is_within_half_a_step(angle):
    made = Orientations(Band(32, 8), torch.zeros(17, 9, dtype=torch.complex64), 50)
    place, other = made.nearest(torch.tensor([angle], dtype=torch.float64))
    assert 0 <= int(place) < 50
    found = int(place) * made.step + 180.0 * int(other)
    assert abs((found - angle + 180) % 360 - 180) <= made.step / 2 + 1e-9


@pytest.mark.parametrize("k_max", [10, 20, 40, 58])
def test_between_two_orientations_the_slope_tells_what_is_there(k_max):
    """Half a step away, the image and its slope give the image there to a few percent."""
    band = Band(128, k_max)
    step = 180.0 / orientation_count(k_max)
    (image,) = exact(band, 0.0)
    made = Orientations(band, image, 4)
    there = exact(band, 45.0 * np.arange(4) + step / 2) * band.weight
    assert distance(made.images + step / 2 * made.slopes, there) < 0.06


# bins


@pytest.mark.parametrize("count", [45, 90])
def test_bins_add_up_to_the_sum_of_the_turned_particles(band, count):
    """Particles rotated one by one, or put in bins and rotated together: the same but for what half a bin moves."""
    angles = np.random.default_rng(0).uniform(0, 360, 150)
    particles = exact(band, angles)
    images = torch.from_numpy(phantom("hook", band.box).sample(Poses(angles)))
    expected = band.of_images(transform(to_fourier(images), band.box, torch.from_numpy(angles))).sum(0)
    bins = AngleBins(band, count)
    place, other = Orientations(band, particles[0], count).nearest(torch.from_numpy(angles))
    particles = torch.where(other[:, None, None], particles.conj(), particles)
    for part in torch.arange(150).split(40):
        bins.add(place[part], particles[part])
    assert distance(bins.total()[None], expected[None]) < 0.02
    assert distance(bins.total()[None] / 150, exact(band, 0.0)) < 0.03


def test_particles_on_the_angle_of_their_bin_add_up_exactly(band):
    angles = np.array([0.0, 20.0, 60.0, 200.0, 340.0])
    bins = AngleBins(band, 9)
    particles = exact(band, angles)
    rotation = angles >= 180
    particles[rotation] = particles[rotation].conj()
    bins.add(torch.tensor([0, 1, 3, 1, 8]), particles)
    assert int(bins.filled.sum()) == 4
    assert distance(bins.total()[None] / 5, exact(band, 0.0)) < 0.015


def test_bins_with_nothing_in_them_add_up_to_nothing(band):
    total = AngleBins(band, 20).total()
    assert total.shape == band.disc.shape
    assert float(total.abs().max()) == 0


def test_shifts_stay_in_the_frame_of_the_average(band):
    """Particles moved to the centre before they are put in bins: their sum is the phantom in its place."""
    angles = 20.0 * np.arange(9)
    shift = np.random.default_rng(1).uniform(-3, 3, (9, 2))
    particles = exact(band, angles, shift)
    radians = np.radians(-angles)
    own = np.stack(  # R(-angle) t: the pose turns and then shifts, a particle that stays is shifted before
        [
            np.cos(radians) * shift[:, 0] - np.sin(radians) * shift[:, 1],
            np.sin(radians) * shift[:, 0] + np.cos(radians) * shift[:, 1],
        ],
        -1,
    )
    bins = AngleBins(band, 9)
    bins.add(torch.arange(9), band.shifted(particles, torch.from_numpy(own).float()))
    assert distance(bins.total()[None] / 9, exact(band, 0.0)) < 0.015


# what a small move costs


def changes(band: Band, name: str) -> list[torch.Tensor]:
    """How the particle changes per pixel of its place in x, in y, and per degree of its pose angle."""
    right, left = (exact(band, 0.0, [[v, 0.0]], name)[0] for v in (-0.5, 0.5))  # pose -t: it lies at +t
    down, up = (exact(band, 0.0, [[0.0, v]], name)[0] for v in (-0.5, 0.5))
    after, before = (exact(band, v, None, name)[0] for v in (0.5, -0.5))
    return [right - left, down - up, after - before]


@pytest.mark.parametrize("name", ["hook", "barrel"])
def test_normals_are_the_inner_products_of_what_small_moves_change(band, name):
    """Signs off the diagonal count: of the turn that a pose applies, as of the shift that it applies."""
    image = exact(band, 0.0, None, name)[0]
    normals = ring_normals(band, image).sum(0).double()
    x, y, rotation = changes(band, name)
    # a pose angle grown by a degree turns the particle by one degree more, against its orientation's change
    tangents = [x, y, -rotation]
    expected = torch.tensor([[float(band.dot(a, b)) for b in tangents] for a in tangents], dtype=torch.float64)
    size = expected.diagonal().sqrt()
    assert float(((normals - expected) / (size[:, None] * size[None])).abs().max()) < 0.06
    off = (expected / (size[:, None] * size[None]))[[0, 1], [2, 2]].abs().max()
    assert name == "barrel" or float(off) > 0.2  # that a wrong sign there would be seen


def test_normals_of_all_rings_are_those_of_the_band(band):
    image = exact(band, 0.0)[0]
    normals = ring_normals(band, image)
    assert normals.shape == (band.k_max + 1, 3, 3)
    assert torch.allclose(normals, normals.transpose(1, 2), rtol=1e-4)
    inner = image * (band.ring <= 8)
    few = ring_normals(band, inner)
    assert torch.allclose(few[2:8], normals[2:8], rtol=0.05, atol=0.01 * float(normals.abs().max()))
    assert float(few[10:].abs().max()) < 0.01 * float(normals.abs().max())


def test_the_turn_of_a_ring_costs_nothing():
    band = Band(64, 20)
    axis = torch.arange(64) - 32
    ring = torch.exp(-(((axis[:, None] ** 2 + axis[None] ** 2).sqrt() - 15) ** 2) / 8)
    normals = ring_normals(band, band.of_images(ring)).sum(0)
    hook = ring_normals(band, exact(band, 0.0)[0]).sum(0)
    assert float(normals[2, 2] / normals[0, 0]) < 1e-3 * float(hook[2, 2] / hook[0, 0])


def test_orientations_of_a_mean_are_the_mean_of_orientations(band):
    """Turning is linear: nothing in it is scaled by what the image is."""
    one, other = exact(band, 0.0)[0], exact(band, 0.0, None, "clamp")[0]
    both = Orientations(band, one + 3 * other, 7)
    apart = Orientations(band, one, 7).images + 3 * Orientations(band, other, 7).images
    assert distance(both.images, apart) < 1e-4
