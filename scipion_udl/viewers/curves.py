"""The FRC curves of many classes on one pair of axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np
from matplotlib.axes import Axes

from scipion_udl.report import figures

THRESHOLD = 0.143
UNCLAIMED = "#aeb8c2"  # of curves by which nothing is claimed
MOST_LABELS = 20  # numbers of classes that are written on their curves
BETWEEN = (0.9, 0.2)  # FRC of the first label and of the last


@dataclass
class Curve:
    """The FRC of a class: its number (0 of a set of one view), frequency (F,) in 1/angstrom, frc (F,), and the
    resolution that is claimed, angstrom, None for none."""

    number: int
    frequency: np.ndarray
    frc: np.ndarray
    resolution: Optional[float]

    @property
    def words(self) -> str:
        """What a title says of it behind "FRC of two halves": nothing for a set of one view."""
        return f" of class {self.number}" if self.number else ""


def draw_classes(axes: Axes, curves: Sequence[Curve], left_out: int, unit: str) -> None:
    """Draw the curves of classes: dark with their numbers where a resolution is claimed, pale where none is.

    left_out: how many classes are flagged, and not among ``curves``; unit: of the resolution.
    """
    top = max((curve.frequency for curve in curves), key=lambda frequency: frequency[-1])
    figures.draw_frc(axes, top, np.full(len(top), np.nan), THRESHOLD, None, unit)
    claimed = [curve for curve in curves if curve.resolution]
    others = [curve for curve in curves if not curve.resolution]
    for some, colour, words in ((others, UNCLAIMED, "none claimed"), (claimed, figures.INK, "resolution claimed")):
        for k, curve in enumerate(some):
            label = f"{words}: {_classes(len(some))}" if k == 0 else None
            axes.plot(curve.frequency, curve.frc, color=colour, lw=1.1, label=label)
    for curve, height in zip(claimed, np.linspace(*BETWEEN, min(len(claimed), MOST_LABELS))):
        _label(axes, curve, height)
    axes.legend(loc="upper right")
    flagged = f"; {_classes(left_out)} flagged as junk left out" if left_out else ""
    axes.set_title(f"FRC of two halves of {_classes(len(curves))}{flagged}")


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"


def _label(axes: Axes, curve: Curve, height: float) -> None:
    """The number of a class on its curve, where that first falls to a height."""
    below = np.flatnonzero(curve.frc <= height)
    place = below[0] if len(below) else len(curve.frc) - 1
    axes.annotate(
        str(curve.number),
        (curve.frequency[place], curve.frc[place]),
        ha="center",
        va="center",
        fontsize=8,
        color=figures.BLUE,
        bbox={"facecolor": "white", "alpha": 0.8, "pad": 0.6, "lw": 0},
    )
