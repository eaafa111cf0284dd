"""What a run that goes on (--continue) must have in common with the one that began it: its particles, and the options
that decide what its network learns."""

from __future__ import annotations

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.models.checkpoint import ModelCard
from scipion_udl.particles.known import digest
from scipion_udl.pipelines.run import Run
from scipion_udl.settings.commands import RunSettings

BEGAN = "began_with"  # in the training of a model's card
DEFOCUS = "defocus"  # a digest of it, of runs that make use of it
OPTIONS: tuple[str, ...] = ("classes", "training_subset", "starts", "seed", "epochs", "lr", "high_resolution_limit")
OPTIONS += ("low_resolution_limit", "references", "fixed_references", "no_align")
OPTIONS += ("max_shift", "ctf", "by_class", "mirror", "voltage", "cs", "amplitude_contrast")
_KEPT_AS = {"training_subset": "teach", "high_resolution_limit": "finest"}  # in cards, by the names of older versions


def began_with(run: Run) -> dict:
    """What decides what a network learns in this run, once the particles were looked through.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    dict
        Those options that the command has, as given, by name, the pixel size in use, and digests of all images and,
        where the command makes use of it, of what is known of their defocus.
    """
    found = {_KEPT_AS.get(name, name): getattr(run.settings, name) for name in OPTIONS if run.settings.asks(name)}
    if run.ctf_state is not None:
        parts = []
        for name, values in sorted(vars(run.defocus).items()) if run.defocus is not None else ():
            values = str(values or "") if name == "filled" else values  # the sentence, as runs have always kept it
            parts += [name.encode(), values.tobytes() if isinstance(values, np.ndarray) else repr(values).encode()]
        found[DEFOCUS] = digest(*parts)
    radius = None if run.given_radius is None else round(run.given_radius, 3)  # an automatic one is the particles'
    found |= {"mask_radius": radius, "pixel_size": run.source.pixel_size}
    return {**found, "particles": digest(run.particles.statistics.images.tobytes())}


def check_began_with(run: Run, card: ModelCard, path: str) -> None:
    """Refuse a model that was begun with other particles or options than this run has.

    Of a model that `train` has learned, those count that `train` has, too.

    Parameters
    ----------
    run : Run
        The run.
    card : ModelCard
        That of the model.
    path : str
        Of the model.

    Raises
    ------
    UdlError
        Where its card does not say with what it was begun, or it differs, by the first option that does.
    """
    before, now = card.training.get(BEGAN), began_with(run)
    if not isinstance(before, dict) or not {"particles", "pixel_size", "seed"} <= before.keys():
        raise UdlError(message("model_without_beginning", path=path))
    before, now = before | {"method": card.method}, now | {"method": run.settings.method or "judl"}
    now = {name: value for name, value in now.items() if name in before}
    if before["particles"] != now["particles"] or before.get(DEFOCUS) != now.get(DEFOCUS):
        raise UdlError(message("model_of_other_input", path=path, input=run.settings.input))
    by_train = DEFOCUS not in before  # what is not given to the run that uses its model stays as it was given to it
    for name, value in now.items():
        if before[name] != value and not (by_train and value is None):
            field = next((field for field, kept in _KEPT_AS.items() if kept == name), name)
            option = RunSettings.option(field).flag
            raise UdlError(
                message("model_of_other_options", path=path, before=(option, before[name]), now=(option, value))
            )
