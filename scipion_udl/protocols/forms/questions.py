"""Questions that 'udl - align 2D' and 'udl - classify 2D' share, what the answers mean to the engine, and checks."""

from __future__ import annotations

import os
import shlex

from pyworkflow.protocol import Form

from scipion_udl.constants import MODEL
from scipion_udl.convert.particle_input import info_of
from scipion_udl.objects import UdlModel
from scipion_udl.protocols.asking import ask
from scipion_udl.protocols.protocol_base import ProtUdlBase
from scipion_udl.settings.option import Question

MODEL_TRAIN, MODEL_GIVEN = 0, 1
MODEL_OUT = "outputModel"
_MODEL_FROM = Question(
    "modelFrom",
    "Model",
    kind="choice",
    default=MODEL_TRAIN,
    choices=("Train on these particles", "Use a trained model"),
)
NO_PARTICLES = "*Input particles* has no particles: choose another set."


class ParticleQuestions(ProtUdlBase):
    """Questions on the particles, and on the network that looks at them."""

    _label: str | None = None

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineModelChoice(self, form: Form, time_of_training: str, condition: str = "True") -> None:
        ask(
            form,
            _MODEL_FROM,
            condition=condition,
            help=f"Training on the particles themselves needs no other input and fits them best; {time_of_training}. A "
            "model that was trained on particles like these saves that time.",
        )
        self._ask(form, "model", condition=f"modelFrom == {MODEL_GIVEN} and {condition}")

    # -- what the answers mean -----------------------------------------------------------------------------------------

    def _trains(self) -> bool:
        """Whether a network is trained in this run."""
        return self.modelFrom.get() == MODEL_TRAIN

    def _takesModel(self) -> bool:
        """Whether the run uses a model that was trained before."""
        return self.modelFrom.get() == MODEL_GIVEN

    def _modelOption(self) -> str:
        model = self.inputModel.get().getFileName() if self._takesModel() else None
        return "".join(f" {shlex.quote(word)}" for word in self._option("model", model))

    def _giveModel(self) -> None:
        """Give the trained network as an output."""
        model = UdlModel.fromFile(self._getExtraPath(MODEL))
        self._defineOutputs(**{MODEL_OUT: model})
        self._defineSourceRelation(self.inputParticles, model)

    def getModelFile(self) -> str | None:
        """The model that the run uses, a path; None where it uses no network."""
        if self._takesModel():
            return self.inputModel.get().getFileName()
        model = self._getExtraPath(MODEL)
        return model if self._trains() and os.path.exists(model) else None

    # -- checks --------------------------------------------------------------------------------------------------------

    def _validateFinest(self) -> list[str]:
        """A sentence where the working resolution is finer than the images."""
        finest = 2 * info_of(self.inputParticles.get()).getSamplingRate()
        if not 0 < self.finest.get() < finest:
            return []
        return [
            f"*High-resolution limit* is {self.finest.get():g} Å, but nothing finer than {finest:g} Å (two pixels) is "
            "in the images: give more, or -1 for all."
        ]

    def _validateCtf(self) -> list[str]:
        """A sentence where the CTF of particles without one is asked for."""
        asked = self._words("ctf")[-1] in ("flipped", "signed")
        if not asked or info_of(self.inputParticles.get()).hasCTF():
            return []
        return ["The particles have no CTF: leave *CTF of the particles* at 'As the set says'."]

    def _validateGivenModel(self) -> list[str]:
        """Sentences where the trained model cannot be used on the particles."""
        return self._validateModel(self.inputModel.get(), "Trained model") if self._takesModel() else []

    def _alignmentWarnings(self) -> list[str]:
        """A sentence where the particles carry a 3D alignment, which the output does not."""
        info = info_of(self.inputParticles.get())
        if not info.hasAlignment() or info.hasAlignment2D():
            return []
        return [
            "The particles carry projection directions. The output carries the new 2D alignment in their place; "
            "those of the input stay in the input set."
        ]
