"""Orders and halves of particles by their image names alone, whatever else is in the set and in which order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np


def ranks(names: Sequence[str], seed: int) -> np.ndarray:
    """A pseudo-random number for each image name, which depends on the name and the seed alone.

    Parameters
    ----------
    names : sequence of str
        N image names. Their folders count only where one name stands in several.
    seed : int
        Another one gives other numbers.

    Returns
    -------
    (N,) uint64 array
        The numbers.
    """
    found = _numbers(map(_short, names), len(names), seed)
    rows = _repeated(found)
    times = Counter(_short(names[row]) for row in rows)
    # stacks of one name in several folders: there the folder counts
    several = [row for row in rows if times[_short(names[row])] > 1]
    found[several] = _numbers((names[row] for row in several), len(several), seed)
    return found


def halves_by_name(names: Sequence[str]) -> np.ndarray:
    """The half that each image goes to, by its name alone: whatever else is in the set.

    Parameters
    ----------
    names : sequence of str
        N image names.

    Returns
    -------
    (N,) int64 array
        0 or 1.
    """
    return (_numbers(map(_short, names), len(names), 0) % 2).astype(np.int64)


def _short(name: str) -> str:
    """An image name without its folders: what stays when a project is moved."""
    number, _, file = name.rpartition("@")
    return f"{number.lstrip('0')}@{file.rsplit('/', 1)[-1]}"


def _numbers(names: Iterable[str], count: int, seed: int) -> np.ndarray:
    """A pseudo-random number for each of ``count`` names, uint64, which are objects one at a time."""
    digests = (hashlib.blake2b(f"{seed}:{name}".encode(errors="surrogateescape"), digest_size=8) for name in names)
    return np.fromiter((int.from_bytes(digest.digest(), "big") for digest in digests), np.uint64, count)


def _repeated(numbers: np.ndarray) -> list[int]:
    """The rows, from 0, whose number another row has, too."""
    ordered = np.sort(numbers)
    several = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.flatnonzero(np.isin(numbers, several)).tolist() if len(several) else []
