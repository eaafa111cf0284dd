"""udl - align 2D: particles of one view, or 2D classes, in; the same particles in register and their averages out."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import pyworkflow.utils as pwutils
from pwem.objects import Particle, SetOfAverages, SetOfClasses2D, SetOfParticles
from pwem.protocols import ProtAlign2D

from scipion_udl.constants import MODEL
from scipion_udl.convert.classes import add_classes, average_image, fill_averages
from scipion_udl.convert.particle_input import are_classes, count_items, info_of
from scipion_udl.convert.particles import Results, add_aligned_images, add_results, check_complete, read_results
from scipion_udl.cost_estimate import cost_of_alignment
from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.model_card import read_card
from scipion_udl.objects import UdlModel, method_in_words, network_in_words
from scipion_udl.protocols.asking import in_words_of_the_form
from scipion_udl.protocols.forms.align_2d import LEAVE_BELOW, LEAVE_NOTHING, Align2DForm
from scipion_udl.protocols.forms.cost_warnings import warnings_of_cost
from scipion_udl.protocols.forms.questions import MODEL_OUT
from scipion_udl.protocols.protocol_base import FEWEST_TO_TRAIN, PARTICLES, TRAINING, told_in

ALIGNED = "aligned.star"
ALIGNED_XMD = "aligned.xmd"  # the one that can say that a particle is mirrored
ALIGNED_STACK = "aligned.mrcs"
AVERAGE = "average.mrcs"
AVERAGE_BEFORE = "average_before.mrcs"
AVERAGES = "averages.mrcs"  # of classes, one image each
FRC = "frc.csv"

PARTICLES_OUT, DISCARDED_OUT = "outputParticles", "outputParticlesDiscarded"
AVERAGE_OUT, CLASSES_OUT, AVERAGES_OUT = "outputAverage", "outputClasses", "outputAverages"
STACK_OUT = "outputAlignedStack"
SUFFIXES = {DISCARDED_OUT: "Discarded", STACK_OUT: "AlignedStack"}  # of the names of their files


class ProtUdlAlign2D(Align2DForm, ProtAlign2D):
    """Aligns particles that show one view of a molecule, each rotated and shifted by an amount that nobody knows.

    A small neural network, trained on the particles themselves without any reference, finds how each is rotated. The
    shift and the choice between an angle and the one 180 degrees off are found against the average, which sharpens as
    more particles fall into register. The output particles carry the alignment, a score (a correlation with the
    average, higher is better), a flag on those whose two ends cannot be told apart, and one on outliers, which score as
    noise does or show something else.

    The particles should be of one view: those of one 2D class, say. The report of the run warns where they are mixed,
    or where no common signal was found. Of a whole set of 2D classes, each class is aligned by itself.
    """

    _label = "align 2D"

    _possibleOutputs = {
        PARTICLES_OUT: SetOfParticles,
        DISCARDED_OUT: SetOfParticles,
        AVERAGE_OUT: Particle,
        CLASSES_OUT: SetOfClasses2D,
        AVERAGES_OUT: SetOfAverages,
        STACK_OUT: SetOfParticles,
        MODEL_OUT: UdlModel,
    }

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        inputs = (*self._inputArguments(), self._fromAlignment())
        self._insertFunctionStep(self.convertInputStep, *inputs, needsGPU=False)
        model: tuple = ()
        if self._trains():
            trained = self._trainingOptions() + self._classOption()
            self._insertFunctionStep(self.trainStep, trained, *inputs)
            model = (trained,)
        elif self._takesModel():
            model = (self.inputModel.get().getObjId(), self.inputModel.get().getFileName())
        options = self._alignOptions()
        dependsOn = (*model, *inputs, *self._referenceArguments())
        self._insertFunctionStep(self.alignStep, options, *dependsOn)
        left_out = (self.leaveOut.get(), self.scoreThreshold.get())
        self._insertFunctionStep(self.createOutputStep, options, *left_out, *dependsOn, needsGPU=False)

    def trainStep(self, options: str, *dependsOn: object) -> list[str]:
        """Train a network on the particles, unless they are too few: those are aligned without one.

        The model is an output from now on: it is there even if the run is stopped later.
        """
        count = self.readInput()["particles"]
        if count >= FEWEST_TO_TRAIN:
            files = super().trainStep(options, *dependsOn)
            self._giveModel()
            return files
        self.info(f"{count} particles are too few to train a network on: they are aligned without one")
        pwutils.cleanPath(self._getExtraPath(MODEL), self._getExtraPath(TRAINING))  # of an earlier, larger input
        return []

    def alignStep(self, options: str, *_dependsOn: object) -> list[str]:
        """Align the particles with the model."""
        self._convertReference()
        # An earlier attempt may have had classes as input, or none: what it left of them would be shown as of this one.
        pwutils.cleanPath(*(self._getExtraPath(name) for name in {AVERAGE, AVERAGES} - {self._averageName()}))
        # To continue is to take up the model that was trained here, with its history for the report.
        self._runEngine("align", f"{options}{self._modelOption()} {self._begins(interrupted=True)}")
        return [self._resultTable(), self._getExtraPath(self._averageName())]

    def _resultTable(self) -> str:
        return self._getExtraPath(ALIGNED_XMD if self.doMirror else ALIGNED)

    def _averageName(self) -> str:
        return AVERAGES if are_classes(self.inputParticles.get()) else AVERAGE

    # -- outputs -------------------------------------------------------------------------------------------------------

    def createOutputStep(self, *_dependsOn: object) -> None:
        """Give the particles with their alignment, those left out, the averages, and what else was asked for."""
        particles = self.inputParticles.get()
        results = read_results(self._resultTable(), self._getExtraPath(PARTICLES))
        check_complete(particles, results)
        kept = self._isKept(results)
        aligned = results[kept]
        found = {PARTICLES_OUT: self._alignedSet("", aligned)}
        if not kept.all():
            found[DISCARDED_OUT] = self._alignedSet(SUFFIXES[DISCARDED_OUT], results[~kept])
        if self.writeStack:
            found[STACK_OUT] = self._imageSet(aligned)
        found.update(self._classesAndAverages(aligned) if are_classes(particles) else self._average())
        found.update(self._emptiedSets(found))
        self._defineOutputs(**found)
        for name, output in found.items():
            same = isinstance(output, SetOfParticles) and name != AVERAGES_OUT
            (self._defineTransformRelation if same else self._defineSourceRelation)(self.inputParticles, output)

    def _isKept(self, results: Results) -> np.ndarray:
        """Which particles go to outputParticles, bool (N,). Raises UdlError where that would be none."""
        if self.leaveOut.get() == LEAVE_NOTHING:
            return np.ones(len(results), bool)
        kept = results.score >= self.scoreThreshold.get() if self.leaveOut.get() == LEAVE_BELOW else ~results.outlier
        if not kept.any():
            raise UdlError(
                message("no_score_high_enough", least=self.scoreThreshold.get(), highest=results.score.max())
            )
        return kept

    def _alignedSet(self, suffix: str, results: Results) -> SetOfParticles:
        """The particles that ``results`` are of, with their alignment."""
        particles = self.inputParticles.get()
        aligned = self._createSetOfParticles(suffix)
        aligned.copyInfo(info_of(particles))
        add_results(particles, aligned, results)
        return aligned

    def _imageSet(self, results: Results) -> SetOfParticles:
        """The same particles with their alignment applied."""
        particles = self.inputParticles.get()
        images = self._createSetOfParticles(SUFFIXES[STACK_OUT])
        images.copyInfo(info_of(particles))
        add_aligned_images(particles, images, results, self._getExtraPath(ALIGNED_STACK), self._getExtraPath(PARTICLES))
        return images

    def _average(self) -> dict[str, object]:
        return {AVERAGE_OUT: self._averageImage(AVERAGE, self.readEngineSummary())}

    def _averageImage(self, name: str, facts: dict) -> Particle:
        """An average with its resolution; name: of its stack; facts: what the engine says of it."""
        pixel_size = info_of(self.inputParticles.get()).getSamplingRate()
        return average_image(self._getExtraPath(name), pixel_size, facts)

    def _classesAndAverages(self, results: Results) -> dict[str, object]:
        """The classes with their new representatives, and these as a set."""
        particles = self.inputParticles.get()
        images = {
            facts["class"]: self._averageImage(AVERAGES, facts) for facts in self.readEngineSummary().get("classes", [])
        }
        averages = self._createSetOfAverages()
        fill_averages(averages, info_of(particles), images)
        pointer = particles.getImagesPointer()
        classes = self._createSetOfClasses2D(pointer if pointer.get() is not None else self.inputParticles)
        add_classes(particles, classes, results, images)
        return {CLASSES_OUT: classes, AVERAGES_OUT: averages}

    def _emptiedSets(self, wanted: Container[str]) -> dict[str, SetOfParticles]:
        """Empty sets in the place of those of an earlier attempt of this run that are not wanted any more.

        Scipion does not let a run take back what it gave.
        """
        emptied = {}
        for name, suffix in SUFFIXES.items():
            if name not in wanted and self.hasAttribute(name):
                emptied[name] = self._createSetOfParticles(suffix)
                emptied[name].copyInfo(info_of(self.inputParticles.get()))
        return emptied

    # -- information ---------------------------------------------------------------------------------------------------

    def _warnings(self) -> list[str]:
        particles = self.inputParticles.get()
        if particles is None:
            return []
        count, info = count_items(particles), info_of(particles)
        trains = self._trains()
        warnings = []
        if trains and count < FEWEST_TO_TRAIN:
            warnings.append(
                f"There are {count} particles, and training needs about {FEWEST_TO_TRAIN}: they will be "
                "aligned without a network, and no resolution will be claimed."
            )
        warnings += self._alignmentWarnings() + self._referenceWarnings(info.getSamplingRate())
        if not self.usesGpu():
            box = info.getXDim()
            cost = cost_of_alignment(count, box, trains, self.doMirror.get())
            warnings += warnings_of_cost(count, box, self.numberOfThreads.get(), cost)
        return warnings

    def _summary(self) -> list[str]:
        progress = self._progressSummary()
        if progress:
            return progress
        aligned = self.readEngineSummary()
        lines = self._trainingSummary(aligned)
        if "resolution" not in aligned and "classes" not in aligned:
            return [*lines, "The alignment is not ready yet."]
        classes = aligned.get("classes")
        text = f"Aligned *{aligned.get('particles')}* particles of {aligned.get('box')} px"
        lines.append(text + (f", *{len(classes)}* classes." if classes else "."))
        lines += self._classSummary(classes) if classes else self._resolutionSummary(aligned)
        lines += self._diameterSummary(aligned) + self._shiftSummary(aligned) + self._countSummary(aligned)
        lines += [in_words_of_the_form(note) for note in told_in(aligned, "note")]
        return lines + self._reportSummary() + self._warningSummary(aligned)

    @staticmethod
    def _resolutionSummary(aligned: dict) -> list[str]:
        lines, resolution = [], aligned.get("resolution")
        if aligned.get("signal_found") is False:
            lines.append("*No common signal was found* in the particles.")
        elif resolution:
            lines.append(f"Resolution of the average: *{resolution:.1f} Å* (FRC of two halves at 0.143).")
        note = aligned.get("resolution_note")
        return lines + ([note] if note and note not in aligned.get("warnings", []) else [])

    def _countSummary(self, aligned: dict) -> list[str]:
        """What became of particles that are not like the others."""
        lines = super()._countSummary(aligned)
        discarded = dict(self.iterOutputAttributes()).get(DISCARDED_OUT)
        if discarded is not None and discarded.getSize():
            lines.append(f"Left out, in outputParticlesDiscarded: *{discarded.getSize()}*; averages are of all.")
        return lines

    def _methods(self) -> list[str]:
        aligned = self.readEngineSummary()
        if "resolution" not in aligned and "classes" not in aligned:
            return []
        where = f" in {len(aligned['classes'])} classes, each by itself" if aligned.get("classes") else ""
        text = f"{aligned.get('particles')} particles were aligned in 2D{where} by unsupervised difference learning "
        text += "[Chen2023]"
        model = self.getModelFile()
        if self._fromAlignment():
            text += ": rotations by a search that began at the coarse average of an alignment that they had"
        elif model:
            card = read_card(model)
            where = "on them" if self._trains() else "before, on other particles,"
            text += f": rotations modulo 180 degrees by {network_in_words(card)}, trained {where} by "
            text += method_in_words(card)
        text += "; shifts, and which of two angles 180 degrees apart, against the average"
        return [text + (", then refinement of all three against it." if self.doRefine else ".")]
