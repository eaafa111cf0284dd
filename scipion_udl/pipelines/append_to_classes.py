"""Particles that come later join the classes of an earlier run: each by itself, against templates and averages that
stay."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as functional

from scipion_udl.alignment.aligner import AMBIGUOUS, SEARCH_BAND, Alignment
from scipion_udl.alignment.averages import average_particles
from scipion_udl.alignment.particle_scores import ParticleScores
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.state import State
from scipion_udl.classification.assignment import Sorted
from scipion_udl.errors import UdlError
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.half_set_frc import frc_weights, of_more
from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.messages import message
from scipion_udl.models.checkpoint import load_card
from scipion_udl.particles.outliers import outliers
from scipion_udl.pipelines.appendable_classes import Earlier
from scipion_udl.pipelines.classes import STACKS, ClassResult
from scipion_udl.pipelines.run import Run
from scipion_udl.settings.commands import ClassifySettings
from scipion_udl.settings.option import given

ITERATIONS = 3  # rounds of each particle against the average of its class


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


def append_to_classes(run: Run, earlier: Earlier, found: Sorted, max_shift: float) -> list[ClassResult]:
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

    Returns
    -------
    list of ClassResult
        Images and counts are those of all so far.
    """
    done = []
    whole = len(run.source) + sum(one["particles"] for one in earlier.classes)
    for k, before in enumerate(earlier.classes):
        own = np.flatnonzero(found.label == k)
        part = run.part(own, f"Class {k + 1}") if len(own) else None
        alignment = _nothing() if part is None else _aligned(part, earlier, k, found.poses[own], max_shift)
        images = {image: earlier.stacks[stack][k] for stack, image in STACKS.items()}
        if part is not None:
            images = _pooled(part, alignment, images, before)
        alignment = replace(alignment, score=found.score[own])  # which compares particles of different classes
        figures = {**before, **_counts(before, part, alignment), "particles_before": before["particles"]}
        figures.pop("image", None), figures.pop("class", None)
        figures["share"] = round(figures["particles"] / whole, 5)
        done.append(
            ClassResult(
                k + 1, own, alignment, {**figures, "warnings": [], "messages": []}, images, earlier.frc[k], None
            )
        )
    return done


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


def _nothing() -> Alignment:
    none = np.zeros(0)
    no = np.zeros(0, bool)
    return Alignment(Poses(none, np.zeros((0, 2))), None, none.astype(np.int64), none, no, 0.0, False, none, no)


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


def _pooled(part: Run, alignment: Alignment, images: dict[str, np.ndarray], before: dict) -> dict[str, np.ndarray]:
    """Averages of the new particles and the ones before; the weighted one stays that of the first."""
    new = average_particles(part.particles, alignment.poses, None, alignment.half)
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
