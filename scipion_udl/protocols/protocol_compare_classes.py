"""udl - compare classes: 2D classifications of the same particles in; what comes again in all of them out."""

from __future__ import annotations

import os
import re
import shlex
from enum import Enum
from typing import Any

import pyworkflow.utils as pwutils
from pwem.objects import SetOfClasses2D
from pyworkflow.object import Pointer
from pyworkflow.protocol import Form, Protocol

from scipion_udl.convert.compared import add_agreed_classes, read_agreed, write_classification
from scipion_udl.convert.particle_input import class_parts
from scipion_udl.convert.particles import Location
from scipion_udl.protocols.asking import ask
from scipion_udl.protocols.protocol_base import SUMMARY, ProtUdlBase
from scipion_udl.protocols.streaming import write_json
from scipion_udl.settings.commands import CompareSettings
from scipion_udl.settings.option import Question

MOST, ALL = 0, 1
CONSENSUS = "compare.star"
FIGURE = "compare.png"
RUNS = "runs"  # folder of the tables that are compared
COMPARED = "runs.json"  # what they are of
FEWEST = 2
MOST_SHOWN = 6  # classes in a sentence

_CLASSES = Question(
    "inputClasses",
    "Input classes",
    "Two sets of 2D classes or more, all of the same particles: of *udl - classify 2D* with other seeds, of RELION, "
    "Xmipp or cryoSPARC, in any mixture. Particles are known again by their image, so the sets need not hold exactly "
    "the same ones. Disabled classes and particles are left out. The output has the classes of the first, so begin "
    "with the one that you want to go on with.",
    kind="objects",
    of="SetOfClasses2D",
    important=True,
)
_AGREEMENT = Question(
    "agreement",
    "Keep what",
    "Which particles of the first set are in the output. Of two sets it is the same. To try the other, change it and "
    "run with *Continue*: nothing is compared anew.",
    kind="choice",
    default=MOST,
    choices=("more than half of the sets agree on", "all sets agree on"),
)


class outputs(Enum):
    """What the run gives, by name."""

    outputConsensus = SetOfClasses2D


class ProtUdlCompareClasses(ProtUdlBase):
    """Compares 2D classifications of the same particles, of any program, and keeps what they agree on.

    Classify the same particles twice, with another seed or another program, and the classes are not the same. Classes
    are matched by their particles. For every two sets it tells the adjusted Rand index, for every class which share of
    its particles comes again, which classes came apart, and which only one set has.

    The output has the classes of the first set, with those of their particles that the others put together, too. That
    a class comes again does not make it right: junk comes again as well.
    """

    _label = "compare classes"
    _settings = CompareSettings
    _possibleOutputs = outputs
    # Answers of the form.
    inputClasses: Any
    agreement: Any

    @property
    def inputParticles(self) -> Any:
        """The first input, under the name that it has for what the protocols share."""
        return self.inputClasses[0] if len(self.inputClasses) else Pointer()

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        ask(form, _CLASSES)
        ask(form, _AGREEMENT)
        self._ask(form, "least_in_common")

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        sets = [pointer.get() for pointer in self.inputClasses]
        given = [fact for one in sets for fact in (one.getObjId(), one.getSize())]
        options = shlex.join(self._words("least_in_common"))
        self._insertFunctionStep(self.convertInputStep, *given, needsGPU=False)
        self._insertFunctionStep(self.compareStep, options, *given, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, self.agreement.get(), *given, needsGPU=False)

    def convertInputStep(self, *_inputs: int) -> list[str]:
        """Write each set as the engine's table, with the averages beside it."""
        folder = self._getExtraPath(RUNS)
        pwutils.cleanPath(folder)
        pwutils.makePath(folder)
        compared: list[dict] = []
        converted: dict[Location, Location] = {}
        for number, pointer in enumerate(self.inputClasses, 1):
            label = _label_of(pointer)
            stem = os.path.join(folder, f"{number}_{re.sub('[^0-9A-Za-z]+', '_', label).strip('_')}")
            table, count = write_classification(pointer.get(), stem, converted)
            self.info(f"Set {number} is {label}")
            if number == 1:
                self._noteInput(count)
            compared.append({"label": label, "table": table})
        write_json(self._getExtraPath(COMPARED), {"sets": compared})
        return [one["table"] for one in compared]

    def compareStep(self, options: str, *_dependsOn: object) -> list[str]:
        """Compare them."""
        tables = [one["table"] for one in self._compared()]
        words = shlex.join(["compare", *tables, *self._option("output", self._getExtraPath())])
        self._runCommand(f"{words} {options} {self._begins(interrupted=False)}", self._getExtraPath(SUMMARY))
        return [self._getExtraPath(CONSENSUS)]

    def createOutputStep(self, agreement: int, *_dependsOn: object) -> None:
        """Give the classes of the first set with what the sets agree on; nothing where that is nothing."""
        pointer = self.inputParticles
        classes = pointer.get()
        ids, share = read_agreed(self._getExtraPath(CONSENSUS), 1.0 if agreement == ALL else 0.0)
        images = classes.getImagesPointer()
        output = self._createSetOfClasses2D(images if images.get() is not None else pointer)
        comes_again = {one["class"]: one["comes_again"] for one in self._facts(run=1)}
        add_agreed_classes(classes, output, ids, share, comes_again)
        if not len(ids):
            self.warning("There is no particle that the sets agree on")
        if len(ids) or self.hasAttribute("outputConsensus"):  # Scipion takes back nothing that an earlier attempt gave
            self._defineOutputs(outputConsensus=output)
            for one in self.inputClasses:
                self._defineSourceRelation(one, output)

    # -- what the engine left ------------------------------------------------------------------------------------------

    def _compared(self) -> list[dict]:
        """The tables that are compared and what they are of, in their order; [] where none are written yet."""
        return self._readJson(COMPARED).get("sets", [])

    def _facts(self, run: int | None = None) -> list[dict]:
        """What the engine says of each class, or of each class of one of the sets, from 1."""
        return [one for one in self.readEngineSummary().get("classes", []) if run in (None, one["run"])]

    def _inLabels(self, text: str) -> str:
        """What the engine says, with the sets in place of its tables."""
        for number, one in enumerate(self._compared(), 1):
            text = text.replace(one["table"], f"Set {number} ('{one['label']}')")
        return text

    def _engineComplaint(self) -> str:
        return self._inLabels(super()._engineComplaint())

    def getFigure(self) -> str:
        """The figure of the comparison, a png: where the particles of each class of the first set lie in the others."""
        return self._getExtraPath(FIGURE)

    # -- information ---------------------------------------------------------------------------------------------------

    def _validateForm(self) -> list[str]:
        sets = [pointer.get() for pointer in self.inputClasses]
        if None in sets:  # Scipion says so itself
            return []
        if len(sets) < FEWEST:
            return ["*Input classes* is one set alone, which has nothing to be compared with: give two or more."]
        for number, one in enumerate(sets, 1):
            if not class_parts(one):
                return [f"Set {number} of *Input classes* has no class with particles: choose another."]
        files = [os.path.realpath(one.getFileName()) for one in sets]
        again = [number for number, file in enumerate(files, 1) if file in files[: number - 1]]
        if again:
            return [f"Set {again[0]} of *Input classes* is given twice: give classifications that were made apart."]
        return []

    def _summary(self) -> list[str]:
        facts, compared = self.readEngineSummary(), self._compared()
        if not facts.get("pairs"):
            return self._progressSummary() or ["Nothing is compared yet."]
        lines = [
            f"Set {one['run']}: *{label['label']}*, {one['particles']} particles in {one['classes']} classes."
            for one, label in zip(facts["runs"], compared)
        ]
        lines += [_pairLine(pair) for pair in facts["pairs"]]
        lines += _againLines(self._facts(run=1)) + _aloneLines(self._facts())
        lines += _consensusLines(facts["consensus"], len(compared))
        lines += self._countSummary({}) + self._reportSummary()
        return lines + [self._inLabels(line) for line in self._warningSummary(facts)]

    def _methods(self) -> list[str]:
        facts = self.readEngineSummary()
        if not facts.get("pairs"):
            return []
        rand = [pair["adjusted_rand"] for pair in facts["pairs"] if pair["adjusted_rand"] is not None]
        found = f"{min(rand):.2f}" if min(rand) == max(rand) else f"{min(rand):.2f} to {max(rand):.2f}"
        return [
            f"{len(facts['runs'])} 2D classifications were compared by the plugin udl [Chen2023]: their adjusted Rand "
            f"index is {found}, and {facts['consensus']['all']} particles have the same class in all of them."
        ]


