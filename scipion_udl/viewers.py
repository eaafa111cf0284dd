"""What 'Analyze results' shows, drawn with matplotlib from the files of the run; Xmipp's viewer is not needed."""

from __future__ import annotations

import csv
import os
import webbrowser
from pathlib import Path
from typing import Callable

import numpy as np
from PIL import Image
from pwem.viewers import EmPlotter, EmProtocolViewer
from pyworkflow.protocol import Form, params
from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from scipion_udl.alignment import figures
from scipion_udl.convert import read_results
from scipion_udl.io.stacks import StackReader
from scipion_udl.objects import UdlModel, read_card
from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlEvaluate, ProtUdlTrain
from scipion_udl.protocols.protocol_align_2d import ALIGNED, AVERAGE, AVERAGE_BEFORE, FRC, REPORT

_TRAINING = (
    "The loss in each epoch of training. Of simulated particles whose true poses were given, the angles' error too."
)


class BrowserView(View):
    """A file of the run in the user's browser."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.url = Path(path).absolute().as_uri()

    def show(self) -> None:
        """Open it in a new tab."""
        webbrowser.open_new_tab(self.url)


class _UdlViewer(EmProtocolViewer):
    """A viewer whose parameters are buttons, each with the function that makes its view."""

    _environments = [DESKTOP_TKINTER]
    _targets: list = []

    def _buttons(self) -> list[tuple[str, str, str, Callable[[], list[View]]]]:
        """Name of the parameter, label, help, and the function behind it; in the order of the form."""
        raise NotImplementedError

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Visualization")
        for name, label, text, _ in self._buttons():
            form.addParam(name, params.LabelParam, important=name == self._buttons()[0][0], label=label, help=text)

    def _getVisualizeDict(self) -> dict:
        return {name: self._shower(make) for name, _, _, make in self._buttons()}

    def _shower(self, make: Callable[[], list[View]]) -> Callable[[str], list[View]]:
        def show(_name: str = "") -> list[View]:
            try:
                return make()
            except (OSError, ValueError) as error:
                return [self.errorMessage(f"The run has no such result (yet): {error}", "Nothing to show")]

        return show

    def _showTraining(self) -> list[View]:
        curves = figures.training_curves(self.protocol.readTraining())
        if not curves:
            return [self.infoMessage("No model was trained in this run.", "Training")]
        plotter = EmPlotter(x=1, y=len(curves), windowTitle="Training", figsize=(1 + 5 * len(curves), 4))
        with figures.style():
            for stage, columns in curves.items():  # each has its own axes: their losses are not comparable
                figures.draw_stage(plotter.createSubPlot(stage, "", "loss (lower is better)"), columns)
        return [plotter]


class UdlAlign2DViewer(_UdlViewer):
    """Averages, curves, histograms and the report of an alignment."""

    _label = "results of align 2D"
    _targets = [ProtUdlAlign2D]

    def _buttons(self) -> list[tuple[str, str, str, Callable[[], list[View]]]]:
        return [
            ("doShowReport", "Report", "The whole run on one page, in your browser.", self._showReport),
            (
                "doShowAverages",
                "Average before and after",
                "The plain mean of the particles as they came, and aligned. Neither is filtered or masked.",
                self._showAverages,
            ),
            (
                "doShowFrc",
                "Resolution (FRC)",
                "Fourier ring correlation of the averages of two halves of the particles; the resolution is read off "
                "where it falls to 0.143.",
                self._showFrc,
            ),
            (
                "doShowHistograms",
                "Angles, shifts and scores",
                "How the poses are spread. Angles of particles that lie on the film by chance are spread evenly; "
                "shifts that heap up at the limit ask for a larger one.",
                self._showHistograms,
            ),
            ("doShowTraining", "Training curve", _TRAINING, self._showTraining),
        ]

    def _path(self, name: str) -> str:
        path = self.protocol._getExtraPath(name)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path} is not there")
        return path

    def _showReport(self) -> list[View]:
        return [BrowserView(self._path(REPORT))]

    def _showAverages(self) -> list[View]:
        plotter = EmPlotter(x=1, y=2, windowTitle="Average before and after", figsize=(8, 4.4))
        with figures.style():
            for name, title in ((AVERAGE_BEFORE, "As they came"), (AVERAGE, "Aligned")):
                image = StackReader(self._path(name)).read()[0]
                axes = plotter.createSubPlot(title, "", "")
                axes.imshow(figures.to_grey(image), cmap="gray")  # row 0 on top, as in the report
                axes.set_axis_off()
        return [plotter]

    def _showFrc(self) -> list[View]:
        with open(self._path(FRC), encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        columns = dict(zip(rows[0], zip(*rows[1:])))
        summary = self.protocol.readEngineSummary()
        plotter = EmPlotter(windowTitle="Resolution")
        with figures.style():
            axes = plotter.createSubPlot("FRC of two halves", "", "")
            frequency, frc = (np.array(columns[name], np.float64) for name in ("frequency", "frc"))
            unit = "Å" if summary.get("pixel_size_known", True) else "px"
            figures.draw_frc(axes, frequency, frc, 0.143, summary.get("resolution"), unit)
        return [plotter]

    def _showHistograms(self) -> list[View]:
        results = read_results(self._path(ALIGNED))
        plotter = EmPlotter(x=1, y=3, windowTitle="Angles, shifts and scores", figsize=(12, 4.4))
        with figures.style():
            figures.draw_rose(plotter.createSubPlot("Angles", "", "", projection="polar"), results.poses.angle)
            figures.draw_shifts(plotter.createSubPlot("Shifts", "", ""), results.poses.shift)
            figures.draw_scores(plotter.createSubPlot("Scores", "", ""), results.score, results.ambiguous)
        return [plotter]


class UdlTrainViewer(_UdlViewer):
    """The training curve of a model."""

    _label = "results of train model"
    _targets = [ProtUdlTrain]

    def _buttons(self) -> list[tuple[str, str, str, Callable[[], list[View]]]]:
        return [("doShowTraining", "Training curve", _TRAINING, self._showTraining)]


class UdlEvaluateViewer(_UdlViewer):
    """The figure and the table of an evaluation."""

    _label = "results of evaluate alignment"
    _targets = [ProtUdlEvaluate]

    def _buttons(self) -> list[tuple[str, str, str, Callable[[], list[View]]]]:
        return [
            (
                "doShowFigure",
                "Figure",
                "Errors against the truth, where it is known; the average beside the reference, where there is one; "
                "and averages of two halves with their FRC.",
                self._showFigure,
            ),
            ("doShowTable", "Table", "All figures with their units and what they mean.", self._showTable),
        ]

    def _showFigure(self) -> list[View]:
        with Image.open(self.protocol.getFigure()) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        plotter = EmPlotter(windowTitle="Evaluation", figsize=(13, 13 * pixels.shape[0] / pixels.shape[1]))
        axes = plotter.createSubPlot("", "", "")
        axes.imshow(pixels, interpolation="lanczos")
        axes.set_axis_off()
        return [plotter]

    def _showTable(self) -> list[View]:
        lines = [f"{row['meaning']}: {row['value']} {row['unit']}".rstrip() for row in self.protocol.readFigures()]
        return [self.infoMessage("\n".join(lines), "Evaluation")]


class UdlModelViewer(Viewer):
    """What the card of a model says."""

    _name = "udl model card"
    _environments = [DESKTOP_TKINTER]
    _targets = [UdlModel]

    def _visualize(self, obj: UdlModel, **_kwargs: object) -> list[View]:
        card = read_card(obj.getFileName())
        known = {key: value for key, value in card.items() if not isinstance(value, dict)}
        for part, name in (("config", "network"), ("training", "training")):
            known.update({f"{name}, {key}": value for key, value in (card.get(part) or {}).items()})
        lines = [obj.getSummary(), "", *(f"{key}: {value}" for key, value in known.items())]
        return [self.infoMessage("\n".join(lines), "Model")]
