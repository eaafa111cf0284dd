"""How well class averages show what they should: each beside the noise-free projection of its molecule on its axis."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.many_views.spread import Classes, axis_of
from benchmarks.scores import TRUE_LEVEL, falls_to, true_frc
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.stacks import StackReader
from scipion_udl.simulation.molecules import BlobMolecule
from scipion_udl.validation.reference_match import match_reference


@dataclass
class TrueView:
    """What the average of a class should show.

    number: of the class, from 1; members; average: (D, D) as it is; projection: (D, D), of the molecule that most
    members show, along their axis, rotated and shifted as the average is, in the hand that fits it better; frequency:
    1/px, where the Fourier ring correlation of the two falls to 0.5, 0 where it never is above.
    """

    number: int
    members: int
    average: np.ndarray
    projection: np.ndarray
    frequency: float


def true_view(average: np.ndarray, molecule: BlobMolecule, axis: np.ndarray) -> tuple[np.ndarray, float]:
    """The projection of a molecule along ``axis`` (3,), from either end of it, that an average (D, D) shows, in the
    frame of the average, and the frequency (1/px) up to which the two agree.

    The average is laid on the projection by the package's own search, and then the projection is made once more in the
    place that was found, by formula: nothing is resampled.
    """
    average = np.asarray(average, np.float64)
    found = []
    for end in (axis, -axis):
        still = molecule.project(end[None], Poses.identity(1))[0]
        match = match_reference(average, still, 1.0)
        found.append((match.correlation, end, match.pose))
    _, end, pose = max(found, key=lambda one: one[0])
    projection = molecule.project(end[None], pose)[0].astype(np.float64)
    return projection, falls_to(true_frc(average, projection), TRUE_LEVEL) / len(average)


def true_views(classes: Classes, averages: Path, most: int | None = None) -> list[TrueView]:
    """Those of the classes that count and are not flagged as noise, or of the largest ``most`` of them, the largest
    first.

    averages: a stack whose image k is that of class k, from 1.
    """
    stack = StackReader(str(averages))
    counted = [
        (int((classes.label == number).sum()), number, own)
        for number, own in classes.counted()
        if not classes.flagged[own].any()
    ]
    out = []
    for members, number, own in sorted(counted, key=lambda one: (-one[0], one[1]))[:most]:
        average = stack.read(np.array([number - 1]))[0]
        shown = classes.molecule[own]
        shown = shown == np.bincount(shown).argmax()
        molecule = classes.truth.molecules[int(classes.molecule[own[shown]][0])]
        projection, frequency = true_view(average, molecule, axis_of(classes.direction[own[shown]]))
        out.append(TrueView(number, members, average, projection, frequency))
    return out


def resolutions(classes: Classes, averages: Path, pixel_size: float, table: Path | None = None) -> dict:
    """Medians over the classes of :func:`true_views`, angstrom: ``resolution_true``, where the average and the true
    projection agree to 0.5; ``resolution_claimed``, over those of which classes.csv ``table`` claims one, and
    ``claims``, how many these are. None where there is nothing; a class that agrees nowhere counts as infinitely
    coarse."""
    views = true_views(classes, averages)
    true = [pixel_size / view.frequency if view.frequency else np.inf for view in views]
    claims = claimed(table) if table else {}
    own = [claims[view.number] for view in views if claims.get(view.number)]
    return {"resolution_true": _median(true), "resolution_claimed": _median(own), "claims": len(own) if table else None}


def claimed(table: Path) -> dict[int, float | None]:
    """The resolution, angstrom, that classes.csv claims of each class by its number."""
    with table.open(newline="") as file:
        return {int(row["class"]): float(row["resolution"] or 0) or None for row in csv.DictReader(file)}


def _median(values: list[float]) -> float | None:
    middle = float(np.median(values)) if values else np.inf
    return round(middle, 1) if np.isfinite(middle) else None
