"""How loud images are where the particle lies: contamination, such as lumps of ice, is far louder than any particle.

What counts is coarse: noise has next to no power there, so that loudness is that of what an image shows. Particles
differ in it by their view, defocus and ice, and its logarithm is normal to good approximation.
"""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.constants import MEDIAN_DEVIATION
from scipion_udl.particles.outliers import how_many_beyond

SMOOTH = 1 / 3  # of the disc's radius: standard deviation of the Gaussian that images are smoothed with
HARDLY_ANY = 0.0005  # of the particles are louder than the limit at most, by their distribution
FEWEST = 32  # particles that tell how loud particles are


class Loudness:
    """The variance of images, smoothed, within the disc of ``radius`` pixels about the origin of a box of ``box``."""

    def __init__(self, box: int, radius: float, device: torch.device | str = "cpu") -> None:
        sigma = max(1.0, SMOOTH * radius)
        count = max(2, round(2 * radius / max(1.0, sigma / 2)))
        places = torch.linspace(-radius, radius, count + 1, dtype=torch.float64)
        axis = torch.arange(box, dtype=torch.float64) - box // 2
        rows = torch.exp(-0.5 * ((places[:, None] - axis) / sigma).square())
        self.rows = (rows / rows.sum(1, keepdim=True)).float().to(device)
        self.inside = ((places[:, None].square() + places.square()) <= radius**2).to(device)

    def measure(self, images: torch.Tensor) -> torch.Tensor:
        """The loudness of images.

        Parameters
        ----------
        images : (n, D, D) float32 tensor
            Normalised ones.

        Returns
        -------
        (n,) float64 tensor
            In variances of the noise of a pixel.
        """
        return (self.rows @ images @ self.rows.T)[:, self.inside].double().var(1, correction=0)


def loud_limit(loudness: np.ndarray) -> float:
    """The loudness above which images show no particle.

    It is the least of which no more than HARDLY_ANY of the particles are, and that leaves few particles among what is
    louder (:func:`how_many_beyond`). Median and median absolute deviation tell how loud particles are.

    Parameters
    ----------
    loudness : (N,) array
        Of all that have an image.

    Returns
    -------
    float
        Infinity for none.
    """
    loudness = loudness[loudness > 0]
    if len(loudness) < FEWEST:
        return np.inf
    logs = np.sort(np.log(loudness))[::-1]
    loud = 0
    while True:  # what is loud is left out of what tells how loud particles are, until no more of it is found
        median = np.median(logs[loud:])
        deviation = MEDIAN_DEVIATION * np.median(np.abs(logs[loud:] - median))
        if not deviation > 0:
            return np.inf
        count = how_many_beyond((logs - median) / deviation, len(logs) - loud, HARDLY_ANY)
        if count <= loud:
            break
        loud = count
    return float(np.nextafter(np.exp(logs[loud - 1]), 0)) if loud else np.inf
