"""Images that a set holds more than once: their noise agrees with itself, in halves and in averages."""

from __future__ import annotations

import numpy as np

from scipion_udl.io.particles import ParticleSource

CHUNK = 256  # images compared at a time


def originals(source: ParticleSource, mean: np.ndarray, std: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """For each of N particles the index (from 0) of the first that is the same image, int64 (N,): its own where it is
    new.

    The same is what lies at the same place of the same file, whatever its name, and what is the same in every pixel;
    such copies are looked for among images whose background has the same mean and std ((N,) each). Blank ones (N, bool)
    count as new.
    """
    same_place = _first(source.stack_by_file(), source.item)
    first = _first(mean, std)
    candidates = np.flatnonzero((first != np.arange(len(source))) & (same_place == np.arange(len(source))) & ~blank)
    copy = np.zeros(len(source), bool)
    for start in range(0, len(candidates), CHUNK):
        part = candidates[start : start + CHUNK]
        copy[part] = (source.read(part) == source.read(first[part])).all((1, 2))
    found = np.where(copy, same_place[first], same_place)
    return np.where(blank, np.arange(len(source)), found)


def _first(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """For each of N pairs of numbers, (N,) each, the index of the first that equals it, int64; NaN equals nothing."""
    order = np.lexsort((other, one))  # stable: of equal ones the first comes first
    new = np.ones(len(order), bool)
    new[1:] = (one[order][1:] != one[order][:-1]) | (other[order][1:] != other[order][:-1])
    first = np.empty(len(order), np.int64)
    first[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    return first
