"""The numbers of a run as tables of the report, and what files lie beside it."""

from __future__ import annotations

import numpy as np

from scipion_udl.constants import DIAMETER_FROM
from scipion_udl.report.data import ReportData
from scipion_udl.report.formatting import duration

NAMES = {
    "seconds": "time",
    "shift_rms": "shift, RMS",
    "score_mean": "mean score",
    "pixel_size": "pixel size",
    "resolution_note": "about the resolution",
    "signal_found": "signal found",
    "angles_sure": "angles right to 10°, expected",
    "fit": "a particle fits what the halves agree on by",
    "like_picked_noise": "as picking makes it of noise",
    "half_counts": "particles in the halves",
    "shared_ring": "start of the halves low-passed at ring",
    "ambiguous": "ambiguous particles",
    "box": "box",
    "refined": "refined in real space",
    "median_change": "angle changed later by, median",
    "within_5_degrees": "changed by less than 5°",
    "searched": "angles searched on the full circle",
    "lr": "learning rate",
    "validation": "held-out loss",
    "best_epoch": "best epoch",
    "diameter": "particle diameter",
    "mask_radius": "mask radius",
    "diameter_from": "particle diameter comes from",
}
UNITS = {
    "shift_rms": "px", "pixel_size": "Å", "box": "px", "median_change": "°", "diameter": "Å", "mask_radius": "px",
    "fit": "deviations of the noise",
}  # fmt: skip
SHARES = {"within_5_degrees", "angles_sure"}
NOT_LISTED = {
    "classes",
    "messages",
    "pixel_size_known",
    "warnings",
    "notes",
    "training",
    "network_only",
    "command",
    "version",
}


def _value(key: str, value: object, unit: str) -> str:
    """A value of the summary as text of the page."""
    if value is None:
        return "unknown" if key in ("pixel_size", "diameter") else "none"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if key == "diameter_from":
        return str(DIAMETER_FROM.get(str(value), value))
    if key == "seconds" and isinstance(value, (int, float)):
        return duration(value)
    if key in SHARES and isinstance(value, (int, float, np.floating)):
        return f"{100 * value:.1f}\u202f%"
    if isinstance(value, (float, np.floating)):
        value = f"{value:.4g}"
    elif isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return (
            ", ".join(
                f"{k} {_value(str(k), v, unit)}" if isinstance(value, dict) else _value("", v, unit) for k, v in items
            )
            or "none"
        )
    suffix = f" {unit}" if key == "resolution" else f" {UNITS[key]}" if key in UNITS else ""
    return f"{value}{suffix}"


def _rows(values: dict, unit: str) -> list[tuple[str, str]]:
    """The rows of a table: names for people, and values as text."""
    return [(NAMES.get(k, str(k).replace("_", " ")), _value(k, v, unit)) for k, v in values.items()]


def numbers(data: ReportData) -> dict[str, list]:
    """All figures of the run as rows.

    Parameters
    ----------
    data : ReportData
        What the report is made of.

    Returns
    -------
    dict of str to list
        "run", "network" and "training" as (name, value); "files": what lies beside the page, as (names, what they are).
    """
    s = data.summary
    listed = {k: v for k, v in s.items() if k not in NOT_LISTED}
    if not data.pixel_size_known:
        listed["pixel_size"] = None
    return {
        "run": _rows(listed, data.unit),
        "network": _rows(s.get("network_only") or {}, data.unit),
        "training": _rows(s.get("training") or {}, data.unit),
        "files": _files(bool(data.training), bool(data.classes), data.sorted),
    }


def _files(trained: bool, by_class: bool, sorted_: bool) -> list[tuple[list[str], str]]:
    """What lies beside the page."""
    of_one = {
        "average.mrcs": "the average shown above",
        "average_weighted.mrcs": "the average filtered by the FRC",
        "half1.mrcs half2.mrcs": "the averages of the two halves",
        "frc.csv": "the FRC curve as numbers",
    }
    of_classes = {
        "averages.mrcs": "the averages shown above, one image a class in this order",
        "averages.star": "the averages as references for RELION (--ref), one row a class",
        "averages_before.mrcs averages_weighted.mrcs": "the same before the alignment, and filtered by the FRC",
        "classes.csv": "a row a class: particles, resolution, score",
        "frc.csv": "the FRC curves as numbers",
    }
    files = {"aligned.star aligned.xmd": "poses and scores, for RELION and for Xmipp"}
    if sorted_:
        files = {"classes.star classes.xmd": "classes, poses and scores, for RELION and for Xmipp"}
    files |= of_classes if by_class else of_one
    if trained:
        files |= {"model.safetensors": "the trained network", "training.csv": "the training curve as numbers"}
    return [(names.split(), what) for names, what in files.items()]
