"""Why a class is taken for good or not: what its numbers tell, as codes of messages."""

from __future__ import annotations

import numpy as np

from scipion_udl.messages import Message, message
from scipion_udl.quality.judge import Judge

# What the numbers of class_features.py tell, by the code of its sentence.
TOLD = {
    "class_faint": ["signal_coarse", "signal_middling", "signal_fine", "signal_level_middling", "signal_level_fine"],
    "class_halves_differ": ["halves_agree"],
    "class_off_centre": ["off_centre"],
    "class_other_shape": ["width", "elongation", "profile_strength", "profile_likeness"],
    "class_gradient": ["ramp"],
    "class_beside_particle": ["power_beside", "matter_beside"],
    "class_unlike_others": ["likeness_best", "likeness_mean"],
    "class_matter": ["matter", "matter_level"],
    "class_loud": ["loudness", "loudness_spread", "loud_share"],
    "class_scattered_scores": ["outlier_share", "score", "score_spread"],
    "class_few": ["share", "particles"],
    "class_shifted": ["shifts"],
}
COUNTS = 0.5  # nats: what speaks less against a class is not told
MOST = 3  # reasons of a class


def reasons(judge: Judge, numbers: np.ndarray) -> list[list[Message]]:
    """What speaks against each class, the most weighty first.

    Parameters
    ----------
    judge : Judge
        Of classes.
    numbers : (K, F) array
        Of :func:`class_features`.

    Returns
    -------
    list of list of Message
        K: MOST each at most; one that says so where nothing does.
    """
    against = judge.against(numbers, TOLD)
    codes = list(against)
    weights = np.stack([against[code] for code in codes], 1)
    found = []
    for own in weights:
        order = [k for k in np.argsort(-own, kind="stable")[:MOST] if own[k] >= COUNTS]
        found.append([message(codes[k]) for k in order] or [message("class_looks_good")])
    return found
