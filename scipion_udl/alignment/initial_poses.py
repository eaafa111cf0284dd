"""The first average: shift and the 180 degree question, settled together.

The network knows each angle modulo 180 degrees. Turned by it, a particle has two candidates (as it is, and rotated by
another 180 degrees, which in Fourier space is the complex conjugate), each with a shift. Expectation maximisation
weighs all of them by their likelihood given the average and puts the weighted mean in the average's place. Three things
make it find the same answer from every start: the reference of a particle never holds that particle (the set is cut
into folds), the shifts looked at reach farther than any particle lies off centre, and the average is kept centred. Once
it stands, the particles are centred on it and the rounds go on with shifts in quarters of a pixel: in whole pixels the
two candidates of a nearly two-fold view would serve as half steps, and say nothing of which way round it is.

Starts: the two-fold symmetrised average with the signs of its antisymmetric part read off the first principal
component, and single particles. All are judged by one number, the mean log likelihood of a particle given the average
of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch

from scipion_udl.alignment.accumulators import FOLDS, Sums, add_up, halves_of, share_of_others
from scipion_udl.alignment.wiener import WienerFilter, flip_centre
from scipion_udl.compute.log import Say
from scipion_udl.imaging.band import Band, ShiftMaps

FINE_RANGE, FINE_STEP = 3.0, 0.25  # working pixels, once the particles are centred
TRIAL, FEW = 12, 512  # rounds and particles after which starts are judged
NOTHING = 70.0  # nats below the likeliest pose: a weight that changes no bit of a sum in single precision


class HasLikelihood(Protocol):
    """What has a mean log likelihood of a particle: a Start, say."""

    @property
    def likelihood(self) -> float:
        """Nats."""


Fit = TypeVar("Fit", bound=HasLikelihood)
STEP = 64  # particles at a time: bounds the memory of the shift maps


@dataclass
class Start:
    """Where the rounds of one start ended.

    average: (band) plain masked mean; weight: (k_max + 1,) its Wiener weight per ring; likelihood: mean log likelihood
    of a particle given the average of the others, nats; rotated: (N,) posterior of the second candidate of the solver
    that ran (the first of a centred solver is the one that fitted better before); name: how it began; history: the
    likelihood after every round; local: whether the difference between both ways round was weighed place by place.
    """

    average: torch.Tensor
    weight: torch.Tensor
    likelihood: float
    rotated: torch.Tensor
    name: str
    history: list[float]
    local: bool = False


def without_underflow(logs: torch.Tensor) -> torch.Tensor:
    """Log likelihoods, none so far below the best of its particle that its exponential is no normal number.

    Exponentials that underflow take ten times as long, and add nothing to the sum that they are part of.

    Parameters
    ----------
    logs : (N, M) float32 tensor
        Nats, of M poses of each particle.

    Returns
    -------
    (N, M) tensor
        The same, NOTHING below the best of its particle at the least.
    """
    return torch.maximum(logs, logs.amax(1, keepdim=True) - NOTHING)


def expectation(
    maps: ShiftMaps, particles: torch.Tensor, reference: torch.Tensor, both: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log evidence and posterior of the candidates and shifts of particles against a reference.

    Noise has variance 1 a coefficient. What does not depend on candidate and shift is left out of the evidence.

    Parameters
    ----------
    maps : ShiftMaps
        The S by S shifts.
    particles : (N, band) complex tensor
        Already rotated by the network's angle, times their CTF.
    reference : (band) complex tensor
        Wiener weighted.
    both : bool, optional
        False leaves the second candidate out.

    Returns
    -------
    evidence : (N,) tensor
        Nats.
    posterior : (N, 2, S, S) tensor
        Sums to 1 for each particle; (N, 1, S, S) with one candidate.
    """
    logs = 2 * maps.correlate(particles, reference)[:, None] + maps.prior
    if both:
        logs = torch.cat([logs, 2 * maps.correlate(particles.conj(), reference)[:, None] + maps.prior], 1)
    flat = logs.flatten(1)
    return torch.logsumexp(without_underflow(flat), 1), torch.softmax(flat, 1).view(logs.shape)


