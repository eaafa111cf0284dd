"""The command `align`: options in, files out. What is computed stands in the modules this one calls."""

from __future__ import annotations

import os

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.constants import MODEL, MODEL_PICTURE
from scipion_udl.io.images import read_image
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.jobs.train import forget_earlier
from scipion_udl.models.checkpoint import ModelCard
from scipion_udl.pipelines.align_particles import align_particles
from scipion_udl.pipelines.appending import appendable_alignment
from scipion_udl.pipelines.run import Run, given_files
from scipion_udl.pipelines.train_model import CHECKPOINT
from scipion_udl.results import run_results
from scipion_udl.results.class_results import write_classes
from scipion_udl.results.model_results import write_model
from scipion_udl.settings import commands
from scipion_udl.settings.option import given
from scipion_udl.training.trainer import TrainingResult


def align(settings: commands.AlignSettings) -> None:
    """Do `scipion-udl align`: aligned.star, aligned.xmd, averages, frc.csv, report.html, summary.json in OUT.

    Parameters
    ----------
    settings : AlignSettings
        The options.
    """
    folder = OutputFolder(settings.output, settings.overwrite, settings.resume, "align")
    folder.spare(given_files(settings))
    with ProcessGroup.from_environment() as group, group.folder(folder) as out:
        run = Run(settings, out, group)
        group.on_rank0(lambda: forget_earlier(out))
        reference = read_image(settings.reference)[0] if settings.reference else None
        done = align_particles(run, reference, _keep)
        if not group.first:
            return
        with group.alone():
            learned = done.guide.training, done.guide.history
            outcome = done.outcome
            if outcome is not None:
                text = run.within_memory(lambda: run_results.write_alignment(run, outcome, *learned))
                appendable_alignment.remember(outcome, done.plan.max_shift, done.own.view)
            else:
                text = run.within_memory(lambda: write_classes(run, given(done.classes), *learned))
        _end(run)
        run.log.result(text)


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
