"""Made-up classes for the pages of the report, of white noise: nothing packs worse."""

from __future__ import annotations

import numpy as np

from scipion_udl.imaging.poses import Poses
from scipion_udl.report.data import ClassEntry, ReportData
from scipion_udl.report.pictures import for_the_eye

PIXEL_SIZE = 1.5
REASONS = (["class_looks_good"], ["class_few", "class_gradient"])


def figures_of(number: int, rng: np.random.Generator, count: int) -> dict:
    """What summary.json says of a class."""
    good = bool(rng.random() < 0.7)
    return {
        "class": number, "particles": int(rng.integers(20, 900)), "crossing": round(float(rng.uniform(5, 40)), 3),
        "resolution": round(float(rng.uniform(8, 20)), 2) if good else None, "score_mean": float(rng.random()),
        "quality": round(float(rng.uniform(0.5, 1) if good else rng.uniform(0, 0.49)), 3), "reasons": REASONS[not good],
        "inside": round(float(rng.random()), 2), "view": 1 + (number * 7) % count, "superclass": 1 + number // 4,
        "flagged": not good, "flag": "" if good else "noise", "note": "Its particles fit no better than noise would.",
        "outliers": 3, "ambiguous": 0, "mirror_of": None, "warnings": [], "signal_found": good,
    }  # fmt: skip


def class_entries(count: int, box: int = 64, seed: int = 0) -> list[ClassEntry]:
    """So many classes, with everything that a page shows of each."""
    rng = np.random.default_rng(seed)
    rings = np.arange(1, box // 2)
    return [
        ClassEntry(
            figures_of(number, rng, count),
            *rng.normal(size=(2, box, box)),
            np.exp(-rings / 10) + rng.normal(0, 0.05, len(rings)),
            [(f"item {k}", float(rng.random()), for_the_eye(rng.normal(size=(box, box)))) for k in range(6)],
        )
        for number in range(1, count + 1)
    ]


def class_data(classes: list[ClassEntry], table: str = "classes1") -> ReportData:
    """What the page of a classification is made of."""
    box, rng = len(classes[0].after), np.random.default_rng(1)
    total = sum(one.figures["particles"] for one in classes)
    summary = {
        "version": "0.1.0", "command": "scipion-udl classify particles.star -o classes1", "input": "particles.star",
        "particles": total, "box": box, "pixel_size": PIXEL_SIZE, "pixel_size_known": True, "warnings": [],
        "classes": [one.figures for one in classes], "flagged_particles": 0, "resolution": None,
    }  # fmt: skip
    poses = Poses(rng.uniform(-180, 180, total), rng.normal(0, 3, (total, 2)))
    examples = [(f"item {k}", 0.1 * k, *rng.normal(size=(2, box, box))) for k in range(12)]
    return ReportData(
        summary, None, None, None, True, None, poses, rng.normal(0.3, 0.05, total), np.zeros(total, bool), examples,
        classes=classes, table=table,
    )  # fmt: skip