def slight(likelihood: float) -> float:
    """A difference of likelihoods that means nothing.

    Parameters
    ----------
    likelihood : float
        Log likelihood a particle, nats.

    Returns
    -------
    float
        Nats a particle.
    """
    return 1e-3 * max(1.0, 0.01 * abs(likelihood))


def first_of_best(starts: Sequence[Fit]) -> Fit:
    """The first of the starts that fit best.

    Clear particles come to one average from any start, now and then rotated by 180 degrees: rounding, which changes
    with the size of a chunk, must not choose among them.

    Parameters
    ----------
    starts : sequence of Start
        Or of what else has a likelihood.

    Returns
    -------
    Start
        One of them.
    """
    best = max(start.likelihood for start in starts)
    return next(start for start in starts if start.likelihood >= best - slight(best))


class Solver:
    """What finds poses of some particles, all of them in memory.

    band, maps: what to compare with and where; mask: (box, box); particles: bands (N, ...), bounded in number, times
    their CTF where that is known; power: its square per ring (N, k_max + 1), None for 1.
    """

    def __init__(
        self,
        band: Band,
        maps: ShiftMaps,
        mask: torch.Tensor,
        particles: torch.Tensor,
        power: torch.Tensor | None = None,
    ) -> None:
        self.band, self.maps, self.mask, self.particles = band, maps, mask, particles
        self.power = torch.ones(len(particles), band.k_max + 1, device=band.device) if power is None else power


