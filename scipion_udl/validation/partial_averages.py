"""Averages of parts of a set by the poses that a table gives: one pass, memory independent of the number of particles.

What they agree on is the self-consistency of an alignment: all that can be said of real particles without a truth. It
is no proof: parts that were aligned to one reference share its noise, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.compute.context import Context, nobody
from scipion_udl.compute.memory import within_memory
from scipion_udl.imaging.half_set_frc import image_frc
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.particles import ParticleSource
from scipion_udl.messages import Message
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.validation.correntropy import correntropy, correntropy_of_all

PARTS = 4  # item k of the set (from 0) is in part k % PARTS, so that the parts are equal and spread over the set


@dataclass
class Parts:
    """What one pass over the aligned particles leaves.

    sums: (PARTS, D, D) float64, of the aligned particles of each part; counts: (PARTS,) particles in it; neighbours:
    mean correntropy of each aligned particle with the next of the table, NaN where that was not asked.
    """

    sums: torch.Tensor
    counts: np.ndarray
    neighbours: float = float("nan")

    def averages(self, number: int) -> torch.Tensor | None:
        """Averages of the set cut into 1, 2 or PARTS parts.

        Parameters
        ----------
        number : int
            How many parts.

        Returns
        -------
        (number, D, D) float64 tensor or None
            None where one would be empty.
        """
        sums = self.sums.reshape(PARTS // number, number, *self.sums.shape[1:]).sum(0)
        counts = self.counts.reshape(PARTS // number, number).sum(0)
        if not counts.all():
            return None
        return sums / torch.from_numpy(counts).to(sums)[:, None, None]

    def correntropies(self, weight: torch.Tensor) -> dict[str, float]:
        """The mean correntropy over pairs of the averages of 2 and of 4 parts.

        Parameters
        ----------
        weight : (D, D) tensor
            Within which they are compared, 0 to 1.

        Returns
        -------
        dict of str to float
            ``correntropy_2`` and ``correntropy_4``; what has too few particles is left out.
        """
        averages = {number: self.averages(number) for number in (2, PARTS)}
        return {f"correntropy_{k}": correntropy_of_all(a, weight) for k, a in averages.items() if a is not None}

    def frc(self, weight: torch.Tensor) -> np.ndarray | None:
        """FRC of the averages of even and odd items.

        Parameters
        ----------
        weight : (D, D) tensor
            The mask, 0 to 1.

        Returns
        -------
        (D//2,) array or None
            A value per ring; None for one particle.
        """
        halves = self.averages(2)
        return None if halves is None else image_frc(halves[0], halves[1], weight)


def read_parts(
    source: ParticleSource,
    poses: Poses,
    device: torch.device,
    weight: torch.Tensor,
    batch: int | None = None,
    neighbours: bool = False,
    report: Callable[[str, int, int], None] | None = None,
    warn: Callable[[Message], None] = warnings.warn,
) -> Parts:
    """One pass over the aligned particles of a set.

    Parameters
    ----------
    source : ParticleSource
        N particles.
    poses : Poses
        N of them, to apply; shifts in pixels of the input.
    device : torch.device
        Where it is computed.
    weight : (D, D) tensor
        The particle's disc, 0 to 1, on the device; what comes from outside of the box is the mean of the image outside
        of the disc.
    batch : int, optional
        Particles at a time.
    neighbours : bool, optional
        Compare each with the next, too.
    report : callable, optional
        Told (stage, done, total).
    warn : callable, optional
        Told where memory is not enough for the batch.

    Returns
    -------
    Parts
        Sums and counts of the parts.
    """
    prepared = PreparedParticles(source, device, batch, context=Context(report=report or nobody))
    return within_memory(prepared.reader, lambda: _one_pass(prepared, poses, weight, neighbours), warn)


def _one_pass(prepared: PreparedParticles, poses: Poses, weight: torch.Tensor, neighbours: bool) -> Parts:
    source, device = prepared.source, prepared.device
    sums = torch.zeros(PARTS, source.box, source.box, dtype=torch.float64, device=device)
    outside = (1 - weight).clamp(min=1e-6)  # a disc as large as the box leaves nothing: then the whole image counts
    outside = (outside / outside.sum()).float()
    found, last = [], None
    for rows, images in prepared.reader.chunks(np.arange(len(source)), "averages"):
        aligned = apply_poses(images, (images * outside).sum((-2, -1)), poses[rows])
        sums.index_add_(0, torch.from_numpy(rows % PARTS).to(device), aligned.double())
        if neighbours:
            line = aligned if last is None else torch.cat([last, aligned])
            found.append(correntropy(line[:-1], line[1:], weight).cpu())
            last = aligned[-1:]
    values = torch.cat(found) if found else torch.zeros(0)
    mean = float(values.mean()) if len(values) else float("nan")
    return Parts(sums, np.bincount(np.arange(len(source)) % PARTS, minlength=PARTS), mean)
