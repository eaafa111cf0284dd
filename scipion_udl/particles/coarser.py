"""The same particles in a smaller working box: where nothing finer than some Fourier ring is compared, all that is done
with them costs as much less as the box has fewer pixels."""

from __future__ import annotations

import copy

import numpy as np
import torch

from scipion_udl.constants import FINEST_RING
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.particles.reader import HeldCoefficients

BOXES = (24, 32, 36, 40, 48, 54, 60, 64, 72, 80, 90, 96, 100, 108, 120)  # pixels: Fourier transforms like these
HELD = 1 << 26  # bytes: coefficients and CTFs of a set are kept in memory where they need no more


def coarser(prepared: PreparedParticles, ring: int, hold: bool = False) -> PreparedParticles:
    """Particles in the smallest working box that holds a Fourier ring.

    Coefficients keep their values and their rings; pixels of the working box become larger, and with them ``scale``.

    Parameters
    ----------
    prepared : PreparedParticles
        The particles; they stay as they are.
    ring : int
        Fourier pixels.
    hold : bool, optional
        Whether particles that are few are read at once and kept in memory, for passes that follow. Not where several
        processes share them.

    Returns
    -------
    PreparedParticles
        The same particles; in the same box, where it is no larger than need be.
    """
    other, box = copy.copy(prepared), suitable_box(ring)
    if box is not None and box < prepared.box:
        other.box, other.scale = box, prepared.source.box / box
        other.disc, other._whitening = prepared.disc.in_box(box), prepared.whitening.to_box(box)
        other._held = None if prepared._held is None else prepared._held.in_box(prepared.box, box)
    if hold and other._held is None and prepared.group.size == 1:
        _hold(other)
    return other


def suitable_box(ring: int) -> int | None:
    """The smallest of BOXES in which particles are compared up to a Fourier ring.

    Parameters
    ----------
    ring : int
        Fourier pixels.

    Returns
    -------
    int or None
        Pixels; None where none of them is large enough.
    """
    return next((box for box in BOXES if round(FINEST_RING * box) >= ring), None)


def _hold(prepared: PreparedParticles) -> None:
    usable, box = prepared.usable, prepared.box
    ctfs = prepared.ctfs
    known = ctfs is not None and ctfs.mode != "none"
    each = box * (box // 2 + 1) * (12 if known else 8)
    if not 0 < len(usable) * each <= HELD:
        return
    unmirrored = copy.copy(prepared)
    unmirrored.mirrored = None
    coefficients = unmirrored.all(usable, "particles", lambda part, values: values)
    ctf = None
    if known:
        ctf = torch.cat([part for part in map(unmirrored.ctf, prepared.reader.parts(usable)) if part is not None])
    row = np.full(len(prepared), -1, np.int64)
    row[usable] = np.arange(len(usable))
    prepared._held = HeldCoefficients(row, coefficients, ctf)
