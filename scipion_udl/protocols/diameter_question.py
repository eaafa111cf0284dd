"""The question how large the particle is, as several forms ask it, and what the answer means to the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyworkflow.protocol import Form

from scipion_udl.constants import DIAMETER_FROM, automatic_shift
from scipion_udl.convert.particle_input import info_of
from scipion_udl.protocols.asking import ask
from scipion_udl.settings.option import Settings

SIZE = ("diameter", "mask_radius")  # options of the engine: the diameter, and the older form


class DiameterQuestion:
    """Of protocols that have ``inputParticles``: the diameter of the particle in angstrom, and the older radius in
    pixels, which forms show where a project has it."""

    _settings: type[Settings]
    # What the protocol has: its input, and the answers of the form.
    inputParticles: Any
    diameter: Any
    maskRadius: Any
    maxShift: Any
    _validateLength: Callable[..., list[str]]

    def _defineDiameterParam(self, form: Form) -> None:
        for name in SIZE:
            ask(form, self._settings.question(name))

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

    def _shiftSummary(self, summary: dict) -> list[str]:
        """The largest shift that was allowed, where nobody gave it."""
        if self.maxShift.get() >= 0 or not summary.get("box"):
            return []
        return [f"Largest shift: *{automatic_shift(summary['box']):.3g} px*, automatic."]

    @staticmethod
    def _diameterSummary(summary: dict) -> list[str]:
        """The diameter of the particles that was taken, and where it comes from."""
        if not summary.get("diameter"):
            return []
        where = DIAMETER_FROM.get(summary.get("diameter_from", ""), DIAMETER_FROM["given"])
        size = f"*{summary['diameter']:.4g} Å* (mask radius {summary['mask_radius']:.3g} px)"
        return [f"Particle diameter: {size}, {where}."]
