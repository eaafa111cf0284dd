"""udl - import particles: an MRC stack, a STAR or an XMD becomes a set of particles, with the alignment it carries."""

from __future__ import annotations

import os
from enum import Enum

from pwem.objects import Acquisition, SetOfClasses2D, SetOfParticles
from pwem.protocols import ProtImport
from pyworkflow.object import Pointer
from pyworkflow.protocol import Form

from scipion_udl.convert.classes import sort_by_class_id
from scipion_udl.convert.files import (
    bring_stacks,
    classes_of,
    differs_in_phase_flips,
    has_ctf,
    is_phase_flipped,
    iter_particles,
)
from scipion_udl.errors import UdlError
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.protocols.asking import ask, in_words_of_the_form
from scipion_udl.settings.common import Microscope
from scipion_udl.settings.option import Question

ALIGNMENT_AS_IS, ALIGNMENT_2D, ALIGNMENT_NONE = 0, 1, 2

_FILE = Question(
    "filePath",
    "File",
    "A stack (.mrcs or .mrc, also .gz or .bz2), a STAR file of RELION 3.0 or later, an XMD file of "
    "Xmipp, or a .cs file of cryoSPARC's particles. Images that a table names are looked for from the current "
    "folder, from the table's folder, and from the folders above that.",
    kind="file",
    important=True,
)
_PIXEL_SIZE = Question(
    "samplingRate",
    "Pixel size",
    "Leave it empty to take it from the file. It is needed where neither the table nor the header of the "
    "images gives one; where they do, theirs is used.",
    kind="number",
    unit="A/px",
    may_be_empty=True,
)
_ALIGNMENT = Question(
    "alignment",
    "Alignment",
    "A table may say how its particles are rotated and shifted.\n"
    "*As in the file*: taken over where it is a 2D alignment.\n"
    "*2D, without rot and tilt*: for a table with projection directions, keeps what lies in the plane.\n"
    "*None*: left aside.",
    kind="choice",
    default=ALIGNMENT_AS_IS,
    choices=("As in the file", "2D, without rot and tilt", "None"),
)
_COPY = Question(
    "copyFiles",
    "Copy files?",
    "No: the project holds links to the stacks, which must stay where they are. Yes: it holds copies.",
    kind="yes",
    default=False,
    advanced=True,
)
_MAGNIFICATION = Question(
    "magnification",
    "Magnification",
    "Kept with the particles for other programs; nothing here uses it.",
    kind="number",
    default=50000.0,
    advanced=True,
)
_PHASE_FLIPPED = Question(
    "isPhaseFlipped",
    "Phases flipped?",
    "Whether the phases of the particles were flipped already. Particles are compared through their CTF, "
    "so the wrong answer blurs fine detail; 'udl - align 2D' warns where the images clearly look otherwise.",
    kind="yes",
    default=False,
)


