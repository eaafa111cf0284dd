"""How good the classes of a run are, and each of their particles: what quality/ says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from scipion_udl.messages import Message, message
from scipion_udl.pipelines.classes import ClassResult
from scipion_udl.pipelines.run import Run
from scipion_udl.quality.class_features import ClassEvidence, SetEvidence, class_features
from scipion_udl.quality.judge import CLASSES, PARTICLES, Judge
from scipion_udl.quality.leftovers import NAMES as LEFT
from scipion_udl.quality.leftovers import Leftovers
from scipion_udl.quality.particle_features import particle_features, with_evidence
from scipion_udl.quality.reasons import reasons


@dataclass
class Judged:
    """quality: (K,) the probability that a class is of particles; reasons: K lists of what speaks against it;
    particles: (N,) the probability that each particle is good, 0 for blank images."""

    quality: np.ndarray
    reasons: list[list[Message]]
    particles: np.ndarray


@dataclass
class Numbers:
    """What classes and particles are judged by. apart: (K,) bool, which classes have halves; classes: (their number,
    F) of these; members: their particles, from 0, and place: of each the row of its class; particles: (as many, G),
    in which the evidence for the class is still 0."""

    apart: np.ndarray
    classes: np.ndarray
    members: np.ndarray
    place: np.ndarray
    particles: np.ndarray


def judge_classes(run: Run, classes: list[ClassResult]) -> Judged:
    """Judge the classes of a run, once each is aligned, and their particles.

    Parameters
    ----------
    run : Run
        All particles of which are in one of the classes.
    classes : list of ClassResult
        K of them, with the averages of their halves where these were aligned apart.

    Returns
    -------
    Judged
        Classes without halves, of a particle or two, have quality 0 and say so.
    """
    quality, good = np.zeros(len(classes)), np.zeros(len(run.source))
    told = [[message("class_too_small_to_judge")] for _ in classes]
    numbers = numbers_of(run, classes)
    if numbers.apart.any():
        judge = Judge.of_package(CLASSES)
        evidence = judge.evidence(numbers.classes)
        quality[numbers.apart] = expit(evidence)
        for k, why in zip(np.flatnonzero(numbers.apart), reasons(judge, numbers.classes)):
            told[k] = why
        given = with_evidence(numbers.particles, numbers.place, evidence)
        good[numbers.members] = Judge.of_package(PARTICLES).quality(given)
        good[run.particles.statistics.blank] = 0.0
    return Judged(quality, told, good)


def numbers_of(run: Run, classes: list[ClassResult]) -> Numbers:
    """What the classes of a run, and their particles, are judged by.

    Parameters
    ----------
    run : Run
        All particles of which are in one of the classes.
    classes : list of ClassResult
        K of them, with the averages of their halves where these were aligned apart.

    Returns
    -------
    Numbers
        Of the classes that have halves.
    """
    statistics, particles = run.particles.statistics, run.particles
    radius = particles.disc.mask_radius * particles.scale
    whole = SetEvidence(radius, statistics.blank, statistics.loud, statistics.matter, statistics.loudness)
    there = ~statistics.blank if not statistics.blank.all() else slice(None)
    noise = float(np.median(statistics.std[there]))
    apart = np.array([{"first", "second"} <= one.images.keys() for one in classes], bool)
    results = [one for one, own in zip(classes, apart) if own]
    seen = [_evidence(one, noise) for one in results]
    if not seen:
        nothing = np.zeros(0, np.int64)
        return Numbers(apart, np.zeros((0, 0)), nothing, nothing, np.zeros((0, 0)))
    left = run.within_memory(lambda: _leftovers(run, results))
    members = np.concatenate([one.members for one in seen])
    place = np.repeat(np.arange(len(seen)), [len(one.members) for one in seen])
    of_particles = particle_features(seen, whole, np.zeros(len(seen)), left)[members]
    return Numbers(apart, class_features(seen, whole), members, place, of_particles)


def _leftovers(run: Run, classes: list[ClassResult]) -> np.ndarray:
    """What each particle of the run shows beside the average of its class, (N, L)."""
    leftovers = Leftovers(run.particles)
    out = np.zeros((len(run.source), len(LEFT)))
    for one in classes:
        out[one.members] = leftovers.measure(one.members, one.alignment.poses, one.alignment.half)
    return out


def _evidence(one: ClassResult, noise: float) -> ClassEvidence:
    """What a class is judged by; noise: deviation of a particle's background, which averages are told in."""
    alignment = one.alignment
    first, second = (one.images[name].astype(np.float64) / noise for name in ("first", "second"))
    found = alignment.score, alignment.outlier, alignment.poses.shift, alignment.score_limit
    return ClassEvidence(one.members, first, second, *found)
