"""udl - train model: particles in, a trained network out, for alignments to come."""

from __future__ import annotations

import os
import shlex
from enum import Enum

from pyworkflow.protocol import Form

from scipion_udl.constants import MODEL
from scipion_udl.errors import UdlError
from scipion_udl.model_card import read_card
from scipion_udl.objects import UdlModel, method_in_words, network_in_words
from scipion_udl.protocols.asking import ask
from scipion_udl.protocols.protocol_base import FEWEST_TO_TRAIN, ProtUdlBase
from scipion_udl.settings.commands import TrainSettings
from scipion_udl.settings.option import AUTOMATIC, Question
from scipion_udl.settings.training import JUDL, RESNET
from scipion_udl.values import BadValue, whole_numbers

RESNET_NAME, JUDL_NAME = "resnet", "judl"  # of the engine
POLAR, UDL = 0, 1
_PARTICLES = Question(
    "inputParticles",
    "Input particles",
    "Particles to learn from, some hundred or more. Their alignment, if they have one, is not used.",
    kind="object",
    of="SetOfParticles",
    important=True,
)
_OF_THE_NETWORK = ("preset", "head", "joint", "widths", "hidden", "input_size")  # options that not all runs have


class ProtUdlTrain(ProtUdlBase):
    """Trains the network that 'udl - align 2D' uses, on particles and without labels.

    'udl - align 2D' trains a network by itself. This protocol is for those who want to train once, on some of the
    particles or on several views together, and to use the model on other particles of the same kind; or to go on with
    the training of a model. It also trains the network of the paper on this method, which compares two particles at a
    time: first by UDL, and then, from that model, by JUDL.
    """

    _label = "train model"
    _settings = TrainSettings

    class outputs(Enum):
        """What the protocol gives."""

        outputModel = UdlModel

    _possibleOutputs = outputs

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._defineGpuParams(form)
        ask(form, _PARTICLES)
        self._ask(form, "model")
        self._ask(form, "truth")
        self._defineDiameterParam(form)
        form.addSection(label="Training")
        self._ask(form, "network")
        self._ask(form, "preset")
        self._defineTrainingParams(form)
        for name in ("joint", "head", "widths", "hidden", "input_size"):
            self._ask(form, name)
        self._defineSeedParam(form)
        form.addParallelSection(threads=4, mpi=0)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        inputs = self._inputArguments()
        options = self._trainingOptions() + self._networkOptions()
        self._insertFunctionStep(self.convertInputStep, *inputs, needsGPU=False)
        self._insertFunctionStep(self.trainStep, options, *inputs)
        self._insertFunctionStep(self.createOutputStep, options, *inputs, needsGPU=False)

    def _networkOptions(self) -> str:
        """The options of the engine that only this protocol has; those of hidden parameters are left out."""
        words = self._words("network")
        for name in _OF_THE_NETWORK:
            if not self.evalParamCondition(self._settings.question(name).name):
                continue
            if name in ("widths", "hidden"):
                words += self._option(name, ",".join(map(str, self._wholeNumbers(name))) or None)
            else:
                words += self._words(name)
        start, truth = self.inputModel.get(), self._truthPath()
        words += self._option("model", None if start is None else start.getFileName())
        words += self._option("truth", os.path.abspath(truth) if truth else None)
        return " " + shlex.join(words)

    def _wholeNumbers(self, name: str) -> tuple[int, ...]:
        """The numbers of a parameter, separated by commas or spaces; none where it is empty."""
        text = ",".join((getattr(self, name).get() or "").replace(",", " ").split())
        return whole_numbers(text) if text else ()

    def _truthPath(self) -> str:
        return os.path.expanduser((self.truthFile.get() or "").strip())

    def createOutputStep(self, *_dependsOn: object) -> None:
        """Give the trained model."""
        model = UdlModel.fromFile(self._getExtraPath(MODEL))
        self._defineOutputs(**{self.outputs.outputModel.name: model})
        self._defineSourceRelation(self.inputParticles, model)

    # -- information ---------------------------------------------------------------------------------------------------

    def _validateForm(self) -> list[str]:
        errors = self._validateDiameter()
        size = self.inputParticles.get().getSize()
        if size < FEWEST_TO_TRAIN:
            errors.append(f"There are {size} particles, and training needs about {FEWEST_TO_TRAIN}: give more.")
        if self._truthPath() and not os.path.isfile(self._truthPath()):
            errors.append(f"*True poses*: {self._truthPath()} is not there: give a truth.star, or nothing.")
        return errors + self._validateShape() + self._validateStart()

    def _validateShape(self) -> list[str]:
        """Sentences where the shape of a new pair network is no such thing."""
        if not self.evalParamCondition("widths"):
            return []
        errors = []
        for name in ("widths", "hidden"):
            try:
                self._wholeNumbers(name)
            except BadValue as error:
                label = self.getParam(name).getLabel()
                errors.append(f"*{label}*: {error}: give whole numbers with commas between them, or nothing.")
        if self.inputSize.get() == 0 or self.inputSize.get() < AUTOMATIC:
            errors.append(f"*Input size* is {self.inputSize.get()} px: give a size above 0, or -1 for the preset's.")
        return errors

    def _validateStart(self) -> list[str]:
        """Sentences where there is a model to start from that this training cannot go on with."""
        start = self.inputModel.get()
        if start is None:
            return []
        errors = self._validateModel(start, "Start from model")
        if errors:
            return errors
        kind, method = start.getNetwork().partition("-")[0], self._words("method")[-1]
        if kind != self._words("network")[-1]:
            asked = self._settings.question("network")
            label = dict(zip(asked.answers, asked.choices)).get(kind, kind)
            return [f"*Start from model* is a {kind} network: choose *Network*: {label}, or start anew."]
        if start.getMethod() == method or (kind == RESNET_NAME and method == JUDL_NAME):
            return []
        trained = (start.getMethod() or "").upper()
        return [f"*Start from model* was trained by {trained}: choose it as *Training method*, or start anew."]

    def _warnings(self) -> list[str]:
        if self.network.get() != RESNET:
            return []
        warnings = []
        if self._words("preset") and not self.usesGpu():
            warnings.append(
                "The published preset is for a GPU, and this run has none: on the processor it is too slow for more "
                "than a trial. Switch *Use GPU* on, or choose *Preset*: Narrow."
            )
        if self.method.get() == JUDL and self.inputModel.get() is None:
            warnings.append(
                "JUDL of the pair network is meant to go on from a UDL model: train by UDL first, and give its model "
                "as *Start from model*."
            )
        return warnings

    def _summary(self) -> list[str]:
        summary, card = self.readEngineSummary(), self._readCard()
        if not summary or not card:
            return ["The model is not ready yet."]
        asked = self._settings.question("preset")
        recipe = asked.choices[asked.answers.index((card.get("training") or {}).get("recipe") or None)]
        network = self.getEnumText("network") + (f". Preset: {recipe}" if self.network.get() == RESNET else "")
        lines = [f"Network: {network}.", *self._trainingSummary(summary)]
        errors = self._trueErrors()
        if errors:
            lines.append(f"True error modulo 180°: *{errors[-1]:.2f}°* mean, {errors[0]:.2f}° at the start.")
        lines.append(f"Particles: {summary.get('particles')} of {summary.get('box')} px.")
        lines += self._diameterSummary(summary)
        return lines + summary.get("notes", []) + self._warningSummary(summary)

    def _readCard(self) -> dict:
        """The card of the model that was trained here; {} where there is none yet."""
        try:
            return read_card(self._getExtraPath(MODEL))
        except UdlError:
            return {}

    def _trueErrors(self) -> list[float]:
        """The true errors of the start and of the epoch that is kept, degrees; [] where no truth was given."""
        rows = {row["epoch"]: row for row in self.readTraining() if row.get("true_error")}
        kept = str((self.readEngineSummary().get("training") or {}).get("best_epoch"))
        return [float(rows[epoch]["true_error"]) for epoch in ("0", kept)] if {"0", kept} <= set(rows) else []

    def _methods(self) -> list[str]:
        summary, card = self.readEngineSummary(), self._readCard()
        if not summary or not card:
            return []
        text = f"For in-plane rotations {network_in_words(card)}"
        text += " [He2016, Zhang2020]" if self.network.get() == RESNET else ""
        text += f" was trained on {summary.get('particles')} particles by {method_in_words(card)}"
        start = self.inputModel.get()
        if start is not None:
            text += f", from a model that had been trained by {(start.getMethod() or '').upper()}"
        errors = self._trueErrors()
        error = [f"Its mean error against the true rotations was {errors[-1]:.2f} degrees."] if errors else []
        return [f"{text}.", *error]

    def _citations(self) -> list[str]:
        """What the pair network is made of, beside the plugin's own references."""
        return ["He2016", "Zhang2020"] if self.network.get() == RESNET else []
