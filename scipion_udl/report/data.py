"""What the report shows, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scipion_udl.imaging.poses import Poses

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class ClassEntry:
    """A class as the page shows it.

    figures: its entry among the classes of summary.json; after: (D, D) float, plain mean of its aligned particles;
    before: the same of particles as they came, None where it is not known; frc: (F,) of its halves, from Fourier pixel
    1, None where it is not known; examples: (label, score, small low-passed copy of the aligned image) of its best and
    worst particles, any order: the page sorts them by score and shows the upper half as the best.
    """

    figures: dict
    before: np.ndarray | None
    after: np.ndarray
    frc: np.ndarray | None
    examples: list[tuple[str, float, np.ndarray]] = field(default_factory=list)


@dataclass
class PageData:
    """What all pages are made of. summary: the dict of summary.json."""

    summary: dict

    @property
    def pixel_size(self) -> float:
        """Pixel size in A, or 1.0 where it is unknown."""
        return float(self.summary.get("pixel_size") or 1.0)

    @property
    def pixel_size_known(self) -> bool:
        """Whether lengths may be given in A."""
        return bool(self.summary.get("pixel_size_known", True))

    @property
    def unit(self) -> str:
        """What lengths are given in: A, or pixels where the pixel size is unknown."""
        return "Å" if self.pixel_size_known else "px"


@dataclass
class SelectionData(PageData):
    """What the page of a selection shows. classes: all of them, chosen or not; table: what `select` was given;
    kept: how many particles are chosen, of how many; left_out: what the others lack, and how many they are."""

    classes: list[ClassEntry]
    table: str
    kept: tuple[int, int]
    left_out: list[tuple[str, int]]


@dataclass
class ComparisonData(PageData):
    """What the page of a comparison shows. averages: of each run, by class number, (D, D); matrices: the picture of
    where the classes of the first run lie in each other one."""

    averages: list[dict[int, np.ndarray]]
    matrices: Figure


@dataclass
class ReportData(PageData):
    """Everything the page of an alignment shows, as plain data.

    summary: the dict of summary.json; average_before, average_after: (D, D) float, the plain means of the particles as
    they came and aligned; frc: (frequency in 1/A (F,), frc (F,)) of the two halves, or None;
    frc_independent: whether the halves were refined apart from each other in the last rounds;
    training: one dict an epoch (epoch, stage, loss, validation, ...), or None where nothing was trained here;
    poses: of N particles; score: (N,) float, a correlation, higher is better; ambiguous: (N,) bool, the two candidates
    180 degrees apart could not be told apart; examples: (label, score, image as it came (D, D), aligned image (D, D)),
    any order: the page sorts them by score and shows the upper half as the best; outlier: (N,) bool, the score lies far
    below those of the others, None where nobody asked; classes: where each class was aligned by itself, in ascending
    order; then averages and frc are theirs (None here); table: what `select` chooses from these classes by.
    """

    average_before: np.ndarray | None
    average_after: np.ndarray | None
    frc: tuple[np.ndarray, np.ndarray] | None
    frc_independent: bool
    training: list[dict] | None
    poses: Poses
    score: np.ndarray
    ambiguous: np.ndarray
    examples: list[tuple[str, float, np.ndarray, np.ndarray]] = field(default_factory=list)
    outlier: np.ndarray | None = None
    classes: list[ClassEntry] = field(default_factory=list)
    table: str = "RUN"

    @property
    def sorted(self) -> bool:
        """Whether the run sorted the particles into the classes that it aligned."""
        return "flagged_particles" in self.summary
