"""Model files: safetensors with a card, so that a model can be read without running anything that it holds.

The card is JSON in the file's metadata under "udl": format version, what made it, which network, what the particles
were (box, pixel size, contrast) and how training went.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.spectrum_images import SCALINGS, SpectrumImageSettings
from scipion_udl.io.output import durable
from scipion_udl.messages import message
from scipion_udl.model_card import fits, read_card
from scipion_udl.models.network import Network
from scipion_udl.models.registry import inputs_of, network_class
from scipion_udl.settings.networks import ROWS

CARD_FORMAT = 3  # 3: networks of classes, 2: of several views; all others are written as 1, which older versions read
LARGEST_BOX = 4096  # pixels; more than any network is shown, and its spectra would not fit into memory


Kind = TypeVar("Kind")


@dataclass
class ModelCard:
    """What a model is and what it was trained on.

    method: judl or udl; network: a name of settings/networks.py; config: its arguments; spectra: the arguments of what
    prepares its input (see :meth:`inputs`); box (pixels), pixel_size (A): of the training particles; contrast: "bright"
    or "dark" particles, "unknown"; training: epochs, particles, seed, converged and final figures; made_by: the version
    that wrote it.
    """

    method: str
    network: str
    config: dict
    spectra: dict
    box: int
    pixel_size: float
    contrast: str = "unknown"
    training: dict = field(default_factory=dict)
    made_by: str = __version__
    format: int = 1

    def inputs(self) -> SpectraSettings | SpectrumImageSettings | PolarSampling | None:
        """What makes the network's input of a particle; None for the matching network, which sees pairs of images.

        Returns
        -------
        object or None
            Settings whose ``of`` makes the input.
        """
        kind = inputs_of(self.network)
        return None if kind is None else kind(**self.spectra)

    def inputs_as(self, kind: type[Kind]) -> Kind:
        """As :meth:`inputs`, of a network that is known to see inputs of a kind.

        Parameters
        ----------
        kind : type
            SpectraSettings, say.

        Returns
        -------
        kind
            What makes the input.

        Raises
        ------
        ValueError
            Where the network sees something else.
        """
        found = self.inputs()
        if not isinstance(found, kind):
            raise ValueError(f"a {self.network} network does not see {kind.__name__}")
        return found

    def check_fits(self, box: int, pixel_size: float, path: str) -> None:
        """Check that the field of view, box x pixel size, is that of the training particles.

        The network reads frequencies in units of 1/(box x pixel size), so a set that was only binned still fits.

        Parameters
        ----------
        box : int
            Side of the box, pixels.
        pixel_size : float
            Angstrom.
        path : str
            The model's file, for the message.

        Raises
        ------
        UdlError
            Where it is not; the sentence names both fields.
        """
        if not fits(self.box, self.pixel_size, box, pixel_size):
            raise UdlError(
                message(
                    "model_of_other_particles",
                    path=path,
                    box=self.box,
                    pixel_size=self.pixel_size,
                    field=self.box * self.pixel_size,
                    own_box=box,
                    own_pixel_size=pixel_size,
                    own_field=box * pixel_size,
                )
            )


def card_format(network: str, config: dict) -> int:
    """The format of the card of a network (a name of settings/networks.py) with these arguments.

    Parameters
    ----------
    network : str
        A name of settings/networks.py.
    config : dict
        The arguments of the network.

    Returns
    -------
    int
        The format, see CARD_FORMAT.
    """
    return 2 if config.get("views", 1) > 1 else ROWS[network].format


def save_model(path: str, network: torch.nn.Module, card: ModelCard) -> None:
    """Writes weights and card to ``path`` (complete or not at all).

    Parameters
    ----------
    path : str
        The file, which is replaced where it is there.
    network : torch.nn.Module
        The network.
    card : ModelCard
        Its card.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    # One entry only: the order of several is not the same from file to file.
    write_tensors(path, tensors, {"udl": json.dumps(asdict(card))})


