"""Templates from images: resizing keeps the scene, and reading between pixels is exact to far below any noise."""

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.simulation.templates import ImageTemplate, fourier_resize, grid


def fourier_sum(image, points):
    """The exact band-limited image through the pixels, at points (2, N) from its origin."""
    box = len(image)
    spectrum = np.fft.fft2(np.fft.ifftshift(image)) / box**2
    k = np.fft.fftfreq(box, 1 / box)
    if box % 2 == 0:
        spectrum[box // 2] = spectrum[:, box // 2] = 0
    waves = [np.exp(2j * np.pi * np.outer(axis, k) / box) for axis in points]
    return np.einsum("pj,ji,pi->p", waves[1], spectrum, waves[0], optimize=True).real


@pytest.mark.parametrize("box", [48, 49])
@pytest.mark.parametrize(("what", "limit"), [("noise", 1e-3), ("phantom", 1e-4)])
def test_reading_between_pixels_is_exact_to_far_below_the_noise(box, what, limit):
    image = np.random.default_rng(0).normal(size=(box, box)) if what == "noise" else phantom("hook", box).image()
    template = ImageTemplate(image, box)
    padded = np.pad(template.image().astype(float), template._margin)
    pose = Poses([33.0], [[1.3, -2.6]])
    matrix = to_matrices(pose)[0]
    points = matrix[:2, :2] @ grid(box).reshape(2, -1) + matrix[:2, 2:]
    inside = np.abs(points).max(0) < box / 2
    error = template.sample(pose)[0].ravel()[inside] - fourier_sum(padded, points[:, inside])
    assert np.sqrt(np.mean(error**2)) < limit * template.image().std()


@pytest.mark.parametrize("box", [64, 65])
def test_an_image_and_the_formula_it_came_from_give_the_same_particles(box):
    formula = phantom("hammer", box)
    poses = Poses([-140.0, 12.5], [[3.25, -6.5], [0.0, 0.5]], [False, True])
    exact = formula.sample(poses)
    read = ImageTemplate(formula.image(), box).sample(poses)
    # what is left is the little that the formula has beyond what pixels hold
    assert np.sqrt(np.mean((exact - read) ** 2)) < 5e-3 * exact.std()


def test_the_identity_gives_the_template_itself():
    template = ImageTemplate(phantom("clamp", 64).image(), 64)
    assert np.abs(template.sample(Poses.identity(1))[0] - template.image()).max() < 1e-3


@pytest.mark.parametrize(("old", "new"), [(64, 96), (64, 97), (96, 64), (97, 64), (65, 49)])
def test_resizing_keeps_the_scene_and_the_origin(old, new):
    resized = fourier_resize(phantom("hook", old).image(), new)
    # the formula in the other box; its finest blobs depend on the pixel a little
    assert np.corrcoef(resized.ravel(), phantom("hook", new).image().ravel())[0, 1] > 0.999
    back = fourier_resize(fourier_resize(phantom("hook", 64).image(), 128), 64)
    assert np.abs(back - phantom("hook", 64).image()).max() < 1e-2


def test_resizing_keeps_grey_values():
    assert np.allclose(fourier_resize(np.full((32, 32), 7.0), 48), 7.0)


def test_the_border_becomes_zero_and_no_corner_tells_the_angle():
    image = phantom("hook", 64).image() + 100
    template = ImageTemplate(image, 64)
    corners = template.sample(Poses(np.arange(0.0, 360.0, 30.0)))[:, :6, :6]
    assert np.abs(corners).max() < 0.02 * template.image().std()
    assert abs(np.median(template.image())) < 0.1
    assert template.image().max() == pytest.approx(phantom("hook", 64).image().max(), rel=0.02)


def test_templates_without_a_picture_are_refused():
    with pytest.raises(UdlError, match="constant image"):
        ImageTemplate(np.full((32, 32), 5.0), 32)
    with pytest.raises(UdlError, match="too small"):
        ImageTemplate(np.zeros((32, 32)), 4)
