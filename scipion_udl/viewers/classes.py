"""The class gallery: the average of each class with what is known of it; for a run, and for its set of classes."""

from __future__ import annotations

import csv
import os
from typing import Optional

import numpy as np
from pwem.objects import SetOfClasses2D
from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from scipion_udl.io.stacks import StackReader
from scipion_udl.protocols.protocol_align_2d import AVERAGES
from scipion_udl.viewers.gallery import Gallery

CLASSES = "classes.csv"
AVERAGES_BEFORE = "averages_before.mrcs"
WORST = 1e9  # stands for a resolution that was not claimed, in the order by resolution


def read_classes(folder: str) -> list[dict[str, str]]:
    """The rows of a run's classes.csv, in the order of its averages. Raises OSError where there is none."""
    with open(os.path.join(folder, CLASSES), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number_in(text: Optional[str]) -> Optional[float]:
    """A number of a table; None where there is none."""
    return float(text) if text not in (None, "", "None", "nan") else None


def class_gallery(folder: str) -> Gallery:
    """The gallery of the classes that a run left in its folder of results. Raises OSError or UdlError without."""
    rows = read_classes(folder)
    after, before = (StackReader(os.path.join(folder, name)) for name in (AVERAGES, AVERAGES_BEFORE))
    size, resolution, score = (
        np.array([missing if number_in(row[name]) is None else number_in(row[name]) for row in rows], float)
        for name, missing in (("particles", 0), ("resolution", WORST), ("score_mean", -WORST))
    )
    orders = {"size": -size, "resolution": resolution, "score": -score, "number": np.arange(len(rows))}
    return Gallery(
        "Class gallery",
        {"aligned": after.read, "as they came": before.read},
        {f"by {name}": np.argsort(key, kind="stable") for name, key in orders.items()},
        lambda k: _words(rows[k]),
        shape=(3, 5),
        pixel_size=after.pixel_size,
        note="Below each class: its number, particles and resolution.",
    )


def _words(row: dict[str, str]) -> str:
    """Number, particles and resolution of a class."""
    found = number_in(row["resolution"])
    end = f"{found:.1f} Å" if found else "no resolution"
    return f"{row['class']}: {row['particles']}, {end}"


class UdlClassesViewer(Viewer):
    """The gallery of a set of classes that 'udl - align 2D' gave."""

    _name = "udl class gallery"
    _environments = [DESKTOP_TKINTER]
    _targets = [SetOfClasses2D]

    @classmethod
    def can_handle_this_instance(cls, instance: object) -> bool:
        """Whether the set is of such a run: classes of other programs have no such table."""
        return isinstance(instance, SetOfClasses2D) and os.path.exists(os.path.join(_folder(instance), CLASSES))

    def _visualize(self, obj: SetOfClasses2D, **_kwargs: object) -> list[View]:
        return [class_gallery(_folder(obj)).plotter]


def _folder(classes: SetOfClasses2D) -> str:
    """The folder of results of the run that a set belongs to."""
    return os.path.join(os.path.dirname(classes.getFileName() or ""), "extra")
