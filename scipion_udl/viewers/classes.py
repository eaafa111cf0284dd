"""The class gallery: the average of each class with what is known of it; for a run, and for its set of classes."""

from __future__ import annotations

import csv
import os
from typing import Any, Callable, Optional

import numpy as np
from pwem.objects import SetOfClasses2D
from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from scipion_udl.io.stacks import StackReader
from scipion_udl.protocols.protocol_align_2d import AVERAGES
from scipion_udl.viewers.choice import ChoiceGallery
from scipion_udl.viewers.gallery import Gallery
from scipion_udl.viewers.subsets import KINDS, start_subset

CLASSES = "classes.csv"
AVERAGES_BEFORE = "averages_before.mrcs"
# What may be shown of each class, under its name on a button.
_STACKS = {"aligned": AVERAGES, "as they came": AVERAGES_BEFORE, "weighted": "averages_weighted.mrcs"}
WORST = 1e9  # stands for a resolution that was not claimed, in the order by resolution


def read_classes(folder: str) -> list[dict[str, str]]:
    """The rows of a run's classes.csv, in the order of its averages. Raises OSError where there is none."""
    with open(os.path.join(folder, CLASSES), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number_in(text: Optional[str]) -> Optional[float]:
    """A number of a table; None where there is none."""
    return float(text) if text not in (None, "", "None", "nan") else None


def class_gallery(folder: str, classes: Optional[SetOfClasses2D] = None, project: object = None) -> Gallery:
    """The gallery of the classes that a run left in its folder of results.

    classes: the run's output; with it, some can be chosen for a subset, which is made in ``project``. Raises OSError or
    UdlError where files are missing.
    """
    rows = read_classes(folder)
    stacks = {name: os.path.join(folder, file) for name, file in _STACKS.items()}
    readers = {name: StackReader(path) for name, path in stacks.items() if os.path.exists(path) or name == "aligned"}
    options: dict[str, Any] = {
        "kinds": {name: reader.read for name, reader in readers.items()},
        "orders": _orders(rows),
        "caption": lambda k: _words(rows[k]),
        "pixel_size": readers["aligned"].pixel_size,
    }
    judged = ", resolution and quality (0 to 1)" if _tells(rows, "quality") else " and resolution"
    note = f"Below each class: its number, particles{judged}."
    if classes is None or not os.path.exists(classes.getFileName() or ""):
        return Gallery("Class gallery", **options, shape=(3, 5), note=note)
    numbers = np.array([int(row["class"]) for row in rows])

    def maker(kind: str) -> Callable[[np.ndarray], str]:
        return lambda chosen: start_subset(project, classes, numbers[chosen].tolist(), kind)

    options.update(sizes=[int(row["particles"]) for row in rows], flagged=[is_flagged(row) for row in rows])
    if any(options["flagged"]):
        note += " Red: flagged as junk."
    return ChoiceGallery("Class gallery", **options, actions={kind: maker(kind) for kind in KINDS}, note=note)


def _orders(rows: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """The rows in the orders that the table has the figures for."""
    figures = {
        name: np.array([missing if number_in(row.get(name)) is None else number_in(row[name]) for row in rows], float)
        for name, missing in (
            ("particles", 0),
            ("resolution", WORST),
            ("score_mean", -WORST),
            ("view", WORST),
            ("superclass", WORST),
            ("quality", -WORST),
        )
    }
    keys = {"size": -figures["particles"], "resolution": figures["resolution"]}
    if _tells(rows, "view"):
        keys["similarity"] = figures["view"]
    if _tells(rows, "superclass"):
        keys["superclass"] = figures["superclass"]  # of one superclass in the order of their numbers
    if _tells(rows, "quality"):
        keys["quality"] = -figures["quality"]
    keys.update({"score": -figures["score_mean"], "number": np.arange(len(rows))})
    return {f"by {name}": np.argsort(key, kind="stable") for name, key in keys.items()}


def _tells(rows: list[dict[str, str]], name: str) -> bool:
    """Whether a table has a figure for any class."""
    return any(number_in(row.get(name)) is not None for row in rows)


def is_flagged(row: dict[str, str]) -> bool:
    """Whether a row of classes.csv is of a class that is flagged as junk."""
    return bool(number_in(row.get("flagged")))


def _words(row: dict[str, str]) -> str:
    """Number, particles, resolution and, where it was judged, quality of a class, and what else is to be known of
    it."""
    found = number_in(row["resolution"])
    words = [f"{row['class']}: {row['particles']}, " + (f"{found:.1f} Å" if found else "no resolution")]
    quality = number_in(row.get("quality"))
    words[0] += "" if quality is None else f", {quality:.2f}"
    more = ["flagged"] if is_flagged(row) else []
    mirror = number_in(row.get("mirror_of"))
    if mirror is not None:
        own = int(mirror) == int(row["class"])
        more.append("its own mirror image" if own else f"mirror of {int(mirror)}")
    return "\n".join(words + ([", ".join(more)] if more else []))


class UdlClassesViewer(Viewer):
    """The gallery of a set of classes that 'udl - align 2D' or 'udl - classify 2D' gave."""

    _name = "udl class gallery"
    _environments = [DESKTOP_TKINTER]
    _targets = [SetOfClasses2D]

    @classmethod
    def can_handle_this_instance(cls, instance: object) -> bool:
        """Whether the set is of such a run: classes of other programs have no such table."""
        return isinstance(instance, SetOfClasses2D) and os.path.exists(os.path.join(_folder(instance), CLASSES))

    def _visualize(self, obj: SetOfClasses2D, **_kwargs: object) -> list[View]:
        return [class_gallery(_folder(obj), obj, self.getProject()).plotter]


def _folder(classes: SetOfClasses2D) -> str:
    """The folder of results of the run that a set belongs to."""
    return os.path.join(os.path.dirname(classes.getFileName() or ""), "extra")
