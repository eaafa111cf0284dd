"""Segments of filaments: what is known of how they lie, and what the segments of a tube tell together.

A psi prior is the pose angle that brings the tube along x, to a few degrees, and either way round: filaments have two
ends, and a picker sees no difference. So priors take the place of a network, which knows angles modulo 180 degrees,
too; angles stay near them. All segments of a tube lie the same way round, which is decided by their log odds together.
Along the axis nothing tells one repeat from the next, so that shifts end at half the rise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scipion_udl.imaging.poses import rotations, wrap

PSI_RANGE = 10.0  # degrees to either side of the prior


@dataclass
class Filaments:
    """N segments. psi: (N,) priors, degrees; tube: (N,) int, the same for those that lie the same way round; rise: of
    the helix, pixels of the input, None where nobody says; reach: how far angles go from their priors, degrees.
    ``way``: (N,) int, 1 for segments that lie as the prior says, -1 for the other way round, 0 where it is open."""

    psi: np.ndarray
    tube: np.ndarray
    rise: float | None = None
    reach: float = PSI_RANGE

    def __post_init__(self) -> None:
        self.way = np.zeros(len(self.psi), np.int64)

    def __getitem__(self, index: np.ndarray) -> Filaments:
        """Some of the segments."""
        return Filaments(self.psi[index], self.tube[index], self.rise, self.reach)

    def along(self, scale: float) -> float | None:
        """How far segments are shifted along the axis to either side.

        Parameters
        ----------
        scale : float
            Pixels of the input in a working pixel.

        Returns
        -------
        float or None
            Working pixels; None for no limit of its own.
        """
        return None if self.rise is None else self.rise / 2 / scale

    def off(self, angle: np.ndarray) -> np.ndarray:
        """How far angles are off the priors, either way round.

        Parameters
        ----------
        angle : (N,) array
            Degrees.

        Returns
        -------
        (N,) array
            Degrees, in (-90, 90].
        """
        return wrap(angle - self.psi, 180.0)

    def agree(self, angle: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Which segments lie the way that their tube does.

        Parameters
        ----------
        angle : (n,) array
            Degrees.
        rows : (n,) int array
            Which segments these are, from 0.

        Returns
        -------
        (n,) bool array
            True, too, where it is open.
        """
        forward = np.abs(wrap(angle - self.psi[rows])) < 90
        return (self.way[rows] == 0) | (forward == (self.way[rows] > 0))

    def vote(
        self, angle: np.ndarray, log_odds: np.ndarray, usable: np.ndarray, apart: np.ndarray | None = None
    ) -> np.ndarray:
        """Decide tube by tube which way round its segments lie: by the sum of their log odds.

        Parameters
        ----------
        angle : (N,) array
            Of all segments, degrees.
        log_odds : (N,) array
            Of these angles over the other way round, nats.
        usable : (n,) int array
            Those that count, from 0.
        apart : (N,) int array, optional
            Whose segments decide for themselves, as halves do that each have a frame of their own.

        Returns
        -------
        (N,) float64 array
            Log odds of the way that was chosen, of all segments of the tube together, nats; 0 for others.
        """
        key = self.tube if apart is None else self.tube * (int(apart.max()) + 1) + apart
        _, group = np.unique(key, return_inverse=True)
        sign = np.where(np.abs(wrap(angle - self.psi)) < 90, 1.0, -1.0)
        total = np.bincount(group[usable], (sign * log_odds)[usable], int(group.max()) + 1)[group]
        self.way = np.where(np.isin(group, group[usable]), np.where(total < 0, -1, 1), 0)
        return np.abs(total)

    def into_frame(self, states: list[tuple[np.ndarray, np.ndarray]], usable: np.ndarray, scale: float) -> None:
        """Have the axis lie along x in the average, and all shifts along it within half the rise.

        Parameters
        ----------
        states : list of ((N,) array, (N, 2) array)
            Angles, degrees, and shifts, working pixels, of all segments, changed in place; the first tells how far the
            average is turned off the priors.
        usable : (n,) int array
            Those that count, from 0.
        scale : float
            Pixels of the input in a working pixel.
        """
        turned = float(np.median(self.off(states[0][0])[usable]))
        back, along = rotations(np.array([-turned]))[0], self.along(scale)
        for angle, shift in states:
            angle[usable] -= turned
            shift[usable] = shift[usable] @ back.T
            if along is not None:
                shift[usable, 0] = wrap(shift[usable, 0], 2 * along)
