"""Refinement in real space: every particle against an average, without turning the particle.

A particle is compared with the average in the orientation nearest to its angle. Both 180 degree candidates are looked
at over all shifts, the better one is taken, and what is left is solved for by Gauss-Newton: the particle is a sum of
the average and its three changes (moved in x, in y, rotated), so three inner products and a 3 x 3 system give the
correction. Where the CTF of the particles is known, particle and average are compared through it.
Working pixels throughout; the pose is that of poses.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from scipion_udl.alignment.accumulators import Sums
from scipion_udl.alignment.refinement.exhaustive_search import SEARCH_STEP, exhaustive_search
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.results import Iteration, Matched
from scipion_udl.alignment.refinement.tubes import Tubes
from scipion_udl.alignment.state import State
from scipion_udl.constants import shift_search_range
from scipion_udl.imaging.band import Band, ShiftMaps, peaks
from scipion_udl.imaging.orientations import AngleBins
from scipion_udl.models.contrast import with_contrast
from scipion_udl.particles.max_shift import ShiftLimit, centre_of
from scipion_udl.particles.prepared import PreparedParticles

MAX_ROTATION = 4.0  # degrees an iteration may turn a particle by, about the range in which the slope holds
MAX_MOVE = 1.5  # working pixels
FAR = 2 * MAX_ROTATION  # degrees between two angles that are different places for sweeps
CLEAR = 20.0  # nats: nobody doubts which way round such a particle lies
STAY = 0.05  # half the log likelihood by which the other way round must be better to be taken: not on mere rounding
GAIN = (0.4, 2.5)  # how much weaker or stronger than the average a particle is taken to be


class _Gathered:
    """What the particles of one reference add up to in a round: by their angles, with the squared CTFs."""

    def __init__(self, band: Band, reference: Reference) -> None:
        self.bins = AngleBins(band, reference.orientations.count)
        self.ctf = torch.zeros(band.k_max + 1, dtype=torch.float64, device=band.device)
        self.count = 0

    def sums(self) -> Sums:
        return Sums(self.bins.total(), self.ctf, self.count)


class Refiner:
    """Sweeps over the particles of a set.

    prepared: the particles; band; max_shift: how far off centre particles lie, working pixels; coarse: the band of the
    exhaustive angular search, Fourier pixels; bound: how far they lie at most, None for what :func:`shift_search_range`
    gives.
    """

    def __init__(
        self, prepared: PreparedParticles, band: Band, max_shift: float, coarse: int, bound: float | None = None
    ) -> None:
        self.prepared, self.band, self.max_shift, self.bound = prepared, band, max_shift, bound
        self.filaments = prepared.filaments
        self.along = None if self.filaments is None else self.filaments.along(prepared.scale)
        self.search_range = ShiftLimit(shift_search_range(max_shift), along=self.along)
        self.maps = ShiftMaps(band, shift_search_range(max_shift))
        # Whole pixels need no more than the inner half of the frequencies; the rest comes in where fractions do.
        self._inner = Band(band.box, min(band.k_max, band.box // 4), band.device)
        self._inner_maps = ShiftMaps(self._inner, shift_search_range(max_shift))
        self.coarse_band = Band(band.box, min(coarse, band.k_max), band.device)
        step = band.box / (4 * max(self.coarse_band.k_max, 1))
        self.coarse_maps = ShiftMaps(self.coarse_band, shift_search_range(max_shift), step)
        # Sums of a product of two bands that give its value and its change with a shift in x and in y: one matrix.
        wave = 2 * math.pi / band.box
        columns = torch.zeros(*band.disc.shape, 2, 3, device=band.device)
        columns[..., 0, 0] = 1
        columns[..., 1, 1] = wave * band.kx[None, :]
        columns[..., 1, 2] = wave * band.ky[:, None]
        self._sums = columns.flatten(0, 2)

    def iterate(
        self,
        state: State,
        references: list[Reference],
        member: np.ndarray,
        stage: str,
        indices: np.ndarray,
        rotation: bool = True,
        independent: list[Reference] | None = None,
        first: Callable[[np.ndarray, torch.Tensor], None] | None = None,
        settle: bool = False,
    ) -> Iteration:
        """One round over some particles. Shared by the processes of a group.

        Parameters
        ----------
        state : State
            Of all particles, updated.
        references : list of Reference
            What particles are aligned to.
        member : (N,) int array
            Which reference each particle is aligned to.
        stage : str
            What the round is called in reports.
        indices : (n,) int array
            The particles, from 0.
        rotation : bool, optional
            Whether angles may change (but for the 180 degree branch).
        independent : list of Reference, optional
            What decides branch, log odds and score instead (the other half's, so that a particle does not vote for
            itself).
        first : callable, optional
            Told the indices and coefficients of each chunk before it is aligned.
        settle : bool, optional
            Particles whose branch is clear keep it and are moved from where they are, no other shift is looked at.

        Returns
        -------
        Iteration
            Sums and changes.
        """
        gathered = [_Gathered(self.band, reference) for reference in references]
        changes, limits = [np.zeros((0, 3))], self._limits(state, references, member, indices)
        for part, coefficients in self.prepared.chunks(self.prepared.reader.own(indices), stage):
            if first is not None:
                first(part, coefficients)
            seen = self.apply_ctf(part, coefficients)
            for number, reference in enumerate(references):
                own = np.flatnonzero(member[part] == number)
                pair, limit = (reference, (independent or references)[number]), limits[number]
                changes += self._aligned(state, part, own, seen, pair, rotation, settle, limit, gathered[number])
        self.prepared.reader.make_known(list(vars(state).values()), indices)
        change = self.prepared.group.gather(np.concatenate(changes))
        return Iteration([one.sums().over(self.prepared.group) for one in gathered], *_typical(change))

    def _aligned(
        self,
        state: State,
        part: np.ndarray,
        own: np.ndarray,
        seen: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor],
        pair: tuple[Reference, Reference],
        rotation: bool,
        settle: bool,
        limit: ShiftLimit,
        gathered: _Gathered,
    ) -> list[np.ndarray]:
        """Align those of the particles ``part`` that are ``own`` to the first of a pair of references, judged by the
        second; they are added to what is gathered, and their changes returned as :meth:`_store` gives them. seen: of
        all of the part, as of :meth:`apply_ctf`; otherwise as :meth:`iterate` has it."""
        if not len(own):
            return []
        (particles, power, ring_power), device = seen, self.band.device
        clear = (state.log_odds[part[own]] > CLEAR) & settle
        if self.filaments is not None:
            clear &= self.filaments.agree(state.angle[part[own]], part[own])
        changes = []
        for those, known in ((own[~clear], False), (own[clear], True)):
            if not len(those):
                continue
            at = torch.from_numpy(those).to(device)
            angle = torch.from_numpy(state.angle[part[those]]).to(device)
            shift = torch.from_numpy(state.shift[part[those]]).to(device) if known else None
            q = power if power is None else power[at]
            tube = None if self.filaments is None else Tubes.of(self.filaments, part[those], device)
            found = self.match(particles[at], q, ring_power[at], angle, *pair, rotation, shift, limit, tube)
            changes.append(self._store(state, part[those], found))
            gathered.bins.add(found.place, found.centred)
        gathered.ctf += len(own) if power is None else power[torch.from_numpy(own)].double().sum(0)
        gathered.count += len(own)
        return changes

    def apply_ctf(
        self, part: np.ndarray, coefficients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Particles as they are compared: times their CTF.

        Parameters
        ----------
        part : (n,) int array
            The particles, from 0.
        coefficients : (n, box, box//2 + 1) complex tensor
            Theirs.

        Returns
        -------
        particles : (n, band) complex tensor
            Times their CTF.
        power : (n, k_max + 1) tensor or None
            Their squared CTF per ring, None for 1.
        ring_power : (n, k_max + 1) tensor
            Power of the particles per ring, without their CTF.
        """
        band = self.band
        particles = band.crop(coefficients)
        ring_power = band.ring_totals(particles.real.square() + particles.imag.square())
        found = self.prepared.ctf_and_factor(part)
        if found is None:
            return particles, None, ring_power
        ctf, factor = found[0], band.crop(found[1])
        return particles * factor, band.ring_means(band.crop(ctf).square()), ring_power

    def match(
        self,
        particles: torch.Tensor,
        power: torch.Tensor | None,
        ring_power: torch.Tensor,
        angle: torch.Tensor,
        reference: Reference,
        independent: Reference,
        rotation: bool = True,
        shift: torch.Tensor | None = None,
        limit: ShiftLimit | None = None,
        tube: Tubes | None = None,
    ) -> Matched:
        """Branch, shift and correction of the angle of particles near given angles.

        Parameters
        ----------
        particles : (n, band) complex tensor
            Times their CTF.
        power : (n, k_max + 1) tensor or None
            Their squared CTF per ring, None for 1.
        ring_power : (n, k_max + 1) tensor
            Their power per ring.
        angle : (n,) tensor
            Degrees.
        reference, independent : Reference
            What they are aligned to, and what decides branch, log odds and score.
        rotation : bool, optional
            Whether angles may change (but for the 180 degree branch).
        shift : (n, 2) tensor, optional
            Where they lie, working pixels, if branch and shift are not to be looked for (then log odds are nan).
        limit : ShiftLimit, optional
            Of shifts, None for that of the refiner.
        tube : Tubes, optional
            How their tubes lie.

        Returns
        -------
        Matched
        """
        limit, (place, other) = limit or self.search_range, independent.orientations.nearest(angle)
        particles = torch.where(other[:, None, None], particles.conj(), particles)
        base, seen = place * independent.orientations.step, self._seen_by(independent, place, power)
        if shift is None:
            held = None if tube is None else tube.held(base, other)
            particles, shift, flipped, odds = self._branch(particles, *seen, base, limit, held)
        else:  # in the frame of the particle as it is, or rotated by 180 degrees
            shift = _rotated_vector(shift, 180.0 * other - angle).float()
            flipped, odds = torch.zeros_like(other), torch.full_like(shift[:, 0], torch.nan)
        if rotation:
            own = seen if reference is independent else self._seen_by(reference, place, power)
            shift, delta = self._correct(particles, shift, *own, base, place, reference, power, limit, tube)
        else:  # each keeps the angle it came with, not that of the orientation
            delta = ((angle - base + 90) % 180 - 90).to(odds.dtype)
        centred, new = self.band.shifted(particles, shift), base + delta
        scored = _scored(centred, seen[0], place, odds, independent, power, ring_power)
        bins, beyond = reference.orientations.nearest(new)
        centred = torch.where(beyond[:, None, None], centred.conj(), centred)
        pose = new + 180.0 * (other ^ flipped), _rotated_vector(shift, new)  # the shift is of the rotated particle
        return Matched(*pose, *scored, bins, centred, limit.reached(shift, base))

    def _seen_by(
        self, reference: Reference, place: torch.Tensor, power: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(a reference in the orientations ``place`` (n,), bands; its normals through the CTF whose square is
        ``power``, (n, 3, 3) or (1, 3, 3))."""
        normals = reference.normals
        normal = normals.sum(0)[None] if power is None else torch.einsum("nr,rjk->njk", power, normals)
        return reference.orientations.at(place), normal

    def _limits(
        self, state: State, references: list[Reference], member: np.ndarray, indices: np.ndarray
    ) -> list[ShiftLimit]:
        """Of the shifts against each reference, about the place of the particle in it as far as it is known."""
        if self.bound is None:
            return [self.search_range] * len(references)
        limits = []
        for reference in references:
            same = [number for number, other in enumerate(references) if other is reference]
            centre = centre_of(state.shift[indices[np.isin(member[indices], same)]])
            known = None if centre is None else torch.from_numpy(centre).float().to(self.band.device)
            limits.append(self.search_range if known is None else ShiftLimit(self.bound, known, self.along))
        return limits

    def _branch(
        self,
        particles: torch.Tensor,
        images: torch.Tensor,
        normal: torch.Tensor,
        base: torch.Tensor,
        limit: ShiftLimit,
        held: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The better of particles (n, band) and themselves rotated by 180 degrees: (particles, shift (n, 2) in their
        own frame, whether they are rotated (n,), log odds (n,)). Both are moved to a fraction of a pixel before they
        are compared: on whole pixels the branch would serve as half a step."""
        found = [self._shift(p, images, normal, base, limit) for p in (particles, particles.conj())]
        flipped = found[1][1] > found[0][1] + STAY
        if held is not None:
            flipped = torch.where(held[0], held[1], flipped)
        particles = torch.where(flipped[:, None, None], particles.conj(), particles)
        shift = torch.where(flipped[:, None], found[1][0], found[0][0])
        gain = 2 * (found[0][1] - found[1][1])
        return particles, shift, flipped, gain.abs() if held is None else torch.where(flipped, -gain, gain)

    def _shift(
        self,
        particles: torch.Tensor,
        images: torch.Tensor,
        normal: torch.Tensor,
        base: torch.Tensor,
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
        normal: torch.Tensor,
        base: torch.Tensor,
        place: torch.Tensor,
        reference: Reference,
        power: torch.Tensor | None,
        limit: ShiftLimit,
        tube: Tubes | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(shift (n, 2), turn away from the orientation (n,) degrees) after one Gauss-Newton step in all three.

        How much stronger or weaker a particle is than the reference's power as it sees that scales its step, or the
        orientation it started from would pull on the answer.
        """
        slopes, strength = reference.orientations.slopes_at(place), _strength(reference, power)
        moved = self.band.shifted(particles, shift)
        sums = torch.view_as_real(moved * images.conj()).flatten(1) @ self._sums
        gradient = torch.cat([_rotated_vector(sums[:, 1:], base), _inner(moved, slopes)[:, None]], 1)
        gain = (sums[:, 0] / strength.clamp(min=1e-12)).clamp(*GAIN)
        step = torch.linalg.solve(normal.expand(len(gradient), 3, 3), gradient / gain[:, None])
        shift = limit.kept(shift + _rotated_vector(step[:, :2], -base).clamp(-MAX_MOVE, MAX_MOVE), base)
        delta = step[:, 2].clamp(-MAX_ROTATION, MAX_ROTATION)
        return shift, delta if tube is None else tube.kept(base + delta) - base

    def _store(self, state: State, rows: np.ndarray, found: Matched) -> np.ndarray:
        """Write found poses into the state; returns (n, 3): changes of angle (degrees) and of shift (pixels), and
        whether a particle was rotated round."""
        shift = found.shift.double().cpu().numpy()
        angle = found.angle.double().cpu().numpy()
        moved = np.hypot(*(shift - state.shift[rows]).T)
        full = (angle - state.angle[rows] + 90) % 360 - 90
        rotated = (full + 90) % 180 - 90
        state.angle[rows], state.shift[rows] = angle, shift
        state.score[rows] = found.score.double().cpu().numpy()
        odds = found.log_odds.double().cpu().numpy()
        state.limited[rows] = found.limited.cpu().numpy()
        state.log_odds[rows] = np.where(np.isnan(odds), state.log_odds[rows], odds)
        return np.stack([np.abs(rotated), moved, full > 90], 1)

    def search(
        self, state: State, references: list[Reference], member: np.ndarray, stage: str, indices: np.ndarray
    ) -> None:
        """Exhaustive angular search: every angle in steps, all shifts, in a coarse band. Shared by the processes of a
        group.

        Parameters
        ----------
        state : State
            Of all particles; takes the angles.
        references : list of Reference
            What particles are compared with.
        member : (N,) int array
            Which reference each particle is compared with.
        stage : str
            What the pass is called in reports.
        indices : (n,) int array
            The particles, from 0.
        """
        band = self.coarse_band
        coarse = [self._rotated(reference) for reference in references]
        for part, coefficients in self.prepared.chunks(self.prepared.reader.own(indices), stage):
            particles = band.crop(self.prepared.apply_ctf(part, coefficients))
            for number, rotated in enumerate(coarse):
                own = np.flatnonzero(member[part] == number)
                if len(own):
                    those = particles[torch.from_numpy(own).to(band.device)]
                    state.angle[part[own]] = exhaustive_search(those, *rotated, self.coarse_maps).double().cpu().numpy()
        self.prepared.reader.make_known([state.angle], indices)

    def find(self, seen: torch.Tensor, reference: Reference) -> torch.Tensor:
        """The angles of an exhaustive angular search for particles at hand.

        Parameters
        ----------
        seen : (n, box, box//2 + 1) complex tensor
            Coefficients, times their CTF.
        reference : Reference
            What they are compared with.

        Returns
        -------
        (n,) float64 tensor
            Degrees.
        """
        return exhaustive_search(self.coarse_band.crop(seen), *self._rotated(reference), self.coarse_maps).double()

    def _rotated(self, reference: Reference) -> tuple[torch.Tensor, torch.Tensor]:
        """(a reference in all orientations of a search, weighted, (A, band); their angles (A,), degrees)."""
        band = self.coarse_band
        angles = torch.arange(0, 180, SEARCH_STEP / band.k_max, device=band.device)
        return self._coarse(reference).rotated(-angles) * band.weight, angles

    def _coarse(self, reference: Reference) -> Reference:
        band = self.coarse_band
        inner, weighted = (band.taken_from(self.band, b) for b in (reference.average, reference.weighted))
        return Reference(band, inner, reference.ring_weight[: band.k_max + 1], weighted)


def _scored(
    centred: torch.Tensor,
    images: torch.Tensor,
    place: torch.Tensor,
    odds: torch.Tensor,
    independent: Reference,
    power: torch.Tensor | None,
    ring_power: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """score, log_odds and gain as of :class:`Matched`, (n,) each, of centred particles (n, band) by the arbiter's
    ``images`` in the orientations ``place``; odds: those of the branch, where the arbiter believes all of itself."""
    inner, expected = _inner(centred, images), _strength(independent, power)
    score = inner / ((ring_power @ independent.ring_weight.float()) * expected).sqrt().clamp(min=1e-12)
    if independent.differences is not None:
        odds = 2 * _inner(centred, independent.differences.at(place))
    return score, odds, with_contrast(inner, _seen(independent.weighted_powers, power))


def _typical(change: np.ndarray) -> tuple[float, float, float]:
    """Medians of changes (n, 3) of angle and shift, and the share of particles that were rotated round; 0 for none."""
    if not len(change):
        return 0.0, 0.0, 0.0
    rotated, moved, _ = np.median(change, axis=0)
    return float(rotated), float(moved), float(change[:, 2].mean())


def _strength(reference: Reference, power: torch.Tensor | None) -> torch.Tensor:
    """The weighted power of a reference as particles see it whose squared CTF is ``power`` (n, k_max + 1)."""
    return _seen(reference.powers, power)


def _seen(per_ring: torch.Tensor, power: torch.Tensor | None) -> torch.Tensor:
    """Power per ring (k_max + 1,) added up as particles see it whose squared CTF is ``power`` (n, k_max + 1)."""
    return per_ring.sum() if power is None else power @ per_ring


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Plain real inner products (n,) of bands (n, ...)."""
    return torch.einsum("nb,nb->n", torch.view_as_real(a).flatten(1), torch.view_as_real(b).flatten(1))


def _rotated_vector(vector: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """R(angle) v for vectors (n, 2) and angles (n,) in degrees."""
    radians = torch.deg2rad(angle).to(vector.dtype)
    cos, sin = torch.cos(radians), torch.sin(radians)
    x, y = vector[:, 0], vector[:, 1]
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)


def _solve_in_frame(normal: torch.Tensor, gradient: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """The step (n, 2) in the particle's frame; the normal matrix is that of the average's frame."""
    step = torch.linalg.solve(normal.expand(len(gradient), 2, 2), _rotated_vector(gradient, base))
    return _rotated_vector(step, -base)
