"""Particles that show something else than the others of their set: the one rule.

The scores of a set are those of its particles and those of outliers, which lie about what aligned noise scores, or
between: two normal distributions of the logarithm of the score, for contrast varies from particle to particle by
factors. A particle is an outlier where its score is one that hardly any particle has, and most that have it are none.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

NOISE = 2.33  # standard deviations above the mean of aligned noise: 99 % of it lies below
MOST = 0.003  # of the particles lie below the limit at most, by their distribution: its lower end is longer than that
WRONG = 0.1  # of the outliers are particles at most, likewise
FIRST = 0.1  # share of outliers that is assumed at first
ROUNDS, TOLERANCE = 300, 1e-5  # in which the two distributions are found, and a change of the mean that is none
LEAST = 0.5  # times what noise scores: lower scores are all the same
FEWEST = 8  # scores that tell what particles score
SAME = 0.01  # deviation of the logarithm: scores that differ less are one


def score_spread(score: np.ndarray) -> tuple[float, float]:
    """Median and median absolute deviation of scores.

    Parameters
    ----------
    score : (N,) array
        The scores.

    Returns
    -------
    median, deviation : float
        Zeros of none.
    """
    if not len(score):
        return 0.0, 0.0
    median = float(np.median(score))
    return median, float(np.median(np.abs(score - median)))


def outliers(score: np.ndarray, sure: np.ndarray, limit: float) -> np.ndarray:
    """Which particles of one set (or of one class) are outliers.

    Parameters
    ----------
    score : (N,) float array
        Higher is better.
    sure : (N,) bool array
        Those that are whatever their score: constant images and what is far louder than particles are
        (:attr:`Scan.odd`).
    limit : float
        Of the scores, what :func:`score_limit` gives.

    Returns
    -------
    (N,) bool array
        The outliers.
    """
    return np.asarray(sure, bool) | (np.asarray(score, np.float64) < limit)


def how_many_beyond(deviations: np.ndarray, particles: float, most: float) -> int:
    """How many values lie so far off that they are no particles.

    Of the particles, one in 1 / ``most`` at most lies as far off, and they make up no more than WRONG of what does.

    Parameters
    ----------
    deviations : (N,) array
        Of all values from the particles' mean, in standard deviations of these, the farthest first.
    particles : float
        How many of the values are particles.
    most : float
        Share of the particles, 0 to 1.

    Returns
    -------
    int
        The first so many of ``deviations``.
    """
    expected = ndtr(-deviations) * particles
    found = np.flatnonzero((deviations > -ndtri(most)) & (expected <= WRONG * np.arange(1, len(deviations) + 1)))
    return int(found[-1]) + 1 if len(found) else 0


def known_limit(limit: float) -> float | None:
    """A limit as JSON has it.

    Parameters
    ----------
    limit : float
        Infinite for none.

    Returns
    -------
    float or None
        None for none.
    """
    return float(limit) if np.isfinite(limit) else None


def score_limit(score: np.ndarray, noise: np.ndarray | None = None) -> float:
    """The score below which particles are outliers.

    The limit is the highest at which no more than MOST of the particles lie below, and no more than WRONG of what lies
    below are particles. What scores as noise does lies below, unless particles do so, too; it is never nearer to what
    particles score than to what noise does.

    Parameters
    ----------
    score : (N,) array
        Of all that have an image, outliers and not.
    noise : (M,) array, optional
        Scores of aligned noise, None where it is not known.

    Returns
    -------
    float
        -inf for none, as where particles score no better than noise.
    """
    if len(score) < FEWEST or np.median(score) <= 0:
        return -np.inf
    noise = np.zeros(0) if noise is None or noise.mean() <= 0 else noise
    typical = float(noise.mean()) if len(noise) else LEAST * float(np.median(score))
    floor = typical + NOISE * float(noise.std()) if len(noise) else -np.inf
    logs = np.log(np.sort(score).clip(LEAST * typical))
    above = logs[np.exp(logs) > floor]
    if len(above) < FEWEST:
        return -np.inf
    middle, upper = np.quantile(above, [0.5, 0.84])
    width = 2 * float(np.log(noise.clip(LEAST * typical)).std()) if len(noise) else upper - middle
    others = np.log(typical), max(width, SAME)
    mean, deviation, share = _particles(logs, (middle, max(upper - middle, SAME)), others)
    if np.exp(mean) <= floor:
        return -np.inf
    least = mean + ndtri(MOST) * deviation
    count = how_many_beyond((mean - logs) / deviation, (1 - share) * len(logs), MOST)
    limit = np.nextafter(np.sort(score)[count - 1], np.inf) if count else -np.inf
    halfway = np.exp((np.log(typical) + mean) / 2)  # nearer to particles than to noise it is a particle
    return float(min(max(limit, min(floor, np.exp(least))), halfway))


def _particles(
    logs: np.ndarray, particles: tuple[float, float], others: tuple[float, float]
) -> tuple[float, float, float]:
    """(mean and standard deviation of the particles' values, share of others) of values (N,), by expectation and
    maximisation from a mean and deviation of each. What lies above the particles' mean, or by less than a deviation
    below, is a particle, and particles are spread at least as widely as upwards of their mean: what others do to
    these figures stays small. Others lie no closer together than half as close as at first."""
    (mean, deviation), (other, width), share = particles, others, FIRST
    narrowest = width / 2
    for _ in range(ROUNDS):
        own = (1 - share) * np.exp(-0.5 * ((logs - mean) / deviation) ** 2) / deviation
        rest = share * np.exp(-0.5 * ((logs - other) / width) ** 2) / width
        likely = np.where(logs > mean - deviation, 1.0, own / np.maximum(own + rest, 1e-300))
        before, mean = mean, float(np.average(logs, weights=likely))
        upper = float(np.sqrt(np.mean((logs[logs >= mean] - mean) ** 2))) if logs[-1] >= mean else 0.0
        deviation = max(float(np.sqrt(np.average((logs - mean) ** 2, weights=likely))), upper, SAME)
        share = 1 - float(likely.mean())
        if share * len(logs) > 1:
            other = float(np.average(logs, weights=1 - likely))
            width = max(float(np.sqrt(np.average((logs - other) ** 2, weights=1 - likely))), narrowest)
        if abs(mean - before) < TOLERANCE:
            break
    return mean, deviation, share
