"""The course of the class network: which particles teach it, and its levels one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from scipion_udl.classification.em import LEVELS, Learner
from scipion_udl.classification.initialisation import best_start
from scipion_udl.classification.samples import gathered
from scipion_udl.constants import TEACH_A_CLASS, TEACH_AT_MOST
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.pipelines.run import Run

STARTS = 2  # where nothing is said
EARLY = 60  # of each class: so many teach the first level


def learner_of(run: Run, classes: int, reach: float) -> Learner:
    """What teaches so many classes, with the polar samples of the particles that do. reach: how far off centre
    particles lie along an axis, working pixels."""
    particles, settings = run.particles, run.settings
    rings = min(LEVELS[-1], particles.k_max)
    # A larger disc than the box holds would leave no background.
    sampling = PolarSampling(particles.box, rings, mask=min(0.5, particles.window_radius / particles.box))
    subset = particles.subset(settings.teach or min(TEACH_A_CLASS * classes, TEACH_AT_MOST), settings.seed)
    samples = gathered(particles, sampling, subset)
    return Learner(samples, sampling, reach, settings.seed, particles.report)


def levels(run: Run, learner: Learner, classes: int) -> Iterator[ClassBank]:
    """The network after each of its levels, of more and more Fourier rings; the last is the result."""
    everything = torch.arange(len(learner.samples))
    run.say(f"{len(everything)} particles teach {classes} classes, in {learner.levels()} Fourier rings")
    early = everything[: max(EARLY * classes, 1000)]  # the subset comes in an order of chance
    bank = best_start(learner, classes, early, run.settings.starts or STARTS, run.say)
    for number, rings in enumerate(learner.levels()):
        bank = learner.widened(bank, rings)
        gain = learner.level(bank, everything if number else early)
        done, split = learner.history[-1], learner.splits
        learner.splits = 0
        run.say(
            f"{rings} rings: log likelihood {gain:.1f} a particle, {split} classes split at the cost of others, "
            f"{done.changed:.1%} of the particles changed classes at last"
        )
        yield bank
