"""One average brought onto another."""

from __future__ import annotations

import torch

from scipion_udl.alignment.refinement.exhaustive_search import exhaustive_search
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.imaging.poses import Poses


def register(refiner: Refiner, moving: Reference, fixed: Reference) -> Poses:
    """The pose that brings one average onto another: exhaustive angular search, then Gauss-Newton.

    The same for all processes of a group.

    Parameters
    ----------
    refiner : Refiner
        Of the particles.
    moving, fixed : Reference
        The averages.

    Returns
    -------
    Poses
        One, in working pixels.
    """
    return refiner.prepared.group.on_rank0(lambda: _registered(refiner, moving, fixed))


def _registered(refiner: Refiner, moving: Reference, fixed: Reference) -> Poses:
    band = refiner.band
    angles = torch.arange(0, 180, 4.0, device=band.device)
    angle = exhaustive_search(moving.average[None], fixed.rotated(-angles) * band.weight, angles, refiner.maps).double()
    power = band.ring_totals(moving.average[None].abs().square())
    for _ in range(5):
        found = refiner.match(moving.average[None], None, power, angle, fixed, fixed)
        angle = found.angle.double()
    return Poses(angle.cpu().numpy(), found.shift.double().cpu().numpy())
