"""The command `train`, and training as a part of `align`: a model file of particles."""

from __future__ import annotations

import os
from contextlib import suppress

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.constants import MODEL
from scipion_udl.io.output.data_files import write_json
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.pipelines.run import Run, given_files
from scipion_udl.pipelines.train_model import CHECKPOINT, learned_from, train_model
from scipion_udl.results import run_results
from scipion_udl.results.model_results import training_text, write_model, write_training_figure
from scipion_udl.settings.commands import TrainSettings
from scipion_udl.settings.networks import PAIRS, ROWS


def train(settings: TrainSettings) -> None:
    """Do `scipion-udl train`: OUT/model.safetensors, model.png, training.csv, training.png, summary.json.

    Parameters
    ----------
    settings : TrainSettings
        The options.

    Raises
    ------
    UdlError
        Where the input cannot be trained on.
    """
    folder = OutputFolder(settings.output, settings.overwrite, settings.resume, "train")
    folder.spare(given_files(settings))
    with ProcessGroup.from_environment() as group, group.folder(folder) as out:
        run = Run(settings, out, group)
        group.on_rank0(lambda: forget_earlier(out))
        if settings.by_class:
            run.source.classes()  # before anything is read: there may be none
            run.warn_of(run.source.missing_classes())
        run.scan()
        classes = learned_from(run)
        result, card = run.within_memory(lambda: train_model(run, settings.model, classes))
        write_model(run, result, card)
        if not group.first:
            return
        summary = run_results.summary(run, training=result.summary, method=card.method)
        write_json(out.scratch("summary.json"), summary)
        write_training_figure(out.scratch("training.png"), result.history)
        out.publish(MODEL, "training.csv", "summary.json")
        of_pairs = ROWS[card.network].sees == PAIRS
        run.log.result(training_text(result.summary, out.final(MODEL), run.warnings, result.history, of_pairs))


def forget_earlier(out: OutputFolder) -> None:
    """Remove what an earlier training left to go on from, where this one begins anew, and half a checkpoint always.

    Parameters
    ----------
    out : OutputFolder
        The folder.
    """
    out.start_anew(CHECKPOINT)
    with suppress(OSError):
        os.remove(out.final(f"{CHECKPOINT}.part"))
