"""Every angle at once: where the network's angles do not hold, particles are weighed over all angles.

At very low SNR the amplitude spectrum of a particle no longer tells its angle, but the particle itself still does, once
there is an average to compare it with. Expectation maximisation over all angles and shifts together finds that average:
each particle enters it in all its poses, weighted by their likelihood (maximum likelihood refinement, Sigworth 1998).
In a coarse band this costs about a millisecond a particle and round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from scipion_udl.alignment.accumulators import FOLDS, Sums, add_up, halves_of, share_of_others
from scipion_udl.alignment.initial_poses import NOTHING, Solver
from scipion_udl.alignment.wiener import WienerFilter
from scipion_udl.imaging.band import Band, ShiftMaps
from scipion_udl.imaging.orientations import AngleBins, Orientations

TOLERANCE = 0.2  # nats a particle, gained in three rounds: less is what noise gains
ANGLES = 60  # orientations over 180 degrees
STEP = 16  # particles at a time: bounds the memory of the maps
TOGETHER = 320  # maps at a time: one by one, small as they are, each would cost more than what is in it


@dataclass
class ExhaustiveFit:
    """Where the rounds ended.

    average: (band) masked mean; weight: (k_max + 1,) its Wiener weight per ring; likelihood: mean log likelihood of a
    particle given the average of the others, nats; angle: (N,) the likeliest pose angle, degrees; history: the
    likelihood after every round.
    """

    average: torch.Tensor
    weight: torch.Tensor
    likelihood: float
    angle: torch.Tensor
    history: list[float]


class ExhaustiveSolver(Solver):
    """Expectation maximisation over angle, shift and branch of particles that are not rotated."""

    def __init__(
        self,
        band: Band,
        maps: ShiftMaps,
        mask: torch.Tensor,
        particles: torch.Tensor,
        power: torch.Tensor | None = None,
    ) -> None:
        super().__init__(band, maps, mask, particles, power)
        self.folds = min(FOLDS, len(particles))
        self.fold = torch.arange(len(particles), device=band.device) % self.folds
        # Log odds and posteriors of all angles and shifts of STEP particles, written over and over.
        size = len(maps.shifts)
        self._logs = torch.empty(STEP, 2 * ANGLES, size * size, device=band.device)

    def run(self, start: torch.Tensor, rounds: int, told: Callable[[int, float], None] | None = None) -> ExhaustiveFit:
        """Rounds until the likelihood stands still.

        Parameters
        ----------
        start : (band) complex tensor
            A weighted average.
        rounds : int
            At most.
        told : callable, optional
            Told the number, from 1, and the likelihood after each round.

        Returns
        -------
        CircleFit
            Where they ended.
        """
        references = [start] * self.folds
        history: list[float] = []
        for number in range(1, rounds + 1):
            sums, likelihood, angle = self._expect(references)
            whole = add_up(sums)
            weight = WienerFilter(self.band, [self._mean(half) for half in halves_of(sums)]).weight(
                share_of_others(self.folds)
            )
            references = [self._mean(whole - own) * self.band.spread(weight) for own in sums]
            history.append(likelihood)
            if told:
                told(number, likelihood)
            if number > 4 and history[-1] - history[-4] < max(1e-3 * abs(likelihood), TOLERANCE):
                break
        return ExhaustiveFit(self._mean(whole), weight, history[-1], angle, history)

    def _mean(self, sums: Sums) -> torch.Tensor:
        return self.band.masked(sums.mean(self.band), self.mask)

    def _expect(self, references: list[torch.Tensor]) -> tuple[list[Sums], float, torch.Tensor]:
        """Sums of the expected aligned particles per fold, the likelihood, the likeliest angles."""
        band = self.band
        evidence, sums = 0.0, []
        angle = torch.zeros(len(self.particles), device=band.device)
        for fold, reference in enumerate(references):
            members = (self.fold == fold).nonzero()[:, 0]
            orientations = Orientations(band, reference, ANGLES)
            bins = AngleBins(band, ANGLES)
            for part in members.split(STEP):
                logs, angle[part] = self._weigh(self.particles[part], orientations, bins)
                evidence += float(logs.double().sum())
            ctf = self.power[members].double().sum(0)
            evidence -= float((ctf * band.ring_sums(reference.abs().square())).sum())
            sums.append(Sums(bins.total(), ctf, len(members)))
        return sums, evidence / len(self.particles), angle

    def _weigh(
        self, particles: torch.Tensor, orientations: Orientations, bins: AngleBins
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(log evidence (n,), likeliest angle (n,)) of particles, which are added to the bins by their likelihood."""
        maps, n, size = self.maps, len(particles), len(self.maps.shifts)
        logs = self._logs[:n]
        place = 0
        for found in log_likelihoods(particles, orientations, maps):
            values = found.view(len(found), 2, n, -1).permute(2, 1, 0, 3)
            logs.view(n, 2, ANGLES, -1)[:, :, place : place + len(found)] = values
            place += len(found)
        evidence, flat = _normalised(logs.flatten(1))
        posterior = flat.view(logs.shape)
        marginal = posterior.sum(-1)
        likely = marginal > 1e-4
        for way, those in enumerate((particles, particles.conj())):
            at = slice(way * ANGLES, (way + 1) * ANGLES)
            who, where = likely[:, at].nonzero(as_tuple=True)
            weights = posterior[who, way * ANGLES + where].view(-1, size, size)
            bins.add(where, those[who] * maps.blur(weights))
        return evidence, marginal.argmax(1).float() * orientations.step


def _normalised(logs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(log of the summed likelihood (n,), posterior (n, M)) of log likelihoods (n, M), in whose place the posterior is
    written: of every value one exponential is taken, and none that underflows."""
    best = logs.amax(1, keepdim=True)
    posterior = logs.sub_(best).clamp_(min=-NOTHING).exp_()
    total = posterior.sum(1, keepdim=True)
    return (best + total.log())[:, 0], posterior.div_(total)


def log_likelihoods(particles: torch.Tensor, orientations: Orientations, maps: ShiftMaps) -> Iterator[torch.Tensor]:
    """For every orientation the log likelihood of all shifts, their prior with it; some orientations at a time.

    Parameters
    ----------
    particles : (n, band) complex tensor
        Times their CTF.
    orientations : Orientations
        Of the average.
    maps : ShiftMaps
        The S by S shifts.

    Yields
    ------
    (orientations, 2 n, S * S) tensor
        Nats; of the particles and then of the same rotated by 180 degrees.
    """
    both = torch.cat([particles.conj(), particles]).resolve_conj()
    for images in orientations.images.split(max(1, TOGETHER // len(both))):
        yield (2 * maps.of_products(both * images[:, None]) + maps.prior).flatten(2)
