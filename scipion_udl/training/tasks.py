"""What a training of each kind of network takes: the network, what it looks at, and the loss.

polar: networks of polar spectra; resnet: the siamese pair network of the paper, on log spectra as images; matching: the
feature matching network, on pairs of natural images.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.messages import message
from scipion_udl.models.autoencoder import Autoencoder
from scipion_udl.models.checkpoint import ModelCard
from scipion_udl.models.matching import NARROW, PUBLISHED, MatchingNetwork
from scipion_udl.models.network import Network
from scipion_udl.models.polar_network import PolarNetwork
from scipion_udl.models.registry import named, network_class
from scipion_udl.models.resnet import (
    NARROW_HIDDEN,
    NARROW_MASK,
    NARROW_WIDTHS,
    PUBLISHED_HIDDEN,
    PUBLISHED_MASK,
    PUBLISHED_WIDTHS,
    PairNetwork,
)
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.particles.resolution_limit import bounded
from scipion_udl.settings.commands import RunSettings
from scipion_udl.settings.networks import IMAGES, PAIRS, ROWS, SPECTRA, NetworkRow, trained_by
from scipion_udl.settings.option import given
from scipion_udl.training.datasets import HELD_AT_MOST, HELD_OUT, Samples, TensorSamples, ViewSamples, particle_samples
from scipion_udl.training.natural_images import pair_items, pair_samples, working_box
from scipion_udl.training.objectives import Objective
from scipion_udl.training.presets import PAPER, Preset, preset_of
from scipion_udl.training.template_init import reliable_radii

INPUT_SIZE = 32  # Fourier pixels of a side that the narrow pair network sees of a spectrum
PUBLISHED_SIZE = 128
VIEW, VIEWS = 256, 6144  # particles of each of several views, and of all together, that are learned from at most
SMALLEST_SIZE = 8


@dataclass
class TrainingTask:
    """A training that is about to begin.

    name: of the network in model files; network; objective; samples: what it looks at; items: the particles (or pairs
    of them) that the samples are of, numbers from 0; inputs: what the card is to say of the network's input; words:
    what it learns from, for the log; classes: numbers of the classes it learns from, None for one view.
    """

    name: str
    network: Network
    objective: Objective
    samples: Samples
    items: np.ndarray
    inputs: dict
    words: str
    classes: list[int] | None = None


def training_task(
    settings: RunSettings,
    particles: PreparedParticles,
    known: tuple[Network, ModelCard] | None = None,
    classes: dict[int, np.ndarray] | None = None,
) -> TrainingTask:
    """The training that the settings ask for.

    Parameters
    ----------
    settings : RunSettings
        Those of the run.
    particles : PreparedParticles
        What is learned from.
    known : (Network, ModelCard), optional
        A trained network to go on from, and its card.
    classes : dict of int to (n,) int array, optional
        The particles (from 0) of each class, where these are views to learn from one by one.

    Returns
    -------
    TrainingTask
        Network, loss and samples, ready to begin.

    Raises
    ------
    UdlError
        Where they do not go together, which the message says: a joint term without JUDL, an input below SMALLEST_SIZE,
        a network that does not know classes, a model of another network or method.
    """
    preset = preset_of(settings.network, given(settings.method), settings.preset)
    if settings.joint:
        preset = replace(preset, joint=settings.joint)
    if settings.joint and settings.method != "judl":
        raise UdlError(message("joint_without_judl", joint=settings.joint))
    if settings.input_size and settings.input_size < SMALLEST_SIZE:
        raise UdlError(message("input_size_too_small", value=settings.input_size, least=SMALLEST_SIZE))
    if known is not None:
        _check_start(settings, known[1])
    torch.manual_seed(settings.seed)  # the first weights, too, come from the seed alone
    row = trained_by(settings.network, given(settings.method))
    if classes is not None:
        if settings.network != "polar":
            raise UdlError(message("by_class_of_polar", network=settings.network))
        return _polar_by_class(settings, row, preset, particles, known, classes)
    return {SPECTRA: _polar, IMAGES: _resnet, PAIRS: _matching}[row.sees](settings, row, preset, particles, known)


def _check_start(settings: RunSettings, card: ModelCard) -> None:
    kind = ROWS[card.network].word or card.network
    if kind != settings.network:
        raise UdlError(message("model_of_other_network", model=settings.model, kind=kind))
    views = card.config.get("views", 1)
    if views > 1 and not settings.by_class:
        raise UdlError(message("model_of_views", model=settings.model, views=views))
    if card.method != settings.method and not (ROWS[card.network].judl_after_udl and settings.method == "judl"):
        raise UdlError(message("model_of_other_method", model=settings.model, method=card.method))
    given = [name for name in ("head", "widths", "hidden", "input_size") if getattr(settings, name)]
    if given:
        option = settings.option(given[0]).flag
        raise UdlError(message("option_of_new_network", option=option, model=settings.model))


def _polar(
    settings: RunSettings,
    row: NetworkRow,
    preset: Preset,
    particles: PreparedParticles,
    known: tuple[Network, ModelCard] | None,
) -> TrainingTask:
    _refuse(settings, "joint", "head", "widths", "hidden", "input_size")
    spectra = known[1].inputs_as(SpectraSettings) if known else SpectraSettings.for_box(particles.box)
    seen = bounded(spectra, particles.ring_limit)
    subset = particles.subset(preset.particles, settings.seed)
    data = particles.all(subset, "spectra", lambda part, values: seen.of(values, particles.box))
    if known is None:
        rotation_range = particles.within(spectra.r_max) - spectra.r_min + 1
        spectra = replace(spectra, r_max=spectra.r_min + reliable_radii([data[:, :rotation_range]], settings.seed) - 1)
        data = data[:, : spectra.radii].contiguous()
    torch.manual_seed(settings.seed)
    network = new_network(row, spectra)
    objective = named(row.objective)(given(settings.method), preset)
    words = _words(len(subset), particles, particles.within(spectra.r_max))
    network = known[0] if known else network
    return TrainingTask(row.name, network, objective, TensorSamples(data), subset, asdict(spectra), words)


def _polar_by_class(
    settings: RunSettings,
    row: NetworkRow,
    preset: Preset,
    particles: PreparedParticles,
    known: tuple[Network, ModelCard] | None,
    classes: dict[int, np.ndarray],
) -> TrainingTask:
    _refuse(settings, "joint", "head", "widths", "hidden", "input_size")
    numbers = list(classes)
    if known is not None and known[0].config.get("views", 1) > 1 and known[1].training.get("classes") != numbers:
        raise UdlError(message("model_of_other_classes", model=settings.model, classes=len(numbers)))
    if known is not None and isinstance(known[0], PolarNetwork) and known[0].views != len(numbers):
        raise UdlError(message("model_of_single_view", model=settings.model, classes=len(numbers)))
    spectra = known[1].inputs_as(SpectraSettings) if known else SpectraSettings.for_box(particles.box)
    seen, rotation_range = bounded(spectra, particles.ring_limit), particles.within(spectra.r_max) - spectra.r_min + 1
    most = min(max(VIEW, preset.particles // len(numbers)), VIEWS // len(numbers))
    chosen = [own[particles.part(own).subset(most, settings.seed)] for own in classes.values()]
    looks = [particles.all(c, "spectra", lambda part, values: seen.of(values, particles.box)) for c in chosen]
    if known is None:
        spectra = replace(
            spectra,
            r_max=spectra.r_min + reliable_radii([look[:, :rotation_range] for look in looks], settings.seed) - 1,
        )
        looks = [look[:, : spectra.radii] for look in looks]
    torch.manual_seed(settings.seed)
    network = new_network(row, spectra, len(numbers))
    samples = ViewSamples(looks, HELD_OUT, HELD_AT_MOST)
    items = np.concatenate(chosen)[samples.order.numpy()]
    objective = named(row.objective)(given(settings.method), preset)
    words = f"{_words(len(items), particles, particles.within(spectra.r_max))}, in {len(numbers)} classes"
    network = known[0] if known else network
    return TrainingTask(row.name, network, objective, samples, items, asdict(spectra), words, numbers)


def new_network(row: NetworkRow, settings: SpectraSettings, views: int = 1) -> Network:
    """A network of polar spectra, of several views where it knows of views.

    Parameters
    ----------
    row : NetworkRow
        Which network.
    settings : SpectraSettings
        Radii and angles of its input.
    views : int, optional
        How many views.

    Returns
    -------
    Network
        Not trained yet.
    """
    several = {"views": views} if row.views else {}
    return network_class(row.name)(radii=settings.radii, angles=settings.angles, **several)


def _resnet(
    settings: RunSettings,
    row: NetworkRow,
    preset: Preset,
    particles: PreparedParticles,
    known: tuple[Network, ModelCard] | None,
) -> TrainingTask:
    published = settings.preset in PAPER
    if known:
        network, spectra = known[0], known[1].inputs_as(SpectrumImageSettings)
    else:
        network, spectra = _new_resnet(settings, particles.box, published)
    spectra = bounded(spectra, particles.ring_limit)
    if settings.method == "judl" and preset.joint == "autoencoder" and spectra.size % Autoencoder.halved:
        raise UdlError(message("autoencoder_size", size=spectra.size, multiple=Autoencoder.halved))
    subset = particles.subset(preset.particles, settings.seed)
    samples = particle_samples(particles, subset, lambda part, values: spectra.fine(values, particles.box))
    objective = named(row.objective)(given(settings.method), preset, spectra)
    words = _words(len(subset), particles, min(spectra.r_max, particles.box // 2))
    return TrainingTask(row.name, network, objective, samples, subset, asdict(spectra), words)


def _new_resnet(settings: RunSettings, box: int, published: bool) -> tuple[PairNetwork, SpectrumImageSettings]:
    if published:
        spectra = SpectrumImageSettings.published(settings.input_size or PUBLISHED_SIZE)
        shape: dict[str, Any] = {"widths": PUBLISHED_WIDTHS, "hidden": PUBLISHED_HIDDEN, "mask": PUBLISHED_MASK}
        shape["head"] = "degrees"
    else:
        even = box - box % 2
        size = settings.input_size or min(INPUT_SIZE, 1 << (even.bit_length() - 1))
        if size > even:
            raise UdlError(message("input_size_above_working_box", value=size, box=even))
        spectra = SpectrumImageSettings(box=even, size=size, r_max=size // 2 - 1)
        shape = {"widths": NARROW_WIDTHS, "hidden": NARROW_HIDDEN, "mask": NARROW_MASK, "head": "difference"}
    shape |= {name: getattr(settings, name) for name in ("widths", "hidden", "head") if getattr(settings, name)}
    try:
        return PairNetwork(spectra.size, **shape), spectra
    except ValueError as error:
        raise UdlError(message("widths_not_possible", reason=error)) from None


def _matching(
    settings: RunSettings,
    row: NetworkRow,
    preset: Preset,
    particles: PreparedParticles,
    known: tuple[Network, ModelCard] | None,
) -> TrainingTask:
    _refuse(settings, "joint", "widths", "hidden", "high_resolution_limit")
    if settings.head == "difference":
        raise UdlError(message("difference_of_resnet"))
    shape = dict(PUBLISHED if settings.preset in PAPER else NARROW)
    shape |= {"head": settings.head} if settings.head else {}
    if settings.input_size and settings.input_size > particles.source.box:
        own = particles.source.box
        raise UdlError(message("input_size_above_box", value=settings.input_size, box=own))
    box = settings.input_size or (PUBLISHED_SIZE if settings.preset in PAPER else working_box(particles.source.box))
    network = known[0] if known else MatchingNetwork(min(box, particles.source.box), **shape)
    pairs = pair_items(particles, preset.particles, settings.seed)
    samples = pair_samples(particles, pairs, network.config["box"])
    objective = named(row.objective)(given(settings.method), preset)
    words = f"{len(pairs)} pairs of images, {network.config['box']} px"
    return TrainingTask(row.name, network, objective, samples, pairs, {}, words)


def _refuse(settings: RunSettings, *names: str) -> None:
    for name in names:
        if getattr(settings, name, None):
            raise UdlError(
                message("option_not_of_network", option=settings.option(name).flag, network=settings.network)
            )


def _words(count: int, particles: PreparedParticles, r_max: int) -> str:
    finest = particles.source.box * particles.source.pixel_size / r_max
    return f"the spectra of {count} particles, up to {finest:.1f} A"
