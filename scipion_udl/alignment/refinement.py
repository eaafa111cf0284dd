"""Refinement in real space: every particle against an average, without turning the particle.

A particle is compared with the average in the orientation nearest to its angle. Both 180 degree candidates are looked
at over all shifts, the better one is taken, and what is left is solved for by Gauss-Newton: the particle is a sum of
the average and its three changes (moved in x, in y, turned), so three inner products and a 3 x 3 system give the
correction. Where the contrast transfer of the particles is known, particle and average are compared through it.
Working pixels throughout; the pose is that of poses.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from scipion_udl.alignment.accumulators import Sums
from scipion_udl.alignment.state import State
from scipion_udl.constants import shift_reach
from scipion_udl.imaging.band import Band, ShiftMaps, peaks
from scipion_udl.imaging.orientations import AngleBins, Orientations, ring_normals, turned_band
from scipion_udl.imaging.poses import Poses
from scipion_udl.models.contrast import with_contrast
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.particles.shift_limit import ShiftLimit, centre_of

MAX_TURN = 4.0  # degrees a sweep may turn a particle by, about the range in which the slope holds
MAX_MOVE = 1.5  # working pixels
FAR = 2 * MAX_TURN  # degrees between two angles that are different places for sweeps
CLEAR = 20.0  # nats: nobody doubts which way round such a particle lies
STAY = 0.05  # half the log likelihood by which the other way round must be better to be taken: not on mere rounding
GAIN = (0.4, 2.5)  # how much weaker or stronger than the average a particle is taken to be
SEARCH_STEP = 80.0  # degrees between two orientations of a full-circle search, times its band in Fourier pixels


class Reference:
    """An average to align to.

    average: the masked mean (band), its contrast transfer taken out where that is known; weight: Wiener weight per ring
    (k_max + 1,); weighted: the average as particles are compared with it (band), None for the average times its weight;
    difference: what is believed of the average minus itself turned by 180 degrees (band), which the log odds rest on;
    None for all of it.
    """

    def __init__(
        self,
        band: Band,
        average: torch.Tensor,
        weight: torch.Tensor,
        weighted: torch.Tensor | None = None,
        difference: torch.Tensor | None = None,
    ) -> None:
        self.band, self.average, self.ring_weight, self.difference = band, average, weight, difference
        self.weighted = average * band.spread(weight) if weighted is None else weighted

    @cached_property
    def orientations(self) -> Orientations:
        """The weighted average in all orientations."""
        return Orientations(self.band, self.weighted)

    @cached_property
    def differences(self) -> Orientations | None:
        """The believed difference in all orientations."""
        if self.difference is None:
            return None
        return Orientations(self.band, self.difference)

    @cached_property
    def normals(self) -> torch.Tensor:
        """What a small move costs per ring, weighted, (k_max + 1, 3, 3): see :func:`ring_normals`."""
        normals = ring_normals(self.band, self.average) * self.ring_weight[:, None, None].float()
        # An image that looks the same moved or turned (a stripe, a ring) has a singular system: then nothing is moved.
        total = normals.sum(0)
        slight = torch.eye(3, device=self.band.device) * (1e-6 * total.trace() + 1e-12) / len(normals)
        return normals + slight

    @cached_property
    def powers(self) -> torch.Tensor:
        """Weighted power per ring (k_max + 1,), float32."""
        return (self.band.ring_sums(self.average.abs().pow(2)) * self.ring_weight.double()).float()

    @cached_property
    def weighted_powers(self) -> torch.Tensor:
        """Power of the weighted average per ring (k_max + 1,), float32: of what particles are expected to show, where
        the weight is that of a Wiener filter."""
        return self.band.ring_sums(self.weighted.abs().pow(2)).float()

    def expected_errors(self, transfer: torch.Tensor | None = None) -> tuple[float, float]:
        """(degrees, working pixels): standard deviation of the angle and of the shift along an axis that noise of
        variance 1 leaves a particle with (the Cramer-Rao bound). transfer: its squared transfer per ring, None for 1.
        """
        normals = self.normals if transfer is None else self.normals * transfer[:, None, None]
        variances = torch.linalg.inv(2 * normals.sum(0).double()).diagonal()
        return float(variances[2].clamp(min=0).sqrt()), float(variances[:2].mean().clamp(min=0).sqrt())

    def turned(self, angles: torch.Tensor) -> torch.Tensor:
        """The weighted reference with poses of ``angles`` (degrees) applied, (len(angles), band)."""
        return turned_band(self.band, self.weighted, angles)


@dataclass
class SweepResult:
    """Sums per reference, the median change of angle (degrees, modulo 180) and shift (working pixels), and the share of
    particles that were turned round by 180 degrees."""

    sums: list[Sums]
    turned: float
    moved: float
    flipped: float


@dataclass
class Matched:
    """Poses of n particles that were compared with a reference; torch, working pixels.

    angle: (n,) degrees; shift: (n, 2), to apply after turning; score, log_odds: (n,); gain: (n,) log likelihood that
    the particle shows the arbiter's average, over that of noise alone, nats; place: (n,) bin of the angle among the
    orientations; centred: (n, band) the particles moved to the centre (and conjugate where their angle is in the
    other half circle), not turned; limited: (n,) bool, the shift is as long as it may be.
    """

    angle: torch.Tensor
    shift: torch.Tensor
    score: torch.Tensor
    log_odds: torch.Tensor
    gain: torch.Tensor
    place: torch.Tensor
    centred: torch.Tensor
    limited: torch.Tensor


class Refiner:
    """Sweeps over the particles of a set.

    prepared: the particles; band; max_shift: how far off centre particles lie, working pixels; coarse: the band of the
    full-circle search, Fourier pixels; bound: how far they lie at most, None for what :func:`shift_reach` gives.
    """

    def __init__(
        self, prepared: PreparedParticles, band: Band, max_shift: float, coarse: int, bound: float | None = None
    ) -> None:
        self.prepared, self.band, self.max_shift, self.bound = prepared, band, max_shift, bound
        self.reach = ShiftLimit(shift_reach(max_shift))
        self.maps = ShiftMaps(band, shift_reach(max_shift))
        # Whole pixels need no more than the inner half of the frequencies; the rest comes in where fractions do.
        self._inner = Band(band.box, min(band.k_max, band.box // 4), band.device)
        self._inner_maps = ShiftMaps(self._inner, shift_reach(max_shift))
        self.coarse_band = Band(band.box, min(coarse, band.k_max), band.device)
        step = band.box / (4 * max(self.coarse_band.k_max, 1))
        self.coarse_maps = ShiftMaps(self.coarse_band, shift_reach(max_shift), step)
        # Sums of a product of two bands that give its value and its change with a shift in x and in y: one matrix.
        wave = 2 * math.pi / band.box
        columns = torch.zeros(*band.disc.shape, 2, 3, device=band.device)
        columns[..., 0, 0] = 1
        columns[..., 1, 1] = wave * band.kx[None, :]
        columns[..., 1, 2] = wave * band.ky[:, None]
        self._sums = columns.flatten(0, 2)

    def sweep(
        self,
        state: State,
        references: list[Reference],
        member: np.ndarray,
        stage: str,
        indices: np.ndarray,
        turn: bool = True,
        judge: list[Reference] | None = None,
        first: Callable[[np.ndarray, torch.Tensor], None] | None = None,
        settle: bool = False,
    ) -> SweepResult:
        """One round over ``indices``: updates ``state`` in place. Shared by the processes of a team.

        member: (N,) which reference each particle is aligned to; judge: references that decide branch, log odds and
        score instead (the other half's, so that a particle does not vote for itself); turn: whether angles may change
        (but for the 180 degree branch); first: called with the indices and coefficients of each chunk before it;
        settle: particles whose branch is clear keep it and are moved from where they are, no other shift is looked at.
        """
        band = self.band
        bins = [AngleBins(band, reference.orientations.count) for reference in references]
        transfer = [torch.zeros(band.k_max + 1, dtype=torch.float64, device=band.device) for _ in references]
        counts = [0] * len(references)
        changes, limits = [np.zeros((0, 3))], self._limits(state, references, member, indices)
        for part, coefficients in self.prepared.chunks(self.prepared.reader.own(indices), stage):
            if first is not None:
                first(part, coefficients)
            particles, power, ring_power = self.through_transfer(part, coefficients)
            for number, reference in enumerate(references):
                own = np.flatnonzero(member[part] == number)
                if not len(own):
                    continue
                arbiter = (judge or references)[number]
                clear = (state.log_odds[part[own]] > CLEAR) & settle
                for those, known in ((own[~clear], False), (own[clear], True)):
                    if not len(those):
                        continue
                    at = torch.from_numpy(those).to(band.device)
                    angle = torch.from_numpy(state.angle[part[those]]).to(band.device)
                    shift = torch.from_numpy(state.shift[part[those]]).to(band.device) if known else None
                    q = power if power is None else power[at]
                    pair, limit = (reference, arbiter), limits[number]
                    found = self.match(particles[at], q, ring_power[at], angle, *pair, turn, shift, limit)
                    changes.append(self._store(state, part[those], found))
                    bins[number].add(found.place, found.centred)
                transfer[number] += len(own) if power is None else power[torch.from_numpy(own)].double().sum(0)
                counts[number] += len(own)
        team = self.prepared.team
        self.prepared.reader.make_known(list(vars(state).values()), indices)
        change = team.gather(np.concatenate(changes))
        turned, moved, _ = np.median(change, axis=0) if len(change) else (0.0, 0.0, 0.0)
        sums = [Sums(b.total(), t, c).over(team) for b, t, c in zip(bins, transfer, counts)]
        return SweepResult(sums, float(turned), float(moved), float(change[:, 2].mean()) if len(change) else 0.0)

    def through_transfer(
        self, part: np.ndarray, coefficients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """(particles times their transfer (n, band), squared transfer per ring (n, k_max + 1) or None, power of the
        particles per ring)."""
        band = self.band
        particles = band.crop(coefficients)
        ring_power = band.ring_totals(particles.real.square() + particles.imag.square())
        found = self.prepared.ctf_and_factor(part)
        if found is None:
            return particles, None, ring_power
        transfer, factor = found[0], band.crop(found[1])
        return particles * factor, band.ring_means(band.crop(transfer).square()), ring_power

    def match(
        self,
        particles: torch.Tensor,
        power: torch.Tensor | None,
        ring_power: torch.Tensor,
        angle: torch.Tensor,
        reference: Reference,
        arbiter: Reference,
        turn: bool = True,
        shift: torch.Tensor | None = None,
        limit: ShiftLimit | None = None,
    ) -> Matched:
        """Branch, shift and correction of the angle of particles (n, band) near ``angle`` (n,) degrees.

        power: their squared transfer per ring (n, k_max + 1), None for 1; ring_power: theirs; shift: where they lie
        (n, 2), if branch and shift are not to be looked for (then log odds are nan); limit: of shifts. Both candidates
        are moved to a fraction of a pixel before they are compared: on whole pixels the branch would serve as half a
        step.
        """
        place, other = arbiter.orientations.nearest(angle)
        limit = limit or self.reach
        particles = torch.where(other[:, None, None], particles.conj(), particles)
        images = arbiter.orientations.at(place)
        base = place * arbiter.orientations.step
        normal = self._normal(arbiter, power)
        if shift is None:
            particles, shift, flipped, odds = self._branch(particles, images, base, normal, limit)
        else:  # in the frame of the particle as it is, or turned by 180 degrees
            shift = _turned_vector(shift, 180.0 * other - angle).float()
            flipped, odds = torch.zeros_like(other), torch.full_like(shift[:, 0], torch.nan)
        if turn:
            if reference is not arbiter:
                images, normal = reference.orientations.at(place), self._normal(reference, power)
            slopes = reference.orientations.slopes_at(place)
            strength = _strength(reference, power)
            shift, delta = self._correct(particles, shift, images, slopes, base, normal, strength)
            shift = limit.kept(shift, base)
        else:  # each keeps the angle it came with, not that of the orientation
            delta = ((angle - base + 90) % 180 - 90).to(odds.dtype)
        centred = self.band.shifted(particles, shift)
        if arbiter is not reference:
            images = arbiter.orientations.at(place)
        inner, expected = _inner(centred, images), _strength(arbiter, power)
        score = inner / ((ring_power @ arbiter.ring_weight.float()) * expected).sqrt().clamp(min=1e-12)
        if arbiter.differences is not None:
            odds = 2 * _inner(centred, arbiter.differences.at(place))
        new = base + delta
        bins, beyond = reference.orientations.nearest(new)
        centred = torch.where(beyond[:, None, None], centred.conj(), centred)
        half_turn = 180.0 * (other ^ flipped)
        # A shift of the turned particle: it was found in the particle's own frame.
        gain = with_contrast(inner, _seen(arbiter.weighted_powers, power))
        limited = limit.reached(shift, base)
        return Matched(new + half_turn, _turned_vector(shift, new), score, odds, gain, bins, centred, limited)

    def _normal(self, reference: Reference, power: torch.Tensor | None) -> torch.Tensor:
        if power is None:
            return reference.normals.sum(0)[None]
        return torch.einsum("nr,rjk->njk", power, reference.normals)

    def _limits(
        self, state: State, references: list[Reference], member: np.ndarray, indices: np.ndarray
    ) -> list[ShiftLimit]:
        """Of the shifts against each reference, about the place of the particle in it as far as it is known."""
        if self.bound is None:
            return [self.reach] * len(references)
        limits = []
        for reference in references:
            same = [number for number, other in enumerate(references) if other is reference]
            centre = centre_of(state.shift[indices[np.isin(member[indices], same)]])
            known = None if centre is None else torch.from_numpy(centre).float().to(self.band.device)
            limits.append(self.reach if known is None else ShiftLimit(self.bound, known))
        return limits

    def _branch(
        self,
        particles: torch.Tensor,
        images: torch.Tensor,
        base: torch.Tensor,
        normal: torch.Tensor,
        limit: ShiftLimit,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The better of particles (n, band) and themselves turned by 180 degrees: (particles, shift (n, 2) in their own
        frame, whether they are turned (n,), log odds (n,))."""
        found = [self._shift(p, images, base, normal, limit) for p in (particles, particles.conj())]
        flipped = found[1][1] > found[0][1] + STAY
        particles = torch.where(flipped[:, None, None], particles.conj(), particles)
        shift = torch.where(flipped[:, None], found[1][0], found[0][0])
        return particles, shift, flipped, 2 * (found[0][1] - found[1][1]).abs()

    def _shift(
        self,
        particles: torch.Tensor,
        images: torch.Tensor,
        base: torch.Tensor,
        normal: torch.Tensor,
        limit: ShiftLimit,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(shift (n, 2) in the particle's own frame, value (n,)) of the best match over all shifts."""
        k, inner = self.band.k_max, self._inner.k_max
        rows, columns = slice(k - inner, k + inner + 1), slice(0, inner + 1)
        products = particles[:, rows, columns].conj() * images[:, rows, columns]
        maps = self._inner_maps
        shift, _ = peaks(maps, maps.of_products(products * self._inner.disc), limit.inside(maps, base))
        shift = limit.kept(shift, base)
        for _ in range(2):
            sums = self._value_and_slopes(particles, shift, images)
            step = _solve_in_frame(normal[:, :2, :2], sums[:, 1:], base)
            shift = limit.kept(shift + step.clamp(-MAX_MOVE, MAX_MOVE), base)
        return shift, self._value_and_slopes(particles, shift, images)[:, 0]

    def _value_and_slopes(self, particles: torch.Tensor, shift: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Inner product with images (n, band) at a shift, and its changes per pixel in x and y, (n, 3)."""
        product = self.band.shifted(particles, shift) * images.conj()
        return torch.view_as_real(product).flatten(1) @ self._sums

    def _correct(
        self,
        particles: torch.Tensor,
        shift: torch.Tensor,
        images: torch.Tensor,
        slopes: torch.Tensor,
        base: torch.Tensor,
        normal: torch.Tensor,
        strength: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(shift (n, 2), turn away from the orientation (n,) degrees) after one Gauss-Newton step in all three.

        strength: the reference's power as each particle sees it. How much stronger or weaker a particle is than that
        scales its step, or the orientation it started from would pull on the answer.
        """
        moved = self.band.shifted(particles, shift)
        sums = torch.view_as_real(moved * images.conj()).flatten(1) @ self._sums
        gradient = torch.cat([_turned_vector(sums[:, 1:], base), _inner(moved, slopes)[:, None]], 1)
        gain = (sums[:, 0] / strength.clamp(min=1e-12)).clamp(*GAIN)
        step = torch.linalg.solve(normal.expand(len(gradient), 3, 3), gradient / gain[:, None])
        shift = shift + _turned_vector(step[:, :2], -base).clamp(-MAX_MOVE, MAX_MOVE)
        return shift, step[:, 2].clamp(-MAX_TURN, MAX_TURN)

    def _store(self, state: State, rows: np.ndarray, found: Matched) -> np.ndarray:
        """Write found poses into the state; returns (n, 3): changes of angle (degrees) and of shift (pixels), and
        whether a particle was turned round."""
        shift = found.shift.double().cpu().numpy()
        angle = found.angle.double().cpu().numpy()
        moved = np.hypot(*(shift - state.shift[rows]).T)
        full = (angle - state.angle[rows] + 90) % 360 - 90
        turned = (full + 90) % 180 - 90
        state.angle[rows], state.shift[rows] = angle, shift
        state.score[rows] = found.score.double().cpu().numpy()
        odds = found.log_odds.double().cpu().numpy()
        state.limited[rows] = found.limited.cpu().numpy()
        state.log_odds[rows] = np.where(np.isnan(odds), state.log_odds[rows], odds)
        return np.stack([np.abs(turned), moved, full > 90], 1)

    def search(
        self, state: State, references: list[Reference], member: np.ndarray, stage: str, indices: np.ndarray
    ) -> None:
        """Full-circle search: every angle in steps, all shifts, in a coarse band; writes angles to ``state``. Shared by
        the processes of a team."""
        band = self.coarse_band
        coarse = [self._turned(reference) for reference in references]
        for part, coefficients in self.prepared.chunks(self.prepared.reader.own(indices), stage):
            particles = band.crop(self.prepared.apply_ctf(part, coefficients))
            for number, turned in enumerate(coarse):
                own = np.flatnonzero(member[part] == number)
                if len(own):
                    those = particles[torch.from_numpy(own).to(band.device)]
                    state.angle[part[own]] = full_circle(those, *turned, self.coarse_maps).double().cpu().numpy()
        self.prepared.reader.make_known([state.angle], indices)

    def find(self, seen: torch.Tensor, reference: Reference) -> torch.Tensor:
        """The angles (n,) degrees, float64, of such a search for coefficients (n, box, box//2 + 1), times their
        transfer."""
        return full_circle(self.coarse_band.crop(seen), *self._turned(reference), self.coarse_maps).double()

    def _turned(self, reference: Reference) -> tuple[torch.Tensor, torch.Tensor]:
        """(a reference in all orientations of a search, weighted, (A, band); their angles (A,), degrees)."""
        band = self.coarse_band
        angles = torch.arange(0, 180, SEARCH_STEP / band.k_max, device=band.device)
        return self._coarse(reference).turned(-angles) * band.weight, angles

    def _coarse(self, reference: Reference) -> Reference:
        band = self.coarse_band
        inner, weighted = (band.taken_from(self.band, b) for b in (reference.average, reference.weighted))
        return Reference(band, inner, reference.ring_weight[: band.k_max + 1], weighted)


def _strength(reference: Reference, power: torch.Tensor | None) -> torch.Tensor:
    """The weighted power of a reference as particles see it whose squared transfer is ``power`` (n, k_max + 1)."""
    return _seen(reference.powers, power)


def _seen(per_ring: torch.Tensor, power: torch.Tensor | None) -> torch.Tensor:
    """Power per ring (k_max + 1,) added up as particles see it whose squared transfer is ``power`` (n, k_max + 1)."""
    return per_ring.sum() if power is None else power @ per_ring


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Plain real inner products (n,) of bands (n, ...)."""
    return torch.einsum("nb,nb->n", torch.view_as_real(a).flatten(1), torch.view_as_real(b).flatten(1))


def _turned_vector(vector: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """R(angle) v for vectors (n, 2) and angles (n,) in degrees."""
    radians = torch.deg2rad(angle).to(vector.dtype)
    cos, sin = torch.cos(radians), torch.sin(radians)
    x, y = vector[:, 0], vector[:, 1]
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)


def _solve_in_frame(normal: torch.Tensor, gradient: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """The step (n, 2) in the particle's frame; the normal matrix is that of the average's frame."""
    step = torch.linalg.solve(normal.expand(len(gradient), 2, 2), _turned_vector(gradient, base))
    return _turned_vector(step, -base)


def full_circle(particles: torch.Tensor, turned: torch.Tensor, angles: torch.Tensor, maps: ShiftMaps) -> torch.Tensor:
    """The pose angle (n,), degrees, of particles (n, band) whose best match among references turned by -angles is
    there.

    turned: (A, band), weighted, for ``angles`` (A,) over 180 degrees; the other half circle is their complex
    conjugates.
    """
    best = torch.full((len(particles),), -torch.inf, device=particles.device)
    angle = torch.zeros_like(best)
    both = particles.conj(), particles
    for reference, degrees in zip(turned, angles):
        for candidate, extra in zip(both, (0.0, 180.0)):
            value = maps.of_products(candidate * reference).masked_fill(~maps.inside, -torch.inf).flatten(1).amax(1)
            better = value > best
            best = torch.where(better, value, best)
            angle = torch.where(better, degrees + extra, angle)
    return angle


def register(refiner: Refiner, moving: Reference, fixed: Reference) -> Poses:
    """The pose (one, in working pixels) that brings one average onto another: full-circle search, then Gauss-Newton."""
    return refiner.prepared.team.by_first(lambda: _registered(refiner, moving, fixed))


def _registered(refiner: Refiner, moving: Reference, fixed: Reference) -> Poses:
    band = refiner.band
    angles = torch.arange(0, 180, 4.0, device=band.device)
    angle = full_circle(moving.average[None], fixed.turned(-angles) * band.weight, angles, refiner.maps).double()
    power = band.ring_totals(moving.average[None].abs().square())
    for _ in range(5):
        found = refiner.match(moving.average[None], None, power, angle, fixed, fixed)
        angle = found.angle.double()
    return Poses(angle.cpu().numpy(), found.shift.double().cpu().numpy())
