"""What 'udl - simulate particles' asks of the effects that real particles have."""

from __future__ import annotations

from pyworkflow.protocol import Form

from scipion_udl.constants import NORMALISED, RAW
from scipion_udl.protocols.protocol_base import ProtUdlBase
from scipion_udl.settings.commands import SimulateSettings

_EFFECTS = ("neighbours", "junk", "ramp", "structural")  # options of the engine


class RealismForm(ProtUdlBase):
    """Whether particles are as extraction leaves them, and how much so. applyCtf and addNoise are the form's."""

    _label: str | None = None
    _settings = SimulateSettings

    def _defineRealismParams(self, form: Form) -> None:
        for name in ("realistic", *_EFFECTS, "intensities"):
            self._ask(form, name)

    def _realismWords(self) -> list[str]:
        """The engine's options: all of what real particles have, and of the main effects how much."""
        if not self.realistic:
            return []
        raw = self._option("intensities", RAW if self.raw else NORMALISED)
        of_both = self.applyCtf and self.addNoise  # structure of the ice is noise that passes the CTF
        words = self._words("realistic") + raw + self._words(*(_EFFECTS if of_both else _EFFECTS[:-1]))
        return words
