"""Questions that 'udl - align 2D' and 'udl - classify 2D' share, what the answers mean to the engine, and checks."""

from __future__ import annotations

import os
import shlex

from pyworkflow.protocol import LEVEL_ADVANCED, Form, params

from scipion_udl.constants import MODEL
from scipion_udl.convert.particle_input import info_of
from scipion_udl.objects import UdlModel
from scipion_udl.protocols.protocol_base import AUTOMATIC, ProtUdlBase

MODEL_TRAIN, MODEL_GIVEN = 0, 1
# Of the engine, in the order of the form's choices.
CTF_OPTIONS = ["auto", "flipped", "signed", "none"]
CONTRAST_OPTIONS = ["auto", "bright", "dark"]
MODEL_OUT = "outputModel"
NO_PARTICLES = "*Input particles* has no particles: choose another set."


class ParticleQuestions(ProtUdlBase):
    """Questions on the particles, and on the network that looks at them."""

    _label = None

    # -- parameters ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _defineModelChoice(form: Form, time_of_training: str, condition: str = "True") -> None:
        form.addParam(
            "modelFrom",
            params.EnumParam,
            choices=["Train on these particles", "Use a trained model"],
            default=MODEL_TRAIN,
            condition=condition,
            label="Model",
            help=f"Training on the particles themselves needs no other input and fits them best; {time_of_training}. A "
            "model that was trained on particles like these saves that time.",
        )
        form.addParam(
            "inputModel",
            params.PointerParam,
            pointerClass="UdlModel",
            condition=f"modelFrom == {MODEL_GIVEN} and {condition}",
            allowsNull=False,
            label="Trained model",
            help="The output of 'udl - train model', 'udl - import model' or of another run. It must be of "
            "particles of the same field of view (box times pixel size), or the run is refused.",
        )

    @staticmethod
    def _defineShiftParam(form: Form) -> None:
        form.addParam(
            "maxShift",
            params.FloatParam,
            default=float(AUTOMATIC),
            label="Largest shift (px)",
            help="How far a particle may lie from the centre of its box at most, in pixels. -1 takes about a fifth of "
            "the box. Where many particles lie at the limit, the run warns. A small value helps where neighbours come "
            "into the box, or along tubes; a large one finds particles that were picked badly. The wizard shows the "
            "range on the particles.",
        )

    @staticmethod
    def _defineContrastParam(form: Form) -> None:
        form.addParam(
            "contrast",
            params.EnumParam,
            choices=["I do not know", "Bright on dark", "Dark on bright"],
            default=0,
            label="Particles are",
            help="What you expect to see. The alignment is the same for either; if the images look otherwise, the run "
            "warns you that they may be inverted, before you mix them with others.",
        )

    @staticmethod
    def _defineFinestParam(form: Form) -> None:
        form.addParam(
            "finest",
            params.FloatParam,
            default=float(AUTOMATIC),
            expertLevel=LEVEL_ADVANCED,
            label="Working resolution (Å)",
            help="Nothing finer than this is compared. -1 uses all that the box holds, weighted by what the particles "
            "have in common. Give a coarser value (10 Å, say) where fine detail is noise, or differs among the "
            "particles: the angles then rest on the overall shape. The wizard shows the particle at a resolution.",
        )

    @staticmethod
    def _defineCtfParam(form: Form) -> None:
        form.addParam(
            "ctfTreatment",
            params.EnumParam,
            choices=["As the set says", "Phases were flipped", "Phases were not flipped", "Leave the CTF out"],
            default=0,
            expertLevel=LEVEL_ADVANCED,
            label="CTF of the particles",
            help="Particles with a CTF are compared with the average as each of them shows it at its own defocus. That "
            "needs to be known: whether their phases were flipped. The set says it (Phase flipped, in the info of the "
            "set), and the run warns if the images look otherwise; only then there is a reason to change this. The "
            "wrong choice of the two blurs what is finer than the first zero of the CTF. Without the CTF all particles "
            "count alike at all frequencies: the choice for defocus values that are wrong, or images that were "
            "multiplied by their CTF already. Particles without CTF are aligned without it, the others with theirs.",
        )

    # -- what the answers mean -----------------------------------------------------------------------------------------

    def _trains(self) -> bool:
        """Whether a network is trained in this run."""
        return self.modelFrom.get() == MODEL_TRAIN

    def _takesModel(self) -> bool:
        """Whether the run uses a model that was trained before."""
        return self.modelFrom.get() == MODEL_GIVEN

    def _modelOption(self) -> str:
        return f" --model {shlex.quote(self.inputModel.get().getFileName())}" if self._takesModel() else ""

    def _lengthOptions(self) -> str:
        """The options of the engine for largest shift and working resolution."""
        options = f" --max-shift {self.maxShift.get():g}" if self.maxShift.get() >= 0 else ""
        return options + (f" --finest {self.finest.get():g}" if self.finest.get() > 0 else "")

    def _imageOptions(self) -> str:
        """The options of the engine for CTF and contrast."""
        options = f" --ctf {CTF_OPTIONS[self.ctfTreatment.get()]}"
        return options + (f" --contrast {CONTRAST_OPTIONS[self.contrast.get()]}" if self.contrast.get() else "")

    def _giveModel(self) -> None:
        """Give the trained network as an output."""
        model = UdlModel.fromFile(self._getExtraPath(MODEL))
        self._defineOutputs(**{MODEL_OUT: model})
        self._defineSourceRelation(self.inputParticles, model)

    def getModelFile(self) -> str | None:
        """The model that the run uses, a path; None where it uses no network."""
        if self._takesModel():
            return self.inputModel.get().getFileName()
        model = self._getExtraPath(MODEL)
        return model if self._trains() and os.path.exists(model) else None

    # -- checks --------------------------------------------------------------------------------------------------------

    def _validateFinest(self) -> list[str]:
        """A sentence where the working resolution is finer than the images."""
        finest = 2 * info_of(self.inputParticles.get()).getSamplingRate()
        if not 0 < self.finest.get() < finest:
            return []
        return [
            f"*Working resolution* is {self.finest.get():g} Å, but nothing finer than {finest:g} Å (two pixels) is "
            "in the images: give more, or -1 for all."
        ]

    def _validateCtf(self) -> list[str]:
        """A sentence where the CTF of particles without one is asked for."""
        asked = CTF_OPTIONS[self.ctfTreatment.get()] in ("flipped", "signed")
        if not asked or info_of(self.inputParticles.get()).hasCTF():
            return []
        return ["The particles have no CTF: leave *CTF of the particles* at 'As the set says'."]

    def _validateGivenModel(self) -> list[str]:
        """Sentences where the trained model cannot be used on the particles."""
        return self._validateModel(self.inputModel.get(), "Trained model") if self._takesModel() else []

    def _alignmentWarnings(self) -> list[str]:
        """A sentence where the particles carry a 3D alignment, which the output does not."""
        info = info_of(self.inputParticles.get())
        if not info.hasAlignment() or info.hasAlignment2D():
            return []
        return [
            "The particles carry projection directions. The output carries the new 2D alignment in their place; "
            "those of the input stay in the input set."
        ]
