"""Orders and halves of particles by their image names alone, whatever else is in the set and in which order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

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
    short = [_short(name) for name in names]
    times = Counter(short)
    if len(times) < len(short):  # stacks of one name in several folders: there the folder counts
        short = [whole if times[name] > 1 else name for name, whole in zip(short, names)]
    return _numbers(short, seed)


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
    return (_numbers([_short(name) for name in names], 0) % 2).astype(np.int64)


def _short(name: str) -> str:
    """An image name without its folders: what stays when a project is moved."""
    number, _, file = name.rpartition("@")
    return f"{number.lstrip('0')}@{file.rsplit('/', 1)[-1]}"


def _numbers(names: Sequence[str], seed: int) -> np.ndarray:
    """A pseudo-random number (uint64) for every name."""
    digests = (hashlib.blake2b(f"{seed}:{name}".encode(errors="surrogateescape"), digest_size=8) for name in names)
    return np.array([int.from_bytes(digest.digest(), "big") for digest in digests], np.uint64)
