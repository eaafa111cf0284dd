"""The particles of a run aligned, as one set or class by class: from the first look to what is to be made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scipion_udl.alignment.aligner import AlignmentPlan
from scipion_udl.alignment.given_poses import given_poses
from scipion_udl.constants import AUTOMATIC_SHIFT
from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.models.checkpoint import ModelCard
from scipion_udl.models.network import Network
from scipion_udl.pipelines.align_classes import align_classes, find_mirrored
from scipion_udl.pipelines.align_set import align_set
from scipion_udl.pipelines.classes import ClassResult, members
from scipion_udl.pipelines.filaments import take_filaments
from scipion_udl.pipelines.guide import Guide, guide_for
from scipion_udl.pipelines.outcome import Outcome
from scipion_udl.pipelines.run import Run
from scipion_udl.training.trainer import TrainingResult


@dataclass
class AlignedParticles:
    """What came of aligning the particles of a run.

    guide: what told their angles, ``own``: of the one view; plan: how they were aligned; outcome: of the one view, None
    for classes, and on all but the first of several processes; classes: by ascending number, None for one view.
    """

    guide: Guide
    own: Guide
    plan: AlignmentPlan
    outcome: Outcome | None
    classes: list[ClassResult] | None


def align_particles(
    run: Run,
    reference: np.ndarray | None = None,
    keep: Callable[[Run, TrainingResult, ModelCard], None] | None = None,
    model: tuple[Network, ModelCard] | None = None,
) -> AlignedParticles:
    """Look through the run's particles, train on them where there is no model, and align them.

    Parameters
    ----------
    run : Run
        With settings and particles.
    reference : (D, D) array, optional
        To bring the average onto.
    keep : callable, optional
        Given what was trained, at once: the run, the result and the card.
    model : (Network, ModelCard), optional
        In place of the model that the settings name.

    Returns
    -------
    AlignedParticles
        What came of it, and what told the angles.

    Raises
    ------
    UdlError
        For settings that do not fit the particles or each other.
    """
    settings = run.settings
    classes = members(run.source) if settings.by_class else None
    run.warn_of(run.source.missing_classes() if settings.by_class else None)
    if reference is not None:
        check_reference(run, reference)
    _check_start(run)
    take_filaments(run)
    plan = AlignmentPlan(_max_shift(run), settings.seed, not settings.no_refine, bound=settings.max_shift)
    run.scan()
    run.use_ctf()
    if settings.mirror:
        run.within_memory(lambda: find_mirrored(run, classes))
    guide = own = run.within_memory(lambda: guide_for(run, classes, keep, model))
    outcome, results = None, None
    if classes is None:
        own = run.within_memory(lambda: guide.of(run))
        outcome = run.within_memory(lambda: align_set(run, own, plan, reference))
    else:
        results = align_classes(run, guide, plan, classes)
    run.note_ctf()
    return AlignedParticles(guide, own, plan, outcome, results)


def check_reference(run: Run, image: np.ndarray) -> None:
    """Refuse an image that is no reference for the run's particles.

    Parameters
    ----------
    run : Run
        With settings and particles.
    image : (D, D) array
        The image.

    Raises
    ------
    UdlError
        Where each class is aligned by itself, the image has another box than the particles, or it is constant.
    """
    name = run.settings.reference or "that was given"
    if run.settings.by_class:
        raise UdlError(message("reference_of_classes"))
    if image.shape[-1] != run.source.box:
        raise UdlError(message("reference_of_other_box", reference=name, size=image.shape[-1], box=run.source.box))
    if image.min() == image.max():
        raise UdlError(message("reference_constant", reference=name))


def _check_start(run: Run) -> None:
    """Raises UdlError where the run cannot start from the poses of the input, but is to, or where the error of a
    training is asked for, and none takes place."""
    untrained = next((name for name in ("model", "start_poses") if getattr(run.settings, name)), None)
    if run.settings.truth and untrained:
        raise UdlError(message("truth_without_training", option=run.settings.option(untrained).flag))
    if not run.settings.start_poses:
        return
    given_poses(run.source, run.settings.mirror)
    run.warn_of(run.source.missing_poses())
    if run.settings.no_refine:
        raise UdlError(message("start_poses_without_refinement"))
    if run.settings.model:
        run.warn(message("model_not_used", model=run.settings.model))


def _max_shift(run: Run) -> float:
    wanted, box = run.settings.max_shift, run.source.box
    if wanted is not None and wanted > box / 2:
        raise UdlError(message("max_shift_too_large", value=wanted, most=box / 2))
    return AUTOMATIC_SHIFT * box if wanted is None else float(wanted)
