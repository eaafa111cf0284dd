"""Refinement in real space: every particle against an average, one resampling a round.

A sweep turns each particle by its angle, looks at both 180 degree candidates over all shifts, takes the better one and
then solves for what is left by Gauss-Newton: the particle in the average's frame is a sum of the average and its three
tangents (moved in x, in y, turned), so three dot products and a 3 x 3 system give the correction. Working pixels
throughout; the pose is that of geometry.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.alignment.fourier import Band, ShiftMaps, transform
from scipion_udl.alignment.prepare import PreparedParticles

MAX_TURN = 4.0  # degrees a sweep may turn a particle by, about the range in which the tangent holds
MAX_MOVE = 1.5  # working pixels
SEARCH_STEP = 4.0  # degrees between two orientations of the full-circle search


@dataclass
class State:
    """Poses of all particles in working pixels and what the last sweep saw of them, numpy arrays of length N.

    angle: degrees; shift: (N, 2); score: weighted correlation with the judge's average; log_odds: log likelihood of the
    candidate taken over that of the one turned by 180 degrees, nats.
    """

    angle: np.ndarray
    shift: np.ndarray
    score: np.ndarray
    log_odds: np.ndarray

    @classmethod
    def start(cls, angle: np.ndarray) -> State:
        """A state that knows angles (degrees) only."""
        n = len(angle)
        return cls(np.array(angle, np.float64), np.zeros((n, 2)), np.zeros(n), np.zeros(n))

    def copy(self) -> State:
        """An independent copy."""
        return State(*(v.copy() for v in (self.angle, self.shift, self.score, self.log_odds)))


class Reference:
    """An average to align to: its band, weights, tangents and normal equations.

    average: the masked plain mean (band); weight: Wiener weight per ring (k_max + 1,); difference: what is believed of
    the average minus itself turned by 180 degrees (band), which the log odds rest on; None for all of it.
    """

    def __init__(
        self, band: Band, average: torch.Tensor, weight: torch.Tensor, difference: torch.Tensor | None = None
    ) -> None:
        self.difference = difference
        self.average, self.ring_weight = average, weight
        self.weight = band.spread(weight)
        self.weighted = average * self.weight
        self.power = float(band.dot(average, average, self.weight))
        half = torch.tensor([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]], device=band.device)
        moved = band.shifted(average, half)
        turned = band.of_images(
            transform(band.half_plane(average)[None], band.box, torch.tensor([1.0, -1.0], device=band.device))
        )
        # How the image changes when a pose of +1 px in x, +1 px in y, +1 degree is applied to it.
        self.tangents = torch.stack([moved[0] - moved[1], moved[2] - moved[3], (turned[0] - turned[1]) / 2])
        normal = band.dot(self.tangents[:, None], self.tangents[None], self.weight)
        # An image that looks the same moved or turned (a stripe, a ring) has a singular system: then nothing is moved.
        self.normal = normal + torch.eye(3, device=band.device) * (1e-6 * normal.trace() + 1e-12)

    def turned(self, band: Band, angles: torch.Tensor) -> torch.Tensor:
        """The weighted reference turned by each of ``angles`` (degrees), (len(angles), band)."""
        return band.of_images(transform(band.half_plane(self.weighted)[None], band.box, angles))


@dataclass
class SweepResult:
    """Sums (band, complex) of the aligned particles per reference, their counts, and the median change of the poses."""

    sums: list[torch.Tensor]
    counts: list[int]
    turned: float
    moved: float


class Refiner:
    """Sweeps over the particles of a set.

    prepared: the particles; band; max_shift: how far off centre particles lie, working pixels; coarse: the band of the
    full-circle search, Fourier pixels.
    """

    def __init__(self, prepared: PreparedParticles, band: Band, max_shift: float, coarse: int) -> None:
        self.prepared, self.band = prepared, band
        self.maps = ShiftMaps(band, shift_reach(max_shift))
        self.coarse_band = Band(band.box, min(coarse, band.k_max), band.device)
        step = band.box / (4 * self.coarse_band.k_max)
        self.coarse_maps = ShiftMaps(self.coarse_band, shift_reach(max_shift), step)

    def sweep(
        self,
        state: State,
        references: list[Reference],
        member: np.ndarray,
        stage: str,
        indices: np.ndarray,
        turn: bool = True,
        judge: list[Reference] | None = None,
    ) -> SweepResult:
        """One round over ``indices``: updates ``state`` in place.

        member: (N,) which reference each particle is aligned to; judge: references that decide branch, log odds and
        score instead (the other half's, so that a particle does not vote for itself); turn: whether angles may change
        (but for the 180 degree branch).
        """
        band = self.band
        sums = [torch.zeros_like(reference.average) for reference in references]
        counts = [0] * len(references)
        changes = []
        for part, coefficients in self.prepared.chunks(indices, stage):
            angle = torch.from_numpy(state.angle[part]).to(band.device)
            particles = band.of_images(transform(coefficients, band.box, angle))
            for number, reference in enumerate(references):
                own = np.flatnonzero(member[part] == number)
                if not len(own):
                    continue
                rows = part[own]
                arbiter = (judge or references)[number]
                aligned = self._align(particles[torch.from_numpy(own).to(band.device)], reference, arbiter, turn)
                changes.append(self._store(state, rows, aligned))
                sums[number] += band.shifted(aligned.particles, aligned.shift).sum(0)
                counts[number] += len(rows)
        change = np.concatenate(changes) if changes else np.zeros((0, 2))
        turned, moved = np.median(np.abs(change), axis=0) if len(change) else (0.0, 0.0)
        return SweepResult(sums, counts, float(turned), float(moved))

    def _align(self, particles: torch.Tensor, reference: Reference, arbiter: Reference, turn: bool) -> _Aligned:
        """Branch, shift and correction of turned particles (n, band).

        Both candidates are moved to a fraction of a pixel before they are compared: on whole pixels the branch would
        serve as half a step.
        """
        band, maps = self.band, self.maps
        candidates = torch.stack([particles, particles.conj()], 1)
        shift, _ = peaks(maps, maps.correlate(candidates, arbiter.weighted))
        for _ in range(2):
            shift = shift - self._correct(band.shifted(candidates, shift), arbiter, 2).clamp(-MAX_MOVE, MAX_MOVE)
        value = band.dot(band.shifted(candidates, shift), arbiter.weighted)
        flipped = value[:, 1] > value[:, 0]
        particles = torch.where(flipped[:, None, None], candidates[:, 1], candidates[:, 0])
        shift = torch.where(flipped[:, None], shift[:, 1], shift[:, 0])
        correction = self._correct(band.shifted(particles, shift), reference, 3 if turn else 2)
        shift = shift - correction[:, :2].clamp(-MAX_MOVE, MAX_MOVE)
        reach = float(maps.shifts[-1])
        shift = shift.clamp(-reach, reach)
        moved = band.shifted(particles, shift)
        norm = (band.dot(moved, moved, arbiter.weight) * arbiter.power).sqrt().clamp(min=1e-12)
        score = band.dot(moved, arbiter.average, arbiter.weight) / norm
        turned = -correction[:, 2].clamp(-MAX_TURN, MAX_TURN) if turn else torch.zeros_like(score)
        if arbiter.difference is None:
            log_odds = 2 * (value[:, 0] - value[:, 1]).abs()
        else:
            log_odds = 2 * band.dot(moved, arbiter.difference)
        return _Aligned(particles, flipped, shift, turned, score, log_odds)

    def _correct(self, moved: torch.Tensor, reference: Reference, size: int) -> torch.Tensor:
        """How far particles (..., band) in the reference's frame are moved in x, in y (pixels) and, for size 3, turned
        (degrees) against it: one Gauss-Newton step, (..., size)."""
        gradient = self.band.dot(
            reference.tangents[:size], (moved - reference.average).unsqueeze(-3), reference.weight
        )
        return torch.linalg.solve(reference.normal[:size, :size], gradient.unsqueeze(-1))[..., 0]

    def _store(self, state: State, rows: np.ndarray, aligned: _Aligned) -> np.ndarray:
        """Write aligned particles into the state; returns (n, 2) changes of angle (degrees) and of shift (pixels).

        A correction turns the aligned particle about the average's origin, so its shift turns with it.
        """
        turn = aligned.turn.double().cpu().numpy()
        shift = aligned.shift.double().cpu().numpy()
        flipped = aligned.flipped.cpu().numpy()
        cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        shift = np.stack([cos * shift[:, 0] - sin * shift[:, 1], sin * shift[:, 0] + cos * shift[:, 1]], 1)
        moved = np.hypot(*(shift - state.shift[rows]).T)
        state.angle[rows] = state.angle[rows] + turn + 180.0 * flipped
        state.shift[rows] = shift
        state.score[rows] = aligned.score.double().cpu().numpy()
        state.log_odds[rows] = aligned.log_odds.double().cpu().numpy()
        return np.stack([turn, moved], 1)

    def search(
        self, state: State, references: list[Reference], member: np.ndarray, stage: str, indices: np.ndarray
    ) -> None:
        """Full-circle search: every angle in steps, all shifts, in a coarse band; writes angles and shifts to
        ``state``."""
        angles = torch.arange(0, 180, SEARCH_STEP, device=self.band.device)
        coarse = [self._coarse(reference).turned(self.coarse_band, -angles) for reference in references]
        for part, coefficients in self.prepared.chunks(indices, stage):
            particles = self.coarse_band.crop(coefficients)
            for number, turned in enumerate(coarse):
                own = np.flatnonzero(member[part] == number)
                if len(own):
                    rows = part[own]
                    those = particles[torch.from_numpy(own).to(self.band.device)]
                    angle = full_circle(those, turned, angles, self.coarse_maps)
                    state.angle[rows] = angle.double().cpu().numpy()

    def _coarse(self, reference: Reference) -> Reference:
        inner = self.coarse_band.crop(self.band.half_plane(reference.average))
        return Reference(self.coarse_band, inner, reference.ring_weight[: self.coarse_band.k_max + 1])


@dataclass
class _Aligned:
    """Particles (n, band) turned and on the right branch, not shifted; shift (n, 2); turn: correction still to be
    applied (n,) degrees; score, log_odds (n,)."""

    particles: torch.Tensor
    flipped: torch.Tensor
    shift: torch.Tensor
    turn: torch.Tensor
    score: torch.Tensor
    log_odds: torch.Tensor


def shift_reach(max_shift: float) -> float:
    """How far shifts are looked at, working pixels: particles within a square of +-max_shift, and an average that is a
    little off centre. Where the reach ends too soon, the branch that needs the smaller shift wins, right or wrong."""
    return 1.5 * max_shift + 4.0


def peaks(maps: ShiftMaps, correlation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(shift (..., 2) x and y, value (...)) of the highest points of maps (..., S, S), with a parabola through each."""
    size = len(maps.shifts)
    values, place = correlation.masked_fill(~maps.inside, -torch.inf).flatten(-2).max(-1)
    row, column = (place // size).clamp(1, size - 2), (place % size).clamp(1, size - 2)
    flat = correlation.flatten(-2)

    def at(dy: int, dx: int) -> torch.Tensor:
        return flat.gather(-1, ((row + dy) * size + column + dx).unsqueeze(-1))[..., 0]

    centre = at(0, 0)

    def offset(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        bend = (before - 2 * centre + after).clamp(max=-1e-12)
        return (0.5 * (before - after) / bend).clamp(-0.5, 0.5)

    step = maps.shifts[1] - maps.shifts[0]
    x = maps.shifts[column] + step * offset(at(0, -1), at(0, 1))
    y = maps.shifts[row] + step * offset(at(-1, 0), at(1, 0))
    return torch.stack([x, y], -1), values


def full_circle(
    particles: torch.Tensor, turned: torch.Tensor, angles: torch.Tensor, maps: ShiftMaps
) -> torch.Tensor:
    """The pose angle (n,), degrees, of particles (n, band) whose best match among references turned by -angles is
    there.

    turned: (A, band) for ``angles`` (A,) over 180 degrees; the other half circle is their complex conjugates.
    """
    best = torch.full((len(particles),), -torch.inf, device=particles.device)
    angle = torch.zeros_like(best)
    for reference, degrees in zip(turned, angles):
        for candidate, extra in ((reference, 0.0), (reference.conj(), 180.0)):
            value = maps.correlate(particles, candidate).masked_fill(~maps.inside, -torch.inf).flatten(1).amax(1)
            better = value > best
            best = torch.where(better, value, best)
            angle = torch.where(better, degrees + extra, angle)
    return angle
