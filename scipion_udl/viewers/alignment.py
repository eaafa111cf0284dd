"""What an alignment shows: averages, classes, particles by score, curves, histograms, the report."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
from pwem.viewers import EmPlotter
from pyworkflow.protocol import Form
from pyworkflow.viewer import View

from scipion_udl.io.stacks import StackReader
from scipion_udl.protocols import ProtUdlAlign2D
from scipion_udl.protocols.asking import ask
from scipion_udl.protocols.protocol_align_2d import (
    ALIGNED,
    ALIGNED_XMD,
    AVERAGE,
    AVERAGE_BEFORE,
    AVERAGES,
    CLASSES_OUT,
    FRC,
)
from scipion_udl.protocols.protocol_base import PARTICLES, REPORT
from scipion_udl.report import figures
from scipion_udl.settings.option import Question
from scipion_udl.viewers.base import TRAINING_HELP, BrowserView, Button, NothingToShow, UdlProtocolViewer
from scipion_udl.viewers.classes import AVERAGES_BEFORE, class_gallery, is_flagged, number_in, read_classes
from scipion_udl.viewers.curves import Curve, draw_classes
from scipion_udl.viewers.gallery import Gallery
from scipion_udl.viewers.particles import AlignedParticles

EYE = 20.0  # angstrom: particles are shown without what is finer, which is noise to the eye
EYE_PIXELS = 8.0  # the same where the pixel size is not known

_CLASS = Question(
    "classNumber",
    "Class",
    "The class whose particles, FRC and histograms are shown; 0 takes all of them.",
    kind="whole",
    default=0,
)


class UdlAlign2DViewer(UdlProtocolViewer):
    """Averages, classes, particles, curves, histograms and the report of an alignment."""

    _label = "results of align 2D"
    _targets = [ProtUdlAlign2D]
    tables: tuple[str, ...] = (ALIGNED, ALIGNED_XMD)  # of poses; the first that is there

    def buttons(self) -> list[Button]:
        """The buttons, in the order of the form."""
        return [
            Button("doShowReport", "Report", "The whole run on one page, in your browser.", self._show_report),
            Button(
                "doShowAverages",
                "Averages before and after",
                "The plain mean of the particles as they came, and aligned, in the same grey scale. Neither is "
                "filtered or masked; the sliders change how they are shown.",
                self._show_averages,
            ),
            Button(
                "doShowClasses",
                "Class gallery",
                "The average of each class with its particles and resolution, by size, resolution or score.",
                self._show_classes,
            ),
            Button(
                "doShowParticles",
                "Particles by score",
                "The worst and the best particles, aligned and as they came, page by page. The low-pass is for the eye "
                "only.",
                self._show_particles,
            ),
            Button(
                "doShowFrc",
                "Resolution (FRC)",
                "Fourier ring correlation of the averages of two halves of the particles; the resolution is read off "
                "where it falls to 0.143. Of classes all but the flagged ones are shown, dark where a resolution is "
                "claimed.",
                self._show_frc,
            ),
            Button(
                "doShowHistograms",
                "Angles, shifts and scores",
                "How the poses are spread. Angles of particles that lie on the film by chance are spread evenly; "
                "shifts that heap up at the limit ask for a larger one.",
                self._show_histograms,
            ),
            Button("doShowTraining", "Training curve", TRAINING_HELP, self._show_training),
            Button(
                "doShowSet",
                "Table of the particles",
                "outputParticles with all columns: where Xmipp is installed, in its viewer.",
                lambda: self._show_set("outputParticles"),
            ),
        ]

    def _defineParams(self, form: Form) -> None:
        super()._defineParams(form)
        if self._has_classes():
            ask(form, _CLASS)

    def _has_classes(self) -> bool:
        return bool(self.protocol.getWorkingDir()) and os.path.exists(self.protocol._getExtraPath(AVERAGES))

    def _chosen(self) -> int:
        """The class that is looked at; 0: all."""
        return self.classNumber.get() if hasattr(self, "classNumber") else 0

    # -- views ---------------------------------------------------------------------------------------------------------

    def _show_report(self) -> list[View]:
        return [BrowserView(self._path(REPORT))]

    def _show_averages(self) -> list[View]:
        """Pairs of images: before and after; one pair, or one a class."""
        classes = self._has_classes()
        names = (AVERAGES_BEFORE, AVERAGES) if classes else (AVERAGE_BEFORE, AVERAGE)
        before, after = (StackReader(self._path(name)) for name in names)
        numbers = [int(row["class"]) for row in read_classes(self.protocol._getExtraPath())] if classes else []

        def read(rows: np.ndarray) -> np.ndarray:
            return np.stack([(after if row % 2 else before).read(np.array([row // 2]))[0] for row in rows])

        def words(row: int) -> str:
            return ("aligned" if row % 2 else "as they came") + (f", class {numbers[row // 2]}" if classes else "")

        order = {"by number": np.arange(2 * after.count)}
        gallery = Gallery("Averages before and after", {"average": read}, order, words, pixel_size=after.pixel_size)
        return [gallery.plotter]

    def _show_classes(self) -> list[View]:
        if not self._has_classes():
            self._path(AVERAGE)
            raise NothingToShow(
                "There is one average: the input of this run were particles of one view. Give 2D classes as input to "
                "have each of them aligned by itself."
            )
        return [self._class_gallery().plotter]

    def _class_gallery(self) -> Gallery:
        classes = getattr(self.protocol, CLASSES_OUT, None)
        return class_gallery(self.protocol._getExtraPath(), classes, self.getProject())

    def _show_particles(self) -> list[View]:
        found = self._particles()
        size, known = found.sources[0].pixel_size, found.sources[0].pixel_size_known
        gallery = Gallery(
            "Particles by score",
            {"aligned": found.aligned, "as they came": found.as_they_came},
            {name: self._of_class(found, rows) for name, rows in found.orders().items()},
            found.words,
            pixel_size=size if known else None,
            finest=max(EYE, 4 * size) if known else EYE_PIXELS,
            note="Below each particle: its score, a correlation with the average (higher is better).",
        )
        return [gallery.plotter]

    def _particles(self) -> AlignedParticles:
        """What the run found: in the STAR, or, where particles are mirrored, in the XMD, which can say that; of a run
        that takes particles as they come, in the folders of its batches until it ends."""
        folder = Path(self.protocol._getExtraPath())
        places = (folder, *sorted(folder.glob("batch_*")))
        done = [(table, str(one / PARTICLES)) for one in places for table in self._table(one)]
        if not done:
            self._path(self.tables[0])
        return AlignedParticles.read(done[:1] if self._table(folder) else done)

    def _table(self, folder: Path) -> list[str]:
        """The table of poses that a folder holds, where that of the particles lies beside it; else none."""
        found = [str(folder / name) for name in self.tables if (folder / name).exists()]
        return found[:1] if (folder / PARTICLES).exists() else []

    def _of_class(self, found: AlignedParticles, rows: np.ndarray) -> np.ndarray:
        """Those of ``rows`` that are of the class that is looked at. Raises NothingToShow where there are none."""
        chosen = self._chosen()
        if chosen and found.of_class is not None:
            rows = rows[found.of_class[rows] == chosen]
        if not len(rows):
            raise NothingToShow(f"There are no particles of class {chosen}: give the number of another, or 0 for all.")
        return rows

    def _show_frc(self) -> list[View]:
        curves, left_out = self._curves()
        plotter = EmPlotter(windowTitle="Resolution", figsize=(7.5, 4.6))
        unit = "Å" if self.protocol.readEngineSummary().get("pixel_size_known", True) else "px"
        with figures.style():
            axes = plotter.createSubPlot("FRC of two halves", "", "")
            if len(curves) == 1 and not left_out:
                (curve,) = curves
                figures.draw_frc(axes, curve.frequency, curve.frc, 0.143, curve.resolution, unit)
                axes.set_title(f"FRC of two halves{curve.words}")
            else:
                draw_classes(axes, curves, left_out, unit)
        return [plotter]

    def _curves(self) -> tuple[list[Curve], int]:
        """The curve of the average, of the class that is looked at, or of all classes but the flagged ones, the largest
        first; and how many are flagged."""
        with open(self._path(FRC), encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            raise NothingToShow("The particles are too few for two halves: there is no FRC.")
        if "class" not in rows[0]:
            return [Curve(0, *_curve(rows), self.protocol.readEngineSummary().get("resolution"))], 0
        known = {int(row["class"]): row for row in read_classes(self.protocol._getExtraPath())}
        chosen, flagged = self._chosen(), [number for number, row in known.items() if is_flagged(row)]
        largest = sorted(known, key=lambda number: -int(known[number]["particles"]))
        numbers = [chosen] if chosen else [number for number in largest if number not in flagged]
        own = {number: [row for row in rows if int(row["class"]) == number] for number in numbers}
        curves = [Curve(k, *_curve(own[k]), number_in(known[k]["resolution"])) for k in numbers if own[k]]
        if not curves and chosen:
            raise NothingToShow(f"There is no FRC of class {chosen}: give the number of another, or 0 for all.")
        if not curves:
            raise NothingToShow("All classes are flagged: to see the FRC of one, give its number as *Class*.")
        return curves, 0 if chosen else len(flagged)

    def _show_histograms(self) -> list[View]:
        found = self._particles()
        results = found.results[self._of_class(found, np.arange(len(found.results)))]
        poses = results.poses
        plotter = EmPlotter(x=1, y=3, windowTitle="Angles, shifts and scores", figsize=(12, 4.4))
        with figures.style():
            figures.draw_rose(plotter.createSubPlot("Angles", "", "", projection="polar"), poses.angle)
            figures.draw_shifts(plotter.createSubPlot("Shifts", "", ""), poses.shift)
            scores = plotter.createSubPlot("Scores", "", "")
            figures.draw_scores(scores, results.score, results.ambiguous, results.outlier)
        return [plotter]


def _curve(rows: list[dict[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Frequency and FRC of rows of frc.csv, float64."""
    frequency, frc = (np.array([row[name] for row in rows], np.float64) for name in ("frequency", "frc"))
    return frequency, frc
