"""report.html of `compare`: how far classifications agree, class beside class, and what only one of them has."""

from __future__ import annotations

import datetime
import os

from markupsafe import Markup

from scipion_udl.report import figures
from scipion_udl.report.data import ComparisonData
from scipion_udl.report.formatting import percent, thousands
from scipion_udl.report.frames import frame
from scipion_udl.report.page import head, pixel_words, render, tile, write_page

SIDE = 96  # pixels of an average
UNKNOWN = "not known"
FILES = (
    (["compare.star", "compare.xmd"], "the particles of the first run, with the class that most runs agree on"),
    (["compare.csv"], "a row for each class of each run: its match in the others, what comes again"),
    (["compare.png"], "the picture of where the classes lie"),
    (["summary.json"], "all figures of this page"),
)


def write_comparison_report(path: str | os.PathLike, data: ComparisonData) -> None:
    """Write the page.

    Parameters
    ----------
    path : str or path
        The file, which gets this name once it is complete.
    data : ComparisonData
        What it is made of.

    Raises
    ------
    OSError
        Where it cannot be written.
    """
    write_page(path, build_comparison_page(data))


def build_comparison_page(data: ComparisonData) -> str:
    """The whole page as text.

    Parameters
    ----------
    data : ComparisonData
        What it is made of.

    Returns
    -------
    str
        HTML.
    """
    s = data.summary
    with figures.style():
        matrices = Markup(figures.to_svg(data.matrices, "matrices"))
    of_first = sorted((one for one in s["classes"] if one["run"] == 1), key=lambda one: -one["particles"])
    alone = [one for one in s["classes"] if one["alone"]]
    content = {
        **head(data),
        "kind": "comparison of classes",
        "facts": [f"{len(s['runs'])} runs", pixel_words(data), f"{datetime.date.today()}"],
        "script": False,
        "tiles": _tiles(s, alone),
        "runs": [
            (f"Run {run['run']}", run["name"], thousands(run["particles"]), str(run["classes"])) for run in s["runs"]
        ],
        "pairs": [_pair(pair) for pair in s["pairs"]],
        "matrices": matrices,
        "rows": [_class(data, one) for one in of_first],
        "alone": [_alone(data, one) for one in alone],
        "least": f"{s['least_in_common']:g}",
        "consensus": _consensus(s["consensus"]),
        "files": FILES,
    }
    return render("comparison.html.j2", content)


def _tiles(s: dict, alone: list[dict]) -> list[dict[str, object]]:
    rand = [pair["adjusted_rand"] for pair in s["pairs"] if pair["adjusted_rand"] is not None]
    shown = [f"{value:.2f}" for value in (min(rand), max(rand))] if rand else []
    index = [(" to ".join(dict.fromkeys(shown)) or UNKNOWN, "")]
    known = [one for one in s["classes"] if one["run"] == 1 and one["comes_again"] is not None]
    size = max(sum(one["particles"] for one in known), 1)
    again = sum(one["comes_again"] * one["particles"] for one in known) / size
    agreed, compared = s["consensus"]["all"], s["consensus"]["compared"]
    return [
        tile("In all runs", [(thousands(s["particles"]), "particles")], "known again by their images"),
        tile("Adjusted Rand index", index, "of the pairs of runs: 1 is the same classes, 0 chance"),
        tile(
            "Come again", [(f"{again:.0%}", "")], "of the particles of run 1, in the class that theirs is matched with"
        ),
        tile("In one run alone", [(str(len(alone)), f"of {len(s['classes'])}")], "classes that no other run has"),
        tile("All runs agree", [(thousands(agreed), percent(agreed, compared))], "particles whose classes are matched"),
    ]


def _pair(pair: dict) -> tuple[str, ...]:
    rand, matched = pair["adjusted_rand"], pair["in_matched_classes"]
    one, other = pair["runs"]
    only = f"{thousands(pair['only_first'])} in {one}, {thousands(pair['only_second'])} in {other}"
    return (
        f"{one} and {other}",
        UNKNOWN if rand is None else f"{rand:.3f}",
        UNKNOWN if matched is None else f"{matched:.1%}",
        thousands(pair["particles"]),
        only,
    )


def _consensus(found: dict) -> list[tuple[str, str]]:
    words = (("all", "all runs agree"), ("most", "most runs agree"), ("none", "no class that most agree on"))
    return [(name, f"{thousands(found[key])} ({percent(found[key], found['compared'])})") for key, name in words]


def _class(data: ComparisonData, one: dict) -> dict[str, object]:
    """A class of the first run beside those of the others that it is matched with."""
    number = one["class"]
    cells = [_cell(data, 0, number, f"{thousands(one['particles'])} particles")]
    parts = []
    for run in range(1, len(data.averages)):
        match, again = one[f"match_{run + 1}"], one[f"comes_again_{run + 1}"]
        cells.append(_cell(data, run, match, UNKNOWN if again is None else f"{again:.0%} come again"))
        if one[f"parts_{run + 1}"]:
            parts.append(f"Came apart in run {run + 1}: classes {', '.join(map(str, one[f'parts_{run + 1}']))}.")
    again = one["comes_again"]
    return {
        "number": number,
        "title": f"Class {number}: {UNKNOWN if again is None else f'{again:.0%} come again'}",
        "cells": cells,
        "marks": [*(["No other run has it."] if one["alone"] else []), *parts],
    }


def _alone(data: ComparisonData, one: dict) -> dict[str, object]:
    """A class that its run alone has."""
    common = f"{thousands(one['particles'])} particles, {one['in_common']:.2f} in common at best"
    cell = _cell(data, one["run"] - 1, one["class"], common)
    return {"number": one["class"], "title": "", "cells": [cell], "marks": []}


def _cell(data: ComparisonData, run: int, number: int | None, words: str) -> dict[str, object]:
    """A class with its average, where there is one, and some words."""
    average = None if number is None else data.averages[run].get(number)
    label = f"Run {run + 1}: " + ("no match" if number is None else f"class {number}")
    shown = None if average is None else frame(average, f"Average of class {number} of run {run + 1}", largest=SIDE)
    return {"label": label, "words": "" if number is None else words, "frame": shown}
