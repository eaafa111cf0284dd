"""Averages in the full box: the last pass over the particles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.alignment.fourier import radii, to_fourier, to_images, transform
from scipion_udl.alignment.geometry import Poses
from scipion_udl.alignment.prepare import PreparedParticles
from scipion_udl.alignment.resolution import frc_weights


@dataclass
class Averages:
    """Images (D, D) float32. all: plain mean of all aligned particles; halves: means by the halves' own poses (None
    without) of particles brought to one background and one noise, the medians of the set, each image counted once."""

    all: np.ndarray
    halves: tuple[np.ndarray, np.ndarray] | None


def apply_poses(images: torch.Tensor, fill: torch.Tensor, poses: Poses) -> torch.Tensor:
    """Images (n, D, D) with poses applied; what comes from outside of the box is ``fill`` (n,)."""
    box, device = images.shape[-1], images.device
    fill = fill[:, None, None]
    angle = torch.from_numpy(poses.angle).to(device)
    shift = torch.from_numpy(poses.shift).to(device)
    moved = transform(to_fourier(images - fill), box, angle, shift) + fill
    still = (angle == 0) & (shift == 0).all(1)  # nothing to do: not even the Nyquist frequency is touched
    return torch.where(still[:, None, None], images, moved)


def average_particles(
    prepared: PreparedParticles,
    poses: Poses,
    half_poses: Poses | None,
    half: np.ndarray,
    keep: Callable[[np.ndarray], None] | None = None,
) -> Averages:
    """One pass over all particles in the full box. ``keep`` is given the aligned images (n, D, D) chunk by chunk, in
    the order of the set.

    The halves are what a resolution is claimed by, so that neither a few bright particles may carry them nor one image
    that the set names twice.
    """
    box, device, n = prepared.source.box, prepared.device, len(prepared)
    mean, std, blank = prepared.statistics.mean, prepared.statistics.std, prepared.statistics.blank
    counted = ~blank & (prepared.originals == np.arange(n))
    background, noise = (float(np.median(v[~blank])) for v in (mean, std))
    total = torch.zeros(3, box, box, dtype=torch.float64, device=device)
    for part, images in prepared.raw_chunks(np.arange(n), "averages"):
        fill = torch.from_numpy(mean[part].astype(np.float32)).to(device)
        aligned = apply_poses(images, fill, poses[part])
        total[0] += aligned.sum(0).double()
        if keep:
            keep(aligned.cpu().numpy())
        if half_poses is not None:
            if not _same(poses[part], half_poses[part]):
                aligned = apply_poses(images, fill, half_poses[part])
            own = aligned - fill[:, None, None]
            weights = (noise / std[part]) * counted[part] * (half[part] == np.array([[0], [1]]))
            total[1:] += torch.einsum("hn,nyx->hyx", torch.from_numpy(weights.astype(np.float32)).to(device), own)
    counts = np.maximum(np.bincount(half[counted], minlength=2), 1)
    halves = None
    if half_poses is not None:
        halves = tuple((total[h + 1] / counts[h] + background).float().cpu().numpy() for h in (0, 1))
    return Averages((total[0] / n).float().cpu().numpy(), halves)


def _same(a: Poses, b: Poses) -> bool:
    return np.array_equal(a.angle, b.angle) and np.array_equal(a.shift, b.shift)


def weighted_average(average: np.ndarray, frc: np.ndarray, background: float, shared: float) -> np.ndarray:
    """An average (D, D) with every Fourier ring weighted by what the half-set FRC says of the average of both halves;
    rings up to ``shared``, where the FRC proves nothing, are kept."""
    box = average.shape[-1]
    whole = 2 * np.clip(frc, 0, 1) / (1 + np.clip(frc, 0, 1))
    per_ring = torch.zeros(box, dtype=torch.float64)
    per_ring[: len(whole)] = frc_weights(torch.from_numpy(whole), floor=0.25)
    per_ring[: max(int(shared), 4)] = 1
    coefficients = to_fourier(torch.from_numpy(average - background).double())
    ring = radii(box).round().long()
    return (to_images(coefficients * per_ring[ring], box) + background).float().numpy()
