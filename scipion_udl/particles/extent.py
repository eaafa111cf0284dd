"""How far the particle reaches, seen in the particles themselves.

Turned at random, particles of any shape have a round mean. Its profile is that of a density that is nowhere negative
(matter scatters more than ice, everywhere), blurred by how far off centre the particles lie, seen through their mean
CTF; polarity.py tells whether they are bright or dark by it. Where that density ends the particle ends, however far the
fringes of the CTF reach, and where it begins again the neighbours begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from scipy.optimize import nnls

from scipion_udl.imaging.fourier import distances
from scipion_udl.particles.polarity import RadialProfile

HELD = 0.99  # of the matter up to the gap: what lies farther out are the few that were picked far off centre
GAP = 0.05  # of the highest density: less is ice
VALLEY, RISE = 0.6, 1.3  # times the highest density before it, and by how much it rises again beyond: neighbours
MARGIN, BLIND_MARGIN = 0.025, 0.06  # of the box beyond that; of a profile without CTF the outermost is hidden
LARGEST, SMALLEST = 0.47, 0.1  # of the box: the default where nothing is found, and the least that is believed
CLEAR = 25.0  # log likelihood ratio that the best profile must have over a flat one
FEWEST = 16  # particles
PLAIN = 2.0  # times the misfit of the best: as good, where another explanation is the likelier one
EXACT = 1e-3  # of the profile's height: no smaller error is believed
CELLS = 32  # along a side: what varies in a cell as a whole is matter, not the noise of single pixels
NEAR = 0.8  # of the particle's radius: within it the particle's own variance is left aside
LOUDER = 0.05  # by which the variance must rise again, from the least about the particle: neighbours begin there


@dataclass
class Extent:
    """radius: of the disc that holds the particle, pixels of the input; found: whether the particles themselves told;
    density: (K,) of their rotational mean, about its highest, on rings ``step`` pixels apart."""

    radius: float
    found: bool
    density: np.ndarray
    step: float


def extent_of(profile: RadialProfile, ctfs: Mapping[str, np.ndarray]) -> Extent:
    """The disc that holds the particle.

    Parameters
    ----------
    profile : RadialProfile
        Of normalised particles.
    ctfs : dict of str to (129,) array
        What they may have been seen through: what :meth:`RadialProfile.mean_ctfs` gives.

    Returns
    -------
    Extent
        LARGEST of the box where the profile does not tell.
    """
    box, count = profile.box, int(profile.count)
    nothing = Extent(LARGEST * box, False, np.zeros(0), profile.width)
    if count < FEWEST:
        return nothing
    inside = np.flatnonzero(profile.radii * profile.width < box / 2)
    mean = (profile.sums.cpu().numpy() / count)[inside]
    variance = profile.products.diagonal().cpu().numpy()[inside] / count - mean**2
    weight = 1 / np.maximum(np.sqrt(np.maximum(variance, 0) / count), EXACT * np.ptp(mean) + 1e-12)
    places = np.arange(0.0, box / 2 / profile.width)
    flat = np.ones((len(inside), 1))
    fits = []
    for name, seen in profile.seen_rings(places, ctfs).items():
        for sign in (1, -1):
            matrix = np.hstack([sign * seen[inside], flat, -flat]) * weight[:, None]
            norms = np.linalg.norm(matrix, axis=0)
            mass, rest = nnls(matrix / norms, mean * weight, maxiter=50 * len(norms))
            fits.append((rest**2, name, (mass / norms)[:-2]))
    least = int(SMALLEST * box / profile.width)
    rest, name, mass = min(fits, key=lambda fit: fit[0])
    likely = [fit for fit in fits if fit[0] < rest * PLAIN + CLEAR and _is_likely(_density(fit[2]), least)]
    rest, name, mass = min(likely or fits, key=lambda fit: fit[0])
    plain = min((fit for fit in fits if fit[1] == "none"), default=None, key=lambda fit: fit[0])
    if plain is not None and plain[0] < rest * PLAIN + CLEAR:
        rest, name, mass = plain
    level = (mean * weight**2).sum() / (weight**2).sum()
    if (((mean - level) * weight) ** 2).sum() - rest < 2 * CLEAR or not mass.any():
        return nothing
    density = _density(mass)
    end = _end(density, least)
    if end is None:
        return nothing
    matter = np.cumsum(mass[:end])
    held = float(np.interp(HELD * matter[-1], matter, places[:end])) * profile.width
    radius = held + (BLIND_MARGIN if name == "none" else MARGIN) * box
    if radius < SMALLEST * box:
        return nothing
    return Extent(min(radius, LARGEST * box), True, density, profile.width)


def matter_kernel(profile: RadialProfile, radius: float) -> torch.Tensor:
    """What an image is multiplied with and summed over to tell how much it shows of what all show on the mean.

    Parameters
    ----------
    profile : RadialProfile
        Of normalised particles.
    radius : float
        Of the particle, pixels.

    Returns
    -------
    (D, D) float32 tensor
        For normalised images: the sum is 1 for the mean of the particles of ``profile``, 0 where there is none.
    """
    distance = distances(profile.box, profile.sums.device)
    mean = (profile.sums / profile.count.clamp(min=1)).float()
    image = mean[(distance / profile.width + 0.5).long().clamp(max=len(mean) - 1)] * (distance <= radius)
    return image / image.square().sum().clamp(min=1e-12)


def _end(density: np.ndarray, least: int) -> int | None:
    """The ring before which the particle's density (K,) ends: the first gap, or the first valley before neighbours
    begin; None where it goes on to the edge of the box. least: rings that it has at least."""
    smooth = _smooth(density)
    for ring in range(max(least, 3), len(density) - 1):
        highest, here = smooth[:ring].max(), smooth[ring]
        if here < GAP * highest:
            return ring + 1
        rises = here <= smooth[ring - 1 : ring + 2].min() and smooth[ring:].max() > RISE * here
        if rises and here < VALLEY * highest:
            return ring + 1
    return None


def _density(mass: np.ndarray) -> np.ndarray:
    """Per area, of a mass (K,) per ring."""
    return mass / np.maximum(np.arange(len(mass)), 0.25)


def _smooth(density: np.ndarray) -> np.ndarray:
    smooth = np.convolve(np.pad(density, 2, mode="edge"), np.array([1, 2, 3, 2, 1]) / 9, "valid")
    smooth[:2] = smooth[2]  # the innermost rings are few pixels and know little
    return smooth


def _is_likely(density: np.ndarray, least: int) -> bool:
    """Whether what lies beyond the end of a density (K,) can be neighbours: these lie here and there, so that their
    mean over a circle is less than the particle's own density. A hollow particle taken for its own negative has its
    wall there."""
    end = _end(density, least)
    return end is None or _smooth(density)[end:].max() <= _smooth(density)[:end].max()


class VarianceProfile:
    """How much particles differ from each other, by the distance from the centre: sums over normalised images (box D),
    in cells of about a 32nd of the box. Neighbours, which lie anywhere but in the particle's place, show in it.
    """

    def __init__(self, box: int, device: torch.device | str = "cpu") -> None:
        self.box, self.side = box, max(2, box // CELLS)
        axis = torch.arange(box, device=device, dtype=torch.float32) - box // 2
        grid = torch.meshgrid(axis, axis, indexing="ij")
        y, x = (functional.avg_pool2d(v[None, None], self.side)[0, 0] for v in grid)
        self.radius = (x.square() + y.square()).sqrt().flatten()
        self.sums = torch.zeros(2, len(self.radius), dtype=torch.float64, device=device)
        self.count = 0

    def add(self, images: torch.Tensor) -> None:
        """Add images.

        Parameters
        ----------
        images : (n, D, D) tensor
            Normalised ones.
        """
        cells = functional.avg_pool2d(images[:, None], self.side).flatten(1).double()
        self.sums += torch.stack([cells.sum(0), cells.square().sum(0)])
        self.count += len(images)

    def clear_radius(self, radius: float) -> float:
        """The distance from the centre at which neighbours begin to show.

        Parameters
        ----------
        radius : float
            Of the particles, pixels.

        Returns
        -------
        float
            Pixels; infinity where no neighbours show.
        """
        if self.count < FEWEST:
            return float("inf")
        mean, square = (self.sums / self.count).cpu().numpy()
        own = square - mean**2
        distance = self.radius.cpu().numpy()
        edges = np.arange(NEAR * radius, self.box / 2, self.side)
        if len(edges) < 3:
            return float("inf")
        place = np.digitize(distance, edges) - 1  # the last bin reaches into the corners
        variance = np.array([own[place == k].mean() for k in range(len(edges))])
        lowest = int(variance.argmin())
        error = np.sqrt(2 / self.count / np.array([(place == k).sum() for k in range(len(edges))]))
        loud = variance > variance[lowest] * (1 + LOUDER + 3 * error)
        # Nothing but a rise that lasts to the edge of the box is of neighbours.
        quiet = np.flatnonzero(~loud[lowest:])
        first = lowest + int(quiet[-1]) + 1
        # What begins within a cell shows clearly in the next one only.
        return float(edges[max(first - 1, 0)]) if first < len(edges) else float("inf")
