"""Particles that fit far worse than the others of their set: the one rule."""

from __future__ import annotations

import numpy as np

DEVIATIONS = 3.0  # standard deviations below the median
NORMAL = 1.4826  # standard deviations in a median absolute deviation of normal scores


def score_spread(score: np.ndarray) -> tuple[float, float]:
    """Median and median absolute deviation of scores (N,); zeros of none."""
    if not len(score):
        return 0.0, 0.0
    median = float(np.median(score))
    return median, float(np.median(np.abs(score - median)))


def outliers(score: np.ndarray, blank: np.ndarray, spread: tuple[float, float] | None = None) -> np.ndarray:
    """Which of N particles of one set (or of one class) are outliers, (N,) bool.

    score: (N,) float, higher is better; blank: (N,) bool, constant images, which are outliers whatever their score;
    spread: what :func:`score_spread` gives of the set that these particles come to, None where they are it. Of
    the others those whose score lies below the median by more than DEVIATIONS standard deviations, estimated by NORMAL
    times the median absolute deviation, which the outliers themselves hardly move. Of normal scores that is 0.13 %.
    """
    blank = np.asarray(blank, bool)
    score = np.asarray(score, np.float64)
    median, deviation = score_spread(score[~blank]) if spread is None else spread
    return blank | (score < median - DEVIATIONS * NORMAL * deviation)
