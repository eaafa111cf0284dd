"""How far several classifications of the same particles agree: class by class, pair by pair, and all together.

Classes are compared by their members alone, since their numbers mean nothing from run to run. numpy and scipy only.

L. Hubert and P. Arabie, "Comparing partitions", Journal of Classification 2 (1985) 193 (the adjusted Rand index);
H. W. Kuhn, "The Hungarian method for the assignment problem", Naval Research Logistics Quarterly 2 (1955) 83 (what
matches the classes one to one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize

ABSENT = -1  # the label of a particle that a run does not hold
UNMATCHED = -2  # of one whose class has no match
# A class is one of the parts of another where more than half of it lies there, and it is at least so much of the other:
# five equal parts are told, single particles that strayed are not.
MOSTLY, LEAST_PART = 0.5, 0.2


def shared_particles(one: np.ndarray, other: np.ndarray, classes: tuple[int, int]) -> np.ndarray:
    """How many particles each class of one run shares with each of another.

    Parameters
    ----------
    one, other : (N,) int arrays
        The class of each particle in either run, from 0; ABSENT where the run does not hold it.
    classes : (int, int)
        How many classes either run has.

    Returns
    -------
    (K, L) int64 array
        Counts, of particles that both runs hold.
    """
    both = (one != ABSENT) & (other != ABSENT)
    places = one[both].astype(np.int64) * classes[1] + other[both]
    return np.bincount(places, minlength=classes[0] * classes[1]).reshape(classes)


def adjusted_rand(table: np.ndarray) -> float:
    """The adjusted Rand index of two partitions (Hubert and Arabie 1985, equation 5).

    It goes by pairs of particles: whether they are together in both runs, or apart in both, beyond what chance gives
    to classes of these sizes.

    Parameters
    ----------
    table : (K, L) int array
        Of :func:`shared_particles`.

    Returns
    -------
    float
        1 for the same partition, 0 on average for independent ones (it may be a little below); NaN for fewer than two
        particles.
    """
    total = int(table.sum())
    if total < 2:
        return float("nan")
    together, first, second = (_pairs(counts) for counts in (table, table.sum(1), table.sum(0)))
    chance = first * second / _pairs(np.array([total]))
    most = (first + second) / 2
    if most == chance:  # one class in both, or as many classes as particles in both: the same partition
        return 1.0
    return float((together - chance) / (most - chance))


def _pairs(counts: np.ndarray) -> float:
    """How many pairs there are within groups of these sizes."""
    counts = counts.astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())


@dataclass(frozen=True)
class Agreement:
    """What two runs have in common. table: (K, L) particles that classes of the first share with those of the second;
    particles that one of the runs does not hold count nowhere."""

    table: np.ndarray

    @property
    def turned(self) -> Agreement:
        """The same, seen from the second run."""
        return Agreement(self.table.T)

    @property
    def rand(self) -> float:
        """The adjusted Rand index."""
        return adjusted_rand(self.table)

    @cached_property
    def jaccard(self) -> np.ndarray:
        """(K, L) float64: particles that two classes share, in parts of all that either has; 0 for empty ones."""
        union = self.table.sum(1)[:, None] + self.table.sum(0)[None] - self.table
        return self.table / np.maximum(union, 1)

    @cached_property
    def match(self) -> np.ndarray:
        """(K,) int: the class of the second run that each is matched with, one to one, so that the sum of the Jaccard
        indices is the largest; UNMATCHED where there is none that shares a particle."""
        found = np.full(len(self.table), UNMATCHED)
        rows, columns = optimize.linear_sum_assignment(self.jaccard, maximize=True)
        sharing = self.table[rows, columns] > 0
        found[rows[sharing]] = columns[sharing]
        return found

    @cached_property
    def shares(self) -> np.ndarray:
        """(K, L) float64: where the particles of each class of the first run lie in the second, rows of sum 1; NaN for
        a class of which the second run holds no particle."""
        sizes = self.table.sum(1)[:, None]
        return np.where(sizes > 0, self.table / np.maximum(sizes, 1), np.nan)

    @property
    def comes_again(self) -> np.ndarray:
        """(K,) float64: the share of each class's particles that are together again in its match; 0 without a match,
        NaN where the second run holds none of them."""
        matched = self.match != UNMATCHED
        own = self.shares[np.arange(len(self.match)), np.where(matched, self.match, 0)]
        return np.where(matched | np.isnan(own), own, 0.0)

    @property
    def together(self) -> np.ndarray:
        """(K,) float64: the largest share of each class's particles that any one class of the second run holds, match
        or not: near 1, and no match, for a class that went into a larger one."""
        return self.shares.max(1)

    @property
    def best(self) -> np.ndarray:
        """(K,) float64: the Jaccard index of each class with the class of the second run that is most like it."""
        return self.jaccard.max(1)

    @property
    def parts(self) -> list[np.ndarray]:
        """K int arrays: the classes of the second run that each class came apart into, two or more; else empty. More
        than half of the members of each such class lie in the class of the first run, and are a fifth of it or more."""
        mostly = self.table > MOSTLY * self.table.sum(0)[None]
        large = self.table >= LEAST_PART * self.table.sum(1)[:, None]
        found = [np.flatnonzero(row) for row in mostly & large & (self.table > 0)]
        return [parts if len(parts) > 1 else parts[:0] for parts in found]


def agreements(labels: np.ndarray, classes: Sequence[int]) -> dict[tuple[int, int], Agreement]:
    """Every pair of runs compared, in either direction.

    Parameters
    ----------
    labels : (R, N) int array
        The class of each particle in each run, from 0; ABSENT where the run does not hold it.
    classes : sequence of int
        How many classes each run has.

    Returns
    -------
    dict of (int, int) to Agreement
        By the two runs, from 0.
    """
    found = {}
    for one in range(len(labels)):
        for other in range(one + 1, len(labels)):
            table = shared_particles(labels[one], labels[other], (classes[one], classes[other]))
            found[one, other] = Agreement(table)
            found[other, one] = found[one, other].turned
    return found


def like_first(labels: np.ndarray, pairs: dict[tuple[int, int], Agreement]) -> np.ndarray:
    """The labels of all runs as classes of the first.

    Parameters
    ----------
    labels : (R, N) int array
        See :func:`agreements`.
    pairs : dict
        Of that function.

    Returns
    -------
    (R, N) int64 array
        Classes of the first run, from 0; ABSENT, and UNMATCHED for particles of a class that none of the first run is
        matched with.
    """
    found = labels.astype(np.int64)
    for run in range(1, len(labels)):
        held = labels[run] != ABSENT
        found[run, held] = pairs[run, 0].match[labels[run, held]]
    return found


def consensus(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class that most runs give each particle.

    Parameters
    ----------
    labels : (R, N) int array
        Of :func:`like_first`: equal where runs agree.

    Returns
    -------
    label : (N,) int64 array
        The class that more than half of the runs which hold the particle agree on; UNMATCHED where there is none, or
        fewer than two runs hold it.
    share : (N,) float64 array
        Of the runs that hold it, those that agree on one class; 0 where fewer than two hold it.
    """
    held = (labels != ABSENT).sum(0)
    label, most = np.full(labels.shape[1], UNMATCHED, np.int64), np.zeros(labels.shape[1], np.int64)
    for own in labels:
        votes = np.where(own >= 0, (labels == own).sum(0), 0)
        label = np.where(votes > most, own, label)
        most = np.maximum(most, votes)
    compared = held > 1
    label[~compared | (2 * most <= held)] = UNMATCHED
    return label, np.where(compared, most / np.maximum(held, 1), 0.0)
