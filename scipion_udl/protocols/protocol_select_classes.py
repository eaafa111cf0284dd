"""udl - select classes: 2D classes of any program in; the good ones, and their good particles, out."""

from __future__ import annotations

import json
import os
import shlex
from enum import Enum
from typing import Any

import pyworkflow.utils as pwutils
from pwem.objects import EMSet, Particle, SetOfAverages, SetOfClasses2D, SetOfParticles
from pyworkflow.object import Float
from pyworkflow.protocol import Form

from scipion_udl.convert.classes import (
    add_chosen_classes,
    add_chosen_particles,
    average_image,
    fill_averages,
    read_chosen,
)
from scipion_udl.convert.particle_input import class_parts, has_alignment_2d, info_of
from scipion_udl.convert.particles import has_quality, write_particles
from scipion_udl.errors import UdlError
from scipion_udl.messages import some_of
from scipion_udl.protocols.asking import ask, in_words_of_the_form
from scipion_udl.protocols.diameter_question import SIZE
from scipion_udl.protocols.forms.questions import ParticleQuestions
from scipion_udl.protocols.protocol_align_2d import AVERAGES, AVERAGES_OUT, CLASSES_OUT, PARTICLES_OUT
from scipion_udl.protocols.protocol_base import CONVERTED, PARTICLES, PROGRESS, SUMMARY, told_in
from scipion_udl.protocols.streaming import write_json
from scipion_udl.settings.commands import SelectSettings
from scipion_udl.settings.option import Question
from scipion_udl.values import MOST_OR_AUTO, BadValue, WholeNumbers

BY_QUALITY, BY_NUMBER = 0, 1
SELECTED = "selected.star"
JUDGED = "judged"  # folder of all classes with their quality, out of which the others are chosen
FEWEST_CLASSES = 2
MOST_SHOWN = 10  # numbers in a sentence
_KNOWN = {"quality", "crossing", "reasons", "resolution", "image"}  # of a class that was judged
_OF_CLASSES = ("classes", "superclasses", "mask_radius")  # what a summary says of them all
_RULES = ("min_particles", "max_resolution")  # options of the engine that classes go by, however they are chosen
_JUDGING = ("max_shift", "high_resolution_limit", "ctf")  # options of the engine, where it aligns classes to judge them
_BY_QUALITY = "by the quality that a network, trained on simulated particles and junk, gives to classes and particles"
# What an alignment of the input has that the engine cannot begin at: it aligns the classes anew then.
_NO_START = ("input_set_mirrored", "item_without_alignment", "input_set_not_in_plane")

_CLASSES = Question(
    "inputClasses",
    "Input classes",
    "2D classes of any program: of *udl - classify 2D*, RELION, Xmipp, cryoSPARC, or a subset of such. Disabled "
    "classes and particles are left out. Those of *udl - classify 2D* were judged when they were made, and are chosen "
    "from in seconds. Those of others are aligned again first, each to itself, beginning with the alignment that they "
    "carry, which takes as long as an alignment. The alignment in the output is that of the input.",
    kind="object",
    of="SetOfClasses2D",
    important=True,
)
_CHOOSE = Question(
    "chooseBy",
    "Choose",
    "*By quality*: a small network, trained on simulated particles and junk of all kinds, gives each class and each "
    "particle a quality from 0 to 1. It needs no answer.\n*Classes by number*: those that you name.",
    kind="choice",
    default=BY_QUALITY,
    choices=("By quality", "Classes by number"),
)


class outputs(Enum):
    """What the run gives, by name."""

    outputParticles = SetOfParticles
    outputClasses = SetOfClasses2D
    outputAverages = SetOfAverages


