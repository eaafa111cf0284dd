"""udl - train model: particles in, a trained network out, for alignments to come."""

from __future__ import annotations

import os
import shlex
from enum import Enum

from pyworkflow.protocol import LEVEL_ADVANCED, Form, params

from scipion_udl.constants import MODEL
from scipion_udl.errors import UdlError
from scipion_udl.objects import UdlModel, method_in_words, network_in_words, read_card
from scipion_udl.protocols.protocol_base import AUTOMATIC, FEWEST_TO_TRAIN, METHOD_OPTIONS, ProtUdlBase
from scipion_udl.values import BadValue, whole_numbers

# Choices of the form and what the engine calls them, in the same order; "" leaves it to the engine. The matching
# network is not among them: it compares photographs, and nothing in a project is one.
POLAR, RESNET = 0, 1
NETWORK_OPTIONS = ["polar", "resnet"]
NETWORKS = ["Polar network", "Pair network of the paper (resnet)"]
RECIPE_OPTIONS = ["", "paper-synthetic", "paper-real"]
RECIPES = ["Narrow, for any computer", "Published, for synthetic particles", "Published, for real particles"]
HEAD_OPTIONS = ["", "difference", "circular", "degrees"]
HEADS = ["Of the recipe", "An angle of each image", "A point on a circle", "Degrees (published)"]
JOINT_OPTIONS = ["", "mean", "autoencoder"]
JOINTS = ["Of the recipe", "Mean of the others", "Autoencoder (published)"]
UDL = METHOD_OPTIONS.index("udl")
JUDL = METHOD_OPTIONS.index("judl")

_OF_RESNET = f"network == {RESNET}"
_OF_NEW_RESNET = f"network == {RESNET} and inputModel is None"  # a model to start from keeps its shape


