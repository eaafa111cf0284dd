"""Rounds in real space: every particle tries the classes that the network finds likely for it, against their averages.

An average holds finer detail than the network's templates do, where its particles agree on it. A particle is compared
with averages that it is not part of, each of all folds but its own, and goes to the class whose average it fits best:
its log likelihood over that of noise. Those of which the network is sure stay where they are. Classes that the
particles do not support (support.py) are given up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from scipion_udl.alignment.accumulators import FOLDS, accumulate, add_up, halves_of, share_of_others
from scipion_udl.alignment.half_set_refinement import Split
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.wiener import WienerFilter
from scipion_udl.classification.assignment import Sorted
from scipion_udl.classification.support import SURE, given_up
from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.compute.threads import CLASSES, side_by_side
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.particles.coarser import coarser
from scipion_udl.particles.name_order import ranks
from scipion_udl.particles.prepared import PreparedParticles

RING = 32  # Fourier pixels: how fine averages are compared with
ROUNDS = 4
JUDGED = 2  # round from which on classes are given up: before, averages have not become sharp
TOLERANCE = 0.05  # share of particles that change classes, below which no more rounds follow
CLOSE = 6.0  # nats: a class that was so much less likely than the best in a round is not tried in the next
STEPS = 2  # of a particle's pose in each class
LEAST = 4  # particles of a class that has an average to try
MOST = 1024  # particles that make the average


@dataclass
class _Tries:
    """What the particles of a round found: gain (N, C), -inf where nothing was tried; angle (N, C), shift (N, C, 2);
    cost (K,): nats that the noise of each average costs its particles together."""

    gain: np.ndarray
    angle: np.ndarray
    shift: np.ndarray
    cost: np.ndarray

    def share(self, group: ProcessGroup) -> None:
        """Take over what each process of a group has tried, other classes each."""
        if group.is_alone:
            return
        tried = np.isfinite(self.gain)
        anywhere = self._total(group, tried.astype(np.int64)) > 0
        self.gain = np.where(anywhere, self._total(group, np.where(tried, self.gain, 0)), -np.inf)
        self.angle = np.where(anywhere, self._total(group, np.where(tried, self.angle, 0)), self.angle)
        both = tried[..., None], anywhere[..., None]
        self.shift = np.where(both[1], self._total(group, np.where(both[0], self.shift, 0)), self.shift)
        self.cost = self._total(group, self.cost)

    @staticmethod
    def _total(group: ProcessGroup, values: np.ndarray) -> np.ndarray:
        return group.total(torch.from_numpy(values)).numpy()


class LikelyRounds:
    """prepared: the particles; max_shift: working pixels; seed: which particles make the averages; free:
    whether classes that the particles do not support are given up, or all are to stay."""

    def __init__(
        self,
        prepared: PreparedParticles,
        max_shift: float,
        seed: int,
        free: bool = True,
    ) -> None:
        self.free = free
        self.prepared = coarser(prepared, RING)  # a copy
        self.report = prepared.reader.context.report
        self.prepared.reader = prepared.reader.told_to(lambda *facts: None)  # classes go side by side
        reach = prepared.within(min(RING, prepared.k_max))
        self.band = Band(self.prepared.box, reach, prepared.device)
        self.refiner = Refiner(self.prepared, self.band, max_shift * prepared.scale / self.prepared.scale, reach)
        typical = prepared.typical
        self.order = typical[np.argsort(ranks(prepared.source.names, seed)[typical], kind="stable")]
        self.fold = Split.of(self.order, len(prepared), prepared.duplicates_of).fold

    def run(self, found: Sorted) -> Sorted:
        """Put the particles into the classes that they fit best.

        Poses stay those of the network: the ones found here know of fine detail that halves of a class are to find
        apart from each other.

        Parameters
        ----------
        found : Sorted
            What the network found.

        Returns
        -------
        Sorted
            The same with other classes.
        """
        given = found
        for number in range(1, ROUNDS + 1):
            after, tried = self.round(found, number)
            moved = float((after.label != found.label).mean())
            words = f"{moved:.1%} of the particles changed class"
            held, left = len(np.unique(found.label)), len(np.unique(after.label))
            words += f"; {held - left} of {held} classes dropped, which explain less than their noise costs" * (
                left < held
            )
            self.prepared.say(f"Particles compared with class averages, round {number}: {words}")
            self.prepared.say(f"{tried:.1%} of the particles were compared with several classes", detail=True)
            found = after
            if moved < TOLERANCE:
                break
        return replace(found, angle=given.angle, shift=given.shift)

    def round(self, found: Sorted, number: int) -> tuple[Sorted, float]:
        """Compare the particles with the averages once.

        Parameters
        ----------
        found : Sorted
            What is known so far.
        number : int
            Of the round, from 1; the first tries more classes.

        Returns
        -------
        Sorted
            With the classes that fit best.
        float
            The share of particles that tried several classes, 0 to 1.
        """
        open_ = found.odds <= (SURE if number == 1 else CLOSE)
        open_ &= (open_.sum(1) > 1)[:, None]
        open_[self.prepared.statistics.blank] = False
        poses, classes = found.poses, int(found.likely.max()) + 1
        nothing = np.full(found.odds.shape, -np.inf)
        tries = _Tries(nothing, found.angle.copy(), found.shift.copy(), np.zeros(classes))

        def of_class(k: int) -> None:
            own = self.order[found.label[self.order] == k][:MOST]
            rows, places = np.nonzero((found.likely == k) & open_)
            if len(rows) and len(own) >= LEAST:
                references = self._references(own, poses)
                tries.cost[k] = self._cost(references[0])
                self._try(tries, rows, places, references)

        group = self.prepared.group
        own = group.deal(
            np.bincount(found.label, minlength=classes) + np.bincount(found.likely[open_], minlength=classes)
        )
        for k, _ in enumerate(side_by_side(of_class, own.tolist(), self.band.device, CLASSES), 1):
            self.report(f"comparison with class averages, round {number}", k * len(open_) // len(own), len(open_))
        tries.share(group)
        typical = self.prepared.typical if self.free and number >= JUDGED else None
        return _decided(found, tries, open_, typical), float(open_.any(1).mean())

    def _references(self, own: np.ndarray, poses: Poses) -> list[Reference]:
        """For each fold an average that it is no part of."""
        band, mask = self.band, self.prepared.disc.mask
        sums = accumulate(self.prepared, band, own, poses[own], self.fold[own], FOLDS)
        wiener = WienerFilter(band, [band.masked(s.mean(band), mask) for s in halves_of(sums)])
        weight = wiener.weight(share_of_others(FOLDS))
        whole = add_up(sums)
        return [Reference(band, band.masked((whole - own).mean(band), mask), weight) for own in sums]

    def _cost(self, reference: Reference) -> float:
        """What the noise of an average costs the particles that made it, together, nats."""
        per_ring = self.band.ring_count.double() * reference.ring_weight.double()
        return float(per_ring.sum() * self.prepared.disc.mask.square().mean())

    def _try(self, tries: _Tries, rows: np.ndarray, places: np.ndarray, references: list[Reference]) -> None:
        """Compare the particles ``rows`` (ascending) with the class that is at ``places`` among their likely ones."""
        device, scale = self.band.device, self.prepared.scale
        where = np.zeros(len(tries.gain), np.int64)
        where[rows] = places
        for part, coefficients in self.prepared.chunks(rows, "real space"):
            particles, power, ring_power = self.refiner.apply_ctf(part, coefficients)
            for fold, reference in enumerate(references):
                own = np.flatnonzero(self.fold[part] == fold)
                if not len(own):
                    continue
                at, those = torch.from_numpy(own).to(device), (part[own], where[part[own]])
                angle = torch.from_numpy(tries.angle[those]).to(device)
                shift = torch.from_numpy(tries.shift[those] / scale).to(device)
                q = None if power is None else power[at]
                for _ in range(STEPS):
                    given = (particles[at], q, ring_power[at], angle)
                    matched = self.refiner.match(*given, reference, reference, shift=shift)
                    angle, shift = matched.angle.double(), matched.shift.double()
                tries.gain[those] = matched.gain.double().cpu().numpy()
                tries.angle[those] = wrap(angle.cpu().numpy())
                tries.shift[those] = shift.cpu().numpy() * scale


def _decided(found: Sorted, tries: _Tries, open_: np.ndarray, typical: np.ndarray | None) -> Sorted:
    """Every particle in the class that it fits best of those that it tried and that are not given up; it stays where
    its own could not be tried, unless that is given up. judged: the particles (numbers from 0) that say which classes
    are, None for none.
    """
    at, before = np.arange(len(found.label)), found.place
    free = open_.any(1) & np.isfinite(tries.gain[at, before])
    # Of those that tried nothing the network knows how much less likely other classes are.
    gain = np.where(free[:, None], tries.gain, -found.odds)
    gain[~free, before[~free]] = 1e-3  # more than one that the network finds as likely
    if typical is not None:
        empty = np.bincount(found.label[typical], minlength=len(tries.cost)) == 0
        seen = np.where(empty[found.likely[typical]], -np.inf, gain[typical])
        gone = empty | given_up(seen, found.likely[typical], tries.cost)
        gain[typical] = np.where(gone[found.likely[typical]], -np.inf, gain[typical])
    best = gain.argmax(1)
    odds = np.where(np.isfinite(gain), gain[at, best][:, None] - gain, found.odds)
    return replace(found, label=found.likely[at, best], odds=odds, angle=tries.angle, shift=tries.shift)
