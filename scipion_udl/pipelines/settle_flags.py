"""What is wrong with a class, once it is aligned and its halves can be asked."""

from __future__ import annotations

import numpy as np

from scipion_udl.classification.flags import NOISE, OUTSIDE, Inside, signal_inside
from scipion_udl.pipelines.classes import ClassResult
from scipion_udl.pipelines.run import Run


def settle_flags(run: Run, flags: np.ndarray, classes: list[ClassResult]) -> np.ndarray:
    """The flags of classes once they are aligned.

    Halves that agree are no noise, unless they agree on no more than picking makes of it, or on what lies outside of
    the particle. Adds to the figures what share of each class's signal lies inside; averages of halves are let go.

    Parameters
    ----------
    run : Run
        With all particles.
    flags : (K,) str array
        Codes of flags.py, "" for none.
    classes : list of ClassResult
        K of them.

    Returns
    -------
    (K,) str array
        Codes of flags.py, "" for none.
    """
    flags, particles = flags.copy(), run.particles
    radius = particles.disc.mask_radius * particles.scale
    beyond = radius + particles.disc.edge * particles.scale / 2
    for k, one in enumerate(classes):
        first, second = (one.images.get(name) for name in ("first", "second"))
        found = Inside(None, False)
        if first is not None and second is not None:
            found = signal_inside((first, second), radius, beyond)
        one.figures["inside"] = None if found.share is None else round(found.share, 3)
        if one.figures["like_picked_noise"]:
            flags[k] = flags[k] or NOISE
        elif flags[k] == NOISE and one.figures["signal_found"] is True:
            flags[k] = ""
        if not flags[k] and found.registered_beside:
            flags[k] = OUTSIDE
        if flags[k]:
            one.figures["resolution"] = None
    return flags
