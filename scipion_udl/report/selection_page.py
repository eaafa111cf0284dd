"""report.html of `select`: which classes were chosen, which were not, and why."""

from __future__ import annotations

import datetime
import os

from scipion_udl.report.class_cells import choosing, class_cells, superclass_tree, ticks
from scipion_udl.report.class_drawings import size_bars
from scipion_udl.report.data import SelectionData
from scipion_udl.report.formatting import percent, thousands
from scipion_udl.report.page import head, pixel_words, render, tile, write_page

FILES = (
    (["selected.star", "selected.xmd"], "the chosen particles, with their quality"),
    (["rest.star", "rest.xmd"], "all others"),
    (["selection.csv"], "a row a class: chosen or not and why, quality, particles"),
    (["averages.mrcs", "averages.star"], "the averages of the chosen classes, in this order"),
)


def write_selection_report(path: str | os.PathLike, data: SelectionData) -> None:
    """Write the page.

    Parameters
    ----------
    path : str or path
        The file, which gets this name once it is complete.
    data : SelectionData
        What it is made of.

    Raises
    ------
    OSError
        Where it cannot be written.
    """
    write_page(path, build_selection_page(data))


def build_selection_page(data: SelectionData) -> str:
    """The whole page as text.

    Parameters
    ----------
    data : SelectionData
        What it is made of.

    Returns
    -------
    str
        HTML.
    """
    cells = class_cells(data, data.classes)
    chosen, rest = [cell for cell in cells if cell["ticked"]], [cell for cell in cells if not cell["ticked"]]
    kept, total = data.kept
    of_each = [entry.figures for entry in data.classes]
    numbers, sizes = [f["class"] for f in of_each], [f["particles"] for f in of_each]
    left = [(words, number) for words, number in data.left_out if number]
    rows = [("chosen", kept), *left]
    content = {
        **head(data),
        "kind": "selection of classes",
        "facts": [
            f"{thousands(total)} particles",
            f"{len(cells)} classes",
            pixel_words(data),
            f"{datetime.date.today()}",
        ],
        "script": True,
        "tiles": [
            tile("Classes chosen", [(thousands(len(chosen)), f"of {len(cells)}")], "each with its reasons below"),
            tile("Particles chosen", [(thousands(kept), percent(kept, total))], f"of {thousands(total)}"),
            *(tile("Left out", [(thousands(number), percent(number, total))], words) for words, number in left),
        ],
        "groups": [
            ("Chosen classes", "The plain mean of the aligned particles of each, in its own grey scale.", chosen),
            ("Classes that are not chosen", "Their particles are in rest.star: nothing is lost.", rest),
        ],
        "choose": choosing(data.classes, data.table, "mine"),
        "sizes": size_bars(numbers, sizes, ticks(data.classes), "are chosen"),
        "tree": superclass_tree(data, data.classes),
        "left_out": [(words, thousands(number)) for words, number in rows],
        "files": FILES,
    }
    return render("selection.html.j2", content)