def _label_of(pointer: Pointer) -> str:
    """What the project calls an input: the run with its output."""
    source = pointer.getObjValue()
    label = source.getRunName() if isinstance(source, Protocol) else source.getNameId()
    return ".".join(filter(None, (label, pointer.getExtended())))


def _pairLine(pair: dict) -> str:
    """How far two sets agree."""
    first, second = pair["runs"]
    rand = "not known" if pair["adjusted_rand"] is None else f"*{pair['adjusted_rand']:.2f}*"
    line = f"Sets {first} and {second}: adjusted Rand index {rand}"
    if pair["in_matched_classes"] is not None:
        line += f", {100 * pair['in_matched_classes']:.0f} % of {pair['particles']} particles in matched classes"
    return f"{line}."


def _againLines(classes: list[dict]) -> list[str]:
    """How much of the classes of the first set comes again."""
    known = [one for one in classes if one["comes_again"] is not None]
    if not known:
        return []
    least, most = (choose(known, key=lambda one: one["comes_again"]) for choose in (min, max))
    share = sum(one["comes_again"] * one["particles"] for one in known) / sum(one["particles"] for one in known)
    return [
        f"Of the particles of set 1 *{100 * share:.0f} %* come again together: {100 * least['comes_again']:.0f} % of "
        f"class {least['class']} to {100 * most['comes_again']:.0f} % of class {most['class']}."
    ]


def _aloneLines(classes: list[dict]) -> list[str]:
    """Classes that one set alone has."""
    alone = [f"class {one['class']} of set {one['run']}" for one in classes if one["alone"]]
    if not alone:
        return []
    more = f" and {len(alone) - MOST_SHOWN} more" if len(alone) > MOST_SHOWN else ""
    return [f"In one set alone: {', '.join(alone[:MOST_SHOWN])}{more}."]


def _consensusLines(found: dict, count: int) -> list[str]:
    """On how many particles the sets agree."""
    share = 100 * found["all"] / max(1, found["compared"])
    line = f"*{found['all']}* of {found['compared']} particles of set 1 ({share:.0f} %) have the same class in all sets"
    return [line + (f", {found['most']} in most of them." if count > FEWEST else ".")]
