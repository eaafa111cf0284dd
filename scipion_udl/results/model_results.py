"""What a training leaves behind: the model with its picture, the course of the training, and the screen's summary."""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.constants import MODEL, MODEL_PICTURE
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.messages import Message
from scipion_udl.models.checkpoint import ModelCard, save_model
from scipion_udl.models.polar_network import PolarNetwork
from scipion_udl.pipelines.run import Run
from scipion_udl.results.run_results import count_warnings
from scipion_udl.training.history import write_history
from scipion_udl.training.trainer import TrainingResult


def write_model(run: Run, result: TrainingResult, card: ModelCard) -> None:
    """Write model.safetensors, model.png and training.csv among the run's unfinished files; by the first process alone.

    Parameters
    ----------
    run : Run
        The run.
    result : TrainingResult
        Network and epochs.
    card : ModelCard
        That of the network.
    """
    if not run.group.first:
        return
    save_model(run.out.scratch(MODEL), result.network, card)
    write_history(run.out.scratch("training.csv"), result.history)
    unit = "Å" if run.source.pixel_size_known else "px"
    write_model_figure(run.out.scratch(MODEL_PICTURE), result.network, card, unit)


def write_training_figure(path: str, history: list[dict]) -> None:
    """Draw training.png: loss and, where it is known, true error over the epochs; nothing where there is no loss.

    Parameters
    ----------
    path : str
        The file.
    history : list of dict
        The epochs.
    """
    from scipion_udl.report import figures, training_figures  # matplotlib takes a second

    with figures.style():
        figure = training_figures.training_figure(history)
        if figure is not None:
            figure.savefig(path, dpi=150)


def write_model_figure(path: str, network: torch.nn.Module, card: ModelCard, unit: str) -> None:
    """Draw model.png: the template that a polar network has learned; nothing of the networks that hold none.

    Parameters
    ----------
    path : str
        The file.
    network : torch.nn.Module
        The network.
    card : ModelCard
        Its card.
    unit : str
        Of its pixel size, "Å" or "px".
    """
    if not isinstance(network, PolarNetwork):
        return
    from scipion_udl.report import figures, training_figures  # matplotlib takes a second

    spectra = card.inputs_as(SpectraSettings)
    templates = (network.template * network.radial_weight[..., None]).detach().cpu().numpy()
    frequency = np.arange(spectra.r_min, spectra.r_max + 1) / (card.box * card.pixel_size)
    with figures.style():
        if network.views > 1:
            names = [f"class {number}" for number in card.training["classes"]]
            training_figures.templates_figure(templates, frequency, unit, names).savefig(path, dpi=150)
        else:
            training_figures.template_figure(templates, frequency, unit).savefig(path, dpi=150)


def _true_errors(training: dict, history: list[dict], of_pairs: bool) -> list[str]:
    """The line on the true error of the epoch that is kept, and of the start; none where no truth was given."""
    errors = {row["epoch"]: row["true_error"] for row in history if "true_error" in row}
    if training["best_epoch"] not in errors:
        return []
    start = f", {errors[0]:.2f} at the start" if training["best_epoch"] and 0 in errors else ""
    circle = "" if of_pairs else ", modulo 180"
    return [f"True error          {errors[training['best_epoch']]:.2f} degrees (mean{circle}){start}"]


def training_text(
    training: dict, model: str, warnings: list[Message], history: list[dict] | None = None, of_pairs: bool = False
) -> str:
    """The screen's summary of `train`.

    Parameters
    ----------
    training : dict
        What the card says of it.
    model : str
        The model's file.
    warnings : list of Message
        Those of the run.
    history : list of dict, optional
        The epochs.
    of_pairs : bool, optional
        Whether the network learned from pairs of images, over all angles.

    Returns
    -------
    str
        Several lines.
    """
    state = "converged" if training["converged"] else "NOT converged"
    number = training["best_epoch"]
    best = f"number {number} was the best" if number else "none was better than the start"
    what = "pairs of images" if of_pairs else "particles"
    lines = [
        "",
        f"Model               {model}",
        f"Method              {training['method'].upper()}, {training['particles']} {what}, seed {training['seed']}",
        f"Epochs              {training['epochs']} ({state}; {best})",
        f"Held-out loss       {training['validation']:.4f}",
        *_true_errors(training, history or [], of_pairs),
    ]
    return "\n".join([*lines, *count_warnings(warnings)])