class BranchSolver(Solver):
    """Finds shifts and the 180 degree branch of particles rotated by the network."""

    def __init__(
        self,
        band: Band,
        maps: ShiftMaps,
        mask: torch.Tensor,
        particles: torch.Tensor,
        power: torch.Tensor | None = None,
    ) -> None:
        super().__init__(band, maps, mask, particles, power)
        self.is_centred = False
        self.origin = torch.zeros(2, device=band.device)  # where the frame of the solver this one was centred from lies
        self.fold = torch.arange(len(particles), device=band.device) % min(FOLDS, max(len(particles), 1))

    def run(self, start: torch.Tensor, rounds: int, name: str, symmetric: bool = False, local: bool = False) -> Start:
        """Rounds of expectation maximisation from an average, until the likelihood stands still.

        Parameters
        ----------
        start : (band) complex tensor
            The average.
        rounds : int
            At most.
        name : str
            How it began.
        symmetric : bool, optional
            Hold the average two-fold symmetric (real in Fourier space), which leaves the branch open.
        local : bool, optional
            Weigh what decides the branch place by place (see wiener.py).

        Returns
        -------
        Start
            Where they ended.
        """
        references = [start] * (int(self.fold.max()) + 1)
        history: list[float] = []
        for _ in range(rounds):
            sums, likelihood, rotated = self._expect(references, symmetric)
            whole = add_up(sums)
            references = [self._finish(whole - own, symmetric) for own in sums]
            share = share_of_others(len(sums))
            halves = [self._finish(half, symmetric) for half in halves_of(sums)]
            wiener = WienerFilter(self.band, halves, local=local)
            weight = wiener.weight(share)
            if self.is_centred:
                references = [wiener(r, share) for r in references]
            else:
                references = [r * self.band.spread(weight) for r in references]
            history.append(likelihood)
            if len(history) > 3 and abs(history[-1] - history[-2]) < slight(likelihood):
                break
        return Start(self._finish(whole, symmetric), weight, history[-1], rotated, name, history)

    def _expect(self, references: list[torch.Tensor], symmetric: bool) -> tuple[list[Sums], float, torch.Tensor]:
        """Sums of the expected aligned particles per fold (centred), the likelihood, the branches."""
        band, maps = self.band, self.maps
        sums, evidence = [], 0.0
        rotated = torch.zeros(len(self.particles), device=band.device)
        drift = torch.zeros(2, dtype=torch.float64, device=band.device)
        for fold, reference in enumerate(references):
            members = (self.fold == fold).nonzero()[:, 0]
            total = torch.zeros_like(reference)
            for part in members.split(STEP):
                particles = self.particles[part]
                logs, posterior = expectation(maps, particles, reference, both=not symmetric)
                total += (particles * maps.blur(posterior[:, 0])).sum(0)
                if not symmetric:
                    total += (particles.conj() * maps.blur(posterior[:, 1])).sum(0)
                    rotated[part] = posterior[:, 1].sum((-2, -1))
                across = posterior.sum((0, 1)).double()
                drift += torch.stack([(across.sum(0) * maps.shifts).sum(), (across.sum(1) * maps.shifts).sum()])
                evidence += float(logs.double().sum())
            sums.append(Sums(total, self.power[members].double().sum(0), len(members)))
            evidence -= float((sums[-1].ctf * band.ring_sums(reference.abs().square())).sum())
        centre = (-drift / len(self.particles)).float()
        for own in sums:
            own.total = band.shifted(own.total, centre)
        return sums, evidence / len(self.particles), rotated

    def _finish(self, sums: Sums, symmetric: bool) -> torch.Tensor:
        masked = self.band.masked(sums.mean(self.band), self.mask)
        return masked.real.to(masked.dtype) if symmetric else masked

    def symmetric_start(self, rounds: int = 15) -> Start:
        """The two-fold symmetrised average: shifts are known against it, branches are not.

        Parameters
        ----------
        rounds : int, optional
            At most.

        Returns
        -------
        Start
            Where they ended.
        """
        blurred = self.particles.real.sum(0).to(self.particles.dtype) * (self.band.radius < 12)
        return self.run(self._finish(self._all(blurred), True), rounds, "symmetrised", symmetric=True)

    def _all(self, total: torch.Tensor) -> Sums:
        """A sum (band) over all particles, with their CTFs."""
        return Sums(total, self.power.double().sum(0), len(self.particles))

    def spectral_start(self, symmetric: Start) -> torch.Tensor:
        """An average with the branches that the antisymmetric parts agree on.

        The antisymmetric part of a particle (imaginary in Fourier space once it is centred on the symmetrised average)
        is the same for all but for its sign, the branch: its first principal component has the signs.

        Parameters
        ----------
        symmetric : Start
            The symmetrised average.

        Returns
        -------
        (band) complex tensor
            The average.
        """
        band = self.band
        reference = symmetric.average * band.spread(symmetric.weight)
        aligned = torch.empty_like(self.particles)
        for start in range(0, len(aligned), STEP):
            part = self.particles[start : start + STEP]
            _, posterior = expectation(self.maps, part, reference, both=False)
            aligned[start : start + STEP] = band.masked(part * self.maps.blur(posterior[:, 0]), self.mask)
        odd = (aligned.imag * band.weight.sqrt()).flatten(1)
        vector = torch.linalg.eigh(odd @ odd.T).eigenvectors[:, -1]
        # Both signs of all are right, and rounding would choose: the frame must not hang on the size of a chunk.
        sign = torch.where(vector * vector.sum() >= 0, 1.0, -1.0)
        for _ in range(10):
            sign = torch.where(odd @ (sign @ odd) >= 0, 1.0, -1.0)
        both = torch.complex(aligned.real, aligned.imag * sign[:, None, None])
        return self._all(both.sum(0)).mean(band)

    def single_start(self, number: int) -> torch.Tensor:
        """An average that is one particle, low-passed.

        Parameters
        ----------
        number : int
            Of the particle, from 0.

        Returns
        -------
        (band) complex tensor
            The average.
        """
        low = self.particles[number] * (self.band.radius < 16)
        return self._finish(self._all(low * len(self.particles)), False)

    def centred(self, reference: torch.Tensor) -> BranchSolver:
        """A solver for the same particles, each centred on a reference, with a fine grid of small shifts.

        Particles are rotated by 180 degrees where that fits better. The frame's origin becomes the centre about which
        the reference is most like itself rotated by 180 degrees, so that either candidate of a nearly two-fold view
        needs no shift.

        Parameters
        ----------
        reference : (band) complex tensor
            Weighted.

        Returns
        -------
        BranchSolver
            Which :meth:`home` leads back from.
        """
        band, maps = self.band, self.maps
        centre, size = flip_centre(maps, reference), len(maps.shifts)
        particles = torch.empty_like(self.particles)
        for start in range(0, len(particles), STEP):
            part = self.particles[start : start + STEP]
            candidates = torch.stack([part, part.conj()], 1)
            logs = (2 * maps.correlate(candidates, reference) + maps.prior).flatten(2)
            value, place = logs.max(-1)
            flipped = value[:, 1] > value[:, 0]
            place = torch.where(flipped, place[:, 1], place[:, 0])
            shift = torch.stack([maps.shifts[place % size], maps.shifts[place // size]], -1) - centre
            chosen = torch.where(flipped[:, None, None], candidates[:, 1], candidates[:, 0])
            particles[start : start + STEP] = band.shifted(chosen, shift)
        solver = BranchSolver(band, ShiftMaps(band, FINE_RANGE, FINE_STEP), self.mask, particles, self.power)
        solver.origin = centre
        solver.is_centred = True
        return solver

    def mean(self) -> torch.Tensor:
        """The plain mean of the particles as they are, their CTF taken out.

        Returns
        -------
        (band) complex tensor
            The mean.
        """
        return self._all(self.particles.sum(0)).mean(self.band)

    def to_original_frame(self, average: torch.Tensor) -> torch.Tensor:
        """An average of this solver in the frame of the solver that was centred.

        Parameters
        ----------
        average : (band) complex tensor
            Of this one.

        Returns
        -------
        (band) complex tensor
            The moved one.
        """
        return self.band.shifted(average, self.origin)

    def subset(self, count: int) -> BranchSolver:
        """A solver for the first particles.

        Parameters
        ----------
        count : int
            So many at most.

        Returns
        -------
        BranchSolver
            This one where it has no more.
        """
        if count >= len(self.particles):
            return self
        return BranchSolver(self.band, self.maps, self.mask, self.particles[:count], self.power[:count])

    def solve(self, singles: int = 2, rounds: int = 40, log: Say | None = None) -> Start:
        """The best of the spectral start and some single particles, by the one likelihood.

        Parameters
        ----------
        singles : int, optional
            Single particles to start from.
        rounds : int, optional
            At most.
        log : Say, optional
            Told what the starts came to.

        Returns
        -------
        Start
            Settled (:meth:`settle`).
        """
        few = self.subset(FEW)
        starts = [few.run(few.spectral_start(few.symmetric_start()), TRIAL, "spectral signs")]
        for number in range(min(singles, len(few.particles))):
            starts.append(few.run(few.single_start(number), TRIAL, f"particle {number + 1}"))
        best = first_of_best(starts)
        if log:
            told = ", ".join(f"{s.name} {s.likelihood:.2f}" for s in starts)
            log(f"First average from {len(starts)} starts (log likelihood a particle: {told})", detail=True)
        return self.settle(best, rounds, log)

    def settle(self, best: Start, rounds: int = 40, log: Say | None = None) -> Start:
        """The best that is reached from a start with the particles centred on it.

        Parameters
        ----------
        best : Start
            The start.
        rounds : int, optional
            At most.
        log : Say, optional
            Told what the ways came to.

        Returns
        -------
        Start
            In the frame of this solver.
        """
        fine = self.centred(best.average * self.band.spread(best.weight))
        starts = [
            fine.run(fine.spectral_start(fine.symmetric_start()), rounds, "spectral signs"),
            fine.run(fine.mean(), rounds, best.name),
        ]
        if log:
            told = ", ".join(f"{s.name} {s.likelihood:.2f}" for s in starts)
            log(f"The same with shifts in quarters of a pixel ({told})", detail=True)
        best = first_of_best(starts)
        local = fine.run(best.average * self.band.spread(best.weight), rounds, best.name, local=True)
        if log:
            log(f"With the 180-degree difference weighted pixel by pixel: {local.likelihood:.2f}", detail=True)
        if local.likelihood > best.likelihood:
            best = replace(local, local=True)
        return replace(best, average=fine.to_original_frame(best.average))
