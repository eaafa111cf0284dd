"""The form of 'udl - align 2D', and what its answers mean to the engine."""

from __future__ import annotations

from pwem.objects import Class2D, Particle, SetOfAverages, SetOfClasses2D
from pyworkflow.protocol import LEVEL_ADVANCED, Form, params

from scipion_udl.convert.particle_input import are_classes, count_items, has_alignment_2d
from scipion_udl.objects import FIELD_TOLERANCE
from scipion_udl.protocols.questions import MODEL_TRAIN, NO_PARTICLES, ParticleQuestions

IGNORE, START = 0, 1
LEAVE_NOTHING, LEAVE_OUTLIERS, LEAVE_BELOW = 0, 1, 2

_ASKS_NETWORK = f"alignmentOfInput == {IGNORE}"


class Align2DForm(ParticleQuestions):
    """What 'udl - align 2D' asks, and the options and checks that follow from the answers."""

    _label = None

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
        form.addParam(
            "alignmentOfInput",
            params.EnumParam,
            choices=["Ignore it", "Start from it"],
            default=IGNORE,
            expertLevel=LEVEL_ADVANCED,
            label="Alignment of the input",
            help="For particles that carry a 2D alignment already. Ignore it: the result does not depend on it. Start "
            "from it: the coarse average that it makes is where the search begins, in place of a network. That is "
            "quicker and keeps the orientation; poses that were wrong are found anew, and the result is no better.",
        )
        self._defineModelChoice(form, "it takes seconds to minutes", _ASKS_NETWORK)

    def _defineQuestions(self, form: Form) -> None:
        self._defineDiameterParam(form)
        self._defineShiftParam(form)
        self._defineContrastParam(form)
        form.addParam(
            "doMirror",
            params.BooleanParam,
            default=False,
            label="Look for mirror images?",
            help="Yes: each particle is also compared as its mirror image, as it appears where molecules lie on the "
            "film face down; the output then holds mirrored alignments, which Xmipp and Scipion understand and "
            "RELION does not. It takes longer, and in noise some particles are mirrored by mistake. No: nothing is "
            "mirrored.",
        )

    def _defineExpertParams(self, form: Form) -> None:
        self._defineReferenceParams(form)
        self._defineRefinementParams(form)

    @staticmethod
    def _defineReferenceParams(form: Form) -> None:
        form.addParam(
            "inputReference",
            params.PointerParam,
            pointerClass="Particle,SetOfAverages,SetOfClasses2D,Class2D",
            allowsNull=True,
            expertLevel=LEVEL_ADVANCED,
            label="Reference image",
            help="An image of the same box and pixel size, such as a class average, whose orientation the result takes "
            "over. It is used for that alone, so it cannot bias the alignment. Without it, orientation and centre of "
            "the average are arbitrary. For one of a set of averages or classes, give its number below.",
        )
        form.addParam(
            "referenceItem",
            params.IntParam,
            default=1,
            expertLevel=LEVEL_ADVANCED,
            condition="inputReference is not None",
            label="Number of the reference",
            help="Which average or class, where the reference is a set of them: its id. It has no effect where the "
            "reference is a single image. The wizard shows them.",
        )

    def _defineRefinementParams(self, form: Form) -> None:
        self._defineFinestParam(form)
        form.addParam(
            "doRefine",
            params.BooleanParam,
            default=True,
            expertLevel=LEVEL_ADVANCED,
            label="Refine against the average?",
            help="No: the angle is what the network says. Quicker and coarser; there is no reason to choose it but to "
            "see what the network alone can do.",
        )
        self._defineCtfParam(form)

    @staticmethod
    def _defineOutputParams(form: Form) -> None:
        form.addParam(
            "writeStack",
            params.BooleanParam,
            default=False,
            label="Write aligned images?",
            help="Yes: the particles are also written turned and shifted (and mirrored), as outputAlignedStack, for "
            "programs that do not apply an alignment by themselves. That set carries no alignment, since it has been "
            "applied, and its images were interpolated once; they take as much disk as the particles. No: only the "
            "numbers are written, which is all that Scipion's programs need.",
        )
        form.addParam(
            "leaveOut",
            params.EnumParam,
            choices=["Nothing", "Outliers", "Scores below a threshold"],
            default=LEAVE_NOTHING,
            label="Leave out",
            help="Which particles go to outputParticlesDiscarded in place of outputParticles. Outliers: those whose "
            "score is that of aligned noise, or one that hardly any particle has (of their class where there are "
            "classes). "
            "The averages are those of all particles in any case. To try another choice, change it and run with "
            "*Continue*: nothing is aligned anew.",
        )
        form.addParam(
            "scoreThreshold",
            params.FloatParam,
            default=0.0,
            condition=f"leaveOut == {LEAVE_BELOW}",
            label="Lowest score",
            help="Particles with a lower score (a correlation with the average, -1 to 1) are left out. What is usual "
            "depends on how noisy they are: look at the histogram of a run first.",
        )

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
        return " --by-class" if are_classes(self.inputParticles.get()) else ""

    def _alignOptions(self) -> str:
        """The options of the engine, beside the model, that the alignment depends on."""
        options = f"--seed {self.seed.get()}" + self._diameterOption() + self._classOption()
        options += self._lengthOptions() + self._referenceOption() + self._imageOptions()
        for name, option in (("doMirror", "--mirror"), ("writeStack", "--write-stack")):
            options += f" {option}" if getattr(self, name) else ""
        options += " --start-poses" if self._fromAlignment() else ""
        return options if self.doRefine else options + " --no-refine"

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
        """Sentences where the answers do not fit the particles or each other."""
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
