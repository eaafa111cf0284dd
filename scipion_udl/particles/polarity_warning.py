"""Bright particles on a dark ground, or dark ones on a bright ground? What the user is told of it; polarity.py decides.

Alignment itself needs no answer: networks see amplitudes, which a change of sign leaves as they are, and particles are
compared with averages of their own.
"""

from __future__ import annotations

from scipion_udl.messages import Message, message
from scipion_udl.particles.scan import Scan

WORDS = {"bright": "bright on a dark ground", "dark": "dark on a bright ground"}


def polarity_of(found: Scan) -> str:
    """Whether particles are bright or dark: see :mod:`scipion_udl.particles.polarity`.

    Parameters
    ----------
    found : Scan
        Of a set.

    Returns
    -------
    str
        "bright", "dark" or "unknown".
    """
    return found.polarity.word


def polarity_warning(found: Scan, expected: str) -> Message | None:
    """The sentence for the user where particles clearly look otherwise than expected.

    Parameters
    ----------
    found : Scan
        Of a set.
    expected : str
        auto, bright or dark.

    Returns
    -------
    Message or None
        None where they do not.
    """
    seen = polarity_of(found)
    if expected == "auto" or seen in ("unknown", expected):
        return None
    return message(
        "polarity_unexpected",
        seen=WORDS[seen],
        wanted=WORDS[expected],
        expected=expected,
        count=found.polarity.count,
        chi_square=abs(found.polarity.ratio),
    )
