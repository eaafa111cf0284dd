"""What 'udl - simulate particles' asks of the effects that real particles have."""

from __future__ import annotations

from pyworkflow.protocol import LEVEL_ADVANCED, Form, params

from scipion_udl.constants import NORMALISED, RAW, REALISTIC_EFFECTS
from scipion_udl.protocols.protocol_base import ProtUdlBase

_SHARE, _HEIGHT = params.Range(0, 1, "must be from 0 to 1"), params.GE(0, "must be 0 or more")
# option of the engine, label, validator, help
_STRENGTHS = (
    (
        "neighbours",
        "Share of sites with a neighbour",
        _SHARE,
        "Crowded ice: other copies of the molecule lie around each particle, on so large a part, 0 to 1, of the sites "
        "of a hexagonal pattern. None overlaps it.",
    ),
    (
        "junk",
        "Share of junk",
        _SHARE,
        "How large a part of the particles, 0 to 1, is none: empty ice, contamination, the edge of the carbon, two "
        "molecules that touch. truth.star says which.",
    ),
    (
        "ramp",
        "Height of ramps",
        _HEIGHT,
        "Each image has a linear ramp of a direction of its own. This is how far it typically rises from the centre to "
        "the edge, in noise deviations; 0 for no ramps.",
    ),
    (
        "structural",
        "Share of structural noise",
        _SHARE,
        "How large a part of the noise's variance, 0 to 1, is structure of the ice, which passes the CTF. The rest is "
        "white shot noise. The SNR is that of both together. Without a CTF all noise is white.",
    ),
)


class RealismForm(ProtUdlBase):
    """Whether particles are as extraction leaves them, and how much so. applyCtf and addNoise are the form's."""

    _label = None

    @staticmethod
    def _defineRealismParams(form: Form) -> None:
        form.addParam(
            "realistic",
            params.BooleanParam,
            default=False,
            label="Realistic?",
            help="Yes: what extraction leaves in a box of real particles: neighbours, junk, ramps, structure of the "
            "ice that passes the CTF, ice of varying thickness, astigmatism, a defocus that is wrong in the table, hot "
            "pixels, picks that lie far off centre, and grey values that are not normalised. Particles come from "
            "micrographs then, with names and coordinates.",
        )
        for name, label, validator, help_ in _STRENGTHS:
            form.addParam(
                name,
                params.FloatParam,
                default=REALISTIC_EFFECTS[name],
                condition="realistic",
                validators=[validator],
                label=label,
                help=help_,
            )
        form.addParam(
            "raw",
            params.BooleanParam,
            default=True,
            expertLevel=LEVEL_ADVANCED,
            condition="realistic",
            label="Raw grey values?",
            help="Yes: as counts, with a gain and an offset of each micrograph. No: noise of mean 0 and variance 1.",
        )

    def _realismWords(self) -> list:
        """The engine's options: all of what real particles have, and of the main effects how much."""
        if not self.realistic:
            return []
        words = ["--realistic", "--intensities", RAW if self.raw else NORMALISED]
        structural = ["structural"] if self.applyCtf and self.addNoise else []
        for name in ("neighbours", "junk", "ramp", *structural):
            words += [f"--{name}", f"{getattr(self, name).get():g}"]
        return words
