"""Which classes show no particle in their middle: each flag has a code and a sentence.

A class of noise fits its template no better than noise would (assignment.py). A class of other things, of ice, of a
carbon edge, of neighbours about an empty place, may fit its template well, and its halves may agree; but it lacks the
matter that the particles of the set have in their middle, whatever side they are seen from: the rotational average of
a particle keeps it in any orientation. Or its images are far louder than particles are (loudness.py). And a class whose
signal lies outside of the particle's disc was brought into register there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.imaging.blur import gaussian_blur

NOISE, EMPTY, CONTAMINATION, OUTSIDE = "noise", "no_particle", "contamination", "outside"
SENTENCES = {
    NOISE: "Its particles fit no better than noise would: no resolution is claimed.",
    EMPTY: "Its images show hardly anything of the particle in their middle: no resolution is claimed.",
    CONTAMINATION: "Most of its images are far louder than particles are, as lumps of ice: no resolution is claimed.",
    OUTSIDE: "It was brought into register on what lies outside of the particle: no resolution is claimed.",
}
REASONS = {  # the same, of several classes
    NOISE: "their particles fit no better than noise would",
    EMPTY: "their images show hardly anything of the particle in their middle",
    CONTAMINATION: "most of their images are far louder than particles are, as lumps of ice or dirt",
    OUTSIDE: "they were brought into register on what lies outside of the particle",
}
# Of the matter that the particles of good classes show on the mean. Views of a long rod from its end and of a flat disc
# from its edge, the poorest of all, had 0.5 and more; classes of windows without one 0.2, of twelve of them 0.36 once.
LEAST_MATTER = 0.4
SURE = 2.0  # standard errors by which a class must show less
TIMES = 4  # that classes without matter are left out of what good ones show
LEAST_INSIDE = 0.5  # of the signal of an average, for it to be of the particle
CLEAR = 3.0  # standard deviations that the signal outside must exceed
SMOOTH = 0.012  # of the box: deviation of the Gaussian that averages are smoothed with before


def without_particle(label: np.ndarray, matter: np.ndarray, flagged: np.ndarray) -> np.ndarray:
    """Which classes show no particle in their middle.

    Parameters
    ----------
    label : (N,) int array
        Classes, from 0, of particles with an image.
    matter : (N,) array
        See :class:`scipion_udl.particles.scan.Scan`; all NaN where the set shows no particle, and nothing can be told.
    flagged : (K,) bool array
        Classes that are no measure of what good ones show.

    Returns
    -------
    (K,) bool array
        True for a class without a particle.
    """
    count = len(flagged)
    sizes = np.bincount(label, minlength=count)
    if not np.isfinite(matter).all() or not sizes[~flagged].sum():
        return np.zeros(count, bool)
    mean = np.bincount(label, matter, count) / np.maximum(sizes, 1)
    spread = np.bincount(label, (matter - mean[label]) ** 2, count).sum() / max(len(label) - count, 1)
    error = np.sqrt(spread / np.maximum(sizes, 1))
    good = ~flagged & (sizes > 0)
    for _ in range(TIMES):
        usual = (mean * sizes)[good].sum() / sizes[good].sum()
        little = (sizes > 0) & (mean + SURE * error < LEAST_MATTER * usual)
        if not (good & little).any() or not (good & ~little).any():
            break
        good &= ~little
    return little if usual > 0 else np.zeros(count, bool)


def shown_flags(label: np.ndarray, matter: np.ndarray, loud: np.ndarray, flagged: np.ndarray) -> np.ndarray:
    """The flags that classes have by what their images show.

    Parameters
    ----------
    label : (N,) int array
        Classes, from 0, of particles with an image.
    matter : (N,) array
        As of :func:`without_particle`.
    loud : (N,) bool array
        Which images are far louder than particles are.
    flagged : (K,) bool array
        Classes that are no measure of what good ones show.

    Returns
    -------
    (K,) str array
        EMPTY, CONTAMINATION, or "" for neither.
    """
    empty = without_particle(label, matter, flagged)
    return np.select([empty, mostly(label, loud, len(flagged))], [EMPTY, CONTAMINATION], "")


def mostly(label: np.ndarray, which: np.ndarray, count: int) -> np.ndarray:
    """Of which classes more than half of the particles are such.

    Parameters
    ----------
    label : (N,) int array
        Classes, from 0.
    which : (N,) bool array
        Which particles are such.
    count : int
        How many classes there are.

    Returns
    -------
    (count,) bool array
        False for a class without particles.
    """
    return np.bincount(label, which, count) > np.bincount(label, minlength=count) / 2


@dataclass
class Inside:
    """share: of an average's signal inside of the particle's disc, 0 to 1, None where nothing stands out of noise;
    outside: whether signal outside stands out of noise."""

    share: float | None
    outside: bool

    @property
    def registered_beside(self) -> bool:
        """Whether the average was brought into register on what lies beside the particle: most of its signal does."""
        return self.outside and self.share is not None and self.share < LEAST_INSIDE


def signal_inside(halves: tuple[np.ndarray, np.ndarray], radius: float, beyond: float) -> Inside:
    """Where the signal of an average lies: what two halves have in common once their rotational averages are taken off.

    A product of halves that know nothing of each other's noise is 0 on the mean where there is noise alone.

    Parameters
    ----------
    halves : tuple of two (D, D) arrays
        Averages of the halves.
    radius : float
        Inside is within it, pixels from the origin.
    beyond : float
        Outside is beyond it, pixels from the origin.

    Returns
    -------
    Inside
        What share lies inside, and whether it is to be told.
    """
    box = halves[0].shape[-1]
    axis = np.arange(box) - box // 2
    distance = np.hypot(axis, axis[:, None])
    ring = distance.round().astype(np.int64)
    first, second = (_azimuthal(half, ring, max(0.5, SMOOTH * box)) for half in halves)
    product = first * second
    within, without = distance < radius, (distance > beyond) & (distance < box / 2 - 1)
    if not without.any():
        return Inside(None, False)
    sums = [float(product[where].sum()) for where in (within, without)]
    # Smoothing leaves so many pixels that are independent of each other.
    area = 4 * np.pi * max(0.5, SMOOTH * box) ** 2
    noise = [
        float(np.sqrt((first[w] ** 2).mean() * (second[w] ** 2).mean()) * np.sqrt(w.sum() * area))
        for w in (within, without)
    ]
    seen = [total > CLEAR * own for total, own in zip(sums, noise)]
    if not any(seen):
        return Inside(None, False)
    inside, outside = (max(total, 0.0) for total in sums)
    return Inside(inside / (inside + outside), seen[1])


def _azimuthal(image: np.ndarray, ring: np.ndarray, sigma: float) -> np.ndarray:
    """An image (D, D), smoothed, less its rotational average."""
    smooth = gaussian_blur(torch.from_numpy(np.asarray(image, np.float64)), sigma, "nearest").numpy()
    mean = np.bincount(ring.ravel(), smooth.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    return smooth - mean[ring]
