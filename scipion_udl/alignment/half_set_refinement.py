"""Refinement of two halves of a set apart from each other, and of everything together at the end.

From the first round on a half knows its own average alone, so that what both agree on is in the particles and not in a
common reference; resolution and weights rest on that. The last rounds align every particle to the average of all; which
way round it lies is decided by an average that it is not part of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from scipion_udl.alignment.accumulators import FOLDS, Sums, add_up, halves_of, share_of_others
from scipion_udl.alignment.ambiguity import confirmed_rings, flip_difference
from scipion_udl.alignment.centring import centred
from scipion_udl.alignment.fit import Fit, measure_fit
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import CLEAR, FAR, Refiner
from scipion_udl.alignment.refinement.registration import register
from scipion_udl.alignment.refinement.results import Iteration
from scipion_udl.alignment.state import State
from scipion_udl.alignment.wiener import WienerFilter, flip_centre
from scipion_udl.imaging.orientations import rotated_band
from scipion_udl.imaging.poses import Poses, compose

TOLERANCE = 1 / 2  # of the expected error: changes below it are not worth another round
WORTH = 1.02  # by how much less error the average of all must promise to be worth a round
CENTRED = 2  # rounds of halves after which averages are moved to the centre of the box
LARGE = 4096  # particles: from so many on, shifts are looked for over the whole range in the first round alone
FLIPS, SINGLE = 0.001, 2  # particles that turn round in a round, share and number: with so few it is settled


NEAR = 0.9  # of the finest ring that is compared: halves that agree as far may do so beyond


class BandTooNarrowError(Exception):
    """Halves agree as far as they were compared: they are to be compared further."""


@dataclass
class Split:
    """Which particles go together: half (N,) 0 or 1; fold (N,) 0 to FOLDS - 1, the even ones in half 0."""

    half: np.ndarray
    fold: np.ndarray

    @classmethod
    def of(cls, order: np.ndarray, count: int, duplicates_of: np.ndarray | None = None) -> Split:
        """A set dealt out to halves and folds.

        Parameters
        ----------
        order : (n,) int array
            The particles that count, from 0, in the order in which they are dealt out.
        count : int
            All particles, N.
        duplicates_of : (N,) int array, optional
            For each the index of the first particle that is the same image (duplicates.py): they stay together.

        Returns
        -------
        Split
            Of N particles.
        """
        fold = np.zeros(count, np.int64)
        fold[order] = np.arange(len(order)) % FOLDS
        if duplicates_of is not None:
            fold = fold[duplicates_of]
        return cls(fold % 2, fold)


class HalfRefinement:
    """Sweeps of two halves, then of all particles together.

    refiner: does the sweeps; split: the halves; local: whether what tells both ways round apart is weighed place by
    place (wiener.py); centre: whether averages are moved to the centre of their box on the way, where nobody has given
    their frame; ring_limit: the Fourier ring up to which particles can be compared, where the refiner's band ends
    before (:class:`BandTooNarrowError`), 0 for no further. ``independents``: averages in the frame of :meth:`together`
    that particles can be compared with, ``independent_of``: (N,) which of them, for none is part of its own; both known
    after it; ``fit``: how well particles fit what the halves agree on, once they were refined apart (None before).
    """

    def __init__(self, refiner: Refiner, split: Split, local: bool, centre: bool = False, ring_limit: int = 0) -> None:
        self.refiner, self.band, self.prepared = refiner, refiner.band, refiner.prepared
        self.split, self.local, self.centre, self.ring_limit = split, local, centre, ring_limit
        self.independents: list[Reference] = []
        self.independent_of = 1 - split.half
        self.fit: Fit | None = None
        self._ctf = torch.ones(self.band.k_max + 1)

    def references(self, averages: list[torch.Tensor]) -> list[Reference]:
        """A reference for either half, weighted by what both averages agree on.

        Parameters
        ----------
        averages : list of (band) complex tensors
            Of the halves, in about one frame.

        Returns
        -------
        list of Reference
            Two.
        """
        wiener = self._denoiser(averages)
        return [Reference(self.band, a, wiener.weight(1), wiener(a, 1)) for a in averages]

    def apart(
        self,
        state: State,
        averages: list[torch.Tensor],
        usable: np.ndarray,
        rounds: int,
        first: Callable[[np.ndarray, torch.Tensor], None] | None = None,
    ) -> list[torch.Tensor]:
        """Sweeps of both halves, each against its own average, until poses stand still.

        Parameters
        ----------
        state : State
            Of all particles, updated.
        averages : list of (band) complex tensors
            Of the halves, to start from.
        usable : (n,) int array
            The particles that are aligned, from 0.
        rounds : int
            At most.
        first : callable, optional
            Told indices and coefficients of each chunk of the first round, before it is aligned.

        Returns
        -------
        list of (band) complex tensors
            The averages of the halves.

        Raises
        ------
        BandTooNarrowError
            Where they agree as far as they were compared, and could be compared further.
        """
        source, scale = self.prepared.source, self.prepared.scale
        references = self.references(averages)
        for number in range(1, rounds + 1):
            settle = number > (1 if len(usable) > LARGE else 2)
            stage, half = f"halves, round {number}", self.split.half
            result = self._sweep(state, references, half, stage, usable, half, first=first, settle=settle)
            first = None
            self._ctf = add_up(result.sums).mean_ctf()
            rotation, move = references[0].expected_errors(result.sums[0].mean_ctf())
            means = [own.mean(self.band) for own in result.sums]
            if self.centre and number <= CENTRED:
                means = self._centred(means, state)
            averages = [self.band.masked(mean, self.prepared.disc.mask) for mean in means]
            references = self.references(averages)
            reach = self._reach(references[0].ring_weight)
            moved = f"angles changed by {result.rotated:.3f} degrees"
            if number > 1:  # the first round only finds the shifts
                moved += f" and shifts by {result.moved * scale:.3f} px"
            self.prepared.say(
                f"Independent halves, round {number}: {moved} (medians; expected error {rotation:.2f} degrees, "
                f"{move * scale:.2f} px); they agree to {source.box * source.pixel_size / max(reach, 1):.1f} A"
            )
            still = number > 1 and result.rotated < TOLERANCE * rotation and result.moved < TOLERANCE * move
            if self.prepared.group.agree(still):
                break
        return averages

    def together(
        self,
        state: State,
        half_state: State,
        averages: list[torch.Tensor],
        usable: np.ndarray,
        rounds: int,
        search: bool = False,
        least: int = 2,
    ) -> Reference:
        """Bring half 1 into the frame of half 0, then align all to one average, where that promises better poses.

        Parameters
        ----------
        state, half_state : State
            Of all particles: to go on with, and what the halves found; either is brought into the common frame.
        averages, usable
            As of :meth:`apart`; the averages have not seen each other.
        rounds, least : int
            How many at most, and how many before it may end.
        search : bool, optional
            Look over all angles once more, too.

        Returns
        -------
        Reference
            The average of all.

        Raises
        ------
        BandTooNarrowError
            As :meth:`apart` does.
        """
        averages = self._into_one_frame(averages, [state, half_state])
        wiener = self._denoiser(averages)  # now, while halves have not seen each other
        confirmed = confirmed_rings(self.band, self.refiner.maps, averages)
        total = self._total(averages, wiener, usable)
        joint = Reference(self.band, total, wiener.weight(2), wiener(total, 2))
        if not self.prepared.group.agree(self._worthwhile(state, wiener, total, usable)):
            self.prepared.say("The average of all particles would not align them better than that of either half: done")
            return joint
        others, share, independent_filter = [averages[1 - fold % 2] for fold in range(FOLDS)], 1.0, wiener
        for number in range(1, rounds + 1):
            independents = self._independents(others, independent_filter, share, confirmed)
            common, fold, stage = [joint] * FOLDS, self.split.fold, f"all together, round {number}"
            result = self._sweep(state, common, fold, stage, usable, independent=independents, settle=True)
            self.independents, self.independent_of = independents, self.split.fold
            still = self._is_still(result, joint, number, len(usable))
            if search and number > 1:
                self._look_again(state, joint, independents, usable)
                search = False
            elif self.prepared.group.agree(number >= least and still):
                break
            whole = add_up(result.sums)
            total, *others = self._means([whole, *(whole - own for own in result.sums)])
            share = share_of_others(FOLDS)
            # For the way round, which no claim rests on, halves that saw the same reference tell more.
            independent_filter = self._denoiser(self._means(halves_of(result.sums)))
            joint = Reference(self.band, total, wiener.weight(2), wiener(total, 2))
        return joint

    def _sweep(
        self,
        state: State,
        references: list[Reference],
        member: np.ndarray,
        stage: str,
        usable: np.ndarray,
        apart: np.ndarray | None = None,
        **how: Any,
    ) -> Iteration:
        """A round of the refiner, after which the segments of each tube have voted (``apart``: as of _vote)."""
        result = self.refiner.iterate(state, references, member, stage, usable, **how)
        self._vote(state, apart)
        return result

    def _vote(self, state: State, apart: np.ndarray | None = None) -> None:
        """Have the segments of each tube lie the same way round from now on; apart: (N,) those that vote apart."""
        if self.prepared.filaments is not None:
            self.prepared.filaments.vote(state.angle, state.log_odds, self.prepared.usable, apart)

    def _total(self, averages: list[torch.Tensor], wiener: WienerFilter, usable: np.ndarray) -> torch.Tensor:
        """The average of both halves' (bands, in one frame); takes note of what they say while they have not seen each
        other."""
        self.independents, self.independent_of = self.references(averages), 1 - self.split.half
        self._reach(wiener.weight(2))
        members = np.bincount(self.split.half[usable], minlength=2)
        self.fit = self._fitted(averages, members)
        return (averages[0] * members[0] + averages[1] * members[1]) / members.sum()

    def _reach(self, weight: torch.Tensor) -> int:
        """How many rings have a weight (k_max + 1,). Raises BandTooNarrowError where more of them might."""
        reach, last = int((weight > 0).sum()), self.band.k_max
        if self.prepared.group.agree(reach > NEAR * last and last < self.ring_limit):
            raise BandTooNarrowError
        return reach

    def _fitted(self, averages: list[torch.Tensor], members: np.ndarray) -> Fit:
        """How well particles fit what both averages (bands, in one frame) of ``members`` (2,) particles agree on."""
        fit = measure_fit(self.band, averages, self._ctf, members, self.prepared.disc.mask)
        self.prepared.say(
            f"Particles fit what both halves agree on by {fit.deviations:.1f} sigma of the noise", detail=True
        )
        return fit

    def _is_still(self, result: Iteration, joint: Reference, number: int, count: int) -> bool:
        """Say what round ``number`` of all together came to; whether it moved the ``count`` particles hardly more than
        the expected errors of their poses."""
        rotation, move = joint.expected_errors(result.sums[0].mean_ctf())
        self.prepared.say(
            f"All particles, round {number}: angles changed by {result.rotated:.3f} degrees (median; expected error "
            f"{rotation:.2f}), {result.flipped:.1%} flipped by 180 degrees"
        )
        return (
            result.rotated < TOLERANCE * rotation
            and result.moved < TOLERANCE * move
            and result.flipped <= max(FLIPS, SINGLE / max(count, 1))
        )

    def _independents(
        self, others: list[torch.Tensor], independent_filter: WienerFilter, share: float, confirmed: torch.Tensor
    ) -> list[Reference]:
        """References of averages (bands) that decide the way round of the particles they do not hold; confirmed: what
        halves agree on of the difference between both ways."""
        band, maps = self.band, self.refiner.maps
        return [
            Reference(
                band,
                other,
                independent_filter.weight(share),
                independent_filter(other, share),
                confirmed * flip_difference(band, maps, other),
            )
            for other in others
        ]

    def _look_again(self, state: State, joint: Reference, independents: list[Reference], usable: np.ndarray) -> None:
        """Search all angles for particles that fit better elsewhere, and put them there (in ``state``)."""
        # A group's processes need not find the very same weights; what they do together must be the same.
        reach = self.prepared.group.on_rank0(lambda: int((joint.ring_weight > 0).sum()))
        searcher = Refiner(self.prepared, self.band, self.refiner.max_shift, max(reach, 8), self.refiner.bound)
        fold = self.split.fold

        def search(trial: State) -> None:
            searcher.search(trial, independents, fold, "last search", usable)

        def settle(trial: State, far: np.ndarray) -> None:
            for number in (1, 2):
                self.refiner.iterate(
                    trial, [joint] * FOLDS, fold, f"elsewhere, {number}", far, independent=independents
                )

        better = state.take_better(usable, FAR, search, settle)
        self.prepared.say(f"Last exhaustive angular search: {better} of {len(usable)} particles fit better elsewhere")

    def _worthwhile(self, state: State, wiener: WienerFilter, total: torch.Tensor, usable: np.ndarray) -> bool:
        """Whether the average of all promises better poses than that of a half, or branches that are in doubt."""
        if np.quantile(state.log_odds[usable], 0.02) < CLEAR:
            return True
        half, whole = (Reference(self.band, total, wiener.weight(share)) for share in (1, 2))
        return half.expected_errors()[0] > WORTH * whole.expected_errors()[0]

    def _denoiser(self, averages: list[torch.Tensor]) -> WienerFilter:
        centre = flip_centre(self.refiner.maps, averages[0] + averages[1])
        return WienerFilter(self.band, averages, centre, self.local)

    def _centred(self, means: list[torch.Tensor], state: State) -> list[torch.Tensor]:
        """The means (bands) of both halves moved to the centre of the box each, the shifts in ``state`` with them."""
        found = [centred(self.prepared, self.band, mean) for mean in means]
        for number, (_, centre) in enumerate(found):
            state.shift[self.split.half == number] -= centre
        return [mean for mean, _ in found]

    def _means(self, sums: list[Sums]) -> list[torch.Tensor]:
        return [self.band.masked(s.mean(self.band), self.prepared.disc.mask) for s in sums]

    def _into_one_frame(self, averages: list[torch.Tensor], states: list[State]) -> list[torch.Tensor]:
        """Both averages in the frame of the first; the poses of half 1 in ``states`` are brought along."""
        first, second = self.references(averages)
        between = register(self.refiner, second, first)
        members = np.flatnonzero(self.split.half == 1)
        for poses in states:
            joined = compose(between, Poses(poses.angle[members], poses.shift[members]))
            poses.angle[members], poses.shift[members] = joined.angle, joined.shift
        self._vote(states[0])
        self.prepared.say(
            f"The second half's average lay {float(between.angle[0]):.2f} degrees and "
            f"{float(np.hypot(*between.shift[0])) * self.prepared.scale:.2f} px from the first's",
            detail=True,
        )
        angle, shift = (torch.from_numpy(v).to(self.band.device) for v in (between.angle, between.shift))
        return [averages[0], self.band.shifted(rotated_band(self.band, averages[1], angle), shift.float())[0]]
