"""What aligned particles add up to, and their mean where each was seen through a CTF of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import transform
from scipion_udl.imaging.poses import Poses
from scipion_udl.particles.prepared import PreparedParticles

FOLDS = 4  # that a set is cut into, so that no particle is compared with an average that holds it
LEAST_CTF = 0.02  # of the largest: rings that were hardly transferred stay small in the mean


@dataclass
class Sums:
    """What aligned particles of a reference add up to: total (band), each times its CTF; ctf: sum of the
    squared CTFs per ring (k_max + 1,), float64; count."""

    total: torch.Tensor
    ctf: torch.Tensor
    count: int

    def mean(self, band: Band) -> torch.Tensor:
        """The particles' mean, their CTF taken out where there is one.

        Parameters
        ----------
        band : Band
            That of the total.

        Returns
        -------
        (band) complex tensor
            Rings that were hardly transferred stay small in it.
        """
        least = LEAST_CTF * max(float(self.ctf.max()), 1e-12)
        return self.total / band.spread(self.ctf.clamp(min=least)).clamp(min=least)

    def mean_ctf(self) -> torch.Tensor:
        """Squared CTF of a particle per ring.

        Returns
        -------
        (k_max + 1,) float32 tensor
            The mean over the particles.
        """
        return (self.ctf / max(self.count, 1)).float()

    def over(self, group: ProcessGroup) -> Sums:
        """What the sums of all processes of a group come to.

        Parameters
        ----------
        group : ProcessGroup
            The processes; collective.

        Returns
        -------
        Sums
            Of all.
        """
        count = int(group.total(torch.tensor(self.count)))
        return Sums(group.total(self.total), group.total(self.ctf), count)

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.total + other.total, self.ctf + other.ctf, self.count + other.count)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.total - other.total, self.ctf - other.ctf, self.count - other.count)


def add_up(sums: list[Sums]) -> Sums:
    """All of some folds together.

    Parameters
    ----------
    sums : list of Sums
        One or more.

    Returns
    -------
    Sums
        Of all.
    """
    return sum(sums[1:], sums[0])


def halves_of(sums: list[Sums]) -> list[Sums]:
    """The even and the odd folds, added up each.

    Parameters
    ----------
    sums : list of Sums
        Of two folds or more.

    Returns
    -------
    list of Sums
        Two.
    """
    return [add_up(sums[half::2]) for half in (0, 1)]


def share_of_others(folds: int) -> float:
    """How many times the particles of a half all folds but one hold.

    Parameters
    ----------
    folds : int
        All of them.

    Returns
    -------
    float
        1 for two folds, towards 2 for many.
    """
    return 2 * (folds - 1) / folds


def accumulate(
    prepared: PreparedParticles, band: Band, indices: np.ndarray, poses: Poses, fold: np.ndarray, folds: int
) -> list[Sums]:
    """Sums of particles with poses applied, through their CTF where that is known.

    Parameters
    ----------
    prepared : PreparedParticles
        The set.
    band : Band
        That of the sums.
    indices : (n,) int array
        The particles, from 0.
    poses : Poses
        n of them, to apply; shifts in pixels of the input.
    fold : (n,) int array
        The fold of each, 0 to ``folds`` - 1.
    folds : int
        How many.

    Returns
    -------
    list of Sums
        One of each fold.
    """
    row = np.zeros(len(prepared), np.int64)
    row[indices] = np.arange(len(indices))
    angle, shift = torch.from_numpy(poses.angle), torch.from_numpy(poses.shift / prepared.scale)
    member = torch.from_numpy(fold)
    nothing = torch.zeros(band.disc.shape, dtype=torch.complex64, device=band.device)
    sums = [Sums(nothing, torch.zeros(band.k_max + 1, dtype=torch.float64, device=band.device), 0)] * folds
    for part, coefficients in prepared.chunks(indices, "given poses"):
        rows = torch.from_numpy(row[part])
        rotation, move = (v[rows].to(band.device) for v in (angle, shift))
        moved = band.of_images(transform(prepared.apply_ctf(part, coefficients), band.box, rotation, move))
        ctf = prepared.ctf(part)
        power = torch.ones(len(part), band.k_max + 1, device=band.device)
        power = power if ctf is None else band.ring_means(band.crop(ctf).square())
        owns = [(member[rows] == number).nonzero()[:, 0].to(band.device) for number in range(folds)]
        new = [Sums(moved[own].sum(0), power[own].double().sum(0), len(own)) for own in owns]
        sums = [a + b for a, b in zip(sums, new)]
    return sums
