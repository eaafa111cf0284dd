"""The classes of a page: what is said and shown of each, what they can be sorted by, and the command that chooses."""

from __future__ import annotations

import shlex
from typing import Sequence

import numpy as np
from markupsafe import Markup

from scipion_udl.classification.flags import SENTENCES
from scipion_udl.pipelines.select_set import NOT_PARTICLES, sentences
from scipion_udl.report.class_drawings import class_tree, frc_curve
from scipion_udl.report.data import ClassEntry, PageData
from scipion_udl.report.formatting import thousands
from scipion_udl.report.frames import frame
from scipion_udl.settings.selection import LEAST_QUALITY

SIDE = 120  # pixels of an average in the page, where classes are a hundred or fewer
SMALL = 56  # pixels of the pictures that a class has beside its average
MANY = 100  # classes: of more, pictures are smaller
ORDERS = (  # what classes are sorted by: key, 1 for the smallest first and -1 for the largest, name
    ("class", 1, "number"),
    ("size", -1, "size, the largest first"),
    ("resolution", 1, "resolution, the finest first"),
    ("view", 1, "likeness"),
    ("superclass", 1, "superclass, that of the most particles first"),
    ("quality", -1, "quality, the best first"),
)


def class_cells(data: PageData, classes: Sequence[ClassEntry]) -> list[dict[str, object]]:
    """Classes as the template's macro ``grid`` shows them.

    Parameters
    ----------
    data : PageData
        What the page is made of.
    classes : sequence of ClassEntry
        The classes.

    Returns
    -------
    list of dict
        One for each, in their order.
    """
    shrink = min(1.0, (MANY / max(len(classes), 1)) ** 0.5)
    side, small = round(SIDE * shrink), round(SMALL * shrink)
    return [_cell(data, entry, side, small) | {"ticked": tick} for entry, tick in zip(classes, ticks(classes))]


def _cell(data: PageData, entry: ClassEntry, side: int, small: int) -> dict[str, object]:
    f, number = entry.figures, entry.figures["class"]
    ranked = sorted(entry.examples, key=lambda example: -float(example[1]))
    shown = [
        {"label": label, "score": float(score), "frame": frame(image, f"{label} of class {number}", largest=small)}
        for label, score, image in ranked
    ]
    middle = (len(shown) + 1) // 2
    frc = None
    if entry.frc is not None:
        field = entry.after.shape[-1] * data.pixel_size
        frc = frc_curve(entry.frc, field, f.get("crossing"), data.unit, f"class {number}")
    before = None if entry.before is None else frame(entry.before, f"Class {number} before alignment", largest=small)
    return {
        "number": number,
        "sort_keys": sort_keys(f),
        "frame": frame(entry.after, f"Average of class {number}", largest=side),
        "facts": _facts(f, data.unit),
        "flagged": _flagged(f),
        "marks": _marks(f),
        "reasons": [f"{reason[0].upper()}{reason[1:]}." for reason in sentences(f.get("reasons") or [])],
        "rows": _rows(f, data.unit),
        "frc": frc,
        "before": before,
        "best": shown[:middle],
        "worst": shown[middle:],
    }


def sort_keys(figures: dict) -> dict[str, int | float]:
    """What a class is sorted by.

    Parameters
    ----------
    figures : dict
        Its entry in summary.json.

    Returns
    -------
    dict
        By the keys of ORDERS; without those that are not known of it. The resolution is where the FRC of its halves
        falls to 0.143, as measured, else the one that is claimed.
    """
    measured = figures.get("crossing") or figures.get("resolution")
    keys = {"class": figures["class"], "size": figures["particles"], "resolution": measured}
    keys |= {name: figures.get(name) for name in ("view", "superclass", "quality")}
    return {name: value for name, value in keys.items() if value is not None and np.isfinite(value)}


def ticks(classes: Sequence[ClassEntry]) -> list[bool]:
    """Which classes are ticked when the page is opened: those that `select` would choose, or has chosen.

    Parameters
    ----------
    classes : sequence of ClassEntry
        All of the page.

    Returns
    -------
    list of bool
        Of a class that nobody judged: whether nothing says that it holds no particles.
    """
    of_each = [entry.figures for entry in classes]
    noise = all(_flagged(f) for f in of_each)  # compared with each other, classes of noise look good
    return [bool(f["chosen"]) if "chosen" in f else not noise and _good(f) for f in of_each]


