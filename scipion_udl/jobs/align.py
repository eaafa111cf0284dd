"""The command `align`: options in, files out. What is computed stands in the modules this one calls."""

from __future__ import annotations

import os

import numpy as np

from scipion_udl.alignment.aligner import AlignmentPlan
from scipion_udl.alignment.given_poses import given_poses
from scipion_udl.compute.distributed import Ranks
from scipion_udl.constants import AUTOMATIC_SHIFT, MODEL, MODEL_PICTURE
from scipion_udl.errors import UdlError
from scipion_udl.io.images import read_image
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.jobs.train import forget_earlier
from scipion_udl.models.checkpoint import ModelCard
from scipion_udl.pipelines import joinable
from scipion_udl.pipelines.align_classes import align_classes, find_mirrored
from scipion_udl.pipelines.align_set import align_set
from scipion_udl.pipelines.classes import members as class_members
from scipion_udl.pipelines.guide import guide_for
from scipion_udl.pipelines.run import Run, given_files
from scipion_udl.pipelines.train_model import CHECKPOINT
from scipion_udl.results import run_results
from scipion_udl.results.class_results import write_classes
from scipion_udl.results.model_results import write_model
from scipion_udl.settings import commands
from scipion_udl.training.trainer import TrainingResult


def align(settings: commands.AlignSettings) -> None:
    """`scipion-udl align`: aligned.star, aligned.xmd, averages, frc.csv, report.html, summary.json in OUT."""
    folder = OutputFolder(settings.output, settings.overwrite, settings.resume, "align")
    folder.spare(given_files(settings))
    with Ranks.from_environment() as team, team.folder(folder) as out:
        run = Run(settings, out, team)
        team.by_first(lambda: forget_earlier(out))
        classes = class_members(run.source) if settings.by_class else None
        run.warn_of(run.source.missing_classes() if settings.by_class else None)
        reference = _reference(run)
        _check_start(run)
        search = AlignmentPlan(_max_shift(run), settings.seed, not settings.no_refine, bound=settings.max_shift)
        run.scan()
        run.use_contrast()
        if settings.mirror:
            run.within_memory(lambda: find_mirrored(run, classes))
        guide = run.within_memory(lambda: guide_for(run, classes, _keep))
        if classes is None:
            own = run.within_memory(lambda: guide.of(run))
            outcome = run.within_memory(lambda: align_set(run, own, search, reference))
        else:
            outcome = align_classes(run, guide, search, classes)
        run.note_contrast()
        if not team.first:
            return
        with team.alone():
            if classes is None:
                text = run.within_memory(
                    lambda: run_results.write_alignment(run, outcome, guide.training, guide.history)
                )
                joinable.remember(outcome, search.max_shift, own.view)
            else:
                text = run.within_memory(lambda: write_classes(run, outcome, guide.training, guide.history))
        _end(run)
        run.log.result(text)


def _check_start(run: Run) -> None:
    """Raises UdlError where the run cannot start from the poses of the input, but is to, or where the error of a
    training is asked for, and none takes place."""
    untrained = next((name for name in ("model", "start_poses") if getattr(run.settings, name)), None)
    if run.settings.truth and untrained:
        raise UdlError(
            f"--truth shows the error of a network that is trained, and with --{untrained.replace('_', '-')} none is: "
            "leave --truth out, and compare the poses afterwards with `scipion-udl evaluate --truth`."
        )
    if not run.settings.start_poses:
        return
    given_poses(run.source, run.settings.mirror)
    run.warn_of(run.source.missing_poses())
    if run.settings.no_refine:
        raise UdlError("--no-refine keeps the angles of a network, but --start-poses asks none: leave out one of them.")
    if run.settings.model:
        run.warn(f"With --start-poses no network is asked: {run.settings.model} is not used.")


def _keep(run: Run, result: TrainingResult, card: ModelCard) -> None:
    """Write the model now, so that a stopped run goes on from here."""
    write_model(run, result, card)
    names = ("training.csv", MODEL_PICTURE, MODEL)
    run.out.publish(*[name for name in names if os.path.exists(run.out.scratch(name))])


def _end(run: Run) -> None:
    """What a run that ends well no longer needs."""
    if os.path.exists(run.out.final(CHECKPOINT)):
        os.remove(run.out.final(CHECKPOINT))
    run.progress.clear()


def _reference(run: Run) -> np.ndarray | None:
    if not run.settings.reference:
        return None
    if run.settings.by_class:
        raise UdlError("--reference is one image, but --by-class makes an average a class: leave out one of them.")
    image, _ = read_image(run.settings.reference)
    if image.shape[-1] != run.source.box:
        raise UdlError(
            f"The reference {run.settings.reference} has {image.shape[-1]} px, the particles have "
            f"{run.source.box}: give one of the same box and pixel size."
        )
    if image.min() == image.max():
        raise UdlError(f"The reference {run.settings.reference} is a constant image: give one that shows the particle.")
    return image


def _max_shift(run: Run) -> float:
    wanted, box = run.settings.max_shift, run.source.box
    if wanted is not None and wanted > box / 2:
        raise UdlError(
            f"--max-shift {wanted:g} is more than half the box, {box / 2:g} px: give how far off the centre of its box "
            f"a particle may lie, or nothing for an automatic limit."
        )
    return AUTOMATIC_SHIFT * box if wanted is None else float(wanted)
