"""Training on the particles of a run: what is learned from, the network, and its card."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from scipion_udl.constants import ENOUGH
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import wrap
from scipion_udl.messages import message
from scipion_udl.models.checkpoint import ModelCard, card_format, load_model
from scipion_udl.models.heads import circular_mean
from scipion_udl.models.network import Network
from scipion_udl.models.polar_network import view_of
from scipion_udl.particles.polarity_warning import polarity_of
from scipion_udl.pipelines.classes import LEARNS, members, training_subset
from scipion_udl.pipelines.continued import BEGAN, began_with
from scipion_udl.pipelines.run import Run
from scipion_udl.settings.networks import ROWS, methods
from scipion_udl.training.tasks import TrainingTask, training_task
from scipion_udl.training.trainer import (
    TrainingResult,
    TrainingSettings,
    lowered_warning,
    train_network,
)
from scipion_udl.validation.pose_errors import join, located_truth

CHECKPOINT = "checkpoint.safetensors"
TOGETHER = 512  # inputs of which the true error is taken at a time


def how_many(run: Run, classes: dict[int, np.ndarray] | None) -> int:
    """How many particles with an image a training can learn from.

    Parameters
    ----------
    run : Run
        Its particles have been looked through.
    classes : dict of int to (n,) int array, or None
        The particles (from 0) of the classes to learn from; None for all.

    Returns
    -------
    int
        Particles.
    """
    if classes is None:
        return len(run.particles.usable)
    return sum(int((~run.particles.statistics.blank[own]).sum()) for own in classes.values())


def learned_from(run: Run) -> dict[int, np.ndarray] | None:
    """The classes to learn from, once the particles were looked through.

    Parameters
    ----------
    run : Run
        With settings and particles.

    Returns
    -------
    dict of int to (n,) int array, or None
        Particles (from 0) by class number; None without --by-class.

    Raises
    ------
    UdlError
        Where there are too few particles.
    """
    classes = training_subset(run, members(run.source)) if run.settings.by_class else None
    usable = how_many(run, classes)
    if usable < ENOUGH:
        where = "" if classes is None else f" in classes of at least {LEARNS}"
        raise UdlError(message("too_few_to_train", path=run.source.path, count=usable, where=where, least=ENOUGH))
    return classes


def train_model(
    run: Run,
    start: str | tuple[Network, ModelCard] | None,
    classes: dict[int, np.ndarray] | None = None,
) -> tuple[TrainingResult, ModelCard]:
    """Train on some of the run's particles. Of several processes all do the work.

    Parameters
    ----------
    run : Run
        With settings and particles.
    start : str, (Network, ModelCard) or None
        A model to go on from, its file or network and card.
    classes : dict of int to (n,) int array, optional
        The particles (from 0) of each class to learn from, where every batch is to be of one class.

    Returns
    -------
    TrainingResult
        What came of it.
    ModelCard
        That of the network.
    """
    settings = run.settings
    known = load_model(start, run.device) if isinstance(start, str) else start
    if known is not None:
        name = start if isinstance(start, str) else "the model that was given"
        known[1].check_fits(run.source.box, run.source.pixel_size, name)
    method = settings.method or (known[1].method if known else methods(settings.network)[0])
    settings = settings.but(method=method)
    plan = training_task(settings, run.particles, known, classes)
    if ROWS[plan.name].judl_after_udl and method == "judl" and known is None:
        run.warn(message("judl_without_udl"))
    began = began_with(run)
    asked: dict[str, Any] = {
        name: value for name, value in (("epochs", settings.epochs), ("lr", settings.lr)) if value is not None
    }
    learning = TrainingSettings(
        method,
        **asked,
        seed=settings.seed,
        network=settings.network,
        name=settings.preset,
        particles=began["particles"],
    )
    run.say(f"Training the {plan.name} network ({method.upper()}) on {plan.words}")
    result = train_network(
        plan.samples,
        plan.network,
        learning,
        started=known is not None,
        checkpoint=run.out.final(CHECKPOINT) if run.out.path else None,
        report=run.epoch,
        monitor=_true_error(run, plan),
        warn=run.warn,
        objective=plan.objective,
        group=run.group,
    )
    _tell(run, result.summary)
    return result, _card(run, plan, result, method, began)


def _card(run: Run, plan: TrainingTask, result: TrainingResult, method: str, began: dict) -> ModelCard:
    """The card of a network that was trained in this run."""
    return ModelCard(
        method=method,
        network=plan.name,
        config=result.network.config,
        spectra=plan.inputs,
        box=run.source.box,
        pixel_size=run.source.pixel_size,
        contrast=polarity_of(run.particles.statistics),
        training={**result.summary, "input": os.path.basename(run.settings.input), BEGAN: began}
        | ({"classes": plan.classes} if plan.classes else {}),
        format=card_format(plan.name, result.network.config),
    )


def _tell(run: Run, done: dict) -> None:
    epochs = "1 epoch" if done["epochs"] == 1 else f"{done['epochs']} epochs"
    best = f"number {done['best_epoch']} is the best" if done["best_epoch"] else "none is better than the start"
    run.say(f"Trained for {epochs}: {best}")
    warn_of_training(run, done)


def warn_of_training(run: Run, done: dict) -> None:
    """Warn of what the card of a network says of its training, in this run or before.

    Parameters
    ----------
    run : Run
        Which is told.
    done : dict
        The training on the card.
    """
    if done.get("lowered"):
        run.warn(lowered_warning(done["lowered"], done["lr"]))
    epochs = "1 epoch" if done["epochs"] == 1 else f"{done['epochs']} epochs"
    if not done["converged"]:
        run.warn(message("not_converged", epochs=epochs))


def _true_error(run: Run, plan: TrainingTask) -> Callable[[nn.Module], dict] | None:
    """A monitor that logs the network's true error per epoch where a truth was given; it teaches nothing.

    The error is what is left of the rotations, in degrees, once a rotation common to all (of a class) is taken off.
    """
    path = run.settings.truth
    if not path:
        return None
    images, truth = located_truth(path)
    inputs, locations = plan.samples.known, run.source.locations()
    items = plan.items[: len(inputs)].reshape(len(inputs), -1)
    found = [join([locations[item] for item in column], images) for column in items.T]
    rows = found[0][0]
    if not len(rows) or len(rows) != len(found[-1][0]):
        raise UdlError(message("truth_names_no_particle", path=path, table=run.settings.input))
    angles = [truth.angle[true_rows] for _, true_rows in found]
    # A particle's rotation undoes its pose; that of a pair's second image takes it to the first.
    true, period = (-angles[0], 180.0) if len(angles) == 1 else (angles[1] - angles[0], 360.0)
    index = torch.from_numpy(rows)
    view = torch.zeros(len(rows), dtype=torch.int64) if plan.samples.view is None else plan.samples.view[index]

    def errors_of(network: nn.Module, number: int) -> np.ndarray:
        mine = (view == number).nonzero()[:, 0]
        seen, parts = view_of(network, number), index[mine].split(TOGETHER)
        rotations = torch.cat([plan.objective.rotations(seen, inputs[part.to(inputs.device)]) for part in parts])
        errors = wrap(rotations.double().cpu().numpy() - true[mine.numpy()], period)
        common = float(circular_mean(torch.from_numpy(errors), 0, period))
        return np.abs(wrap(errors - common, period))

    @torch.no_grad()
    def monitor(network: nn.Module) -> dict:
        errors = [errors_of(network, number) for number in view.unique().tolist()]
        return {"true_error": float(np.concatenate(errors).mean())}

    return monitor