class ProtUdlSelectClasses(ParticleQuestions):
    """Chooses good 2D classes, and of these the good particles, without a click: of classes of any program.

    Every class gets a quality from 0, junk, to 1, and so does every particle. It rests on how much signal particles
    bring to the average of their class, whether averages of two halves agree, where the matter lies, how like the class
    is to others, and more. What is more likely good than not is chosen, or what you ask for: a higher quality, larger
    classes, a resolution, or classes by their numbers.

    The particles keep the alignment and all else that they have in the input, and get their quality (_udlQuality). The
    input stays as it is: what is not chosen is still there.
    """

    _label = "select classes"
    _settings = SelectSettings
    _possibleOutputs = outputs
    # Answers of the form.
    inputClasses: Any
    chooseBy: Any
    chosenClasses: Any
    balance: Any

    @property
    def inputParticles(self) -> Any:
        """The input, under the name that it has for what the protocols share."""
        return self.inputClasses

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        ask(form, _CLASSES)
        self._defineGpuParams(form)
        ask(form, _CHOOSE)
        self._ask(form, "min_quality", condition=f"chooseBy == {BY_QUALITY}")
        self._ask(form, "chosen", condition=f"chooseBy == {BY_NUMBER}")
        for name in (*_RULES, "balance"):
            self._ask(form, name)
        self._defineDiameterParam(form)
        for name in _JUDGING:
            self._ask(form, name, advanced=True)
        self._defineSeedParam(form)
        form.addParallelSection(threads=4, mpi=0)

    # -- what the answers mean -----------------------------------------------------------------------------------------

    def _judgingOptions(self) -> str:
        """The options of the engine that the quality depends on."""
        return shlex.join(self._words("seed", *SIZE, *_JUDGING))

    def _choosingOptions(self) -> str:
        """The options of the engine that tell which classes and particles are chosen."""
        if self.chooseBy.get() == BY_NUMBER:
            words = self._option("chosen", ",".join(map(str, self._numbers())))
        else:
            words = self._words("min_quality")
        return shlex.join(words + self._words(*_RULES, "balance"))

    def _numbers(self) -> tuple[int, ...]:
        """The numbers of *Classes*. Raises BadValue where they are none."""
        text = (self.chosenClasses.get() or "").strip()
        if not text:
            raise BadValue("nothing is given")
        return WholeNumbers()(text)

    def _earlierFacts(self) -> tuple[str, dict[str, Any]] | None:
        """The folder of the run of this plugin that judged the classes when it made them, and of its summary what it
        says of classes; None where none did. Those of a subset are found, too: by the average that represents them."""
        classes = self.inputClasses.get()
        images = {part.number: part.items.getRepresentative() for part in class_parts(classes)}
        folders = {os.path.dirname(image.getFileName() or "") if image else "" for image in images.values()}
        folder = folders.pop()
        summary = os.path.join(folder, SUMMARY)
        if folders or not os.path.isfile(summary) or not has_quality(classes):
            return None
        with open(summary, encoding="utf-8") as file:
            found = {name: value for name, value in json.load(file).items() if name in _OF_CLASSES}
        told = {one["class"]: one for one in found.get("classes", [])}
        facts = {number: told.get(number, {}) for number in images}
        known = all(set(one) >= _KNOWN for one in facts.values())
        if not known or any(images[number].getIndex() != one["image"] for number, one in facts.items()):
            return None
        return folder, found

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        inputs = self._inputArguments()
        judging, choosing = self._judgingOptions(), self._choosingOptions()
        self._insertFunctionStep(self.convertInputStep, *inputs, needsGPU=False)
        self._insertFunctionStep(self.judgeStep, judging, *inputs)
        self._insertFunctionStep(self.chooseStep, choosing, judging, *inputs)
        self._insertFunctionStep(self.createOutputStep, choosing, judging, *inputs, needsGPU=False)

    def convertInputStep(self, *_inputs: object) -> list[str]:
        """Write the enabled particles with their classes as the engine's table: with the alignment that they have or,
        where a run of this plugin has judged them, as :meth:`judgeStep` would."""
        pwutils.cleanPath(self._getExtraPath(JUDGED))
        pwutils.makePath(self._getExtraPath(JUDGED))
        classes, stack, earlier = self.inputClasses.get(), self._getExtraPath(CONVERTED), self._earlierFacts()
        if earlier is None:
            table = self._getExtraPath(PARTICLES)
            self._noteInput(self._writeAligned(table, stack))
            return [table]
        folder, facts = earlier
        self.info(f"The classes were judged when they were made: {folder}")
        table = self._getExtraPath(JUDGED, SELECTED)
        self._noteInput(write_particles(classes, table, stack, quality=True))
        pwutils.copyFile(os.path.join(folder, AVERAGES), self._getExtraPath(JUDGED, AVERAGES))
        write_json(self._getExtraPath(JUDGED, SUMMARY), facts)
        return [table]

    def _writeAligned(self, table: str, stack: str) -> int:
        """Write the particles with the alignment that they have, where the engine can begin at it; their number."""
        classes = self.inputClasses.get()
        try:
            return write_particles(classes, table, stack, has_alignment_2d(classes))
        except UdlError as error:
            if error.message.code not in _NO_START:
                raise
            self.info(f"{error} The classes are aligned anew, to judge them.")
        return write_particles(classes, table, stack)

    def judgeStep(self, options: str, *_dependsOn: object) -> list[str]:
        """Judge all classes and particles, unless that was done when the classes were made."""
        table = self._getExtraPath(JUDGED, SELECTED)
        if not os.path.exists(table):
            numbers = ",".join(str(part.number) for part in class_parts(self.inputClasses.get()))
            everything = shlex.join(self._option("chosen", numbers) + self._option("overwrite"))
            given, threads = self._getExtraPath(PARTICLES), self.numberOfThreads.get()
            self._runOn("select", given, self._getExtraPath(JUDGED), f"{options} {everything}", threads)
        return [table]

    def chooseStep(self, options: str, *_dependsOn: object) -> list[str]:
        """Choose of what was judged."""
        table, threads = self._getExtraPath(JUDGED, SELECTED), self.numberOfThreads.get()
        pwutils.cleanPath(self._getExtraPath(SELECTED))
        self._runOn("select", table, self._getExtraPath(), f"{options} {self._begins(interrupted=False)}", threads)
        return [self._getExtraPath(SUMMARY)]

    # -- outputs -------------------------------------------------------------------------------------------------------

    def createOutputStep(self, *_dependsOn: object) -> None:
        """Give the chosen classes, particles and averages; none where nothing is good enough."""
        classes = self.inputClasses.get()
        facts = self._chosenFacts()
        particles, averages = self._createSetOfParticles(), self._createSetOfAverages()
        pointer = classes.getImagesPointer()
        chosen = self._createSetOfClasses2D(pointer if pointer.get() is not None else self.inputClasses)
        found: dict[str, EMSet] = {PARTICLES_OUT: particles, CLASSES_OUT: chosen, AVERAGES_OUT: averages}
        images = self._averageImages(facts)
        fill_averages(averages, info_of(classes), images)
        if facts:
            ids, quality = read_chosen(self._getExtraPath(SELECTED))
            add_chosen_particles(classes, particles, ids, quality)
            add_chosen_classes(classes, chosen, ids, quality, facts, images)
        else:
            self.warning("Nothing is chosen: no class is good enough for what is asked for")
            particles.copyInfo(info_of(classes))
            # Scipion does not let a run take back what an earlier attempt of it gave: that is empty now.
            found = {name: output for name, output in found.items() if self.hasAttribute(name)}
        if found:
            self._defineOutputs(**found)
        for output in found.values():
            self._defineSourceRelation(self.inputClasses, output)

    def _chosenFacts(self) -> dict[int, dict]:
        """What the engine says of each class of which a particle is chosen, by its number."""
        return {one["class"]: one for one in self._facts() if one["chosen"] and one["kept"]}

    def _facts(self) -> list[dict]:
        return self.readEngineSummary().get("classes", [])

    def _averageImages(self, facts: dict[int, dict]) -> dict[int, Particle]:
        """The average of each chosen class, by its number, with its quality."""
        path, size = self._getExtraPath(AVERAGES), info_of(self.inputClasses.get()).getSamplingRate()
        images = {number: average_image(path, size, one) for number, one in facts.items()}
        for number, image in images.items():
            image._udlQuality = Float(facts[number]["quality"])
        return images

    # -- information ---------------------------------------------------------------------------------------------------

    def _readJson(self, name: str) -> dict:
        """A file of the run; how far the engine is stands in the folder that it writes into."""
        found = super()._readJson(name)
        return found or super()._readJson(os.path.join(JUDGED, name)) if name == PROGRESS else found

    def _validateForm(self) -> list[str]:
        classes = self.inputClasses.get()
        numbers = [part.number for part in class_parts(classes)]
        if len(numbers) < FEWEST_CLASSES:
            return [
                f"*Input classes* has {len(numbers)} class{'' if len(numbers) == 1 else 'es'} with particles: give "
                f"{FEWEST_CLASSES} or more, to choose from."
            ]
        errors = self._validateDiameter() + self._validateLength("maxShift", "Largest shift") + self._validateFinest()
        errors += self._validateCtf() + self._validateBalance()
        return errors + (self._validateNumbers(numbers) if self.chooseBy.get() == BY_NUMBER else [])

    def _validateBalance(self) -> list[str]:
        """A sentence where *Most particles of a view* is neither a number nor auto."""
        text = (self.balance.get() or "").strip()
        try:
            if text:
                MOST_OR_AUTO(text)
        except BadValue as error:
            return [f"*Most particles of a view*: {error}: give a number, *auto*, or nothing."]
        return []

    def _validateNumbers(self, numbers: list[int]) -> list[str]:
        """A sentence where *Classes* names none, or one that there is not."""
        try:
            missing = [str(number) for number in self._numbers() if number not in numbers]
        except BadValue as error:
            return [f"*Classes*: {error}: give numbers such as 2,3,5-12."]
        if not missing:
            return []
        shown = some_of(missing, MOST_SHOWN)
        return [f"*Classes* names {shown}, and *Input classes* has no such class with particles: leave that out."]

    def _summary(self) -> list[str]:
        progress = self._progressSummary()
        if progress:
            return progress
        facts, classes = self.readEngineSummary(), self._facts()
        if not classes:
            return ["Nothing is chosen yet."]
        chosen, total = self._chosenFacts(), sum(one["particles"] for one in classes)
        share = 100 * facts["chosen"] / max(1, total)
        lines = [
            f"Chose *{len(chosen)}* of {len(classes)} classes, and *{facts['chosen']}* of {total} particles "
            f"({share:.0f} %)."
        ]
        if not chosen:
            lines = [f"*Nothing is chosen* of {len(classes)} classes: ask for less, or name classes by number."]
        judged = self._readJson(os.path.join(JUDGED, SUMMARY))
        lines += self._diameterSummary(judged) + self._countSummary({})
        notes = [note for one in (judged, facts) for note in told_in(one, "note")]
        lines += [in_words_of_the_form(note, self._settings) for note in notes]
        return lines + self._warningSummary(judged) + self._warningSummary(facts)

    def _methods(self) -> list[str]:
        classes = self._facts()
        if not classes:
            return []
        how = "by their numbers" if self.chooseBy.get() == BY_NUMBER else _BY_QUALITY
        count, chosen = self.readEngineSummary()["chosen"], len(self._chosenFacts())
        what = f"{count} particles in {chosen} of {len(classes)} 2D classes"
        return [f"{what} were chosen by the plugin udl [Chen2023], {how}."]
