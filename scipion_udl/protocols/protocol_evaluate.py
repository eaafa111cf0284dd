"""udl - evaluate alignment: how good a 2D alignment is, whoever made it."""

from __future__ import annotations

import csv
import os
import shlex
from pathlib import Path

from pyworkflow.protocol import Form

from scipion_udl.convert.particles import write_alignment, write_truth
from scipion_udl.protocols.asking import ask
from scipion_udl.protocols.diameter_question import SIZE
from scipion_udl.protocols.protocol_base import CONVERTED, PARTICLES, ProtUdlBase
from scipion_udl.settings.commands import EvaluateSettings
from scipion_udl.settings.option import Question

TRUTH_UNKNOWN, TRUTH_FILE, TRUTH_SET = 0, 1, 2
ALIGNMENT = "alignment.xmd"
TRUE_POSES = "truth.star"
TABLE = "evaluation.csv"
FIGURE = "evaluation.png"

_PARTICLES = Question(
    "inputParticles",
    "Aligned particles",
    "Particles with a 2D alignment. Disabled ones are left out.",
    kind="object",
    of="SetOfParticles",
    object_condition="hasAlignment2D",
    important=True,
)
_TRUTH_FROM = Question(
    "truthFrom",
    "True poses",
    "Unknown: of real particles. A file truth.star: what 'scipion-udl simulate' writes beside the "
    "particles. Another alignment: a set of the same particles whose alignment is taken for the truth, such as "
    "the output of 'udl - simulate particles', or the result of another program.",
    kind="choice",
    default=TRUTH_UNKNOWN,
    choices=("Unknown", "A file truth.star", "Another alignment of these particles"),
)
_TRUTH_FILE = Question(
    "truthFile",
    "File with the true poses",
    "A truth.star that names the images of these particles. If they were copied on import, import them as "
    "links: of copies nobody can tell that they are the same images.",
    kind="file",
    condition=f"truthFrom == {TRUTH_FILE}",
)
_TRUTH_PARTICLES = Question(
    "truthParticles",
    "Particles with the true alignment",
    "A set of the same images. Which of its particles belongs to which is told by the image, not by the order.",
    kind="object",
    of="SetOfParticles",
    object_condition="hasAlignment2D",
    may_be_empty=True,
    condition=f"truthFrom == {TRUTH_SET}",
)


