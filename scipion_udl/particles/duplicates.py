"""Images that a set holds more than once: their noise agrees with itself, in halves and in averages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scipion_udl.io.source import Source

CHUNK = 256  # images compared at a time
_TOGETHER = 1 << 18  # keys that are looked up at a time


def duplicates_of(source: Source, mean: np.ndarray, std: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """For each particle the first that is the same image.

    Parameters
    ----------
    source : Source
        Of N particles.
    mean, std, blank : (N,) arrays
        As of :func:`copies`.

    Returns
    -------
    (N,) int64 array
        Indices, from 0: a particle's own where it is new.
    """
    found = np.arange(len(source))
    rows, first = copies(source, mean, std, blank)
    found[rows] = first
    return found


def copies(source: Source, mean: np.ndarray, std: np.ndarray, blank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The particles that are the same image as an earlier one, and the first that is.

    The same is what lies at the same place of the same file, whatever its name, and what is the same in every pixel;
    such copies are looked for among images whose background has the same mean and deviation. Beside the arrays given,
    it takes some 32 bytes a particle.

    Parameters
    ----------
    source : Source
        Of N particles.
    mean, std : (N,) arrays
        Of the images' backgrounds, grey levels.
    blank : (N,) bool array
        Constant images, which count as new.

    Returns
    -------
    rows : (M,) int64 array
        The copies, from 0.
    first : (M,) int64 array
        The first particle that each is a copy of, from 0.
    """
    rows, first = _repeated(source.places, len(source))
    first_of = dict(zip(rows.tolist(), first.tolist()))
    rows, first = _repeated(lambda piece: _pairs(mean[piece], std[piece]), len(mean))
    new = ~blank[rows] & ~np.isin(rows, [*first_of])
    rows, first = rows[new], first[new]
    for start in range(0, len(rows), CHUNK):
        part, of = rows[start : start + CHUNK], first[start : start + CHUNK]
        same = (source.read(part) == source.read(of)).all((1, 2))
        first_of.update((row, first_of.get(one, one)) for row, one in zip(part[same].tolist(), of[same].tolist()))
    found = np.array(sorted(row for row in first_of if not blank[row]), np.int64)
    # What lies at the place of one that is itself an earlier image again is that earlier one.
    earlier = (first_of[row] for row in found.tolist())
    return found, np.array([first_of.get(one, one) for one in earlier], np.int64)


def _pairs(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Both as one key, (N,): numpy orders complex numbers by their real part, then by the other."""
    found = np.empty(len(mean), np.result_type(mean, np.complex64))
    found.real, found.imag = mean, std
    return found


def _repeated(keys: Callable[[slice | np.ndarray], np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of ``count`` keys the indices (from 0) of those that an earlier one equals, and of the first that does, (M,)
    int64 each; NaN equals nothing. keys: gives those of some of them, as an array of its own."""
    ordered = keys(slice(None))
    if not (ordered[1:] > ordered[:-1]).all():
        ordered.sort()
    several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    pieces = [slice(k, k + _TOGETHER) for k in range(0, count if len(several) else 0, _TOGETHER)]
    rows = [piece.start + np.flatnonzero(_among(several, keys(piece))) for piece in pieces]
    rows = np.concatenate([np.empty(0, np.int64), *rows])
    _, first, which = np.unique(keys(rows), return_index=True, return_inverse=True)
    first = rows[first[which]]
    return rows[first != rows], first[first != rows]


def _among(ordered: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Which of keys (n,) are among the ordered ones, (n,) bool."""
    return ordered[np.searchsorted(ordered, keys).clip(max=len(ordered) - 1)] == keys
