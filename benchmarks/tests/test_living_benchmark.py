"""A session is dealt out so that a view comes late, and its own classes are told from others."""

from __future__ import annotations

import numpy as np

from benchmarks import living
from benchmarks.many_views.particles import Truth
from benchmarks.many_views.spread import Classes
from scipion_udl.imaging.poses import Poses


def test_the_late_view_comes_when_it_should_and_nothing_comes_twice():
    random = np.random.default_rng(0)
    direction = random.normal(size=(4000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    view = np.arange(4000) >= 3800
    direction[view] = [0, 0, -1]
    batches = living.dealt(direction, view, [300, 300, 300, 300], 3, 0.2)
    assert [int(view[one].sum()) for one in batches] == [0, 0, 60, 60]
    near = [np.abs(direction[one, 2]) > np.cos(np.deg2rad(living.CAP)) for one in batches]
    assert [int(one.sum()) for one in near] == [0, 0, 60, 60]
    assert [len(one) for one in batches] == [300] * 4
    assert len(np.unique(np.concatenate(batches))) == 1200


def test_a_class_is_the_late_views_own_where_most_of_it_shows_that(tmp_path):
    direction = np.array([[0, 0, 1.0], [0, 0, -1], [0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0]])
    truth = Truth(tmp_path, [str(k) for k in range(6)], np.ones(6, int), direction, Poses.identity(6))
    label = np.array([3, 3, 1, 1, 1, 3])
    late = np.array([True, True, True, False, False, False])
    found = living.in_own(Classes(truth, np.arange(6), label, np.zeros(6, bool)), late)
    assert found == 2 / 3  # two of three are in class 3, most of which is of the late view
    assert np.isnan(living.in_own(Classes(truth, np.arange(3, 6), label[3:], np.zeros(3, bool)), late))
