"""Rounds in real space put particles into the class whose average they fit; posed sums are sums of posed particles."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.compute.context import Context

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.accumulators import accumulate, add_up
from scipion_udl.alignment.averages import apply_poses
from scipion_udl.classification.assignment import Sorted
from scipion_udl.classification.real_space import SURE, LikelyRounds
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import to_images
from scipion_udl.imaging.poses import Poses, invert, pose_errors
from scipion_udl.tests.class_helpers import BOX, away, random_poses, seen
from scipion_udl.tests.engine_helpers import Told, prepared

EACH = 60  # particles of each of two views
SNR = 0.2


@pytest.fixture(scope="module")
def truth():
    """(view (n,), poses that align (n,)) of the particles."""
    return np.arange(2 * EACH) % 2, random_poses(2 * EACH, 5)


@pytest.fixture(scope="module")
def particles(truth, tmp_path_factory):
    view, poses = truth
    images = seen(view, poses) * np.sqrt(SNR)
    images = images + np.random.default_rng(2).normal(size=images.shape)
    made = prepared(tmp_path_factory.mktemp("rounds"), images, 16)
    made.scan()
    return made


def found_by_network(truth: tuple[np.ndarray, Poses], wrong: np.ndarray, odds: float) -> Sorted:
    """Two likely classes for each particle, which are the views: the true one first but for ``wrong`` ones (indices),
    the other one so much less likely (nats). Its poses are right to 6 degrees and a pixel, in both classes."""
    view, poses = truth
    draw, n = np.random.default_rng(3), len(view)
    likely = np.stack([view, 1 - view], 1)
    likely[wrong] = likely[wrong, ::-1]
    angle = poses.angle[:, None] + draw.uniform(-6, 6, (n, 2))
    shift = poses.shift[:, None] + draw.uniform(-1, 1, (n, 2, 2))
    return Sorted(likely[:, 0].copy(), np.ones(n), np.ones(n), likely, np.tile([0.0, odds], (n, 1)), angle, shift)


def test_particles_that_the_network_is_not_sure_of_go_to_the_class_that_they_show(particles, truth):
    view, wrong = truth[0], np.arange(10)
    network = found_by_network(truth, wrong, 5.0)
    lines = Told()
    particles.reader.context = Context(say=lines)
    after = LikelyRounds(particles, 4.0, 1).run(network)
    assert (after.label == view).all()
    assert "100.0% of the particles were compared with several classes" in lines[1]
    # They have the pose that the network found in their new class: finer ones are for halves to find apart.
    at = np.arange(len(view)), (after.likely == after.label[:, None]).argmax(1)
    np.testing.assert_array_equal(after.poses.angle, Poses(network.angle[at]).angle)
    np.testing.assert_array_equal(after.poses.shift, network.shift[at])


def test_poses_become_better_within_a_round(particles, truth):
    network = found_by_network(truth, np.arange(0), 5.0)
    after, _ = LikelyRounds(particles, 4.0, 1).round(network, 1)
    first = truth[0] == 0  # classes have frames of their own
    before, later = (pose_errors(one.poses[first], truth[1][first]) for one in (network, after))
    assert np.abs(later.rotation).mean() < 0.6 * np.abs(before.rotation).mean()
    assert np.abs(later.shift).mean() < 0.6 * np.abs(before.shift).mean()


def test_particles_that_the_network_is_sure_of_stay(particles, truth):
    network = found_by_network(truth, np.arange(10), SURE + 1)
    after = LikelyRounds(particles, 4.0, 1).run(network)
    np.testing.assert_array_equal(after.label, network.label)


def one_view_twice(truth: tuple[np.ndarray, Poses]) -> Sorted:
    """Three likely classes for each particle: those of the first view are in the first class or the last by turns."""
    view = truth[0]
    network, n = found_by_network(truth, np.arange(0), 5.0), len(view)
    first = np.where((view == 0) & (np.arange(n) % 4 == 0), 2, view)
    rest = np.stack([(first + 1) % 3, (first + 2) % 3], 1)
    likely = np.concatenate([first[:, None], rest], 1)
    angle, shift = (np.concatenate([values, values[:, :1]], 1) for values in (network.angle, network.shift))
    odds = np.tile([0.0, 5.0, 5.0], (n, 1))
    return Sorted(first.copy(), np.ones(n), np.ones(n), likely, odds, angle, shift)


def test_of_two_classes_that_show_one_view_one_is_given_up(particles, truth):
    lines = Told()
    particles.reader.context = Context(say=lines)
    after = LikelyRounds(particles, 4.0, 1).run(one_view_twice(truth))
    assert len(np.unique(after.label)) == 2
    assert all(len(np.unique(after.label[truth[0] == view])) == 1 for view in (0, 1))
    assert any("1 of 3 classes dropped" in line for line in lines)


def test_classes_of_a_model_that_was_given_all_stay(particles, truth):
    after = LikelyRounds(particles, 4.0, 1, free=False).run(one_view_twice(truth))
    assert len(np.unique(after.label)) == 3


def test_a_rare_view_keeps_its_class(particles, truth):
    few = np.sort(np.concatenate([np.flatnonzero(truth[0] == 0), np.flatnonzero(truth[0] == 1)[:8]]))
    part, own = particles.part(few), (truth[0][few], truth[1][few])
    after = LikelyRounds(part, 4.0, 1).run(found_by_network(own, np.arange(0), 5.0))
    assert (after.label == own[0]).all()


def test_posed_sums_are_what_the_posed_particles_add_up_to(particles, truth):
    _, poses = truth
    band, own = Band(particles.box, particles.k_max), np.array([7, 1, 40, 5])
    fold = np.array([0, 1, 1, 0])
    sums = accumulate(particles, band, own, poses[own], fold, 2)
    assert [one.count for one in sums] == [2, 2]

    def expected(those: np.ndarray, applied: Poses) -> torch.Tensor:
        images = to_images(particles.all(those, "those", lambda part, values: values), BOX)
        return band.of_images(apply_poses(images, torch.zeros(len(those)), applied)).sum(0)

    for number in (0, 1):
        those = own[fold == number]
        assert away(sums[number].total, expected(those, poses[those])) < 0.05
        assert away(sums[number].total, expected(those, invert(poses[those]))) > 0.5
    assert away(add_up(sums).total, expected(own, poses[own])) < 0.05