class ProtUdlTrain(ProtUdlBase):
    """Trains the network that 'udl - align 2D' uses, on particles and without labels.

    'udl - align 2D' trains a network by itself. This protocol is for those who want to train once, on some of the
    particles or on several views together, and to use the model on other particles of the same kind; or to go on with
    the training of a model. It also trains the network of the paper on this method, which compares two particles at a
    time: first by UDL, and then, from that model, by JUDL.
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
            label="Start from model",
            help="A trained model to go on from, of the same network and of particles of the same box and pixel size. "
            "The pair network is trained by UDL first, and by JUDL from that model. Leave it empty to start anew.",
        )
        self._defineTruthParam(form)
        self._defineDiameterParam(form)
        form.addSection(label="Training")
        self._defineNetworkParams(form)
        self._defineTrainingParams(form)
        form.getParam("method").help.set(
            "JUDL draws all particles to one common orientation. UDL, its predecessor, learns from differences between "
            "pairs only. For the polar network JUDL is the better choice, and far quicker; the pair network is trained "
            "by UDL first, and by JUDL from that model."
        )
        self._defineShapeParams(form)
        self._defineSeedParam(form)
        form.addParallelSection(threads=4, mpi=0)

    @staticmethod
    def _defineTruthParam(form: Form) -> None:
        form.addParam(
            "truthFile",
            params.FileParam,
            default="",
            expertLevel=LEVEL_ADVANCED,
            label="True poses",
            help="Of simulated particles: the file truth.star that names their images; the summary of 'udl - simulate "
            "particles' says where it is. The true error is shown beside the loss, epoch by epoch. It teaches nothing: "
            "the model is the same without it. Leave it empty for real particles.",
        )

    @staticmethod
    def _defineNetworkParams(form: Form) -> None:
        form.addParam(
            "network",
            params.EnumParam,
            choices=NETWORKS,
            default=POLAR,
            label="Network",
            help="The polar network reads the spectrum of a particle along circles; it learns in seconds to minutes. "
            "The pair network (resnet) is the one that the method was published with; it "
            "needs more particles and far more time. Both give the rotation modulo 180 degrees; the rest is found "
            "against the average.",
        )
        form.addParam(
            "recipe",
            params.EnumParam,
            choices=RECIPES,
            default=0,
            condition=_OF_RESNET,
            label="Recipe",
            help="Narrow: a small network and a training that suits it. Published: size, loss, learning rate and "
            "epochs exactly as in the paper, as they were used for synthetic or for real particles. The published "
            "network is large and is trained 100 times over up to 50 000 particles: that is work for a GPU.",
        )

    def _defineShapeParams(self, form: Form) -> None:
        """What only those who study the pair network want to choose."""
        form.addParam(
            "joint",
            params.EnumParam,
            choices=JOINTS,
            default=0,
            expertLevel=LEVEL_ADVANCED,
            condition=f"{_OF_RESNET} and method == {JUDL}",
            label="Reconstruction",
            help="What JUDL compares an aligned particle with: the mean of the others, or what the autoencoder of the "
            "paper makes of it.",
        )
        form.addParam(
            "head",
            params.EnumParam,
            choices=HEADS,
            default=0,
            expertLevel=LEVEL_ADVANCED,
            condition=_OF_NEW_RESNET,
            label="Last layers",
            help="What the last layers give. Degrees: the angle between two images itself, as published. A point on a "
            "circle: the same without a jump at 180 degrees. An angle of each image: its own, and the difference of "
            "the two is the answer.",
        )
        self._defineWidthParams(form)

    @staticmethod
    def _defineWidthParams(form: Form) -> None:
        for name, label, help_ in (
            (
                "widths",
                "Channels of the blocks",
                "One number for each residual block, as 16,32,64,64; each block halves the image. Leave it empty for "
                "those of the recipe.",
            ),
            (
                "hidden",
                "Linear layers",
                "Width of each linear layer before the angle, as 128 or 2000,2000. Leave it empty for those of the "
                "recipe.",
            ),
        ):
            form.addParam(
                name,
                params.StringParam,
                default="",
                expertLevel=LEVEL_ADVANCED,
                condition=_OF_NEW_RESNET,
                label=label,
                help=help_,
            )
        form.addParam(
            "inputSize",
            params.IntParam,
            default=AUTOMATIC,
            expertLevel=LEVEL_ADVANCED,
            condition=_OF_NEW_RESNET,
            label="Input size (px)",
            help="Pixels of a side of the spectrum that the network sees; its inner part, the low frequencies, where "
            "it is smaller than the box. The blocks must be able to halve it. -1 takes that of the recipe: 32 of the "
            "narrow, 128 of the published one.",
        )

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        inputs = self._inputArguments()
        options = self._trainingOptions() + self._networkOptions()
        self._insertFunctionStep(self.convertInputStep, *inputs, needsGPU=False)
        self._insertFunctionStep(self.trainStep, options, *inputs)
        self._insertFunctionStep(self.createOutputStep, options, *inputs, needsGPU=False)

    def _networkOptions(self) -> str:
        """The options of the engine that only this protocol has; those of hidden parameters are left out."""
        words = ["--network", NETWORK_OPTIONS[self.network.get()]]
        for name, options in (("recipe", RECIPE_OPTIONS), ("head", HEAD_OPTIONS), ("joint", JOINT_OPTIONS)):
            choice = options[getattr(self, name).get()]
            if choice and self.evalParamCondition(name):
                words += [f"--{name}", choice]
        if self.evalParamCondition("widths"):
            for name in ("widths", "hidden"):
                numbers = self._wholeNumbers(name)
                words += [f"--{name}", ",".join(map(str, numbers))] if numbers else []
            words += ["--input-size", str(self.inputSize.get())] if self.inputSize.get() > 0 else []
        if self.inputModel.get() is not None:
            words += ["--model", self.inputModel.get().getFileName()]
        if self._truthPath():
            words += ["--truth", os.path.abspath(self._truthPath())]
        return " " + " ".join(map(shlex.quote, words))

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

    def _validate(self) -> list[str]:
        if self.inputParticles.get() is None:  # Scipion says so itself
            return []
        errors = self._validateEngine() + self._validateDiameter()
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
            errors.append(f"*Input size* is {self.inputSize.get()} px: give a size above 0, or -1 for the recipe's.")
        return errors

    def _validateStart(self) -> list[str]:
        """Sentences where there is a model to start from that this training cannot go on with."""
        start = self.inputModel.get()
        if start is None:
            return []
        errors = self._validateModel(start, "Start from model")
        if errors:
            return errors
        kind, method = start.getNetwork().partition("-")[0], METHOD_OPTIONS[self.method.get()]
        if kind != NETWORK_OPTIONS[self.network.get()]:
            label = NETWORKS[NETWORK_OPTIONS.index(kind)] if kind in NETWORK_OPTIONS else kind
            return [f"*Start from model* is a {kind} network: choose *Network*: {label}, or start anew."]
        if start.getMethod() == method or (kind == "resnet" and method == "judl"):
            return []
        trained = (start.getMethod() or "").upper()
        return [f"*Start from model* was trained by {trained}: choose it as *Training method*, or start anew."]

    def _warnings(self) -> list[str]:
        if self.network.get() != RESNET:
            return []
        warnings = []
        if RECIPE_OPTIONS[self.recipe.get()] and not self.usesGpu():
            warnings.append(
                "The published recipe is for a GPU, and this run has none: on the processor it is too slow for more "
                "than a trial. Switch *Use GPU* on, or choose *Recipe*: Narrow."
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
        recipe = RECIPES[RECIPE_OPTIONS.index((card.get("training") or {}).get("recipe") or "")]
        network = self.getEnumText("network") + (f". Recipe: {recipe}" if self.network.get() == RESNET else "")
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
