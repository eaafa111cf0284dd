"""The course of the class network: which particles teach it, and its levels one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from scipion_udl.alignment.given_poses import check_measure
from scipion_udl.classification.class_number import classes_told_apart
from scipion_udl.classification.class_search import seen_up_to
from scipion_udl.classification.class_seeding import best_start
from scipion_udl.classification.em import LEVELS, ClassFit
from scipion_udl.classification.reference_bank import bank_of_references, fitted_references, reference_coefficients
from scipion_udl.classification.samples import gathered
from scipion_udl.compute.context import nobody
from scipion_udl.constants import (
    AUTO_CLASSES,
    AUTOMATIC_SHIFT,
    FEWEST_CLASSES,
    LEAST_OF_A_CLASS,
    TRAIN_A_CLASS,
    TRAIN_AT_MOST,
)
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.io.classes.references import read_references
from scipion_udl.messages import message, some_of
from scipion_udl.models.checkpoint import ModelCard, card_format
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.particles.polarity_warning import polarity_of
from scipion_udl.pipelines.continued import BEGAN, began_with
from scipion_udl.pipelines.run import Run
from scipion_udl.settings.commands import ClassifySettings, RunSettings
from scipion_udl.settings.option import given

CLASSES, STARTS = 50, 2  # where nothing is said
EARLY = 60  # of each class: so many teach the first level


def class_fit_of(run: Run, classes: int, reach: float) -> ClassFit:
    """What teaches a number of classes, with the polar samples of the particles that do.

    Parameters
    ----------
    run : Run
        With the particles.
    classes : int
        How many; AUTO_CLASSES where that is to be found.
    reach : float
        How far off centre particles lie along an axis, working pixels.

    Returns
    -------
    ClassFit
        Nothing is learned yet.
    """
    particles, settings = run.particles, run.settings
    rings = min(LEVELS[-1], particles.k_max)
    # A larger disc than the box holds would leave no background.
    sampling = PolarSampling(particles.box, rings, mask=min(0.5, particles.disc.window_radius / particles.box))
    taught = TRAIN_AT_MOST if classes == AUTO_CLASSES else min(TRAIN_A_CLASS * classes, TRAIN_AT_MOST)
    subset = particles.subset(settings.training_subset or taught, settings.seed)
    samples = gathered(particles, sampling, subset)
    upright = particles.poses is not None
    return ClassFit(samples, sampling, reach, settings.seed, particles.reader.context.report, run.group, upright)


def levels(run: Run, class_fit: ClassFit, classes: int, start: ClassBank | None = None) -> Iterator[ClassBank]:
    """Learn level by level, of more and more Fourier rings.

    Parameters
    ----------
    run : Run
        Which says how it goes.
    class_fit : ClassFit
        What teaches.
    classes : int
        How many.
    start : ClassBank, optional
        What they begin as, of the coarsest level; None: what the particles give.

    Yields
    ------
    ClassBank
        The network after each level; the last is the result.
    """
    everything = torch.arange(len(class_fit.samples))
    field, last = run.source.box * run.source.pixel_size, class_fit.levels()[-1]
    run.say(f"Learning {classes} classes from {len(everything)} particles, up to {field / last:.1f} A")
    run.say(f"In steps of {class_fit.levels()} Fourier pixels", detail=True)
    early = everything[: max(EARLY * classes, 1000)]  # the subset comes in an order of chance
    if start is None:
        start = best_start(class_fit, classes, early, run.settings.starts or STARTS, run.say)
    bank = start
    for number, rings in enumerate(class_fit.levels()):
        bank = class_fit.widened(bank, rings)
        gain = class_fit.level(bank, everything if number else early)
        done, split = class_fit.history[-1], class_fit.splits
        class_fit.splits = 0
        changed = f"{done.changed:.1%} of the particles changed class in the last round"
        run.say(f"Classes at {field / rings:.1f} A: {changed}")
        run.say(f"Log likelihood {gain:.1f} a particle; classes split at the cost of others: {split}", detail=True)
        yield bank


FEW_TO_TRAIN = 20  # particles a class that teach: with fewer the user is warned


def warn_of_few(run: Run, training: dict) -> None:
    """Warn where few particles have taught each class.

    Parameters
    ----------
    run : Run
        Which is told.
    training : dict
        Of the network's card.
    """
    teach, count = training["particles"], training["classes"]
    if teach < FEW_TO_TRAIN * count:
        run.warn(message("few_teach", particles=teach, classes=count, each=teach // count))


def card_of(run: Run, bank: ClassBank, class_fit: ClassFit) -> ModelCard:
    """The card of a network that the run's particles have taught.

    Parameters
    ----------
    run : Run
        The run.
    bank : ClassBank
        The network.
    class_fit : ClassFit
        What has taught it.

    Returns
    -------
    ModelCard
        As it stands in the model file.
    """
    last = class_fit.history[-1]
    training: dict[str, Any] = {
        "rounds": len(class_fit.history),
        "particles": len(class_fit.samples),
        "classes": bank.config["classes"],
    }
    training |= {"seed": run.settings.seed, "input": os.path.basename(run.settings.input), BEGAN: began_with(run)}
    return ModelCard(
        method="judl",
        network="classes",
        config=bank.config,
        spectra=vars(class_fit.sampling),
        box=run.source.box,
        pixel_size=run.source.pixel_size,
        contrast=polarity_of(run.particles.statistics),
        training=training | {"gain": last.gain, "changed": last.changed},
        format=card_format("classes", bank.config),
    )


def shift_search_range(run: Run) -> float:
    """How far off centre particles lie along an axis.

    Parameters
    ----------
    run : Run
        With settings and particles.

    Returns
    -------
    float
        Working pixels.

    Raises
    ------
    UdlError
        For a --max-shift beyond half the box.
    """
    wanted = run.settings.max_shift
    if wanted is not None and wanted > run.source.box / 2:
        raise UdlError(message("max_shift_too_large_to_classify", value=wanted, most=run.source.box / 2))
    return (AUTOMATIC_SHIFT * run.source.box if wanted is None else wanted) / run.particles.scale


def check_enough(run: Run) -> None:
    """Refuse too few particles for the classes that are asked for.

    Parameters
    ----------
    run : Run
        Its particles have been looked through.

    Raises
    ------
    UdlError
        For fewer than LEAST_OF_A_CLASS with an image a class.
    """
    count, usable = given(run.settings.classes), len(run.particles.usable)
    count = FEWEST_CLASSES if count == AUTO_CLASSES else count
    if run.settings.fixed_references:
        return
    if usable < LEAST_OF_A_CLASS * count:
        raise UdlError(
            message("too_few_for_classes", path=run.settings.input, count=usable, classes=count, least=LEAST_OF_A_CLASS)
        )


def with_found_number(settings: RunSettings, bank: ClassBank) -> RunSettings:
    """The settings with the number of classes that was found, where it was to be.

    Parameters
    ----------
    settings : RunSettings
        As they were given.
    bank : ClassBank
        What was learned.

    Returns
    -------
    RunSettings
        The same, or with the bank's number of classes.
    """
    return settings.but(classes=bank.config["classes"]) if settings.classes == AUTO_CLASSES else settings


def keep_poses(run: Run) -> None:
    """Have the particles sorted in the poses that their table gives, where the user asks for that.

    Parameters
    ----------
    run : Run
        Not scanned yet.

    Raises
    ------
    UdlError
        Where the table gives none, or one is a shift by more than the box; names file and row.
    """
    if not run.settings.no_align:
        return
    poses = run.source.poses()
    if poses is None:
        raise UdlError(message("no_poses_to_keep", path=run.source.path))
    run.particles.poses = check_measure(poses, run.source.box, run.source.path)


def learn_classes(
    run: Run, show: Callable[[ClassBank, PolarSampling], None] = nobody
) -> tuple[ClassBank, ModelCard, list[dict]]:
    """Teach a class network on some of the run's particles.

    Parameters
    ----------
    run : Run
        With settings and particles.
    show : callable, optional
        Shows the network after each level; given it, and how particles are sampled for it.

    Returns
    -------
    ClassBank
        The network.
    ModelCard
        Its card.
    list of dict
        Figures of each of its rounds, as in training.csv.
    """
    count, settings, start = given(run.settings.classes), run.settings, None
    class_fit = class_fit_of(run, count, shift_search_range(run))
    if count == AUTO_CLASSES:
        run.say("Looking for the number of classes that particles tell apart")
        count = classes_told_apart(class_fit, run.say)
        run.note(message("classes_told_apart", count=count, particles=len(class_fit.samples)))
    if settings.references:
        start, references = _given_start(run, class_fit, settings.references)
    if settings.fixed_references and start is not None:
        bank = fitted_references(class_fit, start, references)
        show(bank, class_fit.sampling)
    else:
        for bank in levels(run, class_fit, count, start):
            show(bank, class_fit.sampling)
    card = card_of(run, bank, class_fit)
    if not settings.fixed_references:
        warn_of_few(run, card.training)
    return bank, card, [row.as_epoch(number) for number, row in enumerate(class_fit.history, 1)]


def _given_start(run: Run, class_fit: ClassFit, path: str) -> tuple[ClassBank, torch.Tensor]:
    """A bank of the coarsest level of the references of a file, and their coefficients; says how they are taken."""
    found, particles = read_references(path), run.particles
    working = run.source.pixel_size * particles.scale
    size = found.pixel_size if run.source.pixel_size_known else None
    if size is None:
        if found.images.shape[-1] != run.source.box:
            raise UdlError(message("references_without_size", path=path, box=found.images.shape[-1]))
        size = run.source.pixel_size
    coefficients = reference_coefficients(found.images, size / working, class_fit.sampling, class_fit.device)
    bank, references, taken = bank_of_references(class_fit, coefficients)
    for code, which in (("references_mirrored", taken.mirrored), ("references_inverted", taken.inverted)):
        if which.any():
            run.notes.append(message(code, count=int(which.sum()), total=len(which), numbers=named_references(which)))
    return bank, references


def named_references(which: np.ndarray) -> str:
    """The numbers of some references, as messages name them.

    Parameters
    ----------
    which : (K,) bool array
        Those that are named.

    Returns
    -------
    str
        Numbers from 1, as :func:`.some_of` has them.
    """
    return some_of((np.flatnonzero(which) + 1).tolist())


def with_classes(settings: ClassifySettings) -> ClassifySettings:
    """The settings with the number of classes, where nobody gave it.

    Parameters
    ----------
    settings : ClassifySettings
        Those of a run.

    Returns
    -------
    ClassifySettings
        With as many classes as there are references; CLASSES without these.

    Raises
    ------
    UdlError
        Where the references cannot be read, or --fixed-references has none.
    """
    if settings.references:
        return settings.but(classes=len(read_references(settings.references).images))
    if settings.fixed_references:
        raise UdlError(message("fixed_without_references"))
    return settings.but(classes=settings.classes or CLASSES)


def checked_classes(run: Run, bank: nn.Module, card: ModelCard, path: str) -> tuple[ClassBank, ModelCard]:
    """A class network, as far as the run's particles are compared.

    Parameters
    ----------
    run : Run
        With settings and particles.
    bank : torch.nn.Module
        The network.
    card : ModelCard
        Its card.
    path : str
        What messages call it.

    Returns
    -------
    ClassBank
        Up to the high-resolution limit.
    ModelCard
        The same.

    Raises
    ------
    UdlError
        Where it is no class network, or does not fit the particles.
    """
    if not isinstance(bank, ClassBank):
        raise UdlError(message("model_of_one_view", path=path))
    card.check_fits(run.source.box, run.source.pixel_size, path)
    rings = run.particles.within(bank.config["rings"])  # of the high-resolution limit
    bank.upright = run.particles.poses is not None
    return seen_up_to(bank, card.inputs_as(PolarSampling), rings), card
