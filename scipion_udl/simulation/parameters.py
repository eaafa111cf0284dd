"""What a simulation is made with: the options of views and of photographs, and parameters.json, which holds them all
so that it can be made again."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.settings.commands import SimulateSettings
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.simulation.effects import given_options, usual_effects
from scipion_udl.simulation.phantoms_3d import PHANTOMS_3D

# What tells where or how quickly a simulation is made, not what it is.
_NOT_THE_SET = {"output", "debug", "error_to", "overwrite", "gpu", "threads", "batch"}
_CTF = CtfSettings()
# What says nothing without --photos, and what says nothing with it, as it is where it was not given. The command line
# leaves it None until then, so that what was given shows.
_OF_PHOTOS: dict[str, Any] = {"part": None, "patches": 1, "flat": 10.0, "noise": "none", "share": 0.1}
_OF_VIEWS: dict[str, Any] = {
    "clean": False,
    "ssnr": None,
    "pixel_sizes": None,
    "no_ctf": False,
    "signed": False,
    "defocus": list(_CTF.defocus),
    "voltage": _CTF.voltage,
    "cs": _CTF.cs,
    "amplitude_contrast": _CTF.amplitude_contrast,
    "b_factor": _CTF.b_factor,
}
_OF_MANY_VIEWS: dict[str, Any] = {
    "views": None,
    "volume": None,
    "noise_share": 0.0,
    "second": None,
    "second_share": 0.0,
}
_OF_A_SINGLE_VIEW = ("jitter", "direction")
_SHIFT, _JITTER = 10.0, 5.0  # pixels; degrees, with --realistic
# Files and folders, which a later call may name from elsewhere.
_PATHS = ("centers", "photos", "volume")


def settled(settings: SimulateSettings) -> SimulateSettings:
    """Fill in the options that were not given: of views, or with --photos of photographs.

    Parameters
    ----------
    settings : SimulateSettings

    Returns
    -------
    SimulateSettings

    Raises
    ------
    UdlError
        Where one of another kind was given; names it.
    """
    if (
        settings.realistic
        and not (settings.views or settings.photos)
        and (settings.volume or settings.phantom in PHANTOMS_3D)
    ):
        settings = settings.but(views="uneven")
    if settings.shift is None and not settings.realistic:
        settings = settings.but(shift=_SHIFT)
    many = _given(settings, _OF_MANY_VIEWS) + _given(settings, _OF_A_SINGLE_VIEW)
    if settings.photos:
        own = _OF_PHOTOS
        for option in _given(settings, _OF_VIEWS) + many + given_options(settings):
            raise UdlError(message("not_for_photographs", option=option))
    else:
        own = _OF_VIEWS | _OF_MANY_VIEWS
        for option in _given(settings, _OF_PHOTOS):
            raise UdlError(message("for_photographs", option=option))
        if many and not settings.views:
            raise UdlError(message("for_many_views", option=many[0]))
        for option in _given(settings, ("template", "centers")) if settings.views else ():
            raise UdlError(message("for_single_views", option=option))
    if settings.views != "single":
        for option in _given(settings, _OF_A_SINGLE_VIEW):
            raise UdlError(message("for_one_direction", option=option))
    elif settings.realistic and settings.jitter is None:
        settings = settings.but(jitter=_JITTER)
    settings = settings.but(**{name: value for name, value in own.items() if getattr(settings, name) is None})
    if settings.photos:
        return settings
    return settings.but(subpixel=settings.subpixel or settings.realistic, **usual_effects(settings))


def _given(settings: SimulateSettings, names: Iterable[str]) -> list[str]:
    """Those of the options that were given, as they are written on the command line."""
    given = [name for name in names if all(getattr(settings, name) is not nothing for nothing in (None, False))]
    return [settings.option(name).flag for name in given]


def write_parameters(
    path: str, settings: SimulateSettings, facts: Mapping[str, object] | None = None, **resolved: object
) -> None:
    """Write the options of ``simulate`` as JSON: version, seed, options, and the command that makes the set again.

    Paths are made absolute.

    Parameters
    ----------
    path : str
    settings : SimulateSettings
    facts : mapping, optional
        More to be told, which no option sets.
    **resolved
        What the command chose where an option was left away, such as ``box``.
    """
    left_out = _NOT_THE_SET | set(_OF_VIEWS if settings.photos else _OF_PHOTOS)
    left_out |= set() if settings.views else set(_OF_MANY_VIEWS)
    options = {key: value for key, value in settings.values().items() if key not in left_out} | resolved
    options = {key: _plain(value) for key, value in options.items() if value is not None and value is not False}
    for key in _PATHS:
        if key in options:
            options[key] = os.path.abspath(options[key])
    if "template" in options:
        number, at, file = options["template"].rpartition("@")
        options["template"] = number + at + os.path.abspath(file)
    if os.path.isfile(options.get("second", "")):
        options["second"] = os.path.abspath(options["second"])
    content = {
        "version": __version__,
        "command": shlex.join(["scipion-udl", "simulate", os.path.abspath(settings.output), *_words(options)]),
        "seed": settings.seed,
        **(facts or {}),
        "options": options,
    }
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(content, file, indent=1)


def _plain(value: object) -> object:
    """As JSON and the command line have it: pairs as A:B, infinity as its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, tuple):
        return ":".join(str(part) for part in value)
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _words(options: dict) -> list[str]:
    """The options as words of a command line."""
    words: list[str] = []
    for name, value in options.items():
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words += [str(part) for part in value] if isinstance(value, list) else [str(value)]
    return words
