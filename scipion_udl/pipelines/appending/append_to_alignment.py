"""Particles that come later, each aligned by itself to the averages of an earlier run.

The run's two half averages stay as they are, and each new particle belongs to one half by its name. Its pose within the
half comes from that half's average alone, so that halves still know nothing of each other, and its final pose from the
average of both, just as in the run itself (half_set_refinement.py). No average of new particles aligns anything: a pose
does not depend on what else comes. The averages are then added to those of the run, or of whatever was joined to it
before.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from scipion_udl.alignment.aligner import AMBIGUOUS, SEARCH_BAND, Aligner, Alignment
from scipion_udl.alignment.ambiguity import confirmed_rings, flip_difference
from scipion_udl.alignment.averages import Averages
from scipion_udl.alignment.fit import Fit
from scipion_udl.alignment.particle_scores import ParticleScores
from scipion_udl.alignment.refinement.exhaustive_search import SEARCH_STEP
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.state import State
from scipion_udl.alignment.wiener import WienerFilter, flip_centre
from scipion_udl.constants import ENOUGH
from scipion_udl.errors import UdlError
from scipion_udl.imaging.half_set_frc import ResolutionEstimate
from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.messages import message
from scipion_udl.particles.name_order import halves_by_name
from scipion_udl.particles.outliers import outliers
from scipion_udl.pipelines.align_set import resolution_of
from scipion_udl.pipelines.appending.appendable_alignment import (
    FILE,
    AppendableRun,
    counts_of,
)
from scipion_udl.pipelines.appending.half_references import half_references, seen_averages
from scipion_udl.pipelines.run import Run
from scipion_udl.settings.option import given

ITERATIONS = 8  # at most; from the network's angles two or three do
TOLERANCE = 0.01  # degrees and working pixels: a particle that moves by less in a round is done
JOINT = 2


class Appender:
    """Aligns particles to the half averages of a run.

    aligner: of the new particles, with the run's network; base: what the run left; folder: the run's.
    """

    def __init__(self, aligner: Aligner, base: AppendableRun, folder: str) -> None:
        self.aligner, self.base, self.prepared, self.band = aligner, base, aligner.prepared, aligner.band
        self.refiner = Refiner(self.prepared, self.band, aligner.max_shift, SEARCH_BAND)
        self.half = halves_by_name(self.prepared.source.names)
        halves = self._halves(folder)
        centre = flip_centre(self.refiner.maps, halves[0] + halves[1])
        wiener = WienerFilter(self.band, halves, centre, base.local)
        self.own, self.both = half_references(self.band, halves, base.half_counts, wiener)
        # A particle of one half is judged by the other's average, and its rings count as in the run.
        confirmed = confirmed_rings(self.band, self.refiner.maps, halves)
        self.independents = [self._independent(half, confirmed) for half in halves[::-1]]

    def run(self) -> Alignment:
        """Align the new particles.

        Returns
        -------
        Alignment
            ``half_poses`` are those within the halves.
        """
        usable, n = self.prepared.usable, len(self.prepared)
        state = State.start(np.zeros(n))
        if self.aligner.network is None:
            self.refiner.search(state, self.own, self.half, "exhaustive angular search", usable)
        else:
            state.angle[usable] = self.aligner.network_angles(usable)
        self._iterate(state, usable, "joining")
        if self.aligner.network is not None:
            self._look_elsewhere(state, usable)
        half_state = state.copy()
        for number in range(1, JOINT + 1):
            self.refiner.iterate(
                state,
                [self.both] * 2,
                self.half,
                f"both halves, round {number}",
                usable,
                independent=self.independents,
                settle=True,
            )
        ParticleScores(self.refiner, self.independents, self.half).measure(state, usable)
        for one in (state, half_state):
            one.log_odds[self.prepared.statistics.blank] = 0
        limit = -np.inf if self.base.score_limit is None else self.base.score_limit
        scale = self.prepared.scale
        return Alignment(
            poses=Poses(state.angle, state.shift * scale),
            half_poses=Poses(half_state.angle, half_state.shift * scale),
            half=self.half,
            score=state.score,
            ambiguous=state.log_odds < AMBIGUOUS,
            initial_lowpass=self.base.initial_lowpass,
            searched=self.aligner.network is None,
            network_angle=self.aligner.network_angle,
            outlier=outliers(state.score, self.prepared.statistics.odd, limit),
            score_limit=limit,
            local=self.base.local,
            fit=None if self.base.fit is None else Fit(*self.base.fit),  # more particles make no single one better
        )

    def _iterate(self, state: State, indices: np.ndarray, stage: str) -> None:
        """Rounds against the average of each particle's half, for each until it stands still by itself: when to stop
        must not depend on the others."""
        for number in range(1, ITERATIONS + 1):
            before = state.copy()
            self.refiner.iterate(state, self.own, self.half, f"{stage}, round {number}", indices, settle=number > 2)
            if number == 1:  # it only finds the shifts
                continue
            rotated = np.abs(wrap(state.angle[indices] - before.angle[indices]))
            moved = np.hypot(*(state.shift[indices] - before.shift[indices]).T)
            indices = indices[(rotated > TOLERANCE) | (moved > TOLERANCE)]
            if not len(indices):
                break

    def _look_elsewhere(self, state: State, usable: np.ndarray) -> None:
        """Search all angles for particles that fit better elsewhere than where the network put them."""

        def search(trial: State) -> None:
            self.refiner.search(trial, self.own, self.half, "exhaustive angular search", usable)

        step = SEARCH_STEP / self.refiner.coarse_band.k_max
        better = state.take_better(usable, step, search, lambda trial, far: self._iterate(trial, far, "elsewhere"))
        self.prepared.say(f"Exhaustive angular search: {better} of {len(usable)} particles fit better elsewhere")

    def _halves(self, folder: str) -> list[torch.Tensor]:
        """The run's half averages as particles are seen, bands: of its noise and background, masked."""
        base = self.base
        images = np.stack([base.image(folder, name) for name in ("half1", "half2")])
        return seen_averages(self.prepared, self.band, images, base.background, base.noise_level)

    def _independent(self, half: torch.Tensor, confirmed: torch.Tensor) -> Reference:
        weight = torch.tensor(self.base.score_weight, device=self.band.device)
        if len(weight) != self.band.k_max + 1:
            raise UdlError(message("run_rings_differ", path=FILE, rings=len(weight), compared=self.band.k_max + 1))
        difference = confirmed * flip_difference(self.band, self.refiner.maps, half)
        return Reference(self.band, half, weight, difference=difference)


