"""Classes that show the same view, whatever way they are turned, moved or mirrored: a tree of them, and superclasses.

Averages are compared as :mod:`similarity` compares templates, in any pose and mirrored, up to a detail that class
averages of few particles show, too, and with all Fourier rings as loud as each other: how loud they are depends on CTF
and filters, and the coarsest ones, by far the loudest, look alike from all sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from scipion_udl.classification.reference_bank import reference_coefficients
from scipion_udl.classification.similarity import correlations
from scipion_udl.constants import AUTOMATIC_SHIFT
from scipion_udl.imaging.polar_samples import EDGE, AngularTransform, PolarSampling
from scipion_udl.models.class_bank import ClassBank

PERIODS = 3.0  # of the finest detail that is compared, in the width of what averages show
FEWEST_RINGS = 4
QUIET = 1e-6  # of the loudest ring: where the classes show less, nothing is made loud
# Where the tree is cut: mean 1 - correlation. Chosen by `python -m benchmarks.many_views.superclasses`, of averages of
# the five 3D phantoms whose views are known: at an SNR of 10 (and 2) 94 % (93) of the pairs whose views lie less than
# 10 degrees apart share a superclass, 74 % (67) of those at 10 to 15 degrees, 51 % (47) at 15 to 20, 13 % (11) at 25 to
# 30, 9 % (7) at 30 to 40. At 0.25 the last would be 16 %.
LIMIT = 0.2


@dataclass
class Superclasses:
    """Of K classes: number (K,), from 1, which has the most particles; merges (K - 1, 4), how classes come together, as
    of :func:`scipy.cluster.hierarchy.linkage`; limit: the distance at which the tree is cut."""

    number: np.ndarray
    merges: np.ndarray
    limit: float = LIMIT

    def as_figures(self) -> dict[str, Any]:
        """What summary.json says of the tree.

        Returns
        -------
        dict
            limit; merges: rows (one, other, distance, classes); classes count from 0, what a merge makes from K.
        """
        rows = [[int(a), int(b), round(float(height), 4), int(count)] for a, b, height, count in self.merges]
        return {"limit": self.limit, "merges": rows}

    def of(self, chosen: np.ndarray) -> Superclasses:
        """The superclasses of some of the classes, which keep their numbers.

        Parameters
        ----------
        chosen : (k,) int array
            Classes, from 0, ascending.

        Returns
        -------
        Superclasses
            Of these, with the tree that is left of that of all.
        """
        count = len(self.number)
        node: dict[int, tuple[int, int]] = {int(old): (new, 1) for new, old in enumerate(chosen)}
        merges: list[tuple[float, float, float, float]] = []
        for made, (a, b, height, _) in enumerate(self.merges, count):
            both = [node[int(one)] for one in (a, b) if int(one) in node]
            if len(both) == 2:
                (first, few), (second, more) = both
                merges.append((first, second, height, few + more))
                node[made] = len(chosen) + len(merges) - 1, few + more
            elif both:
                node[made] = both[0]
        return Superclasses(self.number[chosen], np.array(merges).reshape(-1, 4), self.limit)


def superclasses(images: np.ndarray, radius: float, sizes: np.ndarray, limit: float = LIMIT) -> Superclasses:
    """Group class averages by the view that they show.

    Parameters
    ----------
    images : (K, D, D) array
        Averages, origin at pixel D // 2.
    radius : float
        Of the particle, pixels.
    sizes : (K,) array
        Particles of each class.
    limit : float, optional
        The mean distance, 1 - correlation, up to which groups of classes come together.

    Returns
    -------
    Superclasses
        Numbered by how many particles they have, the largest first.
    """
    if len(images) == 1:
        return Superclasses(np.ones(1, np.int64), np.zeros((0, 4)), limit)
    merges = tree_of(view_similarity(images, radius))
    label = hierarchy.fcluster(merges, limit, "distance") - 1
    particles = np.bincount(label, weights=sizes)
    first = np.array([np.flatnonzero(label == one)[0] for one in range(len(particles))])
    place = np.empty(len(particles), np.int64)
    place[np.lexsort((first, -particles))] = np.arange(1, len(particles) + 1)
    return Superclasses(place[label], merges, limit)


def with_names_kept(found: Superclasses, before: np.ndarray, sizes: np.ndarray) -> Superclasses:
    """Superclasses under the numbers that they had before their classes grew.

    Parameters
    ----------
    found : Superclasses
        Of K classes.
    before : (K,) int array
        The numbers that the classes had, 0 for none.
    sizes : (K,) array
        Particles of each class.

    Returns
    -------
    Superclasses
        Each has the number that most of its particles had, where no larger one has it already; the others follow on
        the highest.
    """
    given: set[int] = set()
    number, highest = np.zeros_like(found.number), int(before.max(initial=0))
    for group in np.argsort(-np.bincount(found.number, weights=sizes)[1:], kind="stable") + 1:
        own = found.number == group
        held = np.bincount(before[own], weights=sizes[own], minlength=highest + 1)
        held[[0, *given]] = 0
        name = int(held.argmax())
        if not held[name]:
            highest += 1
            name = highest
        given.add(name)
        number[own] = name
    return replace(found, number=number)


def tree_of(similarity: np.ndarray) -> np.ndarray:
    """How classes come together, the most similar first (average linkage).

    Parameters
    ----------
    similarity : (K, K) array
        Symmetric; at most 1.

    Returns
    -------
    (K - 1, 4) array
        As of :func:`scipy.cluster.hierarchy.linkage`, of distances 1 - similarity.
    """
    distance = np.clip(1 - similarity, 0, None)
    np.fill_diagonal(distance, 0)
    return hierarchy.linkage(squareform(distance, checks=False), "average")


def view_similarity(images: np.ndarray, radius: float) -> np.ndarray:
    """How alike the views of class averages are, in-plane rotation, shift and mirror removed.

    Parameters
    ----------
    images : (K, D, D) array
        Averages, origin at pixel D // 2.
    radius : float
        Of the particle, pixels.

    Returns
    -------
    (K, K) array
        Correlations, symmetric; 0 with an average that shows nothing.
    """
    images = np.asarray(images, np.float64)
    loudness = np.abs(images).max(axis=(1, 2), keepdims=True)  # averages may come in any unit
    images = np.divide(images, loudness, out=np.zeros_like(images), where=loudness > 0)
    box = images.shape[-1]
    most = box // 2 - 1
    rings = int(np.clip(round(PERIODS * box / (2 * shown_radius(images, radius))), min(FEWEST_RINGS, most), most))
    sampling = PolarSampling(box, rings, mask=min(0.5, radius / box + EDGE / 2))
    transform = AngularTransform(sampling, rings)
    coefficients = reference_coefficients(images, 1.0, sampling, torch.device("cpu"))
    bank = ClassBank(len(images), rings, transform.orders, sampling.angles)
    bank.set(evenly_loud(coefficients, transform))
    both = [correlations(bank, sampling, AUTOMATIC_SHIFT * box, mirror) for mirror in (False, True)]
    found = np.maximum(*both)
    return np.maximum(found, found.T)


def shown_radius(images: np.ndarray, radius: float) -> float:
    """The radius of an even disc that is as wide as what class averages show in the particle.

    A disc about the particle is often larger than the particle, and the whole box where nobody knows better.

    Parameters
    ----------
    images : (K, D, D) array
        Averages, origin at pixel D // 2.
    radius : float
        Of the particle, pixels; what lies outside is noise.

    Returns
    -------
    float
        Pixels; ``radius`` where the averages show nothing.
    """
    box = images.shape[-1]
    y, x = np.indices((box, box)) - box // 2
    distance = np.hypot(x, y)
    inside = distance <= min(radius, box / 2 - 1)
    images = images - np.median(images, axis=(1, 2), keepdims=True)
    loudness = np.square(images).mean((1, 2), keepdims=True)
    power = (np.square(images) / np.maximum(loudness, 1e-30)).mean(0)
    power = np.clip(power - np.median(power[~inside]), 0, None) * inside
    return float(np.sqrt(2 * (power * distance**2).sum() / power.sum())) if power.any() else radius


def evenly_loud(coefficients: torch.Tensor, transform: AngularTransform) -> torch.Tensor:
    """Coefficients with all rings as loud as each other in the mean of the classes.

    Parameters
    ----------
    coefficients : (K, rings, orders) complex tensor
        Of class averages.
    transform : AngularTransform
        Of the same rings.

    Returns
    -------
    (K, rings, orders) complex tensor
        Each class as loud as any other on the whole, each ring by its number of independent coefficients.
    """
    power = (coefficients.abs().square() * transform.weight).sum(-1)
    share = (power / power.sum(1, keepdim=True).clamp(min=1e-30)).mean(0) / transform.root.square()
    return coefficients * share.clamp(min=float(share.max()) * QUIET + 1e-30).rsqrt()[:, None]
