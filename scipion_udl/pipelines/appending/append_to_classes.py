"""Particles that come later join the classes of an earlier run: each is aligned by itself, against the averages of the
halves of its class, which grow by it; or against an average that stays."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from scipion_udl.alignment.aligner import AMBIGUOUS, SEARCH_BAND, Alignment
from scipion_udl.alignment.averages import Averages, HalfFacts, average_particles, weighted_average
from scipion_udl.alignment.fit import Fit
from scipion_udl.alignment.particle_scores import ParticleScores
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.state import State
from scipion_udl.alignment.wiener import WienerFilter
from scipion_udl.classification.assignment import Sorted
from scipion_udl.errors import UdlError
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.half_set_frc import ResolutionEstimate, frc_weights, measured_crossing, of_more
from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.messages import message
from scipion_udl.models.checkpoint import load_card
from scipion_udl.particles.name_order import halves_by_name
from scipion_udl.particles.outliers import outliers
from scipion_udl.pipelines.align_set import IN_A_CLASS, of_a_class, resolution_of
from scipion_udl.pipelines.appending.appendable_classes import Earlier, EarlierHalves
from scipion_udl.pipelines.classes import STACKS, ClassResult
from scipion_udl.pipelines.run import Run
from scipion_udl.settings.commands import ClassifySettings
from scipion_udl.settings.option import given

ITERATIONS = 3  # rounds of each particle against the average of its class, or of its half of it
JOINT = 2  # rounds against the average of both halves then


def check_appending(settings: ClassifySettings) -> None:
    """Refuse options that do not go with --append-to.

    Parameters
    ----------
    settings : ClassifySettings
        The options.

    Raises
    ------
    UdlError
        For a model, --no-refine or a low-resolution limit, which the earlier run has settled, and where that run would
        be written over.
    """
    for name in ("model", "no_refine", "no_align", "low_resolution_limit"):
        if getattr(settings, name):
            raise UdlError(message("join_brings_its_own", option=settings.option(name).flag))
    if os.path.realpath(given(settings.append_to)) == os.path.realpath(settings.output):
        raise UdlError(message("run_would_be_replaced", path=settings.output))


def check_fits(run: Run, earlier: Earlier) -> None:
    """Refuse particles that do not fit an earlier run, and take the diameter of that run.

    Parameters
    ----------
    run : Run
        With the particles that come; its discs are changed.
    earlier : Earlier
        What the earlier run left.

    Raises
    ------
    UdlError
        Where the particles are not of the box and pixel size that the earlier ones had, or are said to be of another
        diameter.
    """
    model, earlier_run = given(run.settings.model), given(run.settings.append_to)
    load_card(model).check_fits(run.source.box, run.source.pixel_size, model)
    box = earlier.references.shape[-1]
    if run.source.box != box:
        raise UdlError(
            message("joined_of_other_box", path=run.settings.input, box=run.source.box, run=earlier_run, run_box=box)
        )
    earlier.preparation.take_radius(run, earlier_run)


def append_to_classes(
    run: Run, earlier: Earlier, found: Sorted, max_shift: float, lives: bool = False
) -> list[ClassResult]:
    """Align the particles of the run, sorted into earlier classes, to the averages of these.

    Parameters
    ----------
    run : Run
        With the particles that come.
    earlier : Earlier
        What the earlier run left.
    found : Sorted
        The particles in its classes.
    max_shift : float
        How far they may lie off centre, working pixels.
    lives : bool, optional
        Whether the averages of halves grow, and what is claimed by them with these; they stay as they are otherwise.

    Returns
    -------
    list of ClassResult
        Images and counts are those of all so far.
    """
    done = []
    whole = len(run.source) + sum(one["particles"] for one in earlier.classes)
    for k, before in enumerate(earlier.classes):
        own = np.flatnonzero(found.label == k)
        part, halves = run.part(own, f"Class {k + 1}") if len(own) else None, earlier.halves[k] if lives else None
        images = {image: earlier.stacks[stack][k] for stack, image in STACKS.items()}
        alignment, frc = _nothing(halves, earlier.score_limits[k]), earlier.frc[k]
        grown: dict[str, Any] = {}
        kept = None if halves is None else halves.facts
        if halves is not None:
            images |= dict(zip(("first", "second"), halves.images))
        if part is not None:
            aligner = _ToHalves(part, halves, earlier.score_limits[k], max_shift) if halves is not None else None
            start = found.poses[own]
            alignment = aligner.run(start) if aligner else _aligned(part, earlier, k, start, max_shift)
            if aligner:
                images, frc, grown, kept = aligner.grown(alignment, images, before)
            else:
                images = _pooled(part, average_particles(part.particles, alignment.poses, None, alignment.half), images,
                                 before)  # fmt: skip
        alignment = replace(alignment, score=found.score[own])  # which compares particles of different classes
        figures = {**before, **_counts(before, part, alignment), **grown, "particles_before": before["particles"]}
        figures.pop("image", None), figures.pop("class", None)
        figures["share"] = round(figures["particles"] / whole, 5)
        figures |= {"warnings": [], "messages": []}
        done.append(ClassResult(k + 1, own, alignment, figures, images, frc, None, kept))
    return done


class _ToHalves:
    """Aligns particles that have come to a class to the averages of its halves, each by itself, and adds them to these.

    Each particle belongs to one half by its name. Its pose within the half comes from that half's average alone, so
    that halves still know nothing of each other, and its final pose from the average of both.

    part: the particles; halves: of the class; limit: below what score particles are outliers; max_shift: working
    pixels.
    """

    def __init__(self, part: Run, halves: EarlierHalves, limit: float, max_shift: float) -> None:
        particles, facts = part.particles, halves.facts
        self.part, self.halves, self.limit, self.half = part, halves, limit, halves_by_name(particles.source.names)
        self.band = band = Band(particles.box, particles.k_max, particles.device)
        self.refiner = Refiner(particles, band, max_shift, SEARCH_BAND)
        images = torch.from_numpy(halves.images.astype(np.float32)).to(particles.device)
        level = np.full(2, facts.background), np.full(2, facts.noise)
        bands = band.masked(band.crop(particles.whitening.of(images, *level)), particles.disc.mask)
        wiener = WienerFilter(band, list(bands))
        self.own = [Reference(band, one, wiener.weight(1), wiener(one, 1)) for one in bands]
        whole = (bands[0] * facts.counts[0] + bands[1] * facts.counts[1]) / sum(facts.counts)
        self.both = Reference(band, whole, wiener.weight(2), wiener(whole, 2))

    def run(self, start: Poses) -> Alignment:
        """Align them.

        Parameters
        ----------
        start : Poses
            n of them, whose angles are about right.

        Returns
        -------
        Alignment
            Of n particles.
        """
        particles, usable = self.part.particles, self.part.particles.usable
        blank, n = particles.statistics.blank, len(particles)
        state = State.start(start.angle)
        for number in range(1, ITERATIONS + 1):
            self.refiner.iterate(state, self.own, self.half, f"joining, round {number}", usable)
        within = state.copy()
        for number in range(1, JOINT + 1):
            self.refiner.iterate(state, [self.both] * 2, self.half, f"both halves, round {number}", usable)
        ParticleScores(self.refiner, self.own[::-1], self.half).measure(state, usable)
        for values in (state.angle, state.shift, within.angle, within.shift, state.score, state.log_odds):
            values[blank] = 0
        poses, half_poses = (Poses(wrap(one.angle), one.shift * particles.scale) for one in (state, within))
        away, fit = outliers(state.score, particles.statistics.odd, self.limit), _fit_of(self.halves)
        return Alignment(
            poses, half_poses, self.half, state.score, (state.log_odds < AMBIGUOUS) & ~blank,
            self.halves.initial_lowpass, False, np.full(n, np.nan), away, score_limit=self.limit, fit=fit,
        )  # fmt: skip

    def grown(
        self, alignment: Alignment, images: dict[str, np.ndarray], before: dict
    ) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any], HalfFacts]:
        """The class with its new particles.

        Parameters
        ----------
        alignment : Alignment
            Theirs.
        images : dict
            Of the class before.
        before : dict
            Its figures.

        Returns
        -------
        dict of str to (D, D) array
            Images of all particles.
        (rings,) array
            FRC of their halves.
        dict
            Figures that follow from these.
        HalfFacts
            What the halves are of.
        """
        facts, part = self.halves.facts, self.part
        poses = alignment.poses, alignment.half_poses, alignment.half
        new = average_particles(part.particles, *poses, scale=(facts.background, facts.noise))
        sums = new.both[1]
        sums.add_means(list(self.halves.images), facts.counts, facts.power)
        first, second, corrected = sums.images()
        averages = replace(new, halves=(first, second), corrected=corrected)
        estimate, frc = resolution_of(part, alignment, averages, 0)
        images = _pooled(part, new, images, before) | {"first": first, "second": second}
        best = images["after"] if corrected is None else corrected
        images["weighted"] = weighted_average(best, frc, facts.background, alignment.initial_lowpass).astype(np.float32)
        now = sums.facts()
        crossing = measured_crossing(frc, part.source.box * part.source.pixel_size)
        figures: dict[str, Any] = {"half_counts": now.counts}
        figures["crossing"] = None if np.isnan(crossing) else round(crossing, 3)
        if self.halves.by_number:
            figures |= _claim(part, estimate, sum(now.counts), alignment.initial_lowpass)
            if not before["flagged"]:
                figures["note"] = figures["resolution_note"]
        return images, frc, figures, now


def _claim(part: Run, estimate: ResolutionEstimate, count: int, initial_lowpass: float) -> dict[str, Any]:
    """What is claimed of a class of so many particles, whose halves agree as far as ``estimate`` says."""
    if count < IN_A_CLASS:
        estimate = ResolutionEstimate(None, None, message("too_few_to_claim", count=count))
    elif estimate.signal is False:
        estimate = of_a_class(part, estimate, initial_lowpass)
    found = {"signal_found": estimate.signal, "resolution": estimate.resolution}
    return {**found, "resolution_note": estimate.note}


def _fit_of(halves: EarlierHalves) -> Fit | None:
    return None if halves.fit is None else Fit(*halves.fit)


def _counts(before: dict, part: Run | None, alignment: Alignment) -> dict:
    """Counts and mean score of a class with the particles that have come."""
    new = np.zeros(0, np.int64) if part is None else part.particles.usable
    score, count = alignment.score[new], before["usable"] + len(new)
    total = before["score_mean"] * before["usable"] + float(score.sum())
    return {
        "particles": before["particles"] + len(alignment.score),
        "usable": count,
        "ambiguous": before["ambiguous"] + int(alignment.ambiguous.sum()),
        "outliers": before["outliers"] + int(alignment.outlier.sum()),
        "score_mean": total / max(count, 1),
    }


def _nothing(halves: EarlierHalves | None, limit: float) -> Alignment:
    """That of no particles of a class; halves: of the class, where they are known; limit: below what score they would
    be outliers."""
    none = np.zeros(0)
    no = np.zeros(0, bool)
    nothing = Alignment(
        Poses(none, np.zeros((0, 2))), None, none.astype(np.int64), none, no, 0.0, False, none, no, score_limit=limit
    )
    if halves is None:
        return nothing
    return replace(nothing, initial_lowpass=halves.initial_lowpass, fit=_fit_of(halves))


def _aligned(part: Run, earlier: Earlier, k: int, start: Poses, max_shift: float) -> Alignment:
    """Each particle against the average of its class, from its angle."""
    particles = part.particles
    n, blank = len(particles), particles.statistics.blank
    band = Band(particles.box, particles.k_max, particles.device)
    refiner = Refiner(particles, band, max_shift, SEARCH_BAND)
    level = tuple(np.array([value]) for value in earlier.level)  # the averages are of particles as they came
    image = torch.from_numpy(earlier.references[k][None]).to(particles.device)
    average = band.masked(band.crop(particles.whitening.of(image, *level))[0], particles.disc.mask)
    weight = frc_weights(of_more(torch.from_numpy(earlier.frc[k]), 2))[: band.k_max + 1]
    reference = Reference(band, average, functional.pad(weight, (0, band.k_max + 1 - len(weight))).to(band.device))
    state = State.start(start.angle)
    for number in range(1, ITERATIONS + 1):
        refiner.iterate(state, [reference], np.zeros(n, np.int64), f"joining, round {number}", particles.usable)
    ParticleScores(refiner, [reference], np.zeros(n, np.int64)).measure(state, particles.usable)
    for values in (state.angle, state.shift, state.score, state.log_odds):
        values[blank] = 0
    limit = earlier.score_limits[k]
    away = outliers(state.score, particles.statistics.odd, limit)
    half, unknown = np.zeros(n, np.int64), np.full(n, np.nan)
    poses = Poses(wrap(state.angle), state.shift * particles.scale)
    doubtful = (state.log_odds < AMBIGUOUS) & ~blank
    return Alignment(poses, None, half, state.score, doubtful, 0.0, False, unknown, away, score_limit=limit)


def _pooled(part: Run, new: Averages, images: dict[str, np.ndarray], before: dict) -> dict[str, np.ndarray]:
    """Averages of the new particles and the ones before; all other images stay."""
    # The mean of the particles as they came is of those with an image alone.
    usable, own = len(part.particles.usable), len(part.source)
    pooled = {
        "before": _mean(new.before, usable, images["before"], before["usable"]),
        "after": _mean(new.all, own, images["after"], before["particles"]),
    }
    return images | pooled


def _mean(one: np.ndarray, count: int, other: np.ndarray, others: int) -> np.ndarray:
    """The mean (D, D) float32 of what two means of so many images are of."""
    return ((one * count + other.astype(np.float64) * others) / max(count + others, 1)).astype(np.float32)
