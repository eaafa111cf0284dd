"""Superclasses: class averages of one view come together, whatever way they lie, and those of others do not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.classification.superclasses import (
    LIMIT,
    Superclasses,
    superclasses,
    tree_of,
    view_similarity,
    with_names_kept,
)
from scipion_udl.imaging.poses import Poses
from scipion_udl.tests.class_helpers import BOX, DIRECTIONS, seen

RADIUS = 14.0
VIEWS = np.array([0, 1, 0, 2, 0, 3, 1])  # of the averages, which lie anyhow
POSES = Poses(
    np.array([0.0, 10, 130, -75, -20, 90, 171]),
    np.array([[0, 0], [1, 2], [-2, 1], [0, 3], [2.5, -1], [0, 0], [-1, -2.5]]),
    np.array([False, False, True, False, False, True, True]),
)
SIZES = np.array([10, 70, 11, 50, 12, 1, 3])


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.3, (len(VIEWS), BOX, BOX))  # an SNR of 11
    return (seen(VIEWS, POSES) + noise).astype(np.float32)


def test_rotated_moved_and_mirrored_averages_of_a_view_share_a_superclass_and_no_others_do(images):
    number = superclasses(images, RADIUS, SIZES).number
    same = number[:, None] == number
    np.testing.assert_array_equal(same, VIEWS[:, None] == VIEWS)


def test_the_superclass_with_the_most_particles_is_the_first(images):
    number = superclasses(images, RADIUS, SIZES).number
    particles = [SIZES[number == one].sum() for one in range(1, number.max() + 1)]
    assert particles == [73, 50, 33, 1]
    assert number[VIEWS == 1].tolist() == [1, 1]


def test_views_that_lie_near_come_together_and_those_that_lie_far_do_not():
    """The boot from directions 4, 8 and 60 degrees off the first."""
    turned = [np.radians(degrees) for degrees in (0, 4, 8, 60)]
    first, aside = DIRECTIONS[1], np.cross(DIRECTIONS[1], [0, 0, 1])
    aside /= np.linalg.norm(aside)
    from scipion_udl.simulation.phantoms_3d import molecule

    directions = np.array([first * np.cos(one) + aside * np.sin(one) for one in turned])
    number = superclasses(
        molecule("boot", BOX).project(directions, Poses.identity(4)), RADIUS, np.arange(4, 0, -1)
    ).number
    assert number.tolist() == [1, 1, 1, 2]


def test_contrast_loudness_and_a_filter_change_nothing(images):
    """As averages of other programs come: each with a loudness of its own, all of them with another envelope."""
    factors = np.array([1, 100, 0.01, 5, 1, 3, 0.5])[:, None, None]
    frequency = np.hypot(np.fft.fftfreq(BOX)[:, None], np.fft.rfftfreq(BOX))
    sharpened = np.fft.irfft2(
        np.fft.rfft2(images * factors) * np.exp(40 * np.minimum(frequency, 0.2) ** 2), s=images.shape[1:]
    )
    np.testing.assert_array_equal(
        superclasses(sharpened, RADIUS, SIZES).number, superclasses(images, RADIUS, SIZES).number
    )


@pytest.mark.parametrize("factor", [1e30, 1e-30])
def test_very_large_and_tiny_values_change_nothing(images, factor):
    found = view_similarity((images * factor).astype(np.float32), RADIUS)
    np.testing.assert_allclose(found, view_similarity(images, RADIUS), atol=1e-4)


def test_similarity_is_symmetric_and_an_average_that_shows_nothing_is_like_none(images):
    blank = np.concatenate([images, np.full((1, BOX, BOX), 7.0, np.float32)])
    found = view_similarity(blank, RADIUS)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, found.T)
    assert np.diag(found)[:-1] == pytest.approx(1, abs=2e-3)
    assert (np.abs(found[-1, :-1]) < 0.1).all()
    number = superclasses(blank, RADIUS, np.append(SIZES, 1)).number
    assert (number == number[-1]).sum() == 1


def test_one_class_is_a_superclass_of_its_own(images):
    alone = superclasses(images[:1], RADIUS, SIZES[:1])
    assert alone.number.tolist() == [1]
    assert alone.as_figures() == {"limit": LIMIT, "merges": []}


def test_the_tree_of_some_classes_is_what_is_left_of_that_of_all():
    place = np.array([0.0, 1, 3, 10, 12, 40])
    tree = tree_of(1 - np.abs(place[:, None] - place))
    whole = Superclasses(np.array([1, 1, 1, 2, 2, 3]), tree)
    some = whole.of(np.array([0, 2, 3, 5]))
    assert some.number.tolist() == [1, 1, 2, 3]
    # The first two met where the third came to both of them, at 2.5 on the mean; then the fourth, then the last.
    assert [set(row) for row in some.merges[:, :2].astype(int).tolist()] == [{0, 1}, {2, 4}, {3, 5}]
    np.testing.assert_allclose(some.merges[:, 2], tree[[2, 3, 4], 2])
    assert some.merges[0, 2] == pytest.approx(2.5)
    assert some.merges[:, 3].tolist() == [2, 3, 4]
    assert some.merges[0, 2] == pytest.approx(2.5)
    assert whole.of(np.array([3])).merges.shape == (0, 4)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_grey_values_of_any_scale_make_the_same_groups(scale):
    images = np.stack([seen(k % 4, Poses(np.array([50.0 * k])))[0] for k in range(8)])
    images = np.concatenate([images * scale + scale, np.full((1, *images.shape[1:]), 7.0)])
    found = superclasses(images, 15.0, np.arange(9, 0, -1))
    assert found.number[:4].tolist() == found.number[4:8].tolist()
    assert len(set(found.number)) == 5  # what shows nothing is like none


def test_superclasses_keep_their_numbers_while_classes_grow():
    """The largest group that held a number keeps it; what is new, and what has lost its name to another, goes on."""
    found = Superclasses(np.array([1, 1, 2, 2, 3, 4]), np.zeros((5, 4)))
    before, sizes = np.array([2, 2, 1, 2, 1, 0]), np.array([50, 40, 30, 5, 20, 10])
    assert list(with_names_kept(found, before, sizes).number) == [2, 2, 1, 1, 3, 4]
