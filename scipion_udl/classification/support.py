"""How many classes the particles support: those that explain less than their noise costs are given up.

Each average carries noise of its own, which costs its particles likelihood; the fewer they are, the more it costs each.
A class is worth having where it explains its particles better than the rest of the classes would by more than that.
What it explains is measured on averages that a particle is no part of: an average always fits those that made it.
"""

from __future__ import annotations

import numpy as np

SURE = 35.0  # nats: more than that one particle does not speak for a class
# Of the cost of its average: so much more a class must be worth. With nothing, chance decides between one class and two
# of one view, which explain their particles about as well as one does.
MARGIN = 0.5


def worth(gain: np.ndarray, likely: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """How much worse all particles together would be explained without each class.

    The classes are a mixture: a class that looks like another one splits the particles with it, and explains nothing.

    Parameters
    ----------
    gain : (N, C) array
        Log likelihood over that of noise, nats, by averages that a particle is no part of; -inf where there is none.
    likely : (N, C) int array
        The classes that ``gain`` is in, from 0.
    sizes : (K,) array
        Particles of each class.

    Returns
    -------
    (K,) array
        Nats; negative where a class explains nothing that others do not.
    """
    total = max(sizes.sum(), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        joint = gain + np.log(sizes / total)[likely]
        share = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    lost = -np.log(np.maximum(1 - np.nan_to_num(share), np.exp(-SURE)))
    without = len(gain) * np.log(np.maximum(1 - sizes / total, np.exp(-SURE)))
    return np.bincount(likely.ravel(), lost.ravel(), len(sizes)) + without


def saved(gain: np.ndarray, likely: np.ndarray, sizes: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """What the averages of the other classes gain by having the particles of each class, too.

    The noise of an average costs its particles so much together, however many they are.

    Parameters
    ----------
    gain, likely : (N, C) arrays
        As of :func:`worth`.
    sizes : (K,) array
        Particles of each class.
    cost : (K,) array
        What the noise of each average costs, nats.

    Returns
    -------
    (K,) array
        Nats.
    """
    at, own = np.arange(len(gain)), gain.argmax(1)
    rest = gain.copy()
    rest[at, own] = -np.inf
    there = likely[at, rest.argmax(1)]
    share = np.where(np.isfinite(rest.max(1)), cost[there] / np.maximum(sizes[there], 1), 0.0)
    return np.bincount(likely[at, own], share, len(sizes))


def given_up(gain: np.ndarray, likely: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The classes that are not worth what they cost, one after the other, the least first.

    A class that is the last one for any particle is kept.

    Parameters
    ----------
    gain, likely : (N, C) arrays
        As of :func:`worth`.
    cost : (K,) array
        As of :func:`saved`.

    Returns
    -------
    (K,) bool array
        True for a class that is given up.
    """
    gain, gone = gain.copy(), np.zeros(len(cost), bool)
    while True:
        label = likely[np.arange(len(gain)), gain.argmax(1)]
        sizes = np.bincount(label, minlength=len(cost))
        left = np.isfinite(gain)
        last = left & (left.sum(1) == 1)[:, None]
        free = (sizes > 0) & (np.bincount(likely[last], minlength=len(cost)) == 0)
        surplus = worth(gain, likely, sizes) - saved(gain, likely, sizes, cost) - MARGIN * cost
        surplus[~free] = np.inf
        if not (surplus < 0).any():
            return gone
        gone[surplus.argmin()] = True
        gain[gone[likely]] = -np.inf
