"""udl - train model: particles in, a trained network out, for alignments to come."""

from __future__ import annotations

import shlex
from enum import Enum

from pyworkflow.protocol import LEVEL_ADVANCED, Form, params

from scipion_udl.objects import UdlModel
from scipion_udl.protocols.protocol_base import FEWEST_TO_TRAIN, MODEL, ProtUdlBase


class ProtUdlTrain(ProtUdlBase):
    """Trains the network that 'udl - align 2D' uses, on particles and without labels.

    'udl - align 2D' trains a network by itself. This protocol is for those who want to train once, on some of the
    particles or on several views together, and to use the model on other particles of the same kind; or to go on with
    the training of a model.
    """

    _label = "train model"

    class outputs(Enum):
        """What the protocol gives."""

        outputModel = UdlModel

    _possibleOutputs = outputs

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._defineGpuParams(form)
        form.addParam(
            "inputParticles",
            params.PointerParam,
            pointerClass="SetOfParticles",
            important=True,
            label="Input particles",
            help="Particles to learn from, some hundred or more. Their alignment, if they have one, is not used.",
        )
        form.addParam(
            "inputModel",
            params.PointerParam,
            pointerClass="UdlModel",
            allowsNull=True,
            expertLevel=LEVEL_ADVANCED,
            label="Start from model",
            help="A trained model to go on from, of the same box and pixel size. Without it, training starts anew.",
        )
        self._defineMaskParam(form)
        self._defineTrainingParams(form)
        self._defineSeedParam(form)
        form.addParallelSection(threads=4, mpi=0)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        inputs = self._inputArguments()
        options = self._trainingOptions()
        if self.inputModel.get() is not None:
            options += f" --model {shlex.quote(self.inputModel.get().getFileName())}"
        self._insertFunctionStep(self.convertInputStep, *inputs, needsGPU=False)
        self._insertFunctionStep(self.trainStep, options, *inputs)
        self._insertFunctionStep(self.createOutputStep, options, *inputs, needsGPU=False)

    def createOutputStep(self, *_dependsOn: object) -> None:
        """Give the trained model."""
        model = UdlModel.fromFile(self._getExtraPath(MODEL))
        self._defineOutputs(**{self.outputs.outputModel.name: model})
        self._defineSourceRelation(self.inputParticles, model)

    # -- information ---------------------------------------------------------------------------------------------------

    def _validate(self) -> list[str]:
        errors = self._validateEngine() + self._validateLength("maskRadius", "Mask radius")
        size = self.inputParticles.get().getSize()
        if size < FEWEST_TO_TRAIN:
            errors.append(f"There are {size} particles, and training needs about {FEWEST_TO_TRAIN}: give more.")
        start = self.inputModel.get()
        return errors if start is None else errors + self._validateModel(start, "Start from model")

    def _summary(self) -> list[str]:
        summary = self.readEngineSummary()
        if not summary:
            return ["The model is not ready yet."]
        lines = [*self._trainingSummary(summary), f"Particles: {summary.get('particles')} of {summary.get('box')} px."]
        return lines + summary.get("notes", []) + self._warningSummary(summary)

    def _methods(self) -> list[str]:
        summary = self.readEngineSummary()
        if not summary:
            return []
        kind = "joint unsupervised" if summary.get("method") == "judl" else "unsupervised"
        how = f"{kind} difference learning [{'Chen2023' if kind.startswith('joint') else 'Chen2022'}]"
        return [f"A network for in-plane rotations was trained on {summary.get('particles')} particles by {how}."]
