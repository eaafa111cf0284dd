"""Outliers: junk among particles is flagged, particles that merely scatter are not."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.alignment.outliers import outliers


def scores(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 0.04, n)


def test_scores_that_scatter_normally_are_hardly_ever_flagged():
    flags = np.concatenate([outliers(scores(1000, seed), np.zeros(1000, bool)) for seed in range(20)])
    assert 0.0006 < flags.mean() < 0.0026  # 0.00135 by the normal distribution


@pytest.mark.parametrize("junk", [1, 50, 200])
def test_junk_is_flagged_even_where_there_is_much_of_it(junk):
    score = scores(1000)
    score[:junk] -= 0.3
    flags = outliers(score, np.zeros(1000, bool))
    assert flags[:junk].all()
    assert flags[junk:].mean() < 0.005


def test_high_scores_are_no_outliers_and_scale_does_not_count():
    score = scores(500)
    score[7], score[8] = 0.9, 0.0
    none = np.zeros(500, bool)
    flags = outliers(score, none)
    assert (flags[8], flags[7], flags.sum() <= 3) == (True, False, True)
    assert np.array_equal(outliers(score, none), outliers(50 * score - 3, none))


def test_blank_images_are_flagged_and_do_not_move_the_rule():
    score, blank = scores(400), np.zeros(400, bool)
    blank[::2] = True
    score[::2] = 0.0
    flags = outliers(score, blank)
    assert flags[::2].all()
    assert np.array_equal(flags[1::2], outliers(score[1::2], blank[1::2]))


def test_a_handful_is_no_trouble():
    assert not outliers(np.array([0.4]), np.zeros(1, bool)).any()
    assert not outliers(np.array([0.4, 0.4, 0.4]), np.zeros(3, bool)).any()
    assert outliers(np.zeros(2), np.ones(2, bool)).all()
