"""What a choice of classes shows: all classes with their quality, what is chosen of them, and the chosen particles."""

from __future__ import annotations

import csv
import os
from functools import partial

import numpy as np
from pyworkflow.viewer import View

from scipion_udl.io.stacks import StackReader
from scipion_udl.protocols import ProtUdlSelectClasses
from scipion_udl.protocols.protocol_align_2d import AVERAGES
from scipion_udl.protocols.protocol_base import SUMMARY
from scipion_udl.protocols.protocol_select_classes import JUDGED
from scipion_udl.viewers.base import Button, UdlProtocolViewer
from scipion_udl.viewers.choice import ChoiceGallery
from scipion_udl.viewers.classes import WORST, number_in
from scipion_udl.viewers.subsets import KINDS, start_subset

SELECTION = "selection.csv"


class UdlSelectClassesViewer(UdlProtocolViewer):
    """All classes with their quality, what was chosen of them, and the chosen particles."""

    _label = "results of select classes"
    _targets = [ProtUdlSelectClasses]

    def buttons(self) -> list[Button]:
        """The buttons, in the order of the form."""
        return [
            Button(
                "doShowClasses",
                "Class gallery",
                "The average of each class with its quality and particles; those that are not chosen in red, with what "
                "they lack. Click on images to choose otherwise, and make a subset of the input: classes, all their "
                "particles, or averages.",
                self._show_classes,
            ),
            Button(
                "doShowSet",
                "Table of the particles",
                "outputParticles with all columns, _udlQuality among them: where Xmipp is installed, in its viewer.",
                lambda: self._show_set("outputParticles"),
            ),
        ]

    def _show_classes(self) -> list[View]:
        with open(self._path(SELECTION), encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        told = self.protocol._readJson(os.path.join(JUDGED, SUMMARY))
        image_of = {one["class"]: one["image"] - 1 for one in told["classes"]}
        images = np.array([image_of[int(row["class"])] for row in rows])
        stack = StackReader(self._path(os.path.join(JUDGED, AVERAGES)))
        numbers, classes = np.array([int(row["class"]) for row in rows]), self.protocol.inputClasses.get()

        def subset(kind: str, chosen: np.ndarray) -> str:
            return start_subset(self.getProject(), classes, numbers[chosen].tolist(), kind)

        gallery = ChoiceGallery(
            "Chosen classes",
            {"aligned": lambda shown: stack.read(images[shown])},
            _orders(rows),
            lambda row: _words(rows[row]),
            pixel_size=stack.pixel_size,
            shape=(3, 5),
            note="Below each class: its number, quality and particles. Red: not chosen, and what it lacks.",
            sizes=[int(row["particles"]) for row in rows],
            flagged=[row["chosen"] != "1" for row in rows],
            actions={kind: partial(subset, kind) for kind in KINDS},
        )
        return [gallery.plotter]


def _orders(rows: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """The rows by what one may want to see first."""
    values = {name: [number_in(row[name]) for row in rows] for name in ("quality", "particles", "crossing")}
    crossing = np.array([WORST if value is None else value for value in values["crossing"]])
    keys = {"quality": -np.array(values["quality"]), "size": -np.array(values["particles"]), "resolution": crossing}
    keys["superclass"] = np.array([number_in(row.get("superclass")) or WORST for row in rows])
    return {f"by {name}": np.argsort(key, kind="stable") for name, key in keys.items()}


def _words(row: dict[str, str]) -> str:
    """Number, quality and particles of a class, and what it lacks."""
    words = f"{row['class']}: quality {float(row['quality']):.2f}, {row['particles']}"
    return words + (f"\n{row['why']}" if row["why"] else "")
