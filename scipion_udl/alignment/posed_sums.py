"""What particles add up to in poses that are given: nothing is compared."""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.alignment.sums import Sums
from scipion_udl.imaging.fourier import Band, transform
from scipion_udl.imaging.poses import Poses
from scipion_udl.particles.prepared import PreparedParticles


def posed_sums(
    prepared: PreparedParticles, band: Band, indices: np.ndarray, poses: Poses, fold: np.ndarray, folds: int
) -> list[Sums]:
    """Sums of the particles ``indices`` (n,) with poses (n,; shifts in pixels of the input) applied, one of each fold
    (n,), 0 to ``folds`` - 1, through their contrast transfer where that is known."""
    row = np.zeros(len(prepared), np.int64)
    row[indices] = np.arange(len(indices))
    angle, shift = torch.from_numpy(poses.angle), torch.from_numpy(poses.shift / prepared.scale)
    member = torch.from_numpy(fold)
    nothing = torch.zeros(band.disc.shape, dtype=torch.complex64, device=band.device)
    sums = [Sums(nothing, torch.zeros(band.k_max + 1, dtype=torch.float64, device=band.device), 0)] * folds
    for part, coefficients in prepared.chunks(indices, "given poses"):
        rows = torch.from_numpy(row[part])
        turn, move = (v[rows].to(band.device) for v in (angle, shift))
        moved = band.of_images(transform(prepared.through_transfer(part, coefficients), band.box, turn, move))
        transfer = prepared.transfer(part)
        power = torch.ones(len(part), band.k_max + 1, device=band.device)
        power = power if transfer is None else band.ring_means(band.crop(transfer).square())
        owns = [(member[rows] == number).nonzero()[:, 0].to(band.device) for number in range(folds)]
        new = [Sums(moved[own].sum(0), power[own].double().sum(0), len(own)) for own in owns]
        sums = [a + b for a, b in zip(sums, new)]
    return sums
