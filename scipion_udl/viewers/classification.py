"""What a classification shows: the gallery of its classes, particles, curves, histograms, the report."""

from __future__ import annotations

import os

import numpy as np
from pyworkflow.viewer import View

from scipion_udl.constants import CLASSES_SO_FAR
from scipion_udl.io.stacks import StackReader
from scipion_udl.protocols import ProtUdlClassify2D
from scipion_udl.protocols.protocol_align_2d import AVERAGES
from scipion_udl.protocols.protocol_classify_2d import CLASSES_STAR
from scipion_udl.viewers.alignment import UdlAlign2DViewer
from scipion_udl.viewers.base import Button
from scipion_udl.viewers.gallery import Gallery

_OF_ALIGNMENT = ("doShowReport", "doShowParticles", "doShowFrc", "doShowHistograms", "doShowTraining")


class UdlClassify2DViewer(UdlAlign2DViewer):
    """The classes of a run, with a choice of good ones, and what is known of their particles."""

    _label = "results of classify 2D"
    _targets = [ProtUdlClassify2D]
    tables: tuple[str, ...] = (CLASSES_STAR,)

    def buttons(self) -> list[Button]:
        """The buttons, in the order of the form."""
        report, *others = (button for button in super().buttons() if button.name in _OF_ALIGNMENT)
        gallery = Button(
            "doShowClasses",
            "Class gallery",
            "The average of each class with its particles, resolution and quality, by size, resolution, similarity or "
            "quality; flagged ones in red. Click on images to choose classes, and make a subset of them, of their "
            "particles or of their averages. While the run learns: what it has learned so far.",
            self._show_classes,
        )
        table = Button(
            "doShowSet",
            "Table of the classes",
            "outputClasses with all columns: where Xmipp is installed, in its viewer.",
            lambda: self._show_set("outputClasses"),
        )
        return [gallery, report, *others, table]

    def _show_classes(self) -> list[View]:
        so_far = self.protocol._getExtraPath(CLASSES_SO_FAR)
        if not self._has_classes() and os.path.exists(so_far):
            return [_templates(so_far).plotter]
        self._path(AVERAGES)
        return [self._class_gallery().plotter]


def _templates(path: str) -> Gallery:
    """What a run that is not through has learned so far."""
    reader = StackReader(path)
    return Gallery(
        "Classes so far",
        {"template": reader.read},
        {"by size": np.arange(reader.count)},
        lambda row: str(row + 1),
        shape=(3, 5),
        pixel_size=reader.pixel_size,
        note="What the run has learned so far, coarse and without most particles; open it again for the next step.",
    )
