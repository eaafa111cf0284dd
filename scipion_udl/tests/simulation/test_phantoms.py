"""Phantoms are exact functions of the pose, and as symmetric as they say."""

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, compose, to_matrices
from scipion_udl.simulation.phantoms import PHANTOMS, BlobTemplate, phantom

ASYMMETRIC = ["hook", "clamp", "hammer", "pebble", "anchor"]


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def turned_correlation(name, box=128):
    template = phantom(name, box)
    return correlation(template.sample(Poses([180.0]))[0], template.image())


def test_a_blob_is_where_the_pose_says():
    blob = BlobTemplate(np.array([[0.125, 0.0, 0.03, 1.0]]), 64)  # 8 px to the right
    image = blob.image()
    assert np.unravel_index(image.argmax(), image.shape) == (32, 40)
    # a pose of 90 degrees takes the particle's blob from above the centre (-y) to the right (+x)
    image = blob.sample(Poses([90.0]))[0]
    assert np.unravel_index(image.argmax(), image.shape) == (32 - 8, 32)
    # a pose that shifts by +3 finds the blob 3 px before
    image = blob.sample(Poses([0.0], [[3.0, -2.0]]))[0]
    assert np.unravel_index(image.argmax(), image.shape) == (32 + 2, 40 - 3)
    image = blob.sample(Poses([0.0], None, [True]))[0]
    assert np.unravel_index(image.argmax(), image.shape) == (32, 24)


@pytest.mark.parametrize("box", [32, 33])
def test_the_image_is_the_sum_of_its_blobs(box):
    rng = np.random.default_rng(0)
    blobs = np.stack([*rng.uniform(-0.3, 0.3, (2, 6)), rng.uniform(0.05, 0.1, 6), rng.uniform(-1, 1, 6)], -1)
    template = BlobTemplate(blobs, box)
    pose = Poses([77.0], [[1.5, -2.5]], [True])
    x, y = np.meshgrid(np.arange(box) - box // 2, np.arange(box) - box // 2)
    where = to_matrices(pose)[0] @ np.stack([x.ravel(), y.ravel(), np.ones(box * box)])
    expected = np.zeros(box * box)
    for bx, by, width, height in blobs * [box, box, box, 1]:
        wide2 = width**2 + 0.7**2
        squared = (where[0] - bx) ** 2 + (where[1] - by) ** 2
        expected += height * width**2 / wide2 * np.exp(-squared / (2 * wide2))
    assert np.abs(template.sample(pose)[0].ravel() - expected).max() < 1e-5


@pytest.mark.parametrize("name", ASYMMETRIC)
def test_asymmetric_phantoms_are_asymmetric(name):
    template = phantom(name, 64)
    for angle in (60, 72, 90, 120, 180):
        assert correlation(template.sample(Poses([angle]))[0], template.image()) < 0.9


def test_the_two_fold_ones_are_as_they_say():
    assert turned_correlation("dimer") > 0.999999
    assert 0.99 < turned_correlation("barrel") < 0.999
    assert 0.97 < turned_correlation("spindle") < 0.99


def test_the_tube_has_no_exact_symmetry():
    assert turned_correlation("tube") < 0.95


def test_the_pebble_is_a_quarter_of_the_box_wide():
    image = phantom("pebble", 128).image()
    seen = image > 0.1 * image.max()
    for axis in (0, 1):
        pixels = np.flatnonzero(seen.any(axis))
        assert 0.2 < (pixels[-1] - pixels[0] + 1) / 128 < 0.3


def test_no_two_phantoms_are_alike():
    images = [phantom(name, 64) for name in PHANTOMS]
    angles = Poses(np.arange(0.0, 360.0, 15.0))
    for k, one in enumerate(images):
        for other in images[:k]:
            assert max(correlation(rotated, one.image()) for rotated in other.sample(angles)) < 0.93


@pytest.mark.parametrize("name", PHANTOMS)
@pytest.mark.parametrize("box", [48, 63, 128])
def test_phantoms_fill_any_box_alike_and_leave_its_border_free(name, box):
    image = phantom(name, box).image()
    assert image.dtype == np.float32
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert np.abs(border).max() < 1e-3 * image.max()
    assert image.sum() / box**2 == pytest.approx(phantom(name, 128).image().sum() / 128**2, rel=0.01)


def test_phantoms_have_detail_up_to_the_pixels():
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    for name in PHANTOMS:
        power = np.abs(np.fft.fft2(phantom(name, 128).image())) ** 2
        fine = power[(frequency > 0.2) & (frequency < 0.3)].mean()
        assert fine > 1e-8 * power.max()
        # and next to nothing that the pixels cannot hold
        assert power[(frequency > 0.48) & (frequency < 0.5)].mean() < 0.01 * fine


def test_sampling_a_composed_pose_is_sampling_twice():
    template = phantom("clamp", 64)
    common = Poses([180.0])  # a turn by 180 degrees about the centre is exact on pixels of an odd box
    first = Poses([20.0], [[1.0, 2.0]])
    odd = phantom("clamp", 65)
    rotated = odd.sample(compose(common, first))[0]
    assert np.abs(rotated - odd.sample(Poses([200.0], [[-1.0, -2.0]]))[0]).max() < 1e-5
    assert template.sample(compose(first, Poses.identity(1))).shape == (1, 64, 64)


def test_unknown_names_and_tiny_boxes_are_refused():
    with pytest.raises(UdlError, match="no phantom 'cat'; choose one of hook"):
        phantom("cat", 64)
    with pytest.raises(UdlError, match="too small"):
        phantom("hook", 4)
