"""parameters.json: all that a simulation was made with, so that it can be made again."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex

from scipion_udl.constants import __version__

# What tells where or how quickly a simulation is made, not what it is.
_NOT_THE_SET = {"run", "command", "output", "debug", "overwrite", "gpu", "threads", "batch"}
# What says nothing without --photos, and what says nothing with it.
_OF_PHOTOS = {"part", "patches", "flat", "noise", "share"}
_OF_VIEWS = {"ssnr", "no_ctf", "signed", "defocus", "voltage", "cs", "amplitude_contrast", "b_factor"}
# Files and folders, which a later call may name from elsewhere.
_PATHS = ("centers", "photos")


def write_parameters(path: str, args: argparse.Namespace, **resolved: object) -> None:
    """Write the options of ``simulate`` as JSON: version, seed, options, and the command that makes the set again.

    args: as made by :mod:`scipion_udl.cli`; resolved: what the command chose where an option was left away, such as
    ``box``. Paths are made absolute.
    """
    left_out = _NOT_THE_SET | (_OF_VIEWS if args.photos else _OF_PHOTOS)
    options = {key: value for key, value in vars(args).items() if key not in left_out} | resolved
    options = {key: _plain(value) for key, value in options.items() if value is not None and value is not False}
    for key in _PATHS:
        if key in options:
            options[key] = os.path.abspath(options[key])
    if "template" in options:
        number, at, file = options["template"].rpartition("@")
        options["template"] = number + at + os.path.abspath(file)
    content = {
        "version": __version__,
        "command": shlex.join(["scipion-udl", "simulate", os.path.abspath(args.output), *_words(options)]),
        "seed": args.seed,
        "options": options,
    }
    with open(path, "w", encoding="utf-8") as file:
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
