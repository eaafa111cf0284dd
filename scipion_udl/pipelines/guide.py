"""What tells the angles of a run's particles: a network, loaded, continued or trained now, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from scipion_udl.constants import ENOUGH, MODEL
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.messages import message
from scipion_udl.models.checkpoint import ModelCard, load_model
from scipion_udl.models.network import Network, TellsRotations
from scipion_udl.models.polar_network import PolarNetwork, PolarView, view_of
from scipion_udl.particles.resolution_limit import bounded
from scipion_udl.pipelines.classes import training_subset
from scipion_udl.pipelines.continued import check_began_with
from scipion_udl.pipelines.run import Run
from scipion_udl.pipelines.train_model import how_many, train_model, warn_of_training
from scipion_udl.training.history import read_history
from scipion_udl.training.trainer import TrainingResult

Inputs = SpectraSettings | SpectrumImageSettings
FIT = 256  # particles that choose among the views of a model, at most


@dataclass
class Guide:
    """What tells the particles' angles: a network (None: every angle is searched) and its input; training: the summary
    of the training in this run, history: its epochs, both None where there was none; classes: numbers of the classes
    that it was trained on in this run; card: of the network, None without one."""

    network: TellsRotations | None
    inputs: Inputs
    training: dict | None = None
    history: list[dict] | None = None
    classes: list[int] | None = None
    card: ModelCard | None = None

    @property
    def view(self) -> int | None:
        """Which view (from 0) of a network of several this is of, None for all of it."""
        return self.network.number if isinstance(self.network, PolarView) else None

    def of(self, run: Run, number: int | None = None) -> Guide:
        """What tells the angles of particles that are all of one view or class.

        A network of several views gives the one that it was trained on for this class in this run, or else the one that
        fits these particles best.

        Parameters
        ----------
        run : Run
            With these particles.
        number : int, optional
            Of the class.

        Returns
        -------
        Guide
            With a network of one view, or none.
        """
        network = self.network
        if self.classes is not None:
            if network is None or number is None or number not in self.classes:
                return replace(self, network=None)
            return replace(self, network=view_of(network, self.classes.index(number)))
        if not isinstance(network, PolarNetwork) or network.views == 1:
            return self
        particles, inputs = run.particles, bounded(self.inputs, run.particles.ring_limit)
        if not len(particles.usable):  # nothing is asked of it
            return replace(self, network=None)
        subset = particles.subset(FIT, run.settings.seed)
        spectra = particles.all(subset, "spectra", lambda part, values: inputs.of(values, particles.box))
        best = run.group.on_rank0(lambda: network.best_view(spectra))
        run.say(f"View {best + 1} of the model's {network.views} fits best")
        return replace(self, network=network.view(best))


def guide_for(
    run: Run,
    classes: dict[int, np.ndarray] | None,
    keep: Callable[[Run, TrainingResult, ModelCard], None] | None = None,
    model: tuple[Network, ModelCard] | None = None,
) -> Guide:
    """A network that is given, loaded, continued, or trained now; none for a few particles without a model.

    Parameters
    ----------
    run : Run
        With settings and particles.
    classes : dict of int to (n,) int array, or None
        The particles (from 0) of each class; None for one view.
    keep : callable, optional
        Given what was trained, at once, so that a run that is stopped later goes on from there.
    model : (Network, ModelCard), optional
        In place of the model file of the settings.

    Returns
    -------
    Guide
        What tells the angles.

    Raises
    ------
    UdlError
        Where the particles are too few for a network that is asked for alone, or the model does not fit them.
    """
    settings, out = run.settings, run.out
    if settings.start_poses or settings.helix:  # no network is trained, or asked
        return Guide(None, SpectraSettings.for_box(run.particles.box))
    if settings.model or model:
        name = settings.model or "that was given"
        network, card = load_network(run, name) if model is None else checked_network(run, *model, name)
        run.say(f"Model {name} ({card.method.upper()}, version {card.made_by})")
        return Guide(cast(TellsRotations, network), particle_inputs(card), card=card)
    subset = None if classes is None else training_subset(run, classes)
    usable = how_many(run, subset)
    if usable < ENOUGH:
        if settings.no_refine:
            raise UdlError(message("too_few_for_network_alone", count=usable, least=ENOUGH))
        if usable > 1:
            run.warn(message("too_few_for_training", count=usable, least=ENOUGH))
        return Guide(None, SpectraSettings.for_box(run.particles.box))
    if settings.resume and run.group.on_rank0(lambda: out.has(MODEL)):
        run.say("Going on with the model that was trained before")
        network, card = load_network(run, out.final(MODEL))
        check_began_with(run, card, out.final(MODEL))
        warn_of_training(run, card.training)
        history = run.group.on_rank0(lambda: read_history(out.final("training.csv")))
        teller, numbers = cast(TellsRotations, network), card.training.get("classes")
        return Guide(teller, particle_inputs(card), card.training, history, numbers, card)
    result, card = train_model(run, None, subset)
    run.method = card.method
    if keep is not None:
        keep(run, result, card)
    teller, numbers = cast(TellsRotations, result.network), card.training.get("classes")
    return Guide(teller, particle_inputs(card), card.training, result.history, numbers, card)


def particle_inputs(card: ModelCard) -> Inputs:
    """What makes the input of a network that sees particles one by one.

    Parameters
    ----------
    card : ModelCard
        Of the network.

    Returns
    -------
    SpectraSettings or SpectrumImageSettings
        What :meth:`ModelCard.inputs` gives.

    Raises
    ------
    ValueError
        Where the network sees pairs of images, or the particles of many views.
    """
    found = card.inputs()
    if not isinstance(found, (SpectraSettings, SpectrumImageSettings)):
        raise ValueError(f"a {card.network} network does not see particles one by one")
    return found


def load_network(run: Run, path: str) -> tuple[Network, ModelCard]:
    """Load the network of a model file.

    Parameters
    ----------
    run : Run
        With the particles.
    path : str
        The file.

    Returns
    -------
    Network
        On the run's device.
    ModelCard
        Its card.

    Raises
    ------
    UdlError
        Where it does not fit the particles, or knows pairs alone.
    """
    return checked_network(run, *load_model(path, run.device), path)


def checked_network(run: Run, network: Network, card: ModelCard, path: str) -> tuple[Network, ModelCard]:
    """The same of a network and its card; the run takes note of how it was trained.

    Parameters
    ----------
    run : Run
        With the particles.
    network : Network
        The network.
    card : ModelCard
        Its card.
    path : str
        What messages call it.

    Returns
    -------
    Network
        The same.
    ModelCard
        The same.

    Raises
    ------
    UdlError
        Where it does not fit the particles, or knows classes or pairs alone.
    """
    card.check_fits(run.source.box, run.source.pixel_size, path)
    if card.network == "classes":
        raise UdlError(message("model_of_classes", path=path))
    if card.inputs() is None:
        raise UdlError(message("model_of_pairs", path=path, network=card.network))
    run.method = card.method
    return network, card
