"""udl - export particles: a set with 2D alignment becomes a STAR and an XMD, in the signs of RELION and Xmipp."""

from __future__ import annotations

import os

from pwem.protocols import EMProtocol
from pyworkflow.protocol import Form

from scipion_udl.convert.particle_input import has_alignment_2d
from scipion_udl.convert.particles import export_particles
from scipion_udl.protocols.asking import ask
from scipion_udl.settings.option import Question

STAR_AND_XMD, STAR, XMD = 0, 1, 2
FILES = {"aligned.star": "RELION", "aligned.xmd": "Xmipp"}

_PARTICLES = Question(
    "inputParticles",
    "Input particles",
    "Particles that carry a 2D alignment, or 2D classes whose particles do: of this plugin or of any "
    "other. Disabled ones are left out. CTF, microscope, coordinates, class numbers and scores come along.",
    kind="object",
    of="SetOfParticles,SetOfClasses2D",
    important=True,
)
_FILES = Question(
    "fileForm",
    "Files",
    "*STAR*: the form of RELION 3.1 and later. It cannot hold mirrored particles.\n"
    "*XMD*: of Xmipp. Mirrored particles are marked there.\n"
    "The files name the images by absolute path, so they can be copied to where you need them.",
    kind="choice",
    default=STAR_AND_XMD,
    choices=("STAR and XMD", "STAR, for RELION", "XMD, for Xmipp"),
)


class ProtUdlExportParticles(EMProtocol):
    """Writes particles with a 2D alignment, of whatever program, as a STAR file for RELION and an XMD file for Xmipp.

    Angles and shifts are written as these programs apply them. (scipion-em-relion 5.0.2 writes a STAR whose shifts are
    wrong wherever a particle is both rotated and shifted.)
    """

    _label = "export particles"

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        ask(form, _PARTICLES)
        ask(form, _FILES)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        particles = self.inputParticles.get()
        self._insertFunctionStep(
            self.exportStep, particles.getObjId(), particles.getSize(), self.fileForm.get(), needsGPU=False
        )

    def exportStep(self, _inputId: int, _size: int, form: int) -> None:
        """Write the files."""
        particles, folder = self.inputParticles.get(), self._getExtraPath()
        count, warnings = export_particles(particles, folder, star=form != XMD, xmd=form != STAR)
        lines = [f"Wrote *{count}* particles."]
        for name, program in FILES.items():
            path = self._getExtraPath(name)
            if os.path.exists(path):
                lines.append(f"For {program}: {os.path.abspath(path)}")
        self.summaryVar.set("\n".join([*lines, *(["", "*WARNINGS:*", *warnings] if warnings else [])]))
        self._store(self.summaryVar)

    # -- information ---------------------------------------------------------------------------------------------------

    def _validate(self) -> list[str]:
        particles = self.inputParticles.get()
        if particles is None or has_alignment_2d(particles):
            return []
        return ["*Input particles* carry no 2D alignment: align them first (*udl - align 2D*), or choose another set."]

    def _summary(self) -> list[str]:
        return (self.summaryVar.get() or "Nothing is written yet.").split("\n")

    def _methods(self) -> list[str]:
        return ["The particles and their 2D alignment were written for other programs."]
