"""Particles that come later join the classes of an earlier run: each is aligned by itself, against the averages of the
halves of its class, which grow by it; or against an average that stays."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
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
from scipion_udl.pipelines.appending.half_references import half_references, seen_averages
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
        frc, limit = earlier.frc[k], earlier.score_limits[k]
        alignment = _nothing(limit)
        grown: dict[str, Any] = {}
        kept = None if halves is None else halves.facts
        if part is not None:
            target = _whole(part, earlier, k) if halves is None else _halves(part, halves)
            alignment = _aligned(part, target, found.poses[own], max_shift, limit)
        if halves is not None:
            images |= dict(zip(("first", "second"), halves.images))
            fit = None if halves.fit is None else Fit(*halves.fit)
            alignment = replace(alignment, initial_lowpass=halves.initial_lowpass, fit=fit)
        if part is not None and halves is not None:
            images, frc, grown, kept = _grown(part, halves, alignment, images, before)
        elif part is not None:
            new = average_particles(part.particles, alignment.poses, None, alignment.half)
            images = _pooled(part, new, images, before)
        alignment = replace(alignment, score=found.score[own])  # which compares particles of different classes
        figures = {**before, **_counts(before, part, alignment), **grown, "particles_before": before["particles"]}
        figures.pop("image", None), figures.pop("class", None)
        figures["share"] = round(figures["particles"] / whole, 5)
        figures |= {"warnings": [], "messages": []}
        done.append(ClassResult(k + 1, own, alignment, figures, images, frc, None, kept))
    return done


@dataclass
class _Target:
    """What the n particles that come to a class are aligned to. own: averages, of which ``member`` (n,) tells that of
    each; judges: by what each is scored, likewise; both: those of the halves together, likewise, none where halves are
    not known."""

    band: Band
    own: list[Reference]
    judges: list[Reference]
    member: np.ndarray
    both: list[Reference] = field(default_factory=list)


def _halves(part: Run, halves: EarlierHalves) -> _Target:
    """The averages of the halves of a class.

    Each particle belongs to one half by its name. Its pose within the half comes from that half's average alone, so
    that halves still know nothing of each other, and its final pose from the average of both; it is scored by the half
    that it is not in.
    """
    particles, facts = part.particles, halves.facts
    band = Band(particles.box, particles.k_max, particles.device)
    bands = seen_averages(particles, band, halves.images.astype(np.float32), facts.background, facts.noise)
    own, both = half_references(band, bands, facts.counts, WienerFilter(band, bands))
    return _Target(band, own, own[::-1], halves_by_name(particles.source.names), [both] * 2)


def _whole(part: Run, earlier: Earlier, k: int) -> _Target:
    """The average of a class as the first particles made it, which is of particles as they came."""
    particles = part.particles
    band = Band(particles.box, particles.k_max, particles.device)
    (average,) = seen_averages(particles, band, earlier.references[k][None], *earlier.level)
    weight = frc_weights(of_more(torch.from_numpy(earlier.frc[k]), 2))[: band.k_max + 1]
    reference = Reference(band, average, functional.pad(weight, (0, band.k_max + 1 - len(weight))).to(band.device))
    return _Target(band, [reference], [reference], np.zeros(len(particles), np.int64))


def _aligned(part: Run, target: _Target, start: Poses, max_shift: float, limit: float) -> Alignment:
    """Each particle of a class by itself, from its angle; limit: below what score particles are outliers."""
    particles, usable, blank = part.particles, part.particles.usable, part.particles.statistics.blank
    refiner = Refiner(particles, target.band, max_shift, SEARCH_BAND)
    state = State.start(start.angle)
    for number in range(1, ITERATIONS + 1):
        refiner.iterate(state, target.own, target.member, f"joining, round {number}", usable)
    within = state.copy()
    for number in range(1, JOINT + 1 if target.both else 1):
        refiner.iterate(state, target.both, target.member, f"both halves, round {number}", usable)
    ParticleScores(refiner, target.judges, target.member).measure(state, usable)
    for values in (state.angle, state.shift, within.angle, within.shift, state.score, state.log_odds):
        values[blank] = 0
    poses, half_poses = (Poses(wrap(one.angle), one.shift * particles.scale) for one in (state, within))
    away, unknown = outliers(state.score, particles.statistics.odd, limit), np.full(len(particles), np.nan)
    doubtful = (state.log_odds < AMBIGUOUS) & ~blank
    apart = half_poses if target.both else None
    return Alignment(poses, apart, target.member, state.score, doubtful, 0.0, False, unknown, away, score_limit=limit)


def _grown(
    part: Run, halves: EarlierHalves, alignment: Alignment, images: dict[str, np.ndarray], before: dict
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any], HalfFacts]:
    """A class with its new particles: images of all, FRC (rings,) of their halves, figures that follow from these, and
    what the halves are of. images, before: its images and figures as they were."""
    facts = halves.facts
    poses = alignment.poses, alignment.half_poses, alignment.half
    new = average_particles(part.particles, *poses, scale=(facts.background, facts.noise))
    sums = new.both[1]
    sums.add_means(list(halves.images), facts.counts, facts.power)
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
    if halves.by_number:
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


def _nothing(limit: float) -> Alignment:
    """That of no particles of a class; limit: below what score they would be outliers."""
    none, no = np.zeros(0), np.zeros(0, bool)
    poses, half = Poses(none, np.zeros((0, 2))), none.astype(np.int64)
    return Alignment(poses, None, half, none, no, 0.0, False, none, no, score_limit=limit)


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
