"""udl - align 2D: particles of one view in, the same particles in register and their average out."""

from __future__ import annotations

import os
import shlex
from enum import Enum

import pyworkflow.utils as pwutils
from pwem.objects import Particle, SetOfParticles
from pwem.protocols import ProtAlign2D
from pyworkflow.protocol import LEVEL_ADVANCED, Form, params

from scipion_udl.convert import add_results, read_ids, read_results
from scipion_udl.objects import UdlModel, method_in_words, network_in_words, read_card
from scipion_udl.protocols.protocol_base import AUTOMATIC, FEWEST_TO_TRAIN, MODEL, PARTICLES, TRAINING, ProtUdlBase

MODEL_TRAIN, MODEL_GIVEN = 0, 1
CTF_OPTIONS = ["auto", "flipped", "signed", "none"]  # of the engine, in the order of the form's choices
ALIGNED = "aligned.star"
AVERAGE = "average.mrcs"
AVERAGE_BEFORE = "average_before.mrcs"
FRC = "frc.csv"
REPORT = "report.html"


class ProtUdlAlign2D(ProtUdlBase, ProtAlign2D):
    """Aligns particles that show one view of a molecule, each turned and shifted by an amount that nobody knows.

    A small neural network, trained on the particles themselves without any reference, finds how each is turned. The
    shift and the remaining half turn are found against the average, which sharpens as more particles fall into
    register. The output particles carry the alignment, a score (a correlation with the average, higher is better) and
    a flag on those whose two ends cannot be told apart.

    The particles should be of one view: those of one 2D class, say. The report of the run warns where they are mixed,
    or where no common signal was found.
    """

    _label = "align 2D"

    class outputs(Enum):
        """What the protocol may give."""

        outputParticles = SetOfParticles
        outputAverage = Particle
        outputModel = UdlModel

    _possibleOutputs = outputs

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineAlignParams(self, form: Form) -> None:
        form.getParam("inputParticles").help.set(
            "Particles that show one view, those of one 2D class say. Disabled ones are left out. An alignment that "
            "they carry is not used."
        )
        self._defineGpuParams(form)
        self._defineModelParams(form)
        form.addParam(
            "maxShift",
            params.IntParam,
            default=AUTOMATIC,
            label="Largest shift (px)",
            help="How far a particle may lie from the centre of its box at most, in pixels. -1 takes a tenth of the "
            "box. A small value helps where neighbours come into the box, or along tubes.",
        )
        self._defineMaskParam(form)
        self._defineExpertParams(form)
        form.addSection(label="Training")
        self._defineTrainingParams(form, f"modelFrom == {MODEL_TRAIN}")
        self._defineSeedParam(form)
        form.addParallelSection(threads=4, mpi=0)

    @staticmethod
    def _defineModelParams(form: Form) -> None:
        form.addParam(
            "modelFrom",
            params.EnumParam,
            choices=["Train on these particles", "Use a trained model"],
            default=MODEL_TRAIN,
            label="Model",
            help="Training on the particles themselves needs no other input and fits them best; it takes seconds to "
            "minutes. A model that was trained on particles like these saves that time.",
        )
        form.addParam(
            "inputModel",
            params.PointerParam,
            pointerClass="UdlModel",
            condition=f"modelFrom == {MODEL_GIVEN}",
            allowsNull=False,
            label="Trained model",
            help="The output of 'udl - train model', 'udl - import model' or of another alignment.",
        )

    @staticmethod
    def _defineExpertParams(form: Form) -> None:
        form.addParam(
            "inputReference",
            params.PointerParam,
            pointerClass="Particle",
            allowsNull=True,
            expertLevel=LEVEL_ADVANCED,
            label="Reference image",
            help="An image of the same box and pixel size, such as a class average, whose orientation the result takes "
            "over. Without it, orientation and centre of the average are arbitrary.",
        )
        form.addParam(
            "doRefine",
            params.BooleanParam,
            default=True,
            expertLevel=LEVEL_ADVANCED,
            label="Refine against the average?",
            help="No: the angle is what the network says. Quicker and coarser; there is no reason to choose it but to "
            "see what the network alone can do.",
        )
        form.addParam(
            "ctfTreatment",
            params.EnumParam,
            choices=["As the set says", "Phases were flipped", "Phases were not flipped", "Leave the CTF out"],
            default=0,
            expertLevel=LEVEL_ADVANCED,
            label="CTF of the particles",
            help="Particles with a CTF are compared with the average as each of them shows it at its own defocus. That "
            "needs to be known: whether their phases were flipped. The set says it (Phase flipped, in the info of the "
            "set), and the run warns if the images look otherwise; only then there is a reason to change this. The "
            "wrong choice of the two blurs what is finer than the first zero of the CTF. Without the CTF all particles "
            "count alike at all frequencies: the choice for defocus values that are wrong, or images that were "
            "multiplied by their CTF already. Particles without CTF are aligned without it.",
        )

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        inputs = self._inputArguments()
        self._insertFunctionStep(self.convertInputStep, *inputs, needsGPU=False)
        if self.modelFrom.get() == MODEL_TRAIN:
            trained = self._trainingOptions()
            self._insertFunctionStep(self.trainStep, trained, *inputs)
            model: tuple = (trained,)
        else:
            model = (self.inputModel.get().getObjId(), self.inputModel.get().getFileName())
        options = self._alignOptions()
        dependsOn = (*model, *inputs, *self._referenceArguments())
        self._insertFunctionStep(self.alignStep, options, *dependsOn)
        self._insertFunctionStep(self.createOutputStep, options, *dependsOn, needsGPU=False)

    def trainStep(self, options: str, *dependsOn: object) -> list[str]:
        """Train a network on the particles, unless they are too few: those are aligned without one."""
        count = len(read_ids(self._getExtraPath(PARTICLES)))
        if count >= FEWEST_TO_TRAIN:
            return super().trainStep(options, *dependsOn)
        self.info(f"{count} particles are too few to train a network on: they are aligned without one")
        pwutils.cleanPath(self._getExtraPath(MODEL), self._getExtraPath(TRAINING))  # of an earlier, larger input
        return []

    def getModelFile(self) -> str | None:
        """The model that the alignment uses, a path; None where no network could be trained."""
        if self.modelFrom.get() == MODEL_GIVEN:
            return self.inputModel.get().getFileName()
        model = self._getExtraPath(MODEL)
        return model if os.path.exists(model) else None

    def _alignOptions(self) -> str:
        """The options of the engine, beside the model, that the alignment depends on."""
        options = f"--seed {self.seed.get()}" + self._maskOption()
        if self.maxShift.get() >= 0:
            options += f" --max-shift {self.maxShift.get()}"
        options += self._referenceOption()
        options += f" --ctf {CTF_OPTIONS[self.ctfTreatment.get()]}"
        return options if self.doRefine else options + " --no-refine"

    def alignStep(self, options: str, *_dependsOn: object) -> list[str]:
        """Align the particles with the model."""
        self._convertReference()
        if self.modelFrom.get() == MODEL_GIVEN:
            options += f" --model {shlex.quote(self.getModelFile())}"
        # To continue is to take up the model that was trained here, with its history for the report.
        self._runEngine("align", f"{options} --continue")
        return [self._getExtraPath(ALIGNED), self._getExtraPath(AVERAGE)]

    def createOutputStep(self, *_dependsOn: object) -> None:
        """Give the particles with their alignment, the average, and the model where it was trained here."""
        particles = self.inputParticles.get()
        average = Particle()
        average.setLocation(1, self._getExtraPath(AVERAGE))
        average.setSamplingRate(particles.getSamplingRate())

        aligned = self._createSetOfParticles()
        aligned.copyInfo(particles)
        add_results(particles, aligned, read_results(self._getExtraPath(ALIGNED)))

        found = {self.outputs.outputAverage.name: average, self.outputs.outputParticles.name: aligned}
        if self.modelFrom.get() == MODEL_TRAIN and self.getModelFile():
            found[self.outputs.outputModel.name] = UdlModel.fromFile(self.getModelFile())
        self._defineOutputs(**found)
        self._defineTransformRelation(self.inputParticles, aligned)
        for output in found.values():
            if output is not aligned:
                self._defineSourceRelation(self.inputParticles, output)

    # -- information ---------------------------------------------------------------------------------------------------

    def _validate(self) -> list[str]:
        errors = self._validateEngine()
        errors += self._validateLength("maxShift", "Largest shift") + self._validateLength("maskRadius", "Mask radius")
        box = self.inputParticles.get().getXDim()
        reference = self.inputReference.get()
        if reference is not None and reference.getXDim() != box:
            errors.append(f"*Reference image* has {reference.getXDim()} px and the particles {box}: scale or crop it.")
        if self.modelFrom.get() == MODEL_GIVEN:
            errors += self._validateModel(self.inputModel.get(), "Trained model")
        if CTF_OPTIONS[self.ctfTreatment.get()] in ("flipped", "signed") and not self.inputParticles.get().hasCTF():
            errors.append("The particles have no CTF: leave *CTF of the particles* at 'As the set says'.")
        return errors

    def _warnings(self) -> list[str]:
        warnings = []
        particles = self.inputParticles.get()
        if self.modelFrom.get() == MODEL_TRAIN and particles.getSize() < FEWEST_TO_TRAIN:
            warnings.append(
                f"There are {particles.getSize()} particles, and training needs about {FEWEST_TO_TRAIN}: they will be "
                "aligned without a network, and no resolution will be claimed."
            )
        if particles.hasAlignment() and not particles.hasAlignment2D():
            warnings.append(
                "The particles carry projection directions. The output carries the new 2D alignment in their place; "
                "those of the input stay in the input set."
            )
        return warnings

    def _summary(self) -> list[str]:
        aligned = self.readEngineSummary()
        if "resolution" not in aligned:
            return [*self._trainingSummary(aligned), "The alignment is not ready yet."]
        lines = self._trainingSummary(aligned)
        lines.append(f"Aligned *{aligned.get('particles')}* particles of {aligned.get('box')} px.")
        resolution = aligned.get("resolution")
        if aligned.get("signal_found") is False:
            lines.append("*No common signal was found* in the particles.")
        elif resolution:
            lines.append(f"Resolution of the average: *{resolution:.1f} Å* (FRC of two halves at 0.143).")
        note = aligned.get("resolution_note")
        if note and note not in aligned.get("warnings", []):
            lines.append(note)
        if aligned.get("ambiguous"):
            lines.append(f"{aligned['ambiguous']} particles may be the wrong way round (_udlAmbiguous).")
        lines += aligned.get("notes", [])
        lines.append(f"Report: {self.getFileTag(self.getReport())}")
        return lines + self._warningSummary(aligned)

    def _methods(self) -> list[str]:
        aligned = self.readEngineSummary()
        if "resolution" not in aligned:
            return []
        text = f"{aligned.get('particles')} particles were aligned in 2D by unsupervised difference learning [Chen2023]"
        if self.modelFrom.get() == MODEL_GIVEN or self.getModelFile():
            card = read_card(self.getModelFile())
            where = "on them" if self.modelFrom.get() == MODEL_TRAIN else "before, on other particles,"
            text += f": rotations modulo 180 degrees by {network_in_words(card)}, trained {where} by "
            text += method_in_words(card)
        text += "; shifts and half turns against the average"
        return [text + (", then refinement of all three against it." if self.doRefine else ".")]

    # -- for the viewer ------------------------------------------------------------------------------------------------

    def getReport(self) -> str:
        """The run's report, an HTML page, relative to the project folder."""
        return self._getExtraPath(REPORT)
