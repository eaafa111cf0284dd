"""The averages of the halves of an earlier run, or of a class of it, as later particles are aligned to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.wiener import WienerFilter
from scipion_udl.imaging.band import Band
from scipion_udl.particles.prepared import PreparedParticles


def seen_averages(
    prepared: PreparedParticles, band: Band, images: np.ndarray, background: float, noise: float
) -> list[torch.Tensor]:
    """Averages as particles are seen: of the run's noise and background, masked.

    Parameters
    ----------
    prepared : PreparedParticles
        The particles that come, prepared as those of the run were.
    band : Band
        That they are compared in.
    images : (n, D, D) float32 array
        The averages.
    background, noise : float
        Grey value and standard deviation that they were brought to.

    Returns
    -------
    list of (band) complex tensors
        n of them.
    """
    level = np.full(len(images), background), np.full(len(images), noise)
    whole = band.crop(prepared.whitening.of(torch.from_numpy(images).to(prepared.device), *level))
    return [band.masked(one, prepared.disc.mask) for one in whole]


def half_references(
    band: Band, halves: Sequence[torch.Tensor], counts: Sequence[int], wiener: WienerFilter
) -> tuple[list[Reference], Reference]:
    """What particles are aligned to within their half, and all together.

    Parameters
    ----------
    band : Band
        That of the halves.
    halves : sequence of (band) complex tensors
        Two.
    counts : sequence of int
        Particles of each.
    wiener : WienerFilter
        Of both.

    Returns
    -------
    list of Reference
        One of each half.
    Reference
        Of both.
    """
    own = [Reference(band, half, wiener.weight(1), wiener(half, 1)) for half in halves]
    total = (halves[0] * counts[0] + halves[1] * counts[1]) / sum(counts)
    return own, Reference(band, total, wiener.weight(2), wiener(total, 2))
