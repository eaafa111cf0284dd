"""The form of 'udl - classify 2D', and what its answers mean to the engine."""

from __future__ import annotations

from pyworkflow.protocol import LEVEL_ADVANCED, Form, params

from scipion_udl.constants import LEAST_OF_A_CLASS
from scipion_udl.protocols.protocol_base import AUTOMATIC
from scipion_udl.protocols.questions import NO_PARTICLES, ParticleQuestions

FEW_A_CLASS, USUAL_OF_A_CLASS = 50, 100  # particles: fewer than so many, on average, show little


class Classify2DForm(ParticleQuestions):
    """What 'udl - classify 2D' asks, and the options and checks that follow from the answers."""

    _label = None
    _sortsViews = True

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        form.addParam(
            "inputParticles",
            params.PointerParam,
            pointerClass="SetOfParticles",
            important=True,
            label="Input particles",
            help="Particles of any views, as they were picked and extracted, with junk among them. An alignment that "
            "they carry is not used. Disabled particles are left out: they are in none of the outputs.",
        )
        self._defineGpuParams(form)
        self._defineClassesParam(form)
        self._defineModelChoice(form, "it takes minutes")
        self._defineDiameterParam(form)
        self._defineShiftParam(form)
        self._defineContrastParam(form)
        self._defineFinestParam(form)
        self._defineCtfParam(form)
        form.addSection(label="Classification")
        self._defineSearchParams(form)
        self._defineSeedParam(form)
        self._defineParallel(form)

    def _defineParallel(self, form: Form) -> None:
        form.addParallelSection(threads=4, mpi=0)

    def _defineClassesParam(self, form: Form) -> None:
        form.addParam(
            "numberOfClasses",
            params.IntParam,
            default=50,
            validators=[params.GE(2, "must be 2 or more")],
            label="Number of classes",
            help="How many groups the particles are sorted into, each with an average of its own. With more of them "
            "fewer views share a class, and averages are sharper, as long as each has particles enough: 100 or so, "
            "more where they are very noisy. Junk takes some of the classes for itself. Particles that show one view "
            "need no classes: give them to 'udl - align 2D'.",
        )

    @staticmethod
    def _defineSearchParams(form: Form) -> None:
        form.addParam(
            "teach",
            params.IntParam,
            default=AUTOMATIC,
            label="Particles that teach",
            help="So many particles, drawn by chance from all of them, teach the classes what they look like; then all "
            "are sorted into these. -1 takes 200 a class, and 20 000 at most. More find rarer views, and take longer.",
        )
        form.addParam(
            "starts",
            params.IntParam,
            default=AUTOMATIC,
            expertLevel=LEVEL_ADVANCED,
            label="Starts",
            help="How often the search for classes begins anew, each time at other particles; the best is kept. -1 "
            "leaves it to the program. More make the result depend less on chance, and take longer.",
        )
        form.addParam(
            "doRefine",
            params.BooleanParam,
            default=True,
            expertLevel=LEVEL_ADVANCED,
            label="Refine?",
            help="Yes: particles that more than one class may hold are compared with the averages of these and go "
            "where they fit best; then every class is aligned for itself, and its resolution is told. No: classes, "
            "angles and shifts stay as the network found them. Quicker and coarser, for a first look.",
        )

    # -- what the answers mean -----------------------------------------------------------------------------------------

    def _classifyOptions(self) -> str:
        """The options of the engine, beside the model, that the classes depend on."""
        learns = not self._takesModel()
        options = f"--classes {self.numberOfClasses.get()} " if learns else ""
        options += f"--seed {self.seed.get()}" + self._diameterOption() + self._lengthOptions() + self._imageOptions()
        for name in ("teach", "starts") if learns else ():
            value = getattr(self, name).get()
            options += f" --{name} {value}" if value > 0 else ""
        return options if self.doRefine else options + " --no-refine"

    def _particlesToClassify(self) -> int:
        """How many particles make the classes; known without the file of the set, which another program may hold."""
        return self.inputParticles.get().getSize()

    # -- checks --------------------------------------------------------------------------------------------------------

    def _validateForm(self) -> list[str]:
        """Sentences where the answers do not fit the particles or each other."""
        count, classes = self._particlesToClassify(), self.numberOfClasses.get()
        if not count:
            return [NO_PARTICLES]
        errors = self._validateDiameter() + self._validateLength("maxShift", "Largest shift") + self._validateFinest()
        learns = not self._takesModel()
        if learns and LEAST_OF_A_CLASS * classes > count:
            errors.append(
                f"*Number of classes* is {classes}, and there are {count} particles: give fewer, for at least "
                f"{LEAST_OF_A_CLASS} of each class are needed."
            )
        if learns and 0 < self.teach.get() < LEAST_OF_A_CLASS * classes:
            errors.append(
                f"*Particles that teach* is {self.teach.get()} for {classes} classes: give {LEAST_OF_A_CLASS} for each "
                "at least, better 200, or -1."
            )
        return errors + self._validateGivenModel() + self._validateCtf()

    def _classWarnings(self) -> list[str]:
        """A sentence where the classes will be small."""
        count, classes = self._particlesToClassify(), self.numberOfClasses.get()
        if self._takesModel() or count >= FEW_A_CLASS * classes:
            return []
        return [
            f"There are {count} particles for {classes} classes, {count // classes} for each: averages of so few show "
            f"little. Give fewer classes, {max(2, count // USUAL_OF_A_CLASS)} or so."
        ]
