"""udl - classify 2D: particles of all views in; 2D classes, each in register, and their averages out."""

from __future__ import annotations

from enum import Enum

from pwem.objects import Particle, SetOfAverages, SetOfClasses2D
from pwem.protocols import ProtClassify2D

from scipion_udl.convert.classes import add_sorted, average_image, fill_averages, read_classified
from scipion_udl.convert.particle_input import count_items
from scipion_udl.convert.particles import check_complete
from scipion_udl.convert.references import write_references
from scipion_udl.cost_estimate import cost_of_classification
from scipion_udl.objects import UdlModel
from scipion_udl.protocols.asking import in_words_of_the_form
from scipion_udl.protocols.forms.classify_2d import CONVERTED_REFERENCES, REFERENCES, Classify2DForm
from scipion_udl.protocols.forms.cost_warnings import warnings_of_cost
from scipion_udl.protocols.protocol_align_2d import AVERAGES, AVERAGES_OUT, CLASSES_OUT
from scipion_udl.protocols.protocol_base import PARTICLES, told_in
from scipion_udl.settings.option import AUTOMATIC

CLASSES_STAR = "classes.star"
MOST_PAIRS = 12  # that are named in the summary


class outputs(Enum):
    """What the run gives, by name."""

    outputClasses = SetOfClasses2D
    outputAverages = SetOfAverages
    outputModel = UdlModel


