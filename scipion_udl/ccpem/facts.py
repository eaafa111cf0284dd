"""What the jobs of CCP-EM's pipeliner show of a run, read from the files in its folder.

Imports nothing of the pipeliner, so that it can be read and tested without.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from scipion_udl import _references, bibtex
from scipion_udl.messages import message

_METADATA = (
    *("particles", "box", "pixel_size", "diameter", "chosen", "score_mean", "ambiguous", "outliers", "resolution"),
    *("flagged_particles", "contrast", "seconds", "device", "version", "warnings", "codes"),
)
_HEADERS = {
    "class": "Number of the class",
    "particles": "Particles in it",
    "resolution (A)": "Claimed: where the Fourier ring correlation of its halves falls to 0.143; empty where none is",
    "halves agree to (A)": "The same as measured, claimed or not",
    "quality": "0: junk, 1: as good as it gets",
    "flag": "What is wrong with it",
    "against it": "What speaks against it",
}


def summary_of(folder: Path) -> dict[str, Any]:
    """All numbers of a run, as summary.json has them.

    Parameters
    ----------
    folder : Path
        Of the command's results.

    Returns
    -------
    dict
        By name.
    """
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def metadata(summary: dict[str, Any]) -> dict[str, Any]:
    """What a job tells of itself in reports: what is known of it, and the classes.

    Parameters
    ----------
    summary : dict
        Of :func:`summary_of`.

    Returns
    -------
    dict
        Values that JSON has.
    """
    told = {name: summary[name] for name in _METADATA if summary.get(name) is not None}
    classes = summary.get("classes") or []
    if classes:
        told["classes"] = len(classes)
        told["class_particles"] = [one["particles"] for one in classes]
    if any("chosen" in one for one in classes):
        told["chosen_classes"] = [one["class"] for one in classes if one["chosen"]]
    return told


def class_table(summary: dict[str, Any]) -> tuple[dict[str, str], list[list[str]]]:
    """The classes of a run.

    Parameters
    ----------
    summary : dict
        Of :func:`summary_of`.

    Returns
    -------
    dict of str to str, list of list of str
        Headers with what they mean, and a row for each class; no rows for an alignment of one view.
    """
    rows = []
    for one in summary.get("classes") or []:
        numbers = [_text(one.get(name)) for name in ("particles", "resolution", "crossing", "quality")]
        against = "; ".join(str(message(code)) for code in one.get("reasons") or ())
        rows.append([_text(one["class"]), *numbers, _text(one.get("flag")), against])
    return dict(_HEADERS), rows


def selection_table(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Which classes were chosen, and why others were not: selection.csv.

    Parameters
    ----------
    folder : Path
        Of the results of `select`.

    Returns
    -------
    list of str, list of list of str
        Headers and rows.
    """
    with open(folder / "selection.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    chosen = header.index("chosen")
    return header, [[*row[:chosen], "yes" if row[chosen] == "1" else "no", *row[chosen + 1 :]] for row in rows]


def references() -> list[dict[str, Any]]:
    """What to cite: the papers on the method, as bibtex.py has them.

    Returns
    -------
    list of dict
        title, journal, year, and volume, pages, doi where they are known; authors is a list.
    """
    found = []
    for key, text in re.findall(r"@article\{(\w+),(.*?)\n\}", bibtex.__doc__ or "", re.S):
        fields = dict(re.findall(r"(\w+)\s*=\s*\{([^}]*)\}", text))
        if key in _references:
            doi = fields.get("doi", "").rpartition("doi.org/")[2]
            kept = {name: fields[name] for name in ("title", "journal", "year", "volume", "pages") if name in fields}
            found.append({**kept, "authors": fields["author"].split(" and "), "doi": doi})
    return found


def _text(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
