"""The trained model as a Scipion object, and what its card says in words."""

from __future__ import annotations

import os

from pwem.objects import EMObject
from pyworkflow.object import Boolean, Float, Integer, String

from scipion_udl.constants import MODEL_PICTURE
from scipion_udl.model_card import fits, read_card
from scipion_udl.settings.networks import PAIRS, ROWS

_PRESETS = {
    "paper-synthetic": " with the published settings for synthetic particles",
    "paper-real": " with the published settings for real particles",
}


def network_in_words(card: dict) -> str:
    """What kind of network a card is of: "a siamese residual network of pairs of spectra"."""
    row = ROWS.get(card.get("network", ""))
    return "a network" if row is None else row.words


def method_in_words(card: dict) -> str:
    """How the network of a card was trained, with citations, as a part of a sentence on methods."""
    recipe = _PRESETS.get((card.get("training") or {}).get("recipe") or "", "")
    if card.get("method") != "judl":
        return f"unsupervised difference learning (UDL) [Chen2022]{recipe}"
    row = ROWS.get(card.get("network", ""))
    by_design = ", by its joint term alone, since differences hold by design" if row and row.by_design else ""
    return f"joint unsupervised difference learning (JUDL) [Chen2023]{by_design}{recipe}"


def card_in_words(card: dict) -> list[tuple[str, str]]:
    """What the card of a model says, for people: pairs of a name and a few words."""
    training = card.get("training") or {}
    across = card["box"] * card["pixel_size"] if card.get("box") and card.get("pixel_size") else 0
    epochs = f"{training.get('epochs', '?')}, number {training.get('best_epoch', '?')} was the best"
    state = {True: "yes", False: "no: give it more epochs"}.get(training.get("converged", ""), "unknown")
    method = {"judl": "JUDL (joint)", "udl": "UDL (pair-wise difference)"}.get(card.get("method", ""), "unknown")
    rows = [
        ("Network", network_in_words(card).partition(" ")[2]),
        ("Method", method + _PRESETS.get(training.get("recipe") or "", "")),
        ("Learned from", f"{training.get('particles', '?')} particles of {training.get('input', 'an unknown file')}"),
        ("Box", f"{card.get('box', '?')} px at {card.get('pixel_size', 0):g} Å/px, {across:.0f} Å across"),
        ("Contrast", f"{card.get('contrast', 'unknown')} particles"),
        ("Epochs", epochs if training.get("best_epoch") else f"{training.get('epochs', '?')}, none beat the start"),
        ("Converged", state),
        ("Held-out loss", f"{training['validation']:.4f}" if training.get("validation") is not None else "unknown"),
        ("Seed", str(training.get("seed", "unknown"))),
        ("Made by", f"scipion-udl {card.get('made_by', 'unknown')}"),
    ]
    return rows


class UdlModel(EMObject):
    """A network trained by udl: where it lies, and what its card says of it."""

    def __init__(self, filename: str | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._filename = String(filename)
        self._method = String()
        self._network = String()
        self._box = Integer()
        self._samplingRate = Float()
        self._contrast = String()
        self._version = String()
        self._particles = Integer()
        self._converged = Boolean()

    @classmethod
    def fromFile(cls, path: str) -> UdlModel:
        """The object of a model file. Raises UdlError where it is none."""
        card = read_card(path)
        training = card.get("training") or {}
        model = cls(path)
        model._method.set(card.get("method"))
        model._network.set(card.get("network"))
        model._box.set(card.get("box"))
        model._samplingRate.set(card.get("pixel_size"))
        model._contrast.set(card.get("contrast"))
        model._version.set(card.get("made_by"))
        model._particles.set(training.get("particles"))
        model._converged.set(training.get("converged"))
        return model

    def getFileName(self) -> str:
        """The model file, relative to the project folder."""
        return self._filename.get()

    def getPicture(self) -> str | None:
        """The picture of what it has learned, beside the model file; None where there is none."""
        path = os.path.join(os.path.dirname(self.getFileName()), MODEL_PICTURE)
        return path if os.path.exists(path) else None

    def getMethod(self) -> str:
        """judl (joint) or udl (pair-wise difference)."""
        return self._method.get()

    def getNetwork(self) -> str:
        """polar or polar-free (of polar spectra), resnet (of pairs of spectra) or matching (of pairs of images)."""
        return self._network.get("")

    def isForPairs(self) -> bool:
        """Whether it compares two photographs, so that it has nothing to say of single particles."""
        row = ROWS.get(self.getNetwork())
        return row is not None and row.sees == PAIRS

    def isOfClasses(self) -> bool:
        """Whether it holds the classes of a whole set of many views."""
        return self.getNetwork() == "classes"

    def getBox(self) -> int:
        """Box of the particles it was trained on, pixels."""
        return self._box.get()

    def getSamplingRate(self) -> float:
        """Pixel size of the particles it was trained on, angstrom."""
        return self._samplingRate.get()

    def misfit(self, box: int, sampling_rate: float) -> str:
        """Why it does not fit particles of ``box`` pixels at ``sampling_rate`` angstrom, a sentence; "" where it does.

        The network sees frequencies of the whole field of view, so particles that were only binned fit.
        """
        own = self._box.get(0), self._samplingRate.get(0.0)
        mine, theirs = own[0] * own[1], box * sampling_rate
        if not mine or fits(*own, box, sampling_rate):
            return ""
        return (
            f"The model was trained on particles {mine:.0f} Å across ({self._box.get()} px at "
            f"{self._samplingRate.get():g} Å/px), these are {theirs:.0f} Å ({box} px at {sampling_rate:g} Å/px); "
            "train one on these."
        )

    def getFiles(self) -> set[str]:
        """The files that belong to the object."""
        return {path for path in (self.getFileName(), self.getPicture()) if path}

    def getSummary(self) -> str:
        """One line on the model for people."""
        method = (self._method.get() or "").upper()
        text = f"{self._network.get() or 'network'} network, {method or 'unknown method'}"
        if self._box.hasValue() and self._samplingRate.hasValue():
            text += f", trained on {self._box.get()} px at {self._samplingRate.get():.2f} Å/px"
        if self._particles.hasValue():
            text += f", {self._particles.get()} particles"
        return text

    def __str__(self) -> str:
        return f"UdlModel ({self.getSummary()})"
