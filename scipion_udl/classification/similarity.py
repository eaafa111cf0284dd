"""Which classes look alike, and which are each other's mirror image."""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.classification.class_search import Comparer
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.models.class_bank import ClassBank

MIRRORED = 0.9  # correlation with the mirror image from which on it is said


def correlations(bank: ClassBank, sampling: PolarSampling, search_range: float, mirror: bool) -> np.ndarray:
    """How well each template fits each other one, or its mirror image, in any pose.

    Parameters
    ----------
    bank : ClassBank
        K templates.
    sampling : PolarSampling
        How particles are sampled for them.
    search_range : float
        How far they are shifted along either axis, working pixels.
    mirror : bool
        Whether mirror images are compared with templates.

    Returns
    -------
    (K, K) array
        Correlations; row: the one that is moved.
    """
    comparer, templates = Comparer(bank, sampling, search_range), bank.complex
    seen = comparer.transform.mirrored(templates) if mirror else templates
    samples, waves = comparer.transform.backward(seen), comparer.transform.waves(comparer.grid)
    power = (templates.abs().square() * comparer.transform.weight).sum((-2, -1))
    out: list[torch.Tensor] = []
    for one in samples:
        coefficients = comparer.transform.forward(one[None, None] * waves)
        inner = bank(coefficients, torch.zeros(1, comparer.rings, device=one.device)).inner[0]
        out.append(inner / (power * power[len(out)]).sqrt().clamp(min=1e-12))
    return torch.stack(out).cpu().numpy()


def mirror_pairs(mirrored: np.ndarray, flagged: np.ndarray) -> list[int | None]:
    """For each class the one whose mirror image it is, where both find each other.

    Parameters
    ----------
    mirrored : (K, K) array
        Correlations of mirror images with templates.
    flagged : (K,) bool array
        Classes that are left out.

    Returns
    -------
    list of int or None
        Classes, from 0; itself if it is its own; None where it is nobody's.
    """
    values = mirrored.copy()
    values[flagged] = values[:, flagged] = -1
    best = values.argmax(1)
    own = np.arange(len(values))
    sure = (best[best] == own) & (values[own, best] > MIRRORED)
    return [int(b) if s else None for b, s in zip(best, sure)]


def by_similarity(similarity: np.ndarray) -> np.ndarray:
    """An order of the classes in which neighbours look alike: from the first on, the most similar of the rest.

    Parameters
    ----------
    similarity : (K, K) array
        Correlations of the templates.

    Returns
    -------
    (K,) int array
        Classes, from 0.
    """
    order, rest = [0], set(range(1, len(similarity)))
    while rest:
        order.append(max(rest, key=lambda k: (similarity[order[-1], k], -k)))
        rest.remove(order[-1])
    return np.array(order)
