"""Outliers: what scores as noise does, or as hardly any particle does, is flagged; particles that scatter are not."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.particles.outliers import outliers, score_limit


def scores(n: int, seed: int = 0, typical: float = 0.4, spread: float = 0.15) -> np.ndarray:
    """Scores of particles whose contrast varies by factors."""
    return typical * np.exp(spread * np.random.default_rng(seed).normal(size=n))


def of_noise(n: int = 128, seed: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.15, 0.018, n)


def flags(score: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
    return outliers(score, np.zeros(len(score), bool), score_limit(score, noise))


def test_particles_that_scatter_are_hardly_ever_flagged():
    found = [flags(scores(1000, seed), noise).mean() for seed in range(10) for noise in (of_noise(), None)]
    assert np.mean(found) < 0.002


@pytest.mark.parametrize("junk", [1, 50, 200, 500])
def test_what_scores_as_noise_is_flagged_however_much_of_it_there_is(junk):
    found = flags(np.concatenate([of_noise(junk, 1), scores(1000 - junk)]), of_noise())
    assert found[:junk].mean() > 0.98
    assert found[junk:].mean() < 0.012


def test_what_scores_between_noise_and_particles_is_flagged_where_most_that_score_so_are_none():
    between = scores(150, 7, 0.2)
    found = flags(np.concatenate([between, scores(850)]), of_noise())
    assert found[:150].mean() > 0.85
    assert found[150:].mean() < 0.015


def test_other_views_that_score_far_better_than_noise_are_no_outliers():
    """Some views of a jittered set fit less well: a second heap, but nearer to the particles than to noise."""
    found = flags(np.concatenate([scores(20, 3, 0.45, 0.03), scores(380, 4, 0.6, 0.08)]), of_noise())
    assert not found.any()


def test_where_particles_score_hardly_better_than_noise_few_of_them_are_flagged():
    weak = np.random.default_rng(3).normal(0.19, 0.02, 400)
    found = flags(np.concatenate([of_noise(100, 1), weak]), of_noise())
    assert found[100:].mean() < 0.03


def test_particles_that_score_little_more_than_noise_are_not_flagged_for_that():
    """A quarter of them lies below what hardly any noise scores; hardly any lies where no particle does."""
    noise = np.random.default_rng(5).normal(0.15, 0.03, 400)
    found = [flags(np.random.default_rng(seed).normal(0.24, 0.03, 1000), noise).mean() for seed in range(10)]
    assert np.mean(found) < 0.02


def test_noise_alone_has_no_outliers():
    for seed in range(5):
        assert not flags(of_noise(400, seed), of_noise()).any()


def test_high_scores_are_no_outliers_and_scale_does_not_count():
    score = scores(500)
    score[7], score[8] = 0.9, 0.05
    found = flags(score, of_noise())
    assert (found[8], found[7], found.sum() <= 3) == (True, False, True)
    assert np.array_equal(found, flags(score / 4, of_noise() / 4))


def test_odd_images_are_flagged_and_the_rest_goes_by_the_limit():
    odd = np.array([True, False, False])
    assert outliers(np.array([0.0, 0.3, 0.1]), odd, 0.2).tolist() == [True, False, True]
    assert outliers(np.array([0.0, 0.3, 0.1]), odd, -np.inf).tolist() == [True, False, False]


def test_a_handful_has_no_outliers():
    assert score_limit(np.array([0.4, 0.4, 0.1]), of_noise()) == -np.inf
    assert score_limit(np.zeros(0)) == -np.inf
    assert score_limit(np.zeros(400), np.zeros(128)) == -np.inf  # nothing that halves agree on
