"""What the programs made of sets with effects, against the truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.many_views.particles import Truth
from benchmarks.many_views.resolution import resolutions
from benchmarks.many_views.spread import Classes, spread
from benchmarks.real_effects.sets import PickTruth
from benchmarks.scores import MASK_RADIUS, TRUE_LEVEL, falls_to, joined, moved_template, rotation_figures
from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.half_set_frc import image_frc
from scipion_udl.imaging.poses import Poses, pose_errors
from scipion_udl.io import dialects
from scipion_udl.io.images import read_image
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import read_tables
from scipion_udl.validation.pose_errors import join


@dataclass
class Sorted:
    """What a program made of the picks of a set. rows: (M,) numbers in the truth; away: (M,) bool, in a flagged class
    or an outlier; outlier, flagged: (M,) bool each."""

    rows: np.ndarray
    outlier: np.ndarray
    flagged: np.ndarray

    @property
    def away(self) -> np.ndarray:
        """In a flagged class, or an outlier."""
        return self.outlier | self.flagged


def picks(result: Sorted, truth: PickTruth) -> dict:
    """Shares: ``lost`` of the particles in flagged classes, ``good_outliers`` of them flagged as outliers, ``caught``
    of the junk in flagged classes or flagged as outliers, and ``caught_kinds``, the same by kind; None without junk."""
    kind = truth.kind[result.rows]
    good = kind == "none"
    kinds = sorted(set(kind[~good]))
    return {
        "lost": _share(result.flagged[good]),
        "good_outliers": _share(result.outlier[good]),
        "caught": _share(result.away[~good]),
        "caught_kinds": " ".join(f"{one}:{result.away[kind == one].mean():.2f}" for one in kinds),
    }


def _share(flags: np.ndarray) -> float | None:
    return round(float(flags.mean()), 4) if len(flags) else None


def _flags(table: Path, label: str) -> np.ndarray:
    particles = dialects.find_particles(str(table), read_tables(str(table)))[0]
    return particles.numbers(label) > 0 if label in particles else np.zeros(len(particles), bool)


def of_classes(classes: Classes, outlier: np.ndarray, truth: PickTruth) -> dict:
    """Figures of a classification: the spread of its views, the largest class's share of all, and :func:`picks`."""
    found = spread(classes)
    sizes = np.unique(classes.label, return_counts=True)[1]
    figures = {"spread": found["median"], "spread_mean": found["mean"], "classes": found["counted"]}
    figures["largest"] = round(float(sizes.max() / sizes.sum()), 4)
    return figures | picks(Sorted(classes.rows, outlier, classes.flagged), truth)


def of_classify(folder: Path, out: Path) -> dict:
    """Figures of `classify` in ``out`` on the set in ``folder``, what it claims of its classes included."""
    truth, table = Truth.read(folder), out / "classes.star"
    classes = Classes.read(table, truth)
    figures = of_classes(classes, _flags(table, dialects.OUTLIER_LABEL), PickTruth.read(folder))
    pixel_size = open_particles(str(folder / "particles.star")).pixel_size
    found = resolutions(classes, out / "averages.mrcs", pixel_size, out / "classes.csv")
    return figures | {name.removeprefix("resolution_"): value for name, value in found.items()}


def of_poses(found: Poses, truth: Poses) -> dict:
    """Share of the particles (M,) within 5 degrees, and their median rotation error in degrees, modulo the common
    transform."""
    errors = rotation_figures(found, truth, 360.0, "360")
    return {"within_5": round(errors["within_5_360"], 4), "median_error": round(errors["median_360"], 3)}


def of_align(folder: Path, out: Path) -> dict:
    """Figures of `align` in ``out`` on the set in ``folder``: poses of the particles, junk and particles flagged as
    outliers, what it claims and what is true, and whether it says that the views are mixed."""
    truth, table = PickTruth.read(folder), out / "aligned.star"
    source = open_particles(str(table))
    rows, true_rows = join(source.locations(), truth.images)
    good = truth.good[true_rows]
    found, true = source.poses()[rows][good], truth.poses[true_rows][good]
    outlier = _flags(table, dialects.OUTLIER_LABEL)[rows]
    figures = of_poses(found, true) | picks(Sorted(true_rows, outlier, np.zeros(len(rows), bool)), truth)
    summary = json.loads((out / "summary.json").read_text())
    told = " ".join([*summary.get("warnings", []), summary.get("resolution_note") or ""])
    figures |= {"claimed": summary["resolution"], "mixed": int("views are mixed" in told)}
    template = moved_template(read_image(str(folder / "template.mrc"))[0], pose_errors(found, true))
    radius = summary.get("mask_radius") or MASK_RADIUS * len(template)
    figures["true"] = true_resolution(out / "average_weighted.mrcs", template, radius, summary["pixel_size"])
    return figures


def true_resolution(average: Path, template: np.ndarray, radius: float, pixel_size: float) -> float | None:
    """Where the FRC of an average with the true view (D, D) in its frame falls to 0.5, angstrom, within a soft disc of
    ``radius`` pixels; None where it is below everywhere."""
    image, box = read_image(str(average))[0], len(template)
    mask = soft_disc(box, radius, max(4.0, 0.06 * box))
    ring = falls_to(image_frc(torch.from_numpy(image), torch.from_numpy(template), mask), TRUE_LEVEL)
    return round(box * pixel_size / ring, 2) if ring else None


def of_oracle(data: Path, poses: Path) -> dict:
    """Figures of the oracle's poses (poses.star) on the particles that it was given in ``data``."""
    return of_poses(*joined(poses, data / "truth.star"))
