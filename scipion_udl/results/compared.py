"""What the API's ``compare`` returns: classifications of the same particles against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from scipion_udl.messages import Message
from scipion_udl.results.comparison import Comparison
from scipion_udl.results.returned import Told
from scipion_udl.validation.class_agreement import ABSENT, UNMATCHED


@dataclass
class Compared:
    """R classifications of the same particles; runs count from 0, in the order in which they were given.

    Attributes
    ----------
    names : list of str
        Of the runs: their paths, or "run 1" and so on.
    numbers : list of R (K_r,) arrays
        The classes of each run, ascending, as its labels call them; what is said of classes is in this order.
    adjusted_rand : (R, R) float64 array
        The adjusted Rand index of every two runs: 1 for the same classes, 0 for what chance gives.
    comes_again, comes_again_sd : list of R (K_r,) float64 arrays
        Which share of each class's particles is together again in its match, mean over the other runs, and how much
        that differs among these (standard deviation); NaN where it is not known.
    alone : list of R (K_r,) bool arrays
        Which classes no other run has.
    consensus : (n,) masked array
        For each particle of the first run's table, in its order, or for each label, the class of the first run that
        more than half of the runs which hold it agree on; masked where there is none.
    share : (n,) float64 array
        Which share of the runs that hold the particle agree; 0 where fewer than two hold it.
    warnings : list of Told
        Each with a ``code`` and a ``text``.
    """

    names: list[str]
    numbers: list[np.ndarray]
    adjusted_rand: np.ndarray
    comes_again: list[np.ndarray]
    comes_again_sd: list[np.ndarray]
    alone: list[np.ndarray]
    consensus: np.ma.MaskedArray
    share: np.ndarray
    warnings: list[Told]
    _found: Comparison = field(repr=False)

    @classmethod
    def of(cls, found: Comparison, rows: np.ndarray, warnings: Sequence[Message]) -> Compared:
        """Of what the command has.

        Parameters
        ----------
        found : Comparison
            Of N particles that are in any run.
        rows : (n,) int array
            Which of them are told of.
        warnings : sequence of Message
            What there is to say.

        Returns
        -------
        Compared
            For users of the API.
        """
        count = len(found.runs)
        rand = np.ones((count, count))
        for (one, other), pair in found.pairs.items():
            rand[one, other] = pair.rand
        label, share = (values[rows] for values in found.consensus)
        number, none = found.runs[0].number, label == UNMATCHED
        return cls(
            [run.name for run in found.runs],
            [run.number for run in found.runs],
            rand,
            [found.comes_again(run) for run in range(count)],
            [found.comes_again_sd(run) for run in range(count)],
            [found.alone(run) for run in range(count)],
            np.ma.MaskedArray(number[np.where(none, 0, label)], none),
            share,
            [Told(one.code, str(one)) for one in warnings],
            found,
        )

    def matches(self, one: int, other: int) -> dict:
        """The classes of two runs, paired one to one so that they share as many of their particles as possible.

        Parameters
        ----------
        one, other : int
            The runs, from 0.

        Returns
        -------
        dict
            By the classes of the first: that of the second; without those that have none.
        """
        first, second = self.numbers[one].tolist(), self.numbers[other].tolist()
        if one == other:
            return dict(zip(first, first))
        match = self._found.pairs[one, other].match.tolist()
        return {number: second[k] for number, k in zip(first, match) if k not in (UNMATCHED, ABSENT)}
