"""The way from angles modulo 180 degrees to poses: first average, halves apart, everything together.

1. A bounded subset settles shift and branch (initial_poses.py); an exhaustive angular search checks the network's
angles on it. 2. The first average, low-passed, starts two halves; from there on each half uses its own average alone.
3. All particles are swept against their half's average until poses stand still (refinement/). 4. The halves are brought
into one frame, and the last rounds align every particle to the average of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as functional

from scipion_udl.alignment.centring import centred
from scipion_udl.alignment.fit import Fit
from scipion_udl.alignment.given_start import GivenStart
from scipion_udl.alignment.half_set_refinement import NEAR, BandTooNarrowError, HalfRefinement, Split
from scipion_udl.alignment.initial_average import FIRST_BAND, First, FirstAverage
from scipion_udl.alignment.known_start import KnownStart
from scipion_udl.alignment.onto_reference import onto_reference
from scipion_udl.alignment.particle_scores import ParticleScores
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import FAR, Refiner
from scipion_udl.alignment.state import State
from scipion_udl.constants import FINEST_RING, shift_search_range
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import mirrored, resize, to_fourier
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.poses import Poses, compose, mirrored_first, wrap
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.models.checkpoint import check_answers
from scipion_udl.models.network import TellsRotations
from scipion_udl.particles.coarser import coarser
from scipion_udl.particles.name_order import ranks
from scipion_udl.particles.outliers import outliers, score_limit
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.particles.resolution_limit import bounded

FIRST = 1024  # particles that settle the first average, at most
ALONE = 8  # ring up to which halves share their start where no network says so
SEARCH_BAND = 20  # Fourier pixels, of exhaustive angular searches against averages of halves
NOISE, NOISE_OF_MANY = 128, 24  # images of noise that tell what noise scores; against each of many classes
AMBIGUOUS = 3.0  # nats: odds of 20 to 1 between a candidate and the one rotated by 180 degrees

REPEATS = 1.5  # times the ring of a filament's rise, up to which halves share their start
FURTHER = 1.25  # so much further than the first halves agree particles are compared
WIDER = 1.25  # so much further again where halves agree to the end of that

Asked = Callable[[np.ndarray, torch.Tensor], None]  # told the numbers of particles and their coefficients


@dataclass
class AlignmentPlan:
    """How particles are aligned.

    max_shift: how far off centre particles lie, pixels of the input; seed; refine: False keeps the network's angles
    (--no-refine); sweeps: rounds of the halves at most; joint: rounds against the average of all; bound: how far off
    centre particles may lie at most, pixels of the input, None where nobody says.
    """

    max_shift: float
    seed: int = 0
    refine: bool = True
    sweeps: int = 6
    joint: int = 8
    bound: float | None = None


def longest_shift(settings: AlignmentPlan, scale: float) -> float:
    """How far off centre a particle may lie.

    Parameters
    ----------
    settings : AlignmentPlan
        With shifts in pixels of the input.
    scale : float
        Pixels of the input in a working pixel.

    Returns
    -------
    float
        Pixels of the input.
    """
    return shift_search_range(settings.max_shift / scale) * scale if settings.bound is None else settings.bound


@dataclass
class Alignment:
    """The result for N particles; shifts in pixels of the input.

    poses: final; half_poses: from halves that never saw each other's average (None without refinement); half: (N,) 0 or
    1; score: correlation, -1 to 1, of the aligned particle with the average of the half that it is not in, every
    Fourier ring weighted by what the halves agree on; ambiguous: (N,) bool; initial_lowpass: the Fourier ring up to
    which halves had a common start; searched: whether the network's angles had to be searched anew; network_angle: (N,)
    degrees modulo 180, NaN where the network was not asked; outlier: (N,) bool, scores as noise does, or so far below
    the others that it is none of them (outliers.py); local: whether what tells both ways round apart was weighed place
    by place (wiener.py); score_weight: (k_max + 1,) what the rings counted in the scores, None without refinement;
    at_limit: share of the particles whose shift is as long as it may be (max_shift.py); fit: how well particles fit
    what both halves agree on (None without refinement); score_limit: below which particles are outliers, -inf for none.
    """

    poses: Poses
    half_poses: Poses | None
    half: np.ndarray
    score: np.ndarray
    ambiguous: np.ndarray
    initial_lowpass: float
    searched: bool
    network_angle: np.ndarray
    outlier: np.ndarray
    local: bool = False
    score_weight: np.ndarray | None = None
    at_limit: float = 0.0
    fit: Fit | None = None
    score_limit: float = -np.inf


class Aligner:
    """Aligns the particles of a set with a trained network, or without one.

    prepared: the particles; network: gives turns modulo 180 degrees from polar spectra (None: every angle is searched);
    spectra: how its input is sampled. ``prepared``: the same particles, in the box that they are compared in;
    ``inverted``, once run: whether a reference had the other contrast.
    """

    def __init__(
        self,
        prepared: PreparedParticles,
        network: TellsRotations | None,
        spectra: SpectraSettings | SpectrumImageSettings,
        settings: AlignmentPlan,
    ) -> None:
        self.whole, self.network, self.settings = prepared, network, settings
        self.spectra = bounded(spectra, prepared.ring_limit)
        self.inverted = False
        # All that the halves have in common comes from below this ring: the network's band, and the first average that
        # either starts from. Nothing is claimed where the halves agree no further.
        self._guided = network is not None or prepared.filaments is not None
        self._initial_lowpass = spectra.r_max if self._guided else ALONE
        rise = None if prepared.filaments is None else prepared.filaments.rise
        if rise is not None:  # what repeats along the axis is all that halves need to begin with
            ring = max(ALONE, math.ceil(REPEATS * prepared.source.box / rise))
            self._initial_lowpass = min(self._initial_lowpass, ring)
        self._begin_with(prepared)
        self._ring_limit = self.band.k_max
        self.given = GivenStart(prepared, self.max_shift)
        self.ranks = ranks(prepared.source.names, settings.seed)
        self.network_angle = np.full(len(prepared), np.nan)

    def _begin_with(self, prepared: PreparedParticles) -> None:
        """Find the first average with the whole particles, or with :func:`coarser` ones, and go on with them."""
        self._go_on_with(prepared)
        self.first = FirstAverage(prepared, self.band.k_max, self.max_shift, self._initial_lowpass)

    def _go_on_with(self, prepared: PreparedParticles) -> None:
        self.prepared = prepared
        self.band = Band(prepared.box, prepared.k_max, prepared.device)
        self.max_shift = self.settings.max_shift / prepared.scale
        self.bound = None if self.settings.bound is None else self.settings.bound / prepared.scale

    def run(self, reference: np.ndarray | None = None, start: Poses | KnownStart | None = None) -> Alignment:
        """Align the particles.

        Parameters
        ----------
        reference : (D, D) array, optional
            An image of the input's box to start from.
        start : Poses or KnownStart, optional
            Poses of all N particles that are about right, shifts in pixels of the input; then no network is asked.

        Returns
        -------
        Alignment
            Of N particles.
        """
        prepared = self.whole
        usable = prepared.usable
        by_rank = usable[np.argsort(self.ranks[usable], kind="stable")]  # the same whatever the order of the items
        split = Split.of(by_rank, len(prepared), prepared.duplicates_of)
        subset = by_rank[:FIRST]
        if isinstance(start, KnownStart):
            self._begin_with(coarser(prepared, FIRST_BAND, True))
        first, averages = self._first_average(subset, reference, start, split.half[subset])
        if not self.settings.refine:
            state = State.start(np.zeros(len(prepared)))
            joint = self._unrefined(state, first, subset, np.setdiff1d(usable, subset))
            if reference is not None:
                self._onto(joint, reference, [state])
            return self._finish(state, None, split.half, first)
        seen, reach = self.first.band.k_max, float((first.start.weight > 0).sum())
        reach = self._ring_limit if reach > NEAR * seen else FURTHER * reach
        while True:
            self._go_on_with(self._up_to(reach))
            try:
                return self._refined(first, averages, subset, split, reference, start)
            except BandTooNarrowError:
                reach = max(WIDER * self.band.k_max, self.band.k_max + 1.0)

    def _up_to(self, ring: float) -> PreparedParticles:
        """The particles as far as a Fourier ring, and as far as the network sees them."""
        seen = 0 if self.network is None else FINEST_RING * self.spectra.box
        ring = round(max(ring, seen))
        near = self.first.prepared
        return coarser(near if ring <= near.k_max else self.whole, ring, True)

    def _refined(
        self,
        first: First,
        averages: list[torch.Tensor],
        subset: np.ndarray,
        split: Split,
        reference: np.ndarray | None,
        start: Poses | KnownStart | None,
    ) -> Alignment:
        """The alignment from the first average, and those of halves (bands), of the particles ``subset``.

        Raises
        ------
        BandTooNarrowError
            Where halves agree beyond the band.
        """
        prepared, usable = self.prepared, self.whole.usable
        state, rest = State.start(np.zeros(len(prepared))), np.setdiff1d(usable, subset)
        refiner = Refiner(prepared, self.band, self.max_shift, SEARCH_BAND, self.bound)
        # Where nobody has given the frame, the particle's centre of mass is its origin. Classes were found about the
        # mean place of their particles, which neighbours in the box do not move; a limit of shifts is about where the
        # average lies from the start.
        # That of filaments lies along x.
        unknown = reference is None and start is None and self.bound is None and prepared.filaments is None
        halves = HalfRefinement(refiner, split, first.start.local, unknown, self._ring_limit)
        averages = [self._wide(a) for a in averages]
        if unknown:
            averages = [centred(prepared, self.band, a)[0] for a in averages]
        state.angle[subset] = first.angle
        if first.searched:
            refiner.search(state, halves.references(averages), split.half, "exhaustive angular search", rest)
        ask = None if first.searched else self._begun(state, subset, rest, start)
        averages = halves.apart(state, averages, usable, self.settings.sweeps, ask)
        prepared.reader.make_known([self.network_angle], usable)
        half_state = state.copy()
        # Where the start was near, a round that moves nothing is not done again.
        least = 1 if isinstance(start, KnownStart) else 2
        joint = halves.together(state, half_state, averages, usable, self.settings.joint, first.searched, least)
        noise = self._score(state, refiner, halves, NOISE_OF_MANY if isinstance(start, KnownStart) else NOISE)
        if reference is None:
            self._to_origin([state, half_state], joint.average, start)
        else:
            self._onto(joint, reference, [state, half_state])
        weight = np.zeros(self.whole.k_max + 1, np.float32)
        weight[: self.band.k_max + 1] = halves.independents[0].ring_weight.cpu().numpy()
        return replace(self._finish(state, half_state, split.half, first, noise), score_weight=weight, fit=halves.fit)

    def _begun(
        self, state: State, subset: np.ndarray, rest: np.ndarray, start: Poses | KnownStart | None
    ) -> Asked | None:
        """Find the angles of the particles ``rest``, beside the ``subset``, by what poses are given; None then. Without
        poses, what asks the network for them."""
        if start is None:
            return self._asked(state, subset)
        if isinstance(start, KnownStart):
            state.angle[rest] = start.poses.angle[rest]
        else:
            self.given.find(state, rest)
        return None

    def _unrefined(self, state: State, first: First, subset: np.ndarray, rest: np.ndarray) -> Reference:
        """The network's angles in ``state``, shift and branch against the first average, which is returned."""
        refiner = Refiner(self.prepared, self.band, self.max_shift, SEARCH_BAND, self.bound)
        state.angle[subset] = first.angle
        state.angle[rest] = self.network_angles(rest)
        joint, usable = self._widen(first.start.average, first.start.weight), self.prepared.usable
        member = np.zeros(len(self.prepared), np.int64)
        refiner.iterate(state, [joint], member, "shift and branch", usable, rotation=False)
        return joint

    def _to_origin(self, states: list[State], average: torch.Tensor, start: Poses | KnownStart | None) -> None:
        """Have an average (band) lie on its origin, by the shifts of its particles in ``states``."""
        filaments, usable = self.prepared.filaments, self.prepared.usable
        if filaments is not None:
            filaments.into_frame([(one.angle, one.shift) for one in states], usable, self.prepared.scale)
            states[0].log_odds = filaments.vote(states[0].angle, states[0].log_odds, usable)
            across = np.array([0.0, np.median(states[0].shift[usable, 1])])
            for state in states:
                state.shift[usable] -= across
            return
        off = self._off_origin(average, states[0], start)
        for state in states:
            state.shift[self.prepared.usable] -= off

    def _off_origin(self, average: torch.Tensor, state: State, start: Poses | KnownStart | None) -> np.ndarray:
        """How far an average (band) lies off its origin (2,), x and y in working pixels: off its centre of mass, or off
        the frame of given poses, which stays. Classes lie where they were found."""
        if start is None:
            return centred(self.prepared, self.band, average)[1]
        usable = self.prepared.usable
        if isinstance(start, Poses):
            near = usable[np.abs(wrap(state.angle[usable] - start.angle[usable])) < FAR]
            if 2 * len(near) > len(usable):
                given = np.asarray(start.shift)[near] / self.prepared.scale
                return np.median(state.shift[near] - given, axis=0)
        return np.zeros(2)

    def _score(self, state: State, refiner: Refiner, halves: HalfRefinement, count: int) -> np.ndarray:
        """Write the final scores into ``state``; returns those of ``count`` images of aligned noise at most."""
        prepared = self.prepared
        scores = ParticleScores(refiner, halves.independents, halves.independent_of)
        scores.measure(state, prepared.usable)
        chosen = prepared.subset(count, self.settings.seed)
        return prepared.group.on_rank0(lambda: scores.of_noise(chosen, self.settings.seed))

    def _first_average(
        self, subset: np.ndarray, reference: np.ndarray | None, start: Poses | KnownStart | None, half: np.ndarray
    ) -> tuple[First, list[torch.Tensor]]:
        """Of a group, the first process finds it; with averages (bands) of the subset's halves, for a refinement."""
        if isinstance(start, KnownStart):
            self.first.initial_lowpass = min(start.ring, self.band.k_max)
            return self.prepared.group.on_rank0(lambda: start.first(self.prepared, self.first.band, subset, half))
        if start is not None:
            return self._with_halves(self._first_from(start, subset), subset, half)
        angles = self.network_angles(subset)

        def find() -> tuple[First, int]:
            if self._guided:  # all angles are not looked through for filaments, which lie as their priors say
                search = self.settings.refine and self.network is not None
                first = self.first.from_angles(subset, angles, search=search)
            else:
                first = self.first.from_nothing(subset, None if reference is None else self.band_of(reference))
            return first, self.first.initial_lowpass

        first, self.first.initial_lowpass = self.prepared.group.on_rank0(find)
        return self._with_halves(first, subset, half)

    def _with_halves(self, first: First, subset: np.ndarray, half: np.ndarray) -> tuple[First, list[torch.Tensor]]:
        """A first average with those of its halves, which renew some of its angles: that is for all to know."""
        if not self.settings.refine:
            return first, []
        return self.prepared.group.on_rank0(lambda: (first, self.first.halves(first, subset, half)))

    def _first_from(self, start: Poses, subset: np.ndarray) -> First:
        """The first average from poses (N,) that are about right; of a group, the first process finds it."""

        def find() -> tuple[First, int, Reference | None]:
            angles = self.given.angles(subset, start[subset])
            if angles is None:
                return self.first.from_nothing(subset, None), self.first.initial_lowpass, self.given.reference
            self.first.initial_lowpass = self.given.band.k_max
            return self.first.from_angles(subset, angles), self.first.initial_lowpass, self.given.reference

        first, self.first.initial_lowpass, self.given.reference = self.prepared.group.on_rank0(find)
        return first

    def _asked(self, state: State, known: np.ndarray) -> Asked:
        """Asks the network for the angles of a chunk's particles, but for those that are known, when they come by."""
        is_known = np.zeros(len(state.angle), bool)
        is_known[known] = True

        def ask(part: np.ndarray, coefficients: torch.Tensor) -> None:
            new = ~is_known[part]
            if new.any() and self.prepared.filaments is not None:
                state.angle[part[new]] = self.prepared.filaments.psi[part[new]]
            elif new.any():
                state.angle[part[new]] = self._ask(part[new], coefficients[torch.from_numpy(new)])

        return ask

    @torch.no_grad()
    def network_angles(self, indices: np.ndarray) -> np.ndarray:
        """Pose angles by the network. Processes of a group share the work.

        Parameters
        ----------
        indices : (n,) int array
            The particles, from 0.

        Returns
        -------
        (n,) array
            Degrees, modulo 180; of filaments their priors; zeros without a network.
        """
        if self.prepared.filaments is not None:
            return self.prepared.filaments.psi[indices]
        if self.network is None:
            return np.zeros(len(indices))
        for part, coefficients in self.prepared.chunks(self.prepared.reader.own(indices), "network"):
            self._ask(part, coefficients)
        self.prepared.reader.make_known([self.network_angle], indices)
        return self.network_angle[indices]

    @torch.no_grad()
    def _ask(self, indices: np.ndarray, coefficients: torch.Tensor) -> np.ndarray:
        if self.network is None:
            raise ValueError("there is no network to ask")
        rotations = check_answers(self.network.rotations(self.spectra.of(coefficients, self.prepared.box)))
        self.network_angle[indices] = wrap(-rotations.double().cpu().numpy(), 180.0)
        return self.network_angle[indices]

    # Averages

    def _wide(self, average: torch.Tensor) -> torch.Tensor:
        return self.band.taken_from(self.first.band, average)

    def _widen(self, average: torch.Tensor, weight: torch.Tensor) -> Reference:
        padded = functional.pad(weight, (0, self.band.k_max + 1 - len(weight)))
        return Reference(self.band, self._wide(average), padded)

    def _onto(self, joint: Reference, image: np.ndarray, states: list[State]) -> None:
        """Bring all poses into the frame of the reference image that was given."""
        band, prepared = self.band, self.prepared
        refiner = Refiner(prepared, band, self.max_shift, SEARCH_BAND, self.bound)
        candidates = [self.band_of(image)]
        if prepared.mirrored is not None:
            candidates.append(mirrored(candidates[0]))
        targets = [
            Reference(band, band.masked(band.crop(candidate), prepared.disc.mask), joint.ring_weight)
            for candidate in candidates
        ]
        found = [onto_reference(refiner, joint, target) for target in targets]
        best = prepared.group.on_rank0(lambda: max(range(len(found)), key=lambda candidate: found[candidate][2]))
        between, self.inverted, _ = found[best]
        for poses in states:
            joined = compose(between, Poses(poses.angle, poses.shift))
            poses.angle, poses.shift = joined.angle, joined.shift
            if best == 1:  # the average fits the mirror image of the reference: all particles are mirrored or no longer
                poses.angle, poses.shift = -poses.angle, poses.shift * np.array([-1.0, 1.0])
        if best == 1 and prepared.mirrored is not None:
            self.whole.mirrored = prepared.mirrored = ~prepared.mirrored

    def band_of(self, image: np.ndarray) -> torch.Tensor:
        """Coefficients in the working box of an image, normalised.

        Parameters
        ----------
        image : (D, D) array
            Of the input's box.

        Returns
        -------
        (box, box//2 + 1) complex tensor
            Of the working box, on the device.
        """
        prepared = self.prepared
        values = torch.from_numpy(np.ascontiguousarray(image, np.float32)).to(prepared.device)
        values = (values - values.mean()) / values.std().clamp(min=1e-12)
        return resize(to_fourier(values), prepared.source.box, prepared.box)

    # Results

    def _poses(self, state: State) -> Poses:
        """Poses of the particles as they came."""
        mirror = self.prepared.mirrored
        if mirror is not None:
            mirror = mirror & ~self.prepared.statistics.blank
        poses = Poses(state.angle, state.shift * self.prepared.scale, mirror)
        return Poses(mirrored_first(poses).angle, poses.shift, poses.mirror)

    def _finish(
        self,
        state: State,
        half_state: State | None,
        half: np.ndarray,
        first: First,
        noise: np.ndarray | None = None,
    ) -> Alignment:
        blank = self.prepared.statistics.blank
        for one in (state, half_state):
            if one is not None:
                one.angle[blank], one.shift[blank], one.score[blank], one.log_odds[blank] = 0, 0, 0, 0
        limit = score_limit(state.score[~blank], noise)
        return Alignment(
            poses=self._poses(state),
            half_poses=None if half_state is None else self._poses(half_state),
            half=half,
            score=state.score,
            ambiguous=state.log_odds < AMBIGUOUS,
            initial_lowpass=float(self.first.initial_lowpass),
            searched=first.searched,
            network_angle=self.network_angle,
            outlier=outliers(state.score, self.prepared.statistics.odd, limit),
            score_limit=limit,
            local=first.start.local,
            at_limit=float(state.limited[~blank].mean()) if not blank.all() else 0.0,
        )
