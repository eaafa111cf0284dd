"""The first average: from the network's angles where they hold, from a search of all angles where they do not.

A bounded subset of the particles settles it. Shift and branch come from initial_poses.py; an exhaustive angular search
checks the network's angles, and where they fail, all angles are weighed (exhaustive_em.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional

from scipion_udl.alignment.exhaustive_em import ExhaustiveFit, ExhaustiveSolver
from scipion_udl.alignment.initial_poses import BranchSolver, Start, first_of_best
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import FAR, Refiner
from scipion_udl.alignment.state import State
from scipion_udl.constants import shift_search_range
from scipion_udl.imaging.band import Band, ShiftMaps
from scipion_udl.imaging.fourier import transform
from scipion_udl.imaging.poses import wrap
from scipion_udl.particles.prepared import PreparedParticles

FIRST_BAND = 40  # Fourier pixels of the working box
EXHAUSTIVE_BAND = 16  # of the rounds that weigh all angles
EXHAUSTIVE_START = 8  # ring up to which halves that weigh all angles share their start
EXHAUSTIVE_ROUNDS = 40  # at most; a quarter of them for halves, which start from what all have found
SINGLES, TRIAL = 3, 8  # single particles to start from where there is no network, and rounds after which one is chosen
FEW, MANY = 0.001, 0.05  # shares of particles that a search finds elsewhere: not worth it, and the network fails


@dataclass
class First:
    """A first average and what is known of the particles of the subset, in its order.

    start: the average; angle: (n,) pose angles, degrees; searched: whether the network's angles do not hold for all;
    exhaustive: whether they were given up.
    """

    start: Start
    angle: np.ndarray
    searched: bool = False
    exhaustive: bool = False


class FirstAverage:
    """Finds first averages of particles of a set.

    prepared: the particles; k_max: of the final band, Fourier pixels; max_shift: working pixels; initial_lowpass: the
    ring up to which the halves may have a start in common, Fourier pixels.
    """

    def __init__(
        self,
        prepared: PreparedParticles,
        k_max: int,
        max_shift: float,
        initial_lowpass: int,
    ) -> None:
        self.prepared, self.max_shift = prepared, max_shift
        self.band = Band(prepared.box, min(FIRST_BAND, k_max), prepared.device)
        self.exhaustive_band = Band(prepared.box, min(EXHAUSTIVE_BAND, k_max), prepared.device)
        self.initial_lowpass = min(initial_lowpass, self.band.k_max)

    def from_angles(self, subset: np.ndarray, angles: np.ndarray, search: bool = True) -> First:
        """The first average of particles whose angles are known.

        Parameters
        ----------
        subset : (n,) int array
            The particles, from 0.
        angles : (n,) array
            Degrees, modulo 180, as the network gave them.
        search : bool, optional
            Whether to check them over all angles.

        Returns
        -------
        First
            With angles searched anew where those did not hold.
        """
        first = First(self._solver(subset, angles).solve(log=self.prepared.say), angles)
        self.prepared.say(f"First average made from {len(subset)} particles")
        for _ in range(3 if search else 0):
            better = self._searched(subset, first)
            if better is None:
                break
            gain = better.start.likelihood - first.start.likelihood
            self.prepared.say(
                f"Log likelihood a particle {first.start.likelihood:.2f} before, {gain:+.2f} by the search", detail=True
            )
            if gain <= 0:
                break
            first = better
            if gain < 0.05 or first.exhaustive:
                break
        return first

    def from_nothing(self, subset: np.ndarray, image: torch.Tensor | None) -> First:
        """The first average where there is no network: from a reference image, or the best of single particles.

        Parameters
        ----------
        subset : (n,) int array
            The particles, from 0.
        image : (box, box//2 + 1) complex tensor or None
            The reference, in the working box; None for none.

        Returns
        -------
        First
            Found by weighing all angles.
        """
        solver = self._exhaustive_solver(subset)
        band = self.exhaustive_band
        if image is not None:
            begin = band.masked(band.crop(image), self.prepared.disc.mask)
            # A reference of the other contrast fits better inverted.
            begin = max(begin, -begin, key=lambda start: solver.run(start, 1).likelihood)
        else:
            low = band.radius <= EXHAUSTIVE_START
            fits = [
                solver.run(band.masked(solver.particles[n] * low, self.prepared.disc.mask), TRIAL)
                for n in range(min(SINGLES, len(subset)))
            ]
            best = first_of_best(fits)
            begin = best.average * band.spread(best.weight)
        return self._after_exhaustive(subset, self._weighed(solver, begin, EXHAUSTIVE_ROUNDS))

    def halves(self, first: First, subset: np.ndarray, half: np.ndarray) -> list[torch.Tensor]:
        """An average for either half of the subset: from the low-passed first average on each goes its own way.

        Parameters
        ----------
        first : First
            Of the subset; its angles are renewed where all were weighed.
        subset : (n,) int array
            The particles, from 0.
        half : (n,) int array
            0 or 1.

        Returns
        -------
        list of (band) complex tensors
            Two.
        """
        inner = self.band
        low = first.start.average * inner.spread(first.start.weight) * (inner.radius <= self.initial_lowpass)
        averages = []
        for number in (0, 1):
            members = np.flatnonzero(half == number)
            if len(members) < 2:  # too few to go apart: nothing will be claimed
                averages.append(first.start.average)
                continue
            start = low
            if first.exhaustive:
                fit = self._weighed(
                    self._exhaustive_solver(subset[members]),
                    self.exhaustive_band.taken_from(inner, low),
                    EXHAUSTIVE_ROUNDS // 4,
                )
                begin = self._as_start(fit)
                first.angle[members] = self._refined(subset[members], fit.angle.double().cpu().numpy(), begin)
                start = begin.average * inner.spread(begin.weight)
            solver = self._solver(subset[members], first.angle[members]).centred(start)
            limit = inner.radius <= (self.exhaustive_band.k_max if first.exhaustive else self.initial_lowpass)
            own = solver.run(solver.mean() * limit, 15, "half", local=first.start.local)
            averages.append(solver.to_original_frame(own.average))
        return averages

    def _solver(self, subset: np.ndarray, angles: np.ndarray) -> BranchSolver:
        band = self.band
        angle = np.zeros(len(self.prepared))
        angle[subset] = angles

        def rotated(part: np.ndarray, coefficients: torch.Tensor) -> torch.Tensor:
            those = self.prepared.apply_ctf(part, coefficients)
            return band.of_images(transform(those, band.box, torch.from_numpy(angle[part]).to(band.device)))

        particles = self.prepared.all(subset, "first average", rotated)
        filaments = self.prepared.filaments
        along = None if filaments is None else filaments.along(self.prepared.scale)
        maps = ShiftMaps(band, shift_search_range(self.max_shift), along=along)
        return BranchSolver(band, maps, self.prepared.disc.mask, particles, self._power(subset, band))

    def _exhaustive_solver(self, subset: np.ndarray) -> ExhaustiveSolver:
        band = self.exhaustive_band
        particles = self.prepared.all(
            subset, "full circle", lambda part, values: band.crop(self.prepared.apply_ctf(part, values))
        )
        maps = ShiftMaps(band, shift_search_range(self.max_shift), band.box / (4 * band.k_max))
        return ExhaustiveSolver(band, maps, self.prepared.disc.mask, particles, self._power(subset, band))

    def _power(self, subset: np.ndarray, band: Band) -> torch.Tensor | None:
        """Squared CTFs per ring of a band, (len(subset), k_max + 1); None where they are not known."""
        parts = []
        for start in range(0, len(subset), self.prepared.reader.chunk):
            ctf = self.prepared.ctf(subset[start : start + self.prepared.reader.chunk])
            if ctf is None:
                return None
            parts.append(band.ring_means(band.crop(ctf).square()))
        return torch.cat(parts)

    def _searched(self, subset: np.ndarray, first: First) -> First | None:
        """What an exhaustive angular search against the average makes of it: where some particles lie elsewhere, they
        are put there; where many do, all are weighed over all angles. None where the angles hold."""
        found = self._search(subset, first.start)
        far = np.abs(wrap(found - first.angle, 180.0)) > FAR
        self.prepared.say(
            f"Angles checked by an exhaustive search: {far.mean():.1%} of {len(subset)} particles lie elsewhere"
        )
        if far.mean() <= FEW:
            return None
        if far.mean() > MANY:
            start = first.start.average * self.band.spread(first.start.weight)
            solver = self._exhaustive_solver(subset)
            start = self.exhaustive_band.taken_from(self.band, start)
            return self._after_exhaustive(subset, self._weighed(solver, start, EXHAUSTIVE_ROUNDS))
        angle = first.angle.copy()
        angle[far] = self._refined(subset[far], found[far], first.start, self.initial_lowpass)
        return First(
            self._solver(subset, angle).settle(first.start, log=self.prepared.say), angle, True, first.exhaustive
        )

    def _weighed(self, solver: ExhaustiveSolver, start: torch.Tensor, rounds: int) -> ExhaustiveFit:
        """The rounds of a solver from a weighted average (band), with their progress told."""
        return solver.run(
            start, rounds, lambda number, _: self.prepared.reader.context.report("all angles", number, rounds)
        )

    def _after_exhaustive(self, subset: np.ndarray, fit: ExhaustiveFit) -> First:
        self.prepared.say(
            f"All angles weighted in {len(fit.history)} iterations: log likelihood a particle from "
            f"{fit.history[0]:.2f} to {fit.likelihood:.2f}",
            detail=True,
        )
        self.initial_lowpass = min(EXHAUSTIVE_START, self.band.k_max)
        begin = self._as_start(fit)
        angle = self._refined(subset, fit.angle.double().cpu().numpy(), begin)
        return First(self._solver(subset, angle).settle(begin, log=self.prepared.say), angle, True, True)

    def _as_start(self, fit: ExhaustiveFit) -> Start:
        weight = functional.pad(fit.weight, (0, self.band.k_max + 1 - len(fit.weight)))
        average = self.band.taken_from(self.exhaustive_band, fit.average)
        return Start(average, weight, fit.likelihood, torch.zeros(len(fit.angle)), "full circle", fit.history)

    def _search(self, subset: np.ndarray, start: Start) -> np.ndarray:
        """Angles (degrees, modulo 360) of the subset by exhaustive angular search against a first average."""
        refiner = Refiner(self.prepared, self.band, self.max_shift, self.initial_lowpass)
        state = State.start(np.zeros(len(self.prepared)))
        reference = Reference(self.band, start.average, start.weight)
        refiner.search(state, [reference], np.zeros(len(self.prepared), np.int64), "exhaustive angular search", subset)
        return state.angle[subset]

    def _refined(self, subset: np.ndarray, angles: np.ndarray, start: Start, limit: int | None = None) -> np.ndarray:
        """Angles (degrees) of the subset, solved for to a fraction of the search's step against a first average; limit:
        up to this ring of it."""
        refiner = Refiner(self.prepared, self.band, self.max_shift, self.initial_lowpass)
        state = State.start(np.zeros(len(self.prepared)))
        state.angle[subset] = angles
        weight = start.weight.clone()
        weight[(self.band.k_max if limit is None else limit) + 1 :] = 0
        reference = Reference(self.band, start.average, weight)
        for number in (1, 2):
            refiner.iterate(state, [reference], np.zeros(len(state.angle), np.int64), f"angles, round {number}", subset)
        return state.angle[subset]