class ProtUdlImportParticles(ProtImport):
    """Imports particles out of an MRC stack, a STAR file of RELION or an XMD file of Xmipp.

    Neither the Xmipp nor the RELION plugin is needed. CTF, microscope and coordinates come along where the table has
    them, and so does a 2D alignment, in the right signs: aligned particles come in as a set with 2D alignment.
    Particles of several 2D classes keep their class numbers, and come in as classes, too.
    """

    _label = "import particles"

    class outputs(Enum):
        """What the protocol gives."""

        outputParticles = SetOfParticles
        outputClasses = SetOfClasses2D

    _possibleOutputs = outputs

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Import")
        for question in (_FILE, _PIXEL_SIZE, _ALIGNMENT, _COPY):
            ask(form, question)
        group = form.addGroup("Acquisition, where the file does not say")
        for name in ("voltage", "cs", "amplitude_contrast"):
            ask(group, Microscope.question(name))
        ask(group, _MAGNIFICATION)
        ask(group, _PHASE_FLIPPED)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        self._insertFunctionStep(self.importStep, self.filePath.get(), self.alignment.get(), needsGPU=False)

    def importStep(self, *_dependsOn: object) -> None:
        """Read the file and give the set."""
        source = self._open()
        stacks = bring_stacks(source, self._getExtraPath(), self.copyFiles.get())
        acquisition = Acquisition(
            magnification=self.magnification.get(),
            voltage=self.voltage.get(),
            sphericalAberration=self.sphericalAberration.get(),
            amplitudeContrast=self.amplitudeContrast.get(),
        )
        with_alignment = self._takesAlignment(source)
        particles = self._createSetOfParticles()
        particles.setSamplingRate(source.pixel_size)
        particles.setHasCTF(has_ctf(source))
        particles.setIsPhaseFlipped(self.isPhaseFlipped.get() or is_phase_flipped(source))
        if with_alignment:
            particles.setAlignment2D()
        for k, particle in enumerate(iter_particles(source, stacks, acquisition, with_alignment)):
            if k == 0:
                particles.setAcquisition(particle.getAcquisition().clone())
            particles.append(particle)
        self._defineOutputs(**{self.outputs.outputParticles.name: particles})
        if len(classes_of(source)) > 1:
            classes = self._createSetOfClasses2D(Pointer(self, extended=self.outputs.outputParticles.name))
            sort_by_class_id(classes)
            self._defineOutputs(**{self.outputs.outputClasses.name: classes})
        self.summaryVar.set("\n".join(self._notes(source, with_alignment)))
        self._store(self.summaryVar)

    def _open(self) -> ParticleSource:
        return open_particles(self._path(), self.samplingRate.get())

    def _path(self) -> str:
        return os.path.expanduser((self.filePath.get() or "").strip())

    def _takesAlignment(self, source: ParticleSource) -> bool:
        return self.alignment.get() != ALIGNMENT_NONE and source.poses() is not None

    # -- information ---------------------------------------------------------------------------------------------------

    def _validate(self) -> list[str]:
        if not self._path():
            return ["*File* is empty: give a .mrcs, .mrc, .star, .xmd or .cs file."]
        try:
            source = self._open()
        except UdlError as error:
            return [in_words_of_the_form(error.message)]
        errors = []
        if not source.pixel_size_known:
            errors.append("*Pixel size* is needed: neither the table nor the image headers give it.")
        if source.has_3d_angles and self.alignment.get() == ALIGNMENT_AS_IS:
            errors.append(
                f"{self._path()} holds projection directions (rot and tilt), which are no 2D alignment: choose under "
                "*Alignment* to keep what lies in the plane, or none; to keep the directions, import with Scipion's "
                "own protocol and the plugin of the program that wrote the file."
            )
        if differs_in_phase_flips(source):
            errors.append(
                f"{self._path()} says that the phases of some particles were flipped and those of others were not, and "
                "a set has one answer for all: import each kind (optics group) by itself."
            )
        return errors

    def _warnings(self) -> list[str]:
        try:
            source = self._open()
            return [*self._sourceWarnings(source), *self._classNotes(source)]
        except UdlError:
            return []  # an error, which validation tells

    @staticmethod
    def _sourceWarnings(source: ParticleSource) -> list[str]:
        # Disabled particles stay disabled in Scipion, so what the engine says of them does not hold here.
        return [in_words_of_the_form(text) for text in source.warnings if text.code != "particles_disabled"]

    @staticmethod
    def _classNotes(source: ParticleSource) -> list[str]:
        count = len(classes_of(source))
        if count < 2:
            return []
        missing = source.missing_classes()
        return [
            f"The particles are of {count} classes. Each keeps its class number, and outputClasses holds the classes, "
            "each shown by its first particle. An alignment that came along is one for each class, with nothing in "
            "common: give the classes, not the particles, to 'udl - align 2D', or make a subset of one class.",
            *([missing] if missing else []),
        ]

    def _notes(self, source: ParticleSource, with_alignment: bool) -> list[str]:
        alignment = "with their 2D alignment" if with_alignment else "without alignment"
        ctf = "with CTF" if has_ctf(source) else "without CTF"
        lines = [
            f"Imported *{len(source)}* particles of {source.box} px at {source.pixel_size:g} Å/px, {alignment}, {ctf}.",
            f"From {self._path()}",
        ]
        warnings = [*self._sourceWarnings(source), *self._classNotes(source)]
        return [*lines, "", "*WARNINGS:*", *warnings] if warnings else lines

    def _summary(self) -> list[str]:
        return (self.summaryVar.get() or "The particles are not imported yet.").split("\n")

    def _methods(self) -> list[str]:
        return [f"Particles were imported from {self._path()}."]
