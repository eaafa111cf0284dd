"""What tells a particle from junk among the particles of its class: numbers that mean the same in every set."""

from __future__ import annotations

import numpy as np

from scipion_udl.quality.class_features import TINY, ClassEvidence, SetEvidence, middle
from scipion_udl.quality.leftovers import NAMES as LEFT

NAMES = (
    "class_evidence",
    "score",
    "score_in_class",
    "score_to_limit",
    "matter",
    "matter_in_class",
    "loudness",
    "loudness_in_class",
    "loud",
    "outlier",
    "shift",
    "shift_in_class",
    *LEFT,
    *(f"{name}_in_class" for name in LEFT),
)
EVIDENCE = NAMES.index("class_evidence")


def particle_features(
    classes: list[ClassEvidence], whole: SetEvidence, evidence: np.ndarray, left: np.ndarray
) -> np.ndarray:
    """The numbers of each particle.

    Parameters
    ----------
    classes : list of ClassEvidence
        K of them; every particle is in one.
    whole : SetEvidence
        Their set, N particles.
    evidence : (K,) array
        How much speaks for each class, nats: :meth:`Judge.evidence`.
    left : (N, L) array
        What each particle shows beside its class's average: :meth:`Leftovers.measure`.

    Returns
    -------
    (N, len(NAMES)) float64 array
        In the order of NAMES; all finite. Those of blank images mean nothing.
    """
    out = np.zeros((len(whole.blank), len(NAMES)))
    sizes = np.array([len(one.members) for one in classes], np.float64)
    scores = [np.log(np.clip(one.score, 1e-3, None)) for one in classes]
    usual = middle(np.array([np.median(score) for score in scores]), sizes)
    loudness = np.log(whole.loudness + TINY)
    matter = np.nan_to_num(whole.matter, nan=1.0)
    usual_loudness, usual_matter = np.median(loudness[~whole.blank]), np.median(matter[~whole.blank])
    for one, score, own in zip(classes, scores, evidence):
        shift = np.hypot(*one.shift.T) / whole.radius
        members = one.members
        here = np.stack(
            [
                np.full(len(members), own),
                score - usual,
                _deviations(score),
                score - np.log(max(one.score_limit, 1e-3)) if np.isfinite(one.score_limit) else np.zeros(len(members)),
                matter[members] - usual_matter,
                _deviations(matter[members]),
                loudness[members] - usual_loudness,
                _deviations(loudness[members]),
                whole.loud[members],
                one.outlier,
                shift,
                shift - np.median(shift),
            ],
            1,
        )
        beside = left[members]
        out[members] = np.concatenate([here, beside, beside - np.median(beside, axis=0)], 1)
    return out


def with_evidence(numbers: np.ndarray, place: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """The numbers of particles once their classes are judged.

    Parameters
    ----------
    numbers : (n, len(NAMES)) array
        Of the particles.
    place : (n,) int array
        The class of each, from 0.
    evidence : (K,) array
        How much speaks for each class, nats: :meth:`Judge.evidence`.

    Returns
    -------
    (n, len(NAMES)) array
        A new one.
    """
    numbers = numbers.copy()
    numbers[:, EVIDENCE] = evidence[place]
    return numbers


def _deviations(values: np.ndarray) -> np.ndarray:
    """How far values lie from their median, in deviations as their quartiles tell them."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return (values - median) / max((high - low) / 1.349, 0.05)
