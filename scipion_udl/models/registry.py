"""The classes that the rows of settings/networks.py name: networks, what makes their input, and their objectives."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.models.network import Network
from scipion_udl.settings.networks import IMAGES, PAIRS, RINGS, ROWS, SPECTRA

INPUTS: dict[str, type | None] = {
    SPECTRA: SpectraSettings,
    IMAGES: SpectrumImageSettings,
    RINGS: PolarSampling,
    PAIRS: None,
}


def network_class(name: str) -> type[Network]:
    """The class of the network of a card.

    Parameters
    ----------
    name : str
        A name of settings/networks.py.

    Returns
    -------
    type
        The class.

    Raises
    ------
    KeyError
        For a name that there is not.
    """
    return named(ROWS[name].network)


def inputs_of(name: str) -> type | None:
    """The class of the settings that make the network's input; None for one that sees pairs of images.

    Parameters
    ----------
    name : str
        A name of settings/networks.py.

    Returns
    -------
    type or None
        The class.

    Raises
    ------
    KeyError
        For a name that there is not.
    """
    return INPUTS[ROWS[name].sees]


def named(place: str) -> Any:
    """What a text "module:name" names.

    Parameters
    ----------
    place : str
        "module:name".

    Returns
    -------
    object
        What it names.
    """
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