def _good(figures: dict) -> bool:
    if figures.get("quality") is not None:
        return float(figures["quality"]) >= LEAST_QUALITY and figures.get("flag") not in NOT_PARTICLES
    return not _flagged(figures) and figures.get("signal_found") is not False


def choosing(classes: Sequence[ClassEntry], table: str, output: str) -> dict[str, object]:
    """The command that chooses the ticked classes, and what they can be sorted by.

    Parameters
    ----------
    classes : sequence of ClassEntry
        All of the page.
    table : str
        What `select` is given.
    output : str
        What it makes.

    Returns
    -------
    dict
        For the template's macros ``choice`` and ``sorting``.
    """
    chosen = [entry.figures for entry, tick in zip(classes, ticks(classes)) if tick]
    keys: set[str] = set().union(*(sort_keys(entry.figures) for entry in classes))
    particles = thousands(sum(f["particles"] for f in chosen))
    return {
        "orders": [{"key": key, "sign": sign, "name": name} for key, sign, name in ORDERS if key in keys],
        "words": f"{len(chosen)} of {len(classes)} classes ticked, {particles} particles",
        "before": f"scipion-udl select {shlex.quote(table)} --classes ",
        "numbers": ",".join(str(f["class"]) for f in chosen) or "NUMBERS",
        "after": f" -o {shlex.quote(output)}",
    }


def superclass_tree(data: PageData, classes: Sequence[ClassEntry]) -> Markup:
    """The tree of a page's classes by the view that they show.

    Parameters
    ----------
    data : PageData
        What the page is made of.
    classes : sequence of ClassEntry
        All of the page, in the order of summary.json.

    Returns
    -------
    Markup
        An <svg> element; empty where the summary tells of no superclasses.
    """
    tree, of_each = data.summary.get("superclasses"), [entry.figures for entry in classes]
    if not tree or not all(f.get("superclass") for f in of_each):
        return Markup("")
    return class_tree([f["class"] for f in of_each], [f["superclass"] for f in of_each], tree["merges"], tree["limit"])


def _flagged(figures: dict) -> bool:
    return bool(figures.get("flagged") or figures.get("flag"))


def _marks(figures: dict) -> list[str]:
    """What is to be known first of a class."""
    marks = []
    if figures.get("why"):
        marks.append(f"Not chosen: {figures['why']}.")
    if _flagged(figures):
        note = str(figures.get("note") or SENTENCES.get(str(figures.get("flag"))) or figures.get("flag"))
        marks.append(f"Flagged: {note[0].lower()}{note[1:]}")
    return [*marks, *(figures.get("warnings") or [])]


def _facts(figures: dict, unit: str) -> list[str]:
    """The few words below an average."""
    count, measured = figures["particles"], sort_keys(figures).get("resolution")
    facts = [f"{thousands(count)} particle{'' if count == 1 else 's'}"]
    facts += [f"{measured:.3g} {unit}{' measured' if figures.get('crossing') else ''}"] if measured else []
    facts += [f"quality {float(figures['quality']):.2f}"] if figures.get("quality") is not None else []
    facts += [f"superclass {figures['superclass']}"] if figures.get("superclass") else []
    facts += [f"not chosen: {figures['why']}"] if figures.get("why") else []
    return facts


def _rows(figures: dict, unit: str) -> list[tuple[str, str]]:
    """All that is known of a class: names and values."""
    f = figures
    rows = [("particles", thousands(f["particles"]))]
    if "kept" in f:
        rows.append(("of these chosen", thousands(f["kept"])))
    if f.get("quality") is not None:
        rows.append(("quality", f"{float(f['quality']):.3f}, of 0 to 1"))
    if "crossing" in f:
        rows.append(
            ("its halves agree to", f"{f['crossing']:.3g} {unit}, measured" if f["crossing"] else "not measured")
        )
    resolution = f.get("resolution")
    rows.append(("resolution", f"{float(resolution):.3g} {unit}, claimed" if resolution else "none claimed"))
    if f.get("inside") is not None:
        rows.append(("signal outside of the particle", f"{1 - float(f['inside']):.0%}"))
    if f.get("score_mean") is not None:
        rows.append(("mean score", f"{float(f['score_mean']):.3f}"))
    rows += [(name, thousands(f[name])) for name in ("ambiguous", "outliers") if f.get(name)]
    mirror = f.get("mirror_of")
    if mirror:
        rows.append(("mirror image of", "itself" if mirror == f["class"] else f"class {mirror}"))
    return rows
