"""From poses that particles come with to angles that know little of them.

Whoever made those poses may have aligned noise to noise, in both halves of the set alike, and nobody can tell from the
poses. So all that is taken from them is the average that they make, low-passed: every particle is looked for anew
against it, over all angles and all shifts, and compared up to the same ring. What is found from there on knows of
the given poses what that low-passed average knows, no more; particles leave poses that were wrong.
"""

from __future__ import annotations

import numpy as np

from scipion_udl.alignment.accumulators import Sums, accumulate, add_up
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import FAR, Refiner
from scipion_udl.alignment.state import State
from scipion_udl.alignment.wiener import WienerFilter
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.particles.prepared import PreparedParticles

RING = 8  # Fourier pixels: how much of the given average is used
ROUNDS = 4  # at most, of a search and a new average
SETTLED, LOST = 0.05, 0.5  # shares of particles that a search puts elsewhere: it stands, or it leads nowhere


class GivenStart:
    """Angles of particles from poses that are about right.

    prepared: the particles; max_shift: working pixels. ``reference``, once made: the low-passed
    average that particles were compared with last.
    """

    def __init__(self, prepared: PreparedParticles, max_shift: float) -> None:
        self.prepared = prepared
        self.band = Band(prepared.box, prepared.within(RING), prepared.device)
        self.refiner = Refiner(prepared, self.band, max_shift, self.band.k_max)
        self.reference: Reference | None = None

    def angles(self, subset: np.ndarray, poses: Poses) -> np.ndarray | None:
        """Angles found against the average that the given poses make.

        Parameters
        ----------
        subset : (n,) int array
            The particles, from 0.
        poses : Poses
            n of them; shifts in pixels of the input.

        Returns
        -------
        (n,) array or None
            Degrees; None where the poses lead nowhere.
        """
        state = State.start(np.zeros(len(self.prepared)))
        state.angle[subset] = poses.angle
        given = state.angle.copy()
        half = np.arange(len(subset)) % 2
        self.reference = self._as_reference(accumulate(self.prepared, self.band, subset, poses, half, 2))
        for _ in range(ROUNDS):
            before = state.angle[subset]
            sums = self.find(state, subset)
            far = float((np.abs(wrap(state.angle[subset] - before)) > FAR).mean())
            if far <= SETTLED:
                break
            self.reference = self._as_reference(sums)
        elsewhere = float((np.abs(wrap(state.angle[subset] - given[subset])) > FAR).mean())
        self.prepared.say(
            f"Given poses checked by an exhaustive search: {elsewhere:.1%} of {len(subset)} particles lie elsewhere"
        )
        return None if far > LOST else state.angle[subset]

    def find(self, state: State, indices: np.ndarray) -> list[Sums]:
        """Find angles of particles against the reference. Shared by the processes of a group.

        Parameters
        ----------
        state : State
            Of all particles; takes the angles.
        indices : (n,) int array
            The particles, from 0.

        Returns
        -------
        list of Sums
            Of two halves of them.

        Raises
        ------
        ValueError
            Where :meth:`angles` has not been called.
        """
        half = np.zeros(len(state.angle), np.int64)
        half[indices[1::2]] = 1
        if self.reference is None:
            raise ValueError("there is nothing to find angles against: call angles() first")
        both = [self.reference] * 2
        self.refiner.search(state, both, half, "exhaustive angular search", indices)
        for number in (1, 2):
            found = self.refiner.iterate(state, both, half, f"angles, round {number}", indices)
        return found.sums

    def _as_reference(self, sums: list[Sums]) -> Reference:
        band, mask = self.band, self.prepared.disc.mask
        first, second, whole = (band.masked(s.mean(band), mask) for s in (*sums, add_up(sums)))
        return Reference(band, whole, WienerFilter(band, [first, second]).weight(2))
