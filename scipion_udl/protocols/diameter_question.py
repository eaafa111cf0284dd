"""The question how large the particle is, as several forms ask it, and what the answer means to the engine."""

from __future__ import annotations

from pyworkflow.protocol import Form, params

from scipion_udl.constants import DIAMETER_FROM
from scipion_udl.convert.particle_input import info_of

# What a parameter says that leaves its value to the engine.
AUTOMATIC = -1


class DiameterQuestion:
    """Of protocols that have ``inputParticles``: the diameter of the particle in angstrom, and the older radius in
    pixels, which forms show where a project has it."""

    def _defineDiameterParam(self, form: Form) -> None:
        form.addParam(
            "diameter",
            params.FloatParam,
            default=float(AUTOMATIC),
            label="Particle diameter (Å)",
            help="Diameter of the circle that holds the particle once it is centred; what is outside is not compared. "
            "-1 is automatic: the summary and the report say which diameter was taken. A smaller circle keeps noise "
            "and neighbours out; one that cuts into the particle loses what lies outside. The wizard shows the circle "
            "on the particles, and begins at the automatic value.",
        )
        form.addParam(
            "maskRadius",
            params.IntParam,
            default=AUTOMATIC,
            condition="maskRadius > 0",
            label="Mask radius (px)",
            help="The same as a radius in pixels, as runs of older projects have it. -1 leaves it to *Particle "
            "diameter*, the question that took its place.",
        )

    def _diameterOption(self) -> str:
        """The option of the engine for the diameter of the particle, however it was given; empty where it was not."""
        option = f" --diameter {self.diameter.get():g}" if self.diameter.get() > 0 else ""
        return option + (f" --mask-radius {self.maskRadius.get()}" if self.maskRadius.get() > 0 else "")

    def _validateDiameter(self) -> list[str]:
        """Sentences where the diameter of the particle does not fit into the box, or is given twice."""
        info, diameter = info_of(self.inputParticles.get()), self.diameter.get()
        errors = self._validateLength("maskRadius", "Mask radius")
        if diameter > 0 and self.maskRadius.get() > 0:
            errors.append("*Particle diameter* and *Mask radius* say the same: set *Mask radius* to -1.")
        box = info.getXDim() * info.getSamplingRate()
        if diameter > box * (1 + 1e-6):
            errors.append(
                f"*Particle diameter* is {diameter:g} Å, more than the box of {info.getXDim()} px, {box:g} Å: give "
                "less, or -1 for an automatic one."
            )
        return errors

    @staticmethod
    def _diameterSummary(summary: dict) -> list[str]:
        """The diameter of the particles that was taken, and where it comes from."""
        if not summary.get("diameter"):
            return []
        where = DIAMETER_FROM.get(summary.get("diameter_from"), DIAMETER_FROM["given"])
        size = f"*{summary['diameter']:.4g} Å* (mask radius {summary['mask_radius']:.3g} px)"
        return [f"Particle diameter: {size}, {where}."]
