"""Where the particles of a set lie, as sweeps find it and hand it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scipion_udl.imaging.poses import wrap


@dataclass
class State:
    """Poses of all particles in working pixels and what the last iteration saw of them, numpy arrays of length N.

    angle: degrees; shift: (N, 2); score: weighted correlation with the judge's average; log_odds: log likelihood of the
    candidate taken over that of the one rotated by 180 degrees, nats; limited: whether the shift is as long as it may
    be.
    """

    angle: np.ndarray
    shift: np.ndarray
    score: np.ndarray
    log_odds: np.ndarray
    limited: np.ndarray

    @classmethod
    def start(cls, angle: np.ndarray) -> State:
        """A state that knows angles only.

        Parameters
        ----------
        angle : (N,) array
            Degrees.

        Returns
        -------
        State
            Of N particles.
        """
        n = len(angle)
        return cls(np.array(angle, np.float64), np.zeros((n, 2)), np.zeros(n), np.zeros(n), np.zeros(n, bool))

    def copy(self) -> State:
        """An independent copy.

        Returns
        -------
        State
            With arrays of its own.
        """
        return State(*(v.copy() for v in (self.angle, self.shift, self.score, self.log_odds, self.limited)))

    def take_better(
        self,
        usable: np.ndarray,
        step: float,
        search: Callable[[State], None],
        settle: Callable[[State, np.ndarray], None],
    ) -> int:
        """Look elsewhere for particles, and take over those that fit better there.

        Parameters
        ----------
        usable : (n,) int array
            The particles, from 0.
        step : float
            Degrees.
        search : callable
            Given a copy of the state, gives all of them other angles in it.
        settle : callable
            Given that and the particles that were rotated by more than ``step``, finds the poses of these.

        Returns
        -------
        int
            How many were taken over.
        """
        trial = self.copy()
        search(trial)
        far = usable[np.abs(wrap(trial.angle[usable] - self.angle[usable])) > step]
        settle(trial, far)
        better = far[trial.score[far] > self.score[far]]
        self.take(trial, better)
        return len(better)

    def take(self, other: State, which: np.ndarray) -> None:
        """Take some particles as they are in another state.

        Parameters
        ----------
        other : State
            Of the same particles.
        which : (n,) int array
            The particles, from 0.
        """
        for name in vars(self):
            getattr(self, name)[which] = getattr(other, name)[which]