class ProtUdlClassify2D(Classify2DForm, ProtClassify2D):
    """Sorts particles of many views into classes, and brings those of each class into register.

    A small network of templates, one for each class, learns from the particles themselves, without any reference: it
    finds at once which class a particle belongs to, how it is rotated and where it lies. Then particles that more than
    one class may hold are compared with the averages of these, and each class is aligned by itself, in two halves that
    tell its resolution.

    Every particle is in some class. Classes that show no molecule, of noise or of junk, are flagged, and not left out:
    look at the gallery (Analyze results), choose the good ones and make a subset of them, or let 'udl - select classes'
    do it. A class and the one that shows its mirror image are two views; they are told as a pair.

    The classes are in register then. 'udl - align 2D' takes them, too, to align each anew as a set of one view.
    """

    _label = "classify 2D"
    _possibleOutputs = outputs

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        inputs: tuple[int, ...] = self._inputArguments()
        references = self._referencesArguments()
        keep = (True,) if self.keepsAlignment() else ()
        self._insertFunctionStep(self.convertInputStep, *inputs, *keep, needsGPU=False)
        if references:
            self._insertFunctionStep(self.convertReferencesStep, *references, needsGPU=False)
        inputs += references
        options = self._classifyOptions() + self._modelOption()
        self._insertFunctionStep(self.classifyStep, options, *inputs)
        self._insertFunctionStep(self.createOutputStep, options, *inputs, needsGPU=False)

    def convertReferencesStep(self, *_references: int) -> list[str]:
        """Write the averages that the classes begin as; the arguments tell when they must be written anew."""
        star, stack = self._getExtraPath(REFERENCES), self._getExtraPath(CONVERTED_REFERENCES)
        write_references(self.givenReferences(), star, stack)
        return [star]

    def givenReferences(self) -> SetOfAverages | SetOfClasses2D | None:
        """The averages that the classes begin as; None where there are none."""
        return self.inputReferences.get() if self._takesReferences() else None

    def _referencesArguments(self) -> tuple[int, ...]:
        """What tells one set of references from another in a step's arguments."""
        given = self.givenReferences()
        return () if given is None else (given.getObjId(), given.getSize())

    def classifyStep(self, options: str, *dependsOn: object) -> list[str]:
        """Sort the particles into classes. A run that was interrupted with the same options goes on."""
        interrupted = self._wasAsked("classify", options, dependsOn)
        self._runEngine("classify", f"{options} {self._begins(interrupted)}")
        return [self._getExtraPath(CLASSES_STAR), self._getExtraPath(AVERAGES)]

    # -- outputs -------------------------------------------------------------------------------------------------------

    def createOutputStep(self, *_dependsOn: object) -> None:
        """Give the classes, their averages, and the model where it was trained here."""
        particles = self.inputParticles.get()
        results, numbers = read_classified(self._getExtraPath(CLASSES_STAR), self._getExtraPath(PARTICLES))
        check_complete(particles, results)
        facts = self._factsOfClasses(self.readEngineSummary())
        images = self._averageImages(facts)
        classes = self._createSetOfClasses2D(self.inputParticles)
        add_sorted(particles, classes, results, numbers, facts, images)
        averages = self._createSetOfAverages()
        fill_averages(averages, particles, images, facts)
        self._defineOutputs(**{CLASSES_OUT: classes, AVERAGES_OUT: averages})
        for output in (classes, averages):
            self._defineSourceRelation(self.inputParticles, output)
        if self._trains() and self.getModelFile():
            self._giveModel()

    @staticmethod
    def _factsOfClasses(summary: dict) -> dict[int, dict]:
        """What the engine says of each class, by its number, the largest class first."""
        return {facts["class"]: facts for facts in summary.get("classes", [])}

    def _averageImages(self, classes: dict[int, dict]) -> dict[int, Particle]:
        """The average of each class, by its number."""
        path, pixel_size = self._getExtraPath(AVERAGES), self.inputParticles.get().getSamplingRate()
        return {number: average_image(path, pixel_size, facts) for number, facts in classes.items()}

    # -- information ---------------------------------------------------------------------------------------------------

    def _warnings(self) -> list[str]:
        particles = self.inputParticles.get()
        if particles is None:
            return []
        warnings = self._classWarnings() + self._alignmentWarnings()
        if not self.usesGpu():
            count, box = count_items(particles), particles.getXDim()
            cost = cost_of_classification(count, box, self.classesToMake())
            warnings += warnings_of_cost(count, box, self.numberOfThreads.get(), cost)
        return warnings

    def _summary(self) -> list[str]:
        progress = self._progressSummary()
        if progress:
            return progress
        facts = self.readEngineSummary()
        classes = facts.get("classes")
        lines = self._learningSummary(facts)
        if not classes:
            return [*lines, "The classes are not ready yet."]
        lines.append(
            f"Sorted *{facts.get('particles')}* particles of {facts.get('box')} px into *{len(classes)}* classes."
        )
        if all(one.get("flagged") for one in classes):
            lines.append("*No classes were found*: the averages show nothing that their particles have in common.")
        else:
            lines += self._classSummary([one for one in classes if not one.get("flagged")])
        lines += self._diameterSummary(facts) + self._shiftSummary(facts) + self._flaggedSummary(facts)
        lines += self._mirrorSummary(classes) + self._countSummary(facts)
        lines += [in_words_of_the_form(note) for note in told_in(facts, "note")]
        return lines + self._reportSummary() + self._warningSummary(facts)

    def _learningSummary(self, facts: dict) -> list[str]:
        """Out of what the classes were learned; nothing where they came with a model."""
        training = facts.get("training") or {}
        if not training.get("rounds"):
            return []
        asked = facts.get("classes_asked") or training.get("classes")
        automatic = " (automatic)" if self.numberOfClasses.get() == AUTOMATIC else ""
        return [f"Learned *{asked}* classes{automatic} in {training['rounds']} rounds."]

    @staticmethod
    def _flaggedSummary(facts: dict) -> list[str]:
        """How much of the particles is in classes that look like junk."""
        flagged = [one for one in facts["classes"] if one.get("flagged")]
        if not flagged:
            return ["No class is flagged as junk."]
        count = sum(one["particles"] for one in flagged)
        share = 100 * count / max(1, sum(one["particles"] for one in facts["classes"]))
        which = "1 class is" if len(flagged) == 1 else f"{len(flagged)} classes are"
        return [f"*{which} flagged* as junk, with {count} particles ({share:.0f} %). Nothing was left out."]

    @staticmethod
    def _mirrorSummary(classes: list[dict]) -> list[str]:
        """Which classes are mirror images of each other."""
        pairs = {tuple(sorted((one["class"], one["mirror_of"]))) for one in classes if one.get("mirror_of")}
        different = sorted(pair for pair in pairs if pair[0] != pair[1])
        if not different:
            return []
        shown = ", ".join(f"{first} and {second}" for first, second in different[:MOST_PAIRS])
        more = f", and {len(different) - MOST_PAIRS} more pairs" if len(different) > MOST_PAIRS else ""
        return [f"Classes that are mirror images of each other: {shown}{more}."]

    def _methods(self) -> list[str]:
        facts = self.readEngineSummary()
        if not facts.get("classes"):
            return []
        where = "on them" if self._trains() else "before, on other particles"
        sorted_into = f"{facts.get('particles')} particles were sorted into {len(facts['classes'])} 2D classes"
        text = (
            f"{sorted_into}, rotated and shifted by a network of learned templates, one for each class, trained "
            f"{where} by joint unsupervised difference learning [Chen2023], class by class"
        )
        if self._takesReferences():
            text = f"{text}, from given class averages"
            if self.referencesAre.get():
                text = f"{sorted_into}, each into that of the given class average that it fits best"
        if not self.doRefine:
            return [f"{text}."]
        text += "; particles that more than one class may hold were compared with the averages of these in real space"
        return [
            f"{text}, and each class was aligned in two halves, whose Fourier ring correlation tells its resolution."
        ]
