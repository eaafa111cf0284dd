"""What the viewers of runs share: buttons, each with what it shows, and a sentence where there is nothing to show."""

from __future__ import annotations

import importlib.util
import os
import shutil
import webbrowser
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
from PIL import Image
from pwem import Config
from pwem.objects import EMSet
from pwem.viewers import DataViewer, EmPlotter, EmProtocolViewer
from pwem.viewers.mdviewer.viewer import MDView
from pwem.viewers.showj import getJavaBin
from pyworkflow.protocol import Form
from pyworkflow.viewer import DESKTOP_TKINTER, View

from scipion_udl.errors import UdlError
from scipion_udl.protocols.asking import ask
from scipion_udl.report import figures, training_figures
from scipion_udl.settings.option import Question

TRAINING_HELP = (
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


class Button(NamedTuple):
    """A line of a viewer's form: name of the parameter, label, help, and what makes its views."""

    name: str
    label: str
    help: str
    make: Callable[[], list[View]]


class NothingToShow(Exception):
    """Why a button has nothing to show: a sentence."""


class UdlProtocolViewer(EmProtocolViewer):
    """A viewer whose parameters are buttons, each with the function that makes its view."""

    _environments = [DESKTOP_TKINTER]
    _targets: list = []

    def buttons(self) -> list[Button]:
        """The buttons, in the order of the form."""
        return []

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Visualization")
        for k, button in enumerate(self.buttons()):
            ask(form, Question(button.name, button.label, button.help, kind="label", important=k == 0))

    def _getVisualizeDict(self) -> dict:
        return {button.name: self._shower(button.make) for button in self.buttons()}

    def _shower(self, make: Callable[[], list[View]]) -> Callable[[str], list[View]]:
        def show(_name: str = "") -> list[View]:
            try:
                return make()
            except NothingToShow as reason:
                return [self.infoMessage(str(reason), "Nothing to show")]
            except (OSError, ValueError, KeyError, UdlError) as error:
                return [self.errorMessage(f"The results of the run cannot be read: {error}", "Nothing to show")]

        return show

    def _path(self, name: str) -> str:
        """A file of the run's results. Raises NothingToShow where it is not there."""
        path = self.protocol._getExtraPath(name)
        if not os.path.exists(path):
            progress: list[str] = getattr(self.protocol, "_progressSummary", list)()
            state = f" {progress[0].replace('*', '')}" if progress else ""
            raise NothingToShow(f"The run has no such result, or not yet: there is no {path}.{state}")
        return path

    def _picture(self, path: str, title: str) -> View:
        """A figure that the engine drew, a png, in a window of its own."""
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        plotter = EmPlotter(windowTitle=title, figsize=(13, 13 * pixels.shape[0] / pixels.shape[1]))
        axes = plotter.createSubPlot("", "", "")
        axes.imshow(pixels, interpolation="lanczos")
        axes.set_axis_off()
        return plotter

    def _show_training(self) -> list[View]:
        curves = training_figures.training_curves(self.protocol.readTraining())
        if not curves:
            raise NothingToShow("No model was trained in this run, or the first epoch is not through yet.")
        plotter = EmPlotter(x=1, y=len(curves), windowTitle="Training", figsize=(1 + 5 * len(curves), 4))
        with figures.style():
            for stage, columns in curves.items():  # each has its own axes: their losses are not comparable
                training_figures.draw_stage(plotter.createSubPlot(stage, "", "loss (lower is better)"), columns)
        return [plotter]

    def _show_set(self, name: str) -> list[View]:
        """A set that the run gave, as a table with images."""
        output = getattr(self.protocol, name, None)
        if output is None:
            raise NothingToShow(f"The run has no {name}, or not yet.")
        return set_views(self, output)


def set_views(viewer: UdlProtocolViewer, items: EMSet) -> list[View]:
    """Views of a set: Xmipp's where it is installed, Scipion's own table of images where it is not."""
    project = viewer.getProject()
    if has_xmipp_viewer():
        return DataViewer(project=project, protocol=viewer.protocol, parent=viewer.formWindow)._visualize(items)
    port = getattr(project, "port", None)  # of the window that takes subsets
    return [MDView(items, viewer.protocol, port) if port else MDView(items.getFileName())]


def has_xmipp_viewer() -> bool:
    """Whether Xmipp's viewer can run: the plugin, its Java programs and Java itself are all there."""
    programs = os.path.join(Config.XMIPP_HOME or "", "bindings", "java")
    plugin = importlib.util.find_spec("xmipp3") is not None
    return plugin and os.path.isdir(programs) and shutil.which(getJavaBin()) is not None
