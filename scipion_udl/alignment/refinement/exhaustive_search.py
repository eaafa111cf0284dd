"""The exhaustive search of angles and shifts: every particle against an average, all angles in steps."""

from __future__ import annotations

import torch

from scipion_udl.imaging.band import ShiftMaps

SEARCH_STEP = 80.0  # degrees between two orientations of an exhaustive angular search, times its band in Fourier pixels


def exhaustive_search(
    particles: torch.Tensor, rotated: torch.Tensor, angles: torch.Tensor, maps: ShiftMaps
) -> torch.Tensor:
    """The angles of particles by the best match among a reference's orientations in steps over 360 degrees and all
    shifts.

    Parameters
    ----------
    particles : (n, band) complex tensor
        Times their CTF.
    rotated : (A, band) complex tensor
        The reference rotated by -angles, weighted; the other half circle is their complex conjugates.
    angles : (A,) tensor
        Degrees, over 180.
    maps : ShiftMaps
        The shifts.

    Returns
    -------
    (n,) tensor
        Pose angles, degrees.
    """
    best = torch.full((len(particles),), -torch.inf, device=particles.device)
    angle = torch.zeros_like(best)
    both = particles.conj(), particles
    for reference, degrees in zip(rotated, angles):
        for candidate, extra in zip(both, (0.0, 180.0)):
            value = maps.of_products(candidate * reference).masked_fill(~maps.inside, -torch.inf).flatten(1).amax(1)
            better = value > best
            best = torch.where(better, value, best)
            angle = torch.where(better, degrees + extra, angle)
    return angle
