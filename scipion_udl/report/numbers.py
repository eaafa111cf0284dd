"""The numbers of a run as tables of the report, and what files lie beside it."""

from __future__ import annotations

import numpy as np

from scipion_udl.constants import DIAMETER_FROM
from scipion_udl.report.data import ReportData
from scipion_udl.report.words import duration, safe, section

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
NOT_LISTED = {"classes", "pixel_size_known", "warnings", "notes", "training", "network_only", "command", "version"}


def _value(key: str, value: object, unit: str) -> str:
    """A value of the summary as text of the page."""
    if value is None:
        return "unknown" if key in ("pixel_size", "diameter") else "none"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if key == "diameter_from":
        return safe(DIAMETER_FROM.get(str(value), value))
    if key == "seconds":
        return safe(duration(value))
    if key in SHARES and isinstance(value, (int, float, np.floating)):
        return f"{100 * value:.1f}\u202f%"
    if isinstance(value, (float, np.floating)):
        value = f"{value:.4g}"
    elif isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return (
            ", ".join(
                f"{safe(k)} {_value(str(k), v, unit)}" if isinstance(value, dict) else _value("", v, unit)
                for k, v in items
            )
            or "none"
        )
    suffix = f" {unit}" if key == "resolution" else f" {UNITS[key]}" if key in UNITS else ""
    return safe(f"{value}{suffix}")


def _table(title: str, values: dict, unit: str) -> str:
    if not values:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{safe(NAMES.get(k, str(k).replace("_", " ")))}</th><td>{_value(k, v, unit)}</td></tr>'
        for k, v in values.items()
    )
    return f"<div><h3>{safe(title)}</h3><table>{rows}</table></div>"


def numbers(data: ReportData) -> str:
    """The section of the page with all figures of the run, and the files that lie beside it."""
    s = data.summary
    listed = {k: v for k, v in s.items() if k not in NOT_LISTED}
    if not data.pixel_size_known:
        listed["pixel_size"] = None
    left = _table("This run", listed, data.unit)
    right = _table("Network alone, before refinement", s.get("network_only") or {}, data.unit)
    right += _table("Training", s.get("training") or {}, data.unit)
    right += _files(bool(data.training), bool(data.classes), data.sorted)
    notes = "".join(f"<li>{safe(n)}</li>" for n in s.get("notes") or [])
    body = f'<div class="tables">{left}<div>{right}</div></div>'
    if notes:
        body += f"<h3 style='margin-top:22px'>Notes</h3><ul>{notes}</ul>"
    return section("Numbers", "As in summary.json beside this page.", body)


def _files(trained: bool, by_class: bool, sorted_: bool) -> str:
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
    rows = "".join(
        f'<tr><th scope="row">{"<br>".join(f"<code>{name}</code>" for name in names.split())}</th><td>{what}</td></tr>'
        for names, what in files.items()
    )
    return f"<div><h3>Files</h3><table>{rows}</table></div>"
