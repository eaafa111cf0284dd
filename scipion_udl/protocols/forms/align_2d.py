"""The form of 'udl - align 2D', and what its answers mean to the engine."""

from __future__ import annotations

import shlex

from pwem.objects import Class2D, Particle, SetOfAverages, SetOfClasses2D
from pyworkflow.protocol import Form

from scipion_udl.convert.particle_input import are_classes, count_items, has_alignment_2d
from scipion_udl.model_card import FIELD_TOLERANCE
from scipion_udl.protocols.asking import ask
from scipion_udl.protocols.diameter_question import SIZE
from scipion_udl.protocols.forms.questions import MODEL_TRAIN, NO_PARTICLES, ParticleQuestions
from scipion_udl.settings.commands import AlignSettings
from scipion_udl.settings.option import Question

IGNORE, START = 0, 1
LEAVE_NOTHING, LEAVE_OUTLIERS, LEAVE_BELOW = 0, 1, 2

_ASKS_NETWORK = f"alignmentOfInput == {IGNORE}"
_REFERENCE_ITEM = Question(
    "referenceItem",
    "Number of the reference",
    "Which average or class, where the reference is a set of them: its id. It has no effect where the "
    "reference is a single image. The wizard shows them.",
    kind="whole",
    default=1,
    condition="inputReference is not None",
    advanced=True,
)
_LEAVE_OUT = Question(
    "leaveOut",
    "Leave out",
    "Which particles go to outputParticlesDiscarded in place of outputParticles. Outliers: those whose "
    "score is that of aligned noise, or one that hardly any particle has (of their class where there are "
    "classes). "
    "The averages are those of all particles in any case. To try another choice, change it and run with "
    "*Continue*: nothing is aligned anew.",
    kind="choice",
    default=LEAVE_NOTHING,
    choices=("Nothing", "Outliers", "Scores below a threshold"),
)
_SCORE_THRESHOLD = Question(
    "scoreThreshold",
    "Lowest score",
    "Particles with a lower score (a correlation with the average, -1 to 1) are left out. What is usual "
    "depends on how noisy they are: look at the histogram of a run first.",
    kind="number",
    default=0.0,
    condition=f"leaveOut == {LEAVE_BELOW}",
)


class Align2DForm(ParticleQuestions):
    """What 'udl - align 2D' asks, and the options and checks that follow from the answers."""

    _label: str | None = None
    _settings = AlignSettings

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineAlignParams(self, form: Form) -> None:
        particles = form.getParam("inputParticles")
        particles.pointerClass.set("SetOfParticles,SetOfClasses2D")
        particles.help.set(
            "Particles that show one view, those of one 2D class say; or all 2D classes of a classification at once: "
            "then each class is aligned by itself, with one network trained on all of them, and has an average of its "
            "own. Disabled particles and classes are left out: they are in none of the outputs."
        )
        self._defineGpuParams(form)
        self._defineModelParams(form)
        self._defineQuestions(form)
        self._defineExpertParams(form)
        form.addSection(label="Output")
        self._defineOutputParams(form)
        form.addSection(label="Training")
        self._defineTrainingParams(form, f"modelFrom == {MODEL_TRAIN} and {_ASKS_NETWORK}")
        self._defineSeedParam(form)
        form.addParallelSection(threads=4, mpi=0)

    def _defineModelParams(self, form: Form) -> None:
        self._ask(form, "start_poses")
        self._defineModelChoice(form, "it takes seconds to minutes", _ASKS_NETWORK)

    def _defineQuestions(self, form: Form) -> None:
        self._defineDiameterParam(form)
        for name in ("max_shift", "polarity", "mirror"):
            self._ask(form, name)

    def _defineExpertParams(self, form: Form) -> None:
        self._ask(form, "reference")
        ask(form, _REFERENCE_ITEM)
        for name in ("high_resolution_limit", "low_resolution_limit", "no_refine", "ctf"):
            self._ask(form, name)

    def _defineOutputParams(self, form: Form) -> None:
        self._ask(form, "write_stack")
        ask(form, _LEAVE_OUT)
        ask(form, _SCORE_THRESHOLD)

    # -- what the answers mean -----------------------------------------------------------------------------------------

    def _fromAlignment(self) -> bool:
        """Whether to start from the alignment that the particles carry, without a network."""
        return self.alignmentOfInput.get() == START

    def _trains(self) -> bool:
        """Whether a network is trained in this run."""
        return super()._trains() and not self._fromAlignment()

    def _takesModel(self) -> bool:
        """Whether the run uses a model that was trained before."""
        return super()._takesModel() and not self._fromAlignment()

    def _classOption(self) -> str:
        return "".join(f" {word}" for word in self._option("by_class", are_classes(self.inputParticles.get())))

    def _alignOptions(self) -> str:
        """The options of the engine, beside the model, that the alignment depends on."""
        words = self._words("seed", *SIZE) + self._classOption().split()
        words += self._words("max_shift", "high_resolution_limit", "low_resolution_limit")
        words += self._referenceWords()
        return shlex.join(words + self._words("ctf", "polarity", "mirror", "write_stack", "start_poses", "no_refine"))

    def _referenceImage(self) -> Particle | None:
        """The image that *Reference image* and *Number of the reference* name; None where there is none."""
        chosen = self.inputReference.get()
        if isinstance(chosen, (SetOfAverages, SetOfClasses2D)):
            if self.referenceItem.get() not in chosen:
                return None
            chosen = chosen[self.referenceItem.get()]
        return chosen.getRepresentative() if isinstance(chosen, Class2D) else chosen

    # -- checks --------------------------------------------------------------------------------------------------------

    def _validateForm(self) -> list[str]:
        particles = self.inputParticles.get()
        # The size of a set is known without its file, which another program may hold: nobody waits for it here.
        if not (count_items(particles) if are_classes(particles) else particles.getSize()):
            return [NO_PARTICLES]
        errors = self._validateLength("maxShift", "Largest shift") + self._validateDiameter()
        errors += self._validateReference() + self._validateFinest() + self._validateGivenModel() + self._validateCtf()
        if self._fromAlignment() and not has_alignment_2d(particles):
            errors.append(
                "The particles carry no 2D alignment to start from: choose *Alignment of the input*: Ignore it."
            )
        if self.leaveOut.get() == LEAVE_BELOW and not -1 <= self.scoreThreshold.get() <= 1:
            errors.append(f"*Lowest score* is {self.scoreThreshold.get():g}: scores are between -1 and 1.")
        return errors

    def _referenceWarnings(self, pixel_size: float) -> list[str]:
        """A sentence where the reference shows the molecule in another size than the particles do."""
        reference = self._referenceImage()
        own = reference.getSamplingRate() if reference is not None else None
        if not own or abs(own / pixel_size - 1) < FIELD_TOLERANCE:
            return []
        return [
            f"*Reference image* has {own:g} Å/px and the particles {pixel_size:g}: the molecule differs in size, and "
            "its orientation may be taken over wrongly. Scale the image first."
        ]

    def _validateReference(self) -> list[str]:
        if self.inputReference.get() is None:
            return []
        if are_classes(self.inputParticles.get()):
            return ["*Reference image* is for particles of one view: leave it empty, since each class has its own."]
        reference = self._referenceImage()
        if reference is None:
            return [f"*Reference image* has no item number {self.referenceItem.get()}: choose one with the wizard."]
        return self._validateImage(reference, "Reference image")
