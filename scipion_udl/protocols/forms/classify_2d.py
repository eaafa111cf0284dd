"""The form of 'udl - classify 2D', and what its answers mean to the engine."""

from __future__ import annotations

import shlex

from pyworkflow.protocol import Form

from scipion_udl.constants import LEAST_OF_A_CLASS, proposed_classes
from scipion_udl.convert.particle_input import has_alignment_2d
from scipion_udl.protocols.asking import ask
from scipion_udl.protocols.diameter_question import SIZE
from scipion_udl.protocols.forms.questions import MODEL_TRAIN, NO_PARTICLES, ParticleQuestions
from scipion_udl.settings.commands import ClassifySettings
from scipion_udl.settings.option import AUTOMATIC, Question

REFERENCES, CONVERTED_REFERENCES = "given_references.star", "given_references.mrcs"
FEW_A_CLASS = 50  # particles: fewer than so many, on average, show little
FEWEST_CLASSES = 2
_PARTICLES = Question(
    "inputParticles",
    "Input particles",
    "Particles of any views, as they were picked and extracted, with junk among them. An alignment that "
    "they carry is not used. Disabled particles are left out: they are in none of the outputs.",
    kind="object",
    of="SetOfParticles",
    important=True,
)


class Classify2DForm(ParticleQuestions):
    """What 'udl - classify 2D' asks, and the options and checks that follow from the answers."""

    _label: str | None = None
    _settings = ClassifySettings
    _sortsViews = True

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        ask(form, _PARTICLES)
        self._defineGpuParams(form)
        self._defineClassesParam(form)
        self._defineModelChoice(form, "it takes minutes")
        self._defineReferenceParams(form)
        self._defineDiameterParam(form)
        for name in ("max_shift", "polarity", "high_resolution_limit", "low_resolution_limit", "ctf"):
            self._ask(form, name)
        form.addSection(label="Classification")
        for name in ("training_subset", "starts", "no_refine"):
            self._ask(form, name)
        self._defineAlignmentParam(form)
        self._defineSeedParam(form)
        self._defineParallel(form)

    def _defineParallel(self, form: Form) -> None:
        form.addParallelSection(threads=4, mpi=0)

    def _defineClassesParam(self, form: Form) -> None:
        self._ask(form, "classes")

    def _defineReferenceParams(self, form: Form) -> None:
        trains = f"modelFrom == {MODEL_TRAIN}"
        self._ask(form, "references", condition=trains)
        self._ask(form, "fixed_references", condition=f"{trains} and inputReferences is not None")

    def _defineAlignmentParam(self, form: Form) -> None:
        self._ask(form, "no_align")

    def keepsAlignment(self) -> bool:
        """Whether particles are sorted as their 2D alignment has them."""
        return self.hasAttribute("keepAlignment") and bool(self.keepAlignment.get())

    # -- what the answers mean -----------------------------------------------------------------------------------------

    def _classifyOptions(self) -> str:
        """The options of the engine, beside the model, that the classes depend on."""
        learns, given = not self._takesModel(), self._takesReferences()
        words = self._option("classes", self.classesToMake()) if learns and not given else []
        words += self._words(
            "seed", *SIZE, "max_shift", "high_resolution_limit", "low_resolution_limit", "ctf", "polarity"
        )
        if given:
            words += self._option("references", self._getExtraPath(REFERENCES)) + self._words("fixed_references")
        fixed = given and bool(self.referencesAre.get())
        words += self._words("training_subset") if learns and not fixed else []
        words += self._words("starts") if learns and not given else []
        words += self._words("no_align") if self.keepsAlignment() else []
        return shlex.join(words + self._words("no_refine"))

    def _takesReferences(self) -> bool:
        """Whether the classes begin as averages that are given."""
        return not self._takesModel() and self.hasAttribute("inputReferences") and self.inputReferences.hasValue()

    def classesToMake(self) -> int:
        """*Number of classes*, or what suits the particles where that is automatic; as many as there are references."""
        if self._takesReferences():
            return self.inputReferences.get().getSize()
        asked = self.numberOfClasses.get()
        return asked if asked > 0 else proposed_classes(self._particlesToClassify())

    def _particlesToClassify(self) -> int:
        """How many particles make the classes; known without the file of the set, which another program may hold."""
        return self.inputParticles.get().getSize()

    # -- checks --------------------------------------------------------------------------------------------------------

    def _validateForm(self) -> list[str]:
        count, asked = self._particlesToClassify(), self.numberOfClasses.get()
        if not count:
            return [NO_PARTICLES]
        if asked != AUTOMATIC and asked < FEWEST_CLASSES:
            return [f"*Number of classes* is {asked}: give {FEWEST_CLASSES} or more, or -1 for an automatic number."]
        classes = self.classesToMake()
        errors = self._validateDiameter() + self._validateLength("maxShift", "Largest shift") + self._validateFinest()
        if self.keepsAlignment() and not has_alignment_2d(self.inputParticles.get()):
            errors.append("The particles carry no 2D alignment to keep: choose *Alignment of the input*: Ignore it.")
        learns = not self._takesModel()
        if learns and LEAST_OF_A_CLASS * classes > count:
            errors.append(
                f"*Number of classes* is {classes}, and there are {count} particles: give fewer, for at least "
                f"{LEAST_OF_A_CLASS} of each class are needed."
            )
        if learns and 0 < self.teach.get() < LEAST_OF_A_CLASS * classes:
            errors.append(
                f"*Training subset* is {self.teach.get()} for {classes} classes: give {LEAST_OF_A_CLASS} for each "
                "at least, better 200, or -1."
            )
        return errors + self._validateGivenModel() + self._validateCtf()

    def _classWarnings(self) -> list[str]:
        """A sentence where the classes will be small."""
        count, classes = self._particlesToClassify(), self.classesToMake()
        if self._takesModel() or count >= FEW_A_CLASS * classes:
            return []
        return [
            f"There are {count} particles for {classes} classes, {count // classes} for each: averages of so few show "
            f"little. Give fewer classes, {proposed_classes(count)} or so."
        ]
