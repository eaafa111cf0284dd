"""What a run that goes on (--continue) must have in common with the one that began it: its particles, and the options
that decide what its network learns."""

from __future__ import annotations

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.models.checkpoint import ModelCard
from scipion_udl.particles.known import digest
from scipion_udl.pipelines.run import Run

BEGAN = "began_with"  # in the training of a model's card
DEFOCUS = "defocus"  # a digest of it, of runs that make use of it
OPTIONS = ("classes", "teach", "starts", "seed", "epochs", "lr", "finest", "max_shift", "ctf")
OPTIONS += ("by_class", "mirror", "voltage", "cs", "amplitude_contrast")


def began_with(run: Run) -> dict:
    """What decides what a network learns in this run, once the particles were looked through: those options that the
    command has, as given, by name, the pixel size in use, and digests of all images and, where the command makes use of
    it, of what is known of their defocus."""
    found = {name: getattr(run.settings, name) for name in OPTIONS if run.settings.asks(name)}
    if run.transfer is not None:
        parts = []
        for name, values in sorted(vars(run.defocus).items()) if run.defocus is not None else ():
            parts += [name.encode(), values.tobytes() if isinstance(values, np.ndarray) else repr(values).encode()]
        found[DEFOCUS] = digest(*parts)
    radius = None if run.given_radius is None else round(run.given_radius, 3)  # an automatic one is the particles'
    found |= {"mask_radius": radius, "pixel_size": run.source.pixel_size}
    return {**found, "particles": digest(run.particles.statistics.images.tobytes())}


def check_began_with(run: Run, card: ModelCard, path: str) -> None:
    """Raise UdlError where a model, by its card, was begun with other particles or options than this run has; of a
    model that `train` has learned, those count that `train` has, too. path: of the model."""
    before, now = card.training.get(BEGAN), began_with(run)
    if not isinstance(before, dict) or not {"particles", "pixel_size", "seed"} <= before.keys():
        raise UdlError(
            f"{path} does not say what it was begun with, and nothing can go on with it: begin anew with --overwrite."
        )
    before, now = before | {"method": card.method}, now | {"method": run.settings.method or "judl"}
    now = {name: value for name, value in now.items() if name in before}
    if before["particles"] != now["particles"] or before.get(DEFOCUS) != now.get(DEFOCUS):
        raise UdlError(
            f"{path} was learned from other particles than those of {run.settings.input}, or from another defocus of "
            "them: go on with the particles that the run began with, or begin anew with --overwrite."
        )
    by_train = DEFOCUS not in before  # what is not given to the run that uses its model stays as it was given to it
    for name, value in now.items():
        if before[name] != value and not (by_train and value is None):
            option = f"--{name.replace('_', '-')}"
            raise UdlError(
                f"{path} was learned with {_said(option, before[name])}, not with {_said(option, value)}: go on with "
                "what the run began with, or begin anew with --overwrite."
            )


def _said(option: str, value: object) -> str:
    if value is None or value is False:
        return f"no {option}"
    return option if value is True else f"{option} {value}"