class ProtUdlEvaluate(ProtUdlBase):
    """Measures how good a 2D alignment is: that of 'udl - align 2D', or of any other program.

    Where the true poses are known, as those of simulated particles are, it gives the errors of rotation and shift. With
    a reference image it compares the average with that. Of real particles neither is known: then it tells how far
    averages of parts of the set agree (correntropy and FRC). That compares alignments of the same particles with each
    other; it proves nothing by itself, since particles that were aligned to one reference share its noise.
    """

    _label = "evaluate alignment"
    _settings = EvaluateSettings

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._defineGpuParams(form)
        ask(form, _PARTICLES)
        for question in (_TRUTH_FROM, _TRUTH_FILE, _TRUTH_PARTICLES):
            ask(form, question)
        for name in ("reference", "symmetry", "pairs"):
            self._ask(form, name)
        self._defineDiameterParam(form)
        form.addParallelSection(threads=4, mpi=0)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        inputs, truth = self._inputArguments(), self._truthArguments()
        self._insertFunctionStep(self.convertAlignmentStep, *inputs, *truth, needsGPU=False)
        dependsOn = (*inputs, *truth, *self._referenceArguments())
        self._insertFunctionStep(self.evaluateStep, self._evaluateOptions(), *dependsOn)

    def _truthArguments(self) -> tuple:
        """What tells one truth from another in a step's arguments."""
        kind = self.truthFrom.get()
        if kind == TRUTH_FILE:
            return (kind, self.truthFile.get())
        return (kind, self.truthParticles.get().getObjId()) if kind == TRUTH_SET else (kind, "")

    def convertAlignmentStep(self, *_dependsOn: object) -> list[str]:
        """Write the particles with their alignment, and the true poses where they come from another set."""
        star, stack, xmd = (self._getExtraPath(name) for name in (PARTICLES, CONVERTED, ALIGNMENT))
        particles = self.inputParticles.get()
        count = write_alignment(particles, star, stack, xmd)
        self.info(f"{count} particles for the engine")
        if self.truthFrom.get() == TRUTH_SET:
            known = write_truth(particles, self.truthParticles.get(), star, self._getExtraPath(TRUE_POSES))
            self.info(f"The true alignment is known of {known} of them")
        return [xmd]

    def _evaluateOptions(self) -> str:
        """The options of the engine that the evaluation depends on."""
        words = self._words(*SIZE)
        truth = {TRUTH_FILE: os.path.abspath(self._truthPath()), TRUTH_SET: self._getExtraPath(TRUE_POSES)}
        words += self._option("truth", truth.get(self.truthFrom.get()))
        words += self._referenceWords()
        if self.symmetry.get() > 1 and self.truthFrom.get() != TRUTH_UNKNOWN:
            words += self._words("symmetry")
        return shlex.join(words + self._words("pairs"))

    def _truthPath(self) -> str:
        return os.path.expanduser(self.truthFile.get("") or "")

    def evaluateStep(self, options: str, *_dependsOn: object) -> list[str]:
        """Measure it."""
        self._convertReference()
        options = f"{self._begins(interrupted=False)} {options}"
        threads = self.numberOfThreads.get()
        self._runOn("evaluate", self._getExtraPath(ALIGNMENT), self._getExtraPath(), options, threads)
        return [self._getExtraPath(TABLE)]

    # -- information ---------------------------------------------------------------------------------------------------

    def _validateForm(self) -> list[str]:
        particles, reference = self.inputParticles.get(), self.inputReference.get()
        errors = self._validateDiameter()
        if not particles.hasAlignment2D():
            errors.append("The particles have no 2D alignment: choose the output of an alignment.")
        if reference is not None:
            errors += self._validateImage(reference, "Reference image")
        return errors + self._validateTruth()

    def _warnings(self) -> list[str]:
        particles = self.inputParticles.get()
        if particles is None:
            return []
        classes = [number for number in particles.getUniqueValues("_classId") if number is not None]
        if len(classes) < 2:
            return []
        return [
            f"The particles are of {len(classes)} classes, each with a frame of its own: averages of all of them "
            "together mix the classes, and so do errors against true poses. Evaluate one class at a time (a subset)."
        ]

    def _validateTruth(self) -> list[str]:
        if self.truthFrom.get() == TRUTH_FILE and not os.path.isfile(self._truthPath()):
            return [f"*File with the true poses*: {self._truthPath() or 'nothing'} is not there: give a truth.star."]
        if self.truthFrom.get() == TRUTH_SET:
            truth = self.truthParticles.get()
            if truth is None or not truth.hasAlignment2D():
                return ["*Particles with the true alignment*: give a set of the same particles with a 2D alignment."]
        return []

    def _summary(self) -> list[str]:
        summary = self.readEngineSummary()
        found = summary.get("figures")
        if not found:
            return ["The evaluation is not ready yet."]
        lines = _truthLines(found, summary.get("symmetry")) + _pairLines(found)
        return lines + _imageLines(found, summary) + self._warningSummary(summary)

    def _methods(self) -> list[str]:
        if "correntropy_2" not in self.readEngineSummary().get("figures", {}):
            return []
        return ["The alignment was judged by the correntropy of the averages of 2 and of 4 parts of it [Chen2023]."]

    # -- for the viewer ------------------------------------------------------------------------------------------------

    def readFigures(self) -> list[dict[str, str]]:
        """The table of the evaluation: dicts with figure, value, unit, meaning. Raises OSError where there is none."""
        with open(self._getExtraPath(TABLE), encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def getFigure(self) -> Path:
        """The figure of the evaluation, a png."""
        return Path(self._getExtraPath(FIGURE))


def _truthLines(found: dict, symmetry: int | None) -> list[str]:
    """Errors against the truth in words."""
    if "rotation_mean" not in found:
        return []
    kinds = {"": "on the full circle", "_180": "modulo 180°"}
    if symmetry:
        kinds["_symmetry"] = f"modulo {360 / symmetry:g}°"
    lines = [f"*{found['particles']}* particles compared with their true poses. Rotation error:"]
    lines += [
        f"  {found[f'rotation_mean{ending}']:.2f}° mean, {found[f'rotation_median{ending}']:.2f}° median {kind}; "
        f"{100 * found[f'within_5{ending}']:.1f} % within 5°"
        for ending, kind in kinds.items()
    ]
    lines.append(f"The right way round: {100 * found['right_way_round']:.1f} %.")
    if found["shift_rms"] is not None:
        lines.append(f"Shift error: {found['shift_rms']:.2f} px RMS, {found['shift_median']:.2f} px median.")
    return lines


def _pairLines(found: dict) -> list[str]:
    if "pair_rotation_mean" not in found:
        return []
    return [
        f"{found['pairs']} pairs of neighbours: rotation error {found['pair_rotation_mean']:.2f}° mean "
        f"({found['pair_rotation_mean_180']:.2f}° modulo 180°), bias {found['pair_bias']:.2f}°."
    ]


def _imageLines(found: dict, summary: dict) -> list[str]:
    """What the averages say, in words."""
    unit, lines = "Å" if summary.get("pixel_size_known", True) else "px", []
    if "correlation" in found:
        falls = found["resolution_frc_0.5"]
        lines.append(
            f"Correlation of the average with the reference: *{found['correlation']:.3f}*; their FRC "
            + (f"falls to 0.5 at {falls:.1f} {unit}." if falls else "is below 0.5 everywhere.")
        )
    for number in (2, 4):
        if f"correntropy_{number}" in found:
            value = found[f"correntropy_{number}"]
            lines.append(f"Correntropy of the averages of {number} parts: *{value:.3f}* (0.447: nothing in common).")
    if found.get("half_frc_0.143"):
        lines.append(
            f"FRC of the averages of 2 parts is 0.143 at {found['half_frc_0.143']:.1f} {unit}: no resolution, "
            "since the parts may share the noise of what they were aligned to."
        )
    return lines
