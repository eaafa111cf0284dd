"""Images that a set holds more than once: their noise agrees with itself, in halves and in averages."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

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
    same_place = _first(source.locations())
    first = _first(list(zip(mean.tolist(), std.tolist())))
    candidates = np.flatnonzero((first != np.arange(len(source))) & (same_place == np.arange(len(source))) & ~blank)
    copy = np.zeros(len(source), bool)
    for start in range(0, len(candidates), CHUNK):
        part = candidates[start : start + CHUNK]
        copy[part] = (source.read(part) == source.read(first[part])).all((1, 2))
    found = np.where(copy, same_place[first], same_place)
    return np.where(blank, np.arange(len(source)), found)


def _first(keys: Sequence[Hashable]) -> np.ndarray:
    """For each key the index of the first that equals it, int64."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(key, number) for number, key in enumerate(keys)], np.int64)
