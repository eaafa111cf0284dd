"""Correntropy: how alike two images are, pixel by pixel; the figure by which the UDL papers judge an alignment.

V(a, b) is the mean of exp(-(a - b)^2 / SIGMA^2) over the pixels of the particle's disc, each image first brought to
mean 0 and variance 1 within it; so neither brightness nor gain counts, and SIGMA is in units of the image's own
deviation. Equal images have 1. For images of Gaussian pixels whose correlation is r it is 1 / sqrt(5 - 4 r): UNRELATED
where they have nothing in common, 1/3 where one is the negative of the other. Unlike a correlation it barely notices
how far off a pixel is that is off: a few outliers, as dirt leaves, cost no more than their number.

Source: Chen et al., J. Struct. Biol. 215 (2023) 107940, which averages 2 and 4 parts of the particles and compares the
averages. Their program takes SIGMA = 1 on images that it scales in another way, so its numbers differ from these.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.poses import Poses
from scipion_udl.particles.prepared import PreparedParticles

SIGMA = 1.0
UNRELATED = 5**-0.5
FLAT = 1e-6  # deviation over the largest value, below which an image is constant


def normalised(images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Images with mean 0 and variance 1 under a weight.

    Parameters
    ----------
    images : (..., D, D) tensor
        Of any real type.
    weight : (D, D) tensor
        From 0 to 1.

    Returns
    -------
    (..., D, D) float64 tensor
        Constant images become 0.
    """
    images, weight = images.double(), weight.double()
    weight = weight / weight.sum()
    centred = images - (images * weight).sum((-2, -1), keepdim=True)
    deviation = (centred.square() * weight).sum((-2, -1), keepdim=True).sqrt()
    flat = deviation <= FLAT * images.abs().amax((-2, -1), keepdim=True)
    return torch.where(flat, torch.zeros_like(centred), centred / deviation.clamp(min=1e-300))


def correntropy(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Correntropy of images within a weight.

    Parameters
    ----------
    a, b : (..., D, D) tensors
        The images; either may be one for all.
    weight : (D, D) tensor
        From 0 to 1.

    Returns
    -------
    (...) float64 tensor
        From 0 to 1; 0 where one of the two is constant: it shows nothing that could be alike.
    """
    a, b = normalised(a, weight), normalised(b, weight)
    found = (torch.exp(-((a - b) / SIGMA).square()) * weight.double()).sum((-2, -1)) / weight.double().sum()
    something = (a != 0).any(-1).any(-1) & (b != 0).any(-1).any(-1)
    return torch.where(something, found, torch.zeros_like(found))


def correntropy_of_all(images: torch.Tensor, weight: torch.Tensor) -> float:
    """The mean correntropy of all pairs of some images.

    Parameters
    ----------
    images : (K, D, D) tensor
        Two or more.
    weight : (D, D) tensor
        Within which they are compared, 0 to 1.

    Returns
    -------
    float
        From 0 to 1.
    """
    pairs = torch.tensor(list(combinations(range(len(images)), 2)))
    return float(correntropy(images[pairs[:, 0]], images[pairs[:, 1]], weight).mean())


def particle_correntropy(prepared: PreparedParticles, poses: Poses, average: np.ndarray) -> np.ndarray:
    """Correntropy of each aligned particle with the average of all others, within the particles' disc.

    One pass over the set, which the processes of a group share. Each particle is taken out of the average, or noise
    would be like the average that holds it.

    Parameters
    ----------
    prepared : PreparedParticles
        N particles.
    poses : Poses
        N of them, to apply; shifts in pixels of the input.
    average : (D, D) array
        The plain mean of all N aligned particles.

    Returns
    -------
    (N,) float64 array
        0 for constant images, and where there are no others.
    """
    n, device, box = len(prepared), prepared.device, prepared.source.box
    values = np.zeros(n)
    if n < 2:
        return values
    weight = soft_disc(box, prepared.disc.radius * prepared.scale, max(4.0, 0.06 * box), device)
    mean, blank = prepared.statistics.mean, prepared.statistics.blank
    whole = torch.from_numpy(np.asarray(average, np.float64)).to(device)
    for part, images in prepared.reader.chunks(prepared.reader.own(np.arange(n)), "correntropy"):
        fill = torch.from_numpy(mean[part].astype(np.float32)).to(device)
        aligned = apply_poses(images, fill, poses[part]).double()
        others = whole + (whole - aligned) / (n - 1)
        values[part] = correntropy(aligned, others, weight).cpu().numpy()
    prepared.reader.make_known([values], np.arange(n))
    values[blank] = 0
    return values