def pooled(run: Run, averages: Averages, counts: dict, earlier: AppendableRun) -> tuple[Averages, dict]:
    """Averages of the new particles and of those before.

    Parameters
    ----------
    run : Run
        With the new particles.
    averages : Averages
        Theirs.
    counts : dict
        How many they hold: see :func:`scipion_udl.pipelines.appending.appendable_alignment.counts_of`.
    earlier : Joinable
        What the run before left.

    Returns
    -------
    Averages
        Of all.
    dict
        How many they hold.
    """
    folder = given(run.settings.pool)
    power = None if earlier.power is None else np.array(earlier.power)
    sums = averages.both[1]
    sums.add_means([earlier.image(folder, name) for name in ("half1", "half2")], earlier.half_counts, power)
    first, second, corrected = sums.images()

    def mean(new: np.ndarray, name: str, count: str) -> np.ndarray:
        old, n, m = earlier.image(folder, name).astype(np.float64), counts[count], getattr(earlier, count)
        return ((new * n + old * m) / (n + m)).astype(np.float32)

    before, whole = mean(averages.before, "average_before", "usable"), mean(averages.all, "average", "particles")
    averages = replace(averages, before=before, all=whole, halves=(first, second), corrected=corrected)
    total = counts_of(run.particles, averages)
    return averages, total | {name: counts[name] + getattr(earlier, name) for name in ("particles", "usable")}


def resolution_of_all(
    run: Run, alignment: Alignment, averages: Averages, counts: dict
) -> tuple[ResolutionEstimate, np.ndarray]:
    """What may be said of the resolution of all particles together.

    Parameters
    ----------
    run : Run
        With the new particles; warned where no signal is found.
    alignment : Alignment
        Theirs.
    averages : Averages
        Of all.
    counts : dict
        How many these hold.

    Returns
    -------
    ResolutionEstimate
        Why none is made where none is.
    (rings,) array
        FRC of the halves per Fourier ring.
    """
    estimate, frc = resolution_of(run, alignment, averages, 0)
    if counts["usable"] < ENOUGH:
        estimate = ResolutionEstimate(None, None, message("too_few_to_claim", count=counts["usable"]))
    elif estimate.signal is False:
        run.warn(estimate.note)
    return estimate, frc
