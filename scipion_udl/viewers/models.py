"""What a training and a model show: the curve, the card in words, and what the network has learned."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image
from pwem.viewers import EmPlotter
from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from scipion_udl.model_card import read_card
from scipion_udl.objects import UdlModel, card_in_words
from scipion_udl.protocols import ProtUdlTrain
from scipion_udl.report import figures
from scipion_udl.viewers.base import TRAINING_HELP, Button, NothingToShow, UdlProtocolViewer

NO_PICTURE = (
    "There is no picture of what it has learned. Only the polar network holds a template that can be drawn; its "
    "picture, model.png, lies beside the model file since training makes one."
)


class UdlTrainViewer(UdlProtocolViewer):
    """The training curve of a model, and the model."""

    _label = "results of train model"
    _targets = [ProtUdlTrain]

    def buttons(self) -> list[Button]:
        """The buttons, in the order of the form."""
        return [
            Button("doShowTraining", "Training curve", TRAINING_HELP, self._show_training),
            Button("doShowModel", "Model", "What the model is, and what it has learned.", self._show_model),
        ]

    def _show_model(self) -> list[View]:
        model = getattr(self.protocol, "outputModel", None)
        if model is None:
            raise NothingToShow("The model is not ready yet.")
        return [model_window(model)]


class UdlModelViewer(Viewer):
    """What the card of a model says, and what it has learned."""

    _name = "udl model card"
    _environments = [DESKTOP_TKINTER]
    _targets = [UdlModel]

    def _visualize(self, obj: UdlModel, **_kwargs: object) -> list[View]:
        return [model_window(obj)]


def model_window(model: UdlModel) -> EmPlotter:
    """A window with the card of a model in words, and the picture that the engine left beside it.

    Raises UdlError where the file is no model.
    """
    card = read_card(model.getFileName())
    plotter = EmPlotter(x=1, y=2, windowTitle="Model", figsize=(10.5, 5))
    plotter.tightLayoutOn = False
    with figures.style():
        text = plotter.createSubPlot("", "", "")
        text.set_axis_off()
        text.set_position([0.03, 0.03, 0.45, 0.92])
        for k, (name, words) in enumerate(card_in_words(card)):
            y = 0.97 - 0.074 * k
            text.text(0, y, name, weight="bold", va="top", fontsize=10)
            text.text(0.32, y, words, va="top", fontsize=10)
        picture = plotter.createSubPlot("", "", "")
        picture.set_axis_off()
        picture.set_position([0.5, 0.03, 0.48, 0.92])
        if model.getPicture():
            with Image.open(model.getPicture()) as image:
                picture.imshow(np.asarray(image.convert("RGB")), interpolation="lanczos")
        else:
            picture.text(0.5, 0.5, textwrap.fill(NO_PICTURE, 46), ha="center", va="center", color=figures.MUTED)
    return plotter