def write_tensors(path: str, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file, complete or not at all, with the permissions of any other file (save_file shuts out the
    group).

    Parameters
    ----------
    path : str
        The file, which is replaced where it is there.
    tensors : dict of tensors
        By name.
    metadata : dict of str
        Of the file.

    Raises
    ------
    UdlError
        Where it cannot be written.
    """
    partial = f"{path}.part"
    try:
        with open(durable.new(partial), "wb") as file:
            file.write(save(tensors, metadata=metadata))
        durable.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            os.remove(partial)
        raise UdlError(message("cannot_be_written", path=path, reason=error.strerror or error)) from None


@contextmanager
def opened_tensors(path: str, device: str = "cpu") -> Iterator[safe_open]:
    """A safetensors file open for reading, whatever its name: safe_open takes names of UTF-8 alone. Raises what it
    raises.

    Parameters
    ----------
    path : str
        The file.
    device : str, optional
        Where tensors are read to.

    Returns
    -------
    context manager
        Of the open file.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        with open(path, "rb") as file, safe_open(f"/dev/fd/{file.fileno()}", framework="pt", device=device) as tensors:
            yield tensors
    else:
        with safe_open(path, framework="pt", device=device) as tensors:
            yield tensors


def load_card(path: str) -> ModelCard:
    """The card of a model file.

    Parameters
    ----------
    path : str
        The model's file.

    Returns
    -------
    ModelCard
        The card.

    Raises
    ------
    UdlError
        For a file that is missing, cut, or no model of this program.
    """
    fields = read_card(path)
    try:
        _check_kinds(path, fields)
        if int(fields.get("format", 0)) > CARD_FORMAT:
            raise UdlError(message("model_too_new", path=path, version=fields.get("made_by")))
        if fields.get("network") == "classes" and fields["format"] < card_format("classes", {}):
            raise UdlError(message("classes_too_old", path=path))
        return ModelCard(**fields)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise UdlError(message("not_a_model", path=path, reason=type(error).__name__)) from None


def _check_kinds(path: str, fields: dict) -> None:
    """Raises UdlError where a field of a card is of another kind than this program writes, KeyError where one lacks."""
    kinds: dict[str, type | tuple[type, ...]]
    kinds = {"method": str, "network": str, "config": dict, "spectra": dict, "box": int, "pixel_size": (int, float)}
    optional = {"contrast": str, "training": dict, "made_by": str, "format": int}
    for name, kind in (kinds | {name: kind for name, kind in optional.items() if name in fields}).items():
        if not isinstance(fields[name], kind) or isinstance(fields[name], bool):
            raise UdlError(message("model_card_changed", path=path))


def _check_card(path: str, card: ModelCard) -> None:
    """Raises UdlError where the fields of a card, whose network could be made, do not go together."""
    try:
        inputs, fits = card.inputs(), card.box > 0 and card.pixel_size > 0 and card.method in ("judl", "udl")
        fits = fits and math.isfinite(card.box * card.pixel_size)
        if isinstance(inputs, PolarSampling):
            fits = fits and asdict(inputs) == card.spectra and inputs.angles == card.config["angles"]
            fits = fits and 0 < card.config["rings"] <= inputs.rings <= inputs.box / 2
            fits = fits and 0 < card.config["orders"] <= inputs.angles
        elif isinstance(inputs, SpectrumImageSettings):
            fits = fits and inputs.size == card.config["size"] <= inputs.box and inputs.scaling in SCALINGS
            fits = fits and 0 < inputs.r_max <= inputs.size / 2
        elif inputs is None:
            fits = fits and not card.spectra
        else:
            fits = fits and (inputs.radii, inputs.angles) == (card.config["radii"], card.config["angles"])
            fits = fits and 0 < inputs.r_min <= inputs.r_max <= inputs.box / 2
        # A disc of half the box or more would be cut by its edge, and a larger box has no memory.
        fits = fits and (inputs is None or (0 < inputs.mask <= 0.5 and inputs.box <= LARGEST_BOX))
    except (KeyError, TypeError):
        fits = False
    if not fits:
        raise UdlError(message("model_card_changed", path=path))


def _check_shapes(card: ModelCard, shapes: dict[str, list[int]]) -> None:
    """Raises ValueError where the card's network has weights of other shapes than these, and what its class raises.

    The network is made without memory for its weights: a card may ask for more than the machine has.
    """
    if card.config.get("box", 0) > LARGEST_BOX:  # of a matching network: no weight depends on it
        raise ValueError(f"a box of {card.config['box']} pixels")
    with torch.device("meta"):
        wanted = {
            name: list(value.shape) for name, value in network_class(card.network)(**card.config).state_dict().items()
        }
    if wanted != shapes:
        raise ValueError("other shapes")


def load_model(path: str, device: torch.device) -> tuple[Network, ModelCard]:
    """(network in evaluation mode on ``device``, card) of a model file.

    Parameters
    ----------
    path : str
        The model's file.
    device : torch.device
        Where the network computes.

    Returns
    -------
    tuple
        The network, in evaluation mode, and its card.

    Raises
    ------
    UdlError
        Where :func:`load_card` raises it, or the weights are not those of the card.
    """
    card = load_card(path)
    try:
        with opened_tensors(path) as file:
            _check_shapes(card, {name: file.get_slice(name).get_shape() for name in file.keys()})  # noqa: SIM118
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        network = network_class(card.network)(**card.config)
        kinds = {name: value.dtype for name, value in network.state_dict().items()}
        if any(state[name].dtype != kind for name, kind in kinds.items()):  # they would be rounded, or overflow
            raise ValueError("other numbers")
        network.load_state_dict(state)
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError, RuntimeError, SafetensorError):
        raise UdlError(message("weights_do_not_fit", path=path, network=card.network)) from None
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise UdlError(message("weights_not_finite", path=path))
    _check_card(path, card)
    return network.to(device).eval(), card


def check_answers(answers: torch.Tensor) -> torch.Tensor:
    """The answers of a network as they are.

    Parameters
    ----------
    answers : tensor
        What a network has answered.

    Returns
    -------
    tensor
        The same.

    Raises
    ------
    UdlError
        Where one is no finite number: weights that are finite can still come to more than float32 holds.
    """
    if not bool(torch.isfinite(answers).all()):
        raise UdlError(message("answers_not_finite"))
    return answers
