"""How work is cut into parts for several processes."""

from __future__ import annotations

import numpy as np


def cut(indices: np.ndarray, count: int, unit: int = 1) -> list[np.ndarray]:
    """Particles in parts of about the same size, in order.

    Parameters
    ----------
    indices : (n,) int array
        The particles.
    count : int
        Of the parts.
    unit : int, optional
        Parts end at multiples of it, so that chunks of so many hold the same particles, however many parts there are.

    Returns
    -------
    list of int arrays
        ``count`` of them; some may be empty.
    """
    pieces = -(-len(indices) // unit)
    return np.split(indices, [unit * (number * pieces // count) for number in range(1, count)])


def dealt(sizes: np.ndarray, count: int) -> list[np.ndarray]:
    """Pieces of work dealt out, so that all have about as much: the largest first, each to whoever has least.

    Parameters
    ----------
    sizes : (n,) int array
        How much each piece is.
    count : int
        How many there are to deal to.

    Returns
    -------
    list of int arrays
        Numbers of the pieces of each, from 0, ascending.
    """
    load, owner = np.zeros(count), np.zeros(len(sizes), np.int64)
    for number in np.argsort(-sizes, kind="stable"):
        owner[number] = load.argmin()
        load[owner[number]] += sizes[number]
    return [np.flatnonzero(owner == one) for one in range(count)]
