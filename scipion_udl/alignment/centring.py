"""Where in its box an average lies: the centre of mass of its density."""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.imaging.band import Band
from scipion_udl.particles.prepared import PreparedParticles

FINE = 2.0  # periods in the radius of the disc: what is finer is damped, for it is noise first
ROUNDS = 8  # in which the disc follows the density
TOLERANCE = 0.02  # working pixels
FAR = 0.3  # of the disc's radius: farther off it is something else


def centre_of_mass(prepared: PreparedParticles, band: Band, average: torch.Tensor) -> np.ndarray:
    """The centre of mass of an average.

    What counts is what stands out of the ground beside the particle, to the side that the whole particle does, within
    the particle's disc; the disc is moved onto it.

    Parameters
    ----------
    prepared : PreparedParticles
        Whose disc it is.
    band : Band
        That of the average.
    average : (band) complex tensor
        The average.

    Returns
    -------
    (2,) float64 array
        x and y in working pixels from the box's centre; (0, 0) where it shows none.
    """
    softened = average * torch.exp(-((band.radius * prepared.disc.radius / (FINE * band.box)) ** 2))
    centre = torch.zeros(2, device=band.device)
    axis = torch.arange(band.box, device=band.device) - band.box // 2
    for _ in range(ROUNDS):
        image, mask = band.images(band.shifted(softened, -centre)), prepared.disc.mask
        level = (image * (1 - mask)).sum() / (1 - mask).sum().clamp(min=1e-6)
        density = (image - level) * mask
        density = (density * density.sum().sign()).clamp(min=0)
        mass = density.sum()
        if not mass > 0:
            return np.zeros(2)
        step = torch.stack([(density.sum(0) * axis).sum(), (density.sum(1) * axis).sum()]) / mass
        centre = centre + step
        if float(step.norm()) < TOLERANCE:
            break
    near = float(centre.norm()) < FAR * prepared.disc.radius
    return centre.double().cpu().numpy() if near else np.zeros(2)


def centred(prepared: PreparedParticles, band: Band, average: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """An average moved to the centre of its box; the same for all processes of a group.

    Parameters
    ----------
    prepared, band, average
        As :func:`centre_of_mass` takes them.

    Returns
    -------
    average : (band) complex tensor
        The moved one.
    centre : (2,) array
        Where its centre of mass was, x and y in working pixels.
    """
    centre = prepared.group.on_rank0(lambda: centre_of_mass(prepared, band, average))
    return band.shifted(average, torch.from_numpy(-centre).float().to(band.device)), centre
