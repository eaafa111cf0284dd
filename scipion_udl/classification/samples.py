"""Polar samples of particles: of those that teach, all at once; of all, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from scipion_udl.classification.class_search import Samples
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.particles.prepared import PreparedParticles


def sampled(
    prepared: PreparedParticles, sampling: PolarSampling, indices: np.ndarray, stage: str
) -> Iterator[tuple[np.ndarray, Samples]]:
    """Polar samples of particles, chunk by chunk.

    Parameters
    ----------
    prepared : PreparedParticles
        The set.
    sampling : PolarSampling
        How they are sampled.
    indices : (n,) int array
        Which particles, from 0.
    stage : str
        What the progress bar calls it.

    Yields
    ------
    int array, Samples
        Particles of a chunk, and their samples.
    """
    for part, coefficients in prepared.chunks(indices, stage):
        n, factor = len(part), None
        if prepared.ctfs is not None and prepared.ctfs.mode != "none":
            whole = prepared.ctfs.evaluate(part, sampling.small, prepared.device)
            factor = prepared.ctfs.factor(part, whole, sampling.small)
        values = sampling.of(coefficients, factor)
        power = values.real.square().mean(-1) + values.imag.square().mean(-1)
        ctf = torch.ones_like(power)
        if factor is not None:
            ctf = sampling.of_rings(whole.abs())
            values = values * (ctf if factor is whole else sampling.of_rings(factor.abs()))[..., None]
        if prepared.poses is not None:
            values = sampling.posed(values, prepared.poses[part], prepared.scale)
        still = torch.zeros(n, 2, device=values.device)
        yield part, Samples(values, ctf.square(), power, still, torch.zeros(n, dtype=torch.bool))


def gathered(prepared: PreparedParticles, sampling: PolarSampling, indices: np.ndarray) -> Samples:
    """The samples of a bounded subset, all in memory.

    Parameters
    ----------
    prepared : PreparedParticles
        The set.
    sampling : PolarSampling
        How they are sampled.
    indices : (n,) int array
        Which particles, from 0.

    Returns
    -------
    Samples
        In this order.
    """
    n, device = len(indices), prepared.device
    out = Samples(
        torch.empty(n, sampling.rings, sampling.angles, dtype=torch.complex64, device=device),
        torch.empty(n, sampling.rings, device=device),
        torch.empty(n, sampling.rings, device=device),
        torch.zeros(n, 2, device=device),
        torch.zeros(n, dtype=torch.bool),
    )
    start = 0
    for part, chunk in sampled(prepared, sampling, indices, "polar samples"):
        own = slice(start, start + len(part))
        out.values[own], out.ctf[own], out.power[own] = chunk.values, chunk.ctf, chunk.power
        start += len(part)
    return out
