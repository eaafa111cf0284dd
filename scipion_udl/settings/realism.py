"""The options of `scipion-udl simulate` on what real particles have and clean ones lack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipion_udl import values as take
from scipion_udl.constants import INTENSITIES, JUNK_KINDS, PER_MICROGRAPH, REALISTIC_EFFECTS, SPACING
from scipion_udl.settings.option import Group, Question, Settings, flag, option

_USUAL = REALISTIC_EFFECTS


@dataclass(frozen=True)
class Realism(Settings):
    """How much of each effect; None where the option was not given."""

    GROUP: ClassVar[Group | None] = Group(
        "as real particles are",
        "each alone, or all at once with --realistic; particles then come from micrographs, with names and coordinates "
        "in the table",
    )

    realistic: bool = flag(
        "all of the following at a strength as real sets have it, and shifts by parts of a pixel; each can be changed "
        "by its own option, 0 leaves it away",
        Question(
            "realistic",
            "Realistic?",
            "Yes: what extraction leaves in a box of real particles: neighbours, junk, ramps, structure of the "
            "ice that passes the CTF, ice of varying thickness, astigmatism, a defocus that is wrong in the table, hot "
            "pixels, picks that lie far off centre, and grey values that are not normalised. Particles come from "
            "micrographs then, with names and coordinates.",
            default=False,
        ),
    )
    per_micrograph: int | None = option(
        f"particles of a micrograph, which share its defocus, ice and grey values ({PER_MICROGRAPH})",
        take=take.COUNT,
        metavar="N",
    )
    neighbours: float | None = option(
        "crowded ice: other copies of the molecule around each particle, on so large a share of the sites of a "
        f"hexagonal pattern; none overlaps it (0; {_USUAL['neighbours']:g})",
        None,
        Question(
            "neighbours",
            "Share of sites with a neighbour",
            "Crowded ice: other copies of the molecule lie around each particle, on so large a part, 0 to 1, of the "
            "sites of a hexagonal pattern. None overlaps it.",
            default=_USUAL["neighbours"],
            limits=take.SHARE,
            condition="realistic",
        ),
        take=take.SHARE,
        metavar="F",
    )
    spacing: float | None = option(
        f"distance of these sites in diameters of the molecule, 1 or more ({SPACING:g})",
        take=take.POSITIVE,
        metavar="X",
    )
    junk: float | None = option(
        f"share of the picks that show no particle; truth.star says which (0; {_USUAL['junk']:g})",
        None,
        Question(
            "junk",
            "Share of junk",
            "How large a part of the particles, 0 to 1, is none: empty ice, contamination, the edge of the carbon, two "
            "molecules that touch. truth.star says which.",
            default=_USUAL["junk"],
            limits=take.SHARE,
            condition="realistic",
        ),
        take=take.SHARE,
        metavar="F",
    )
    junk_kinds: list[str] | None = option(
        "kinds of junk, alike often: empty (ice alone), blob (contamination), carbon (the edge of the film), touching "
        "(two molecules that overlap) (all)",
        choices=JUNK_KINDS,
        count="+",
        metavar="KIND",
    )
    tail: float | None = option(
        "share of the picks that lie farther off centre than --shift, by a distance that is exponentially distributed, "
        f"up to 35 %% of the box (0; {_USUAL['tail']:g})",
        take=take.SHARE,
        metavar="F",
    )
    structural: float | None = option(
        "share of the noise's variance that is structure of the ice and passes the CTF; the rest is white shot noise, "
        f"and --snr stays that of both together (0; {_USUAL['structural']:g})",
        None,
        Question(
            "structural",
            "Share of structural noise",
            "How large a part of the noise's variance, 0 to 1, is structure of the ice, which passes the CTF. The rest "
            "is white shot noise. The SNR is that of both together. Without a CTF all noise is white.",
            default=_USUAL["structural"],
            limits=take.SHARE,
            condition="realistic",
        ),
        take=take.SHARE,
        metavar="F",
    )
    thickness: list[float] | None = option(
        "ice thickness: spread of the particles' contrast (standard deviation of its logarithm) among micrographs and "
        "among the particles of one; --snr is the mean (0 0; {:g} {:g})".format(*_USUAL["thickness"]),
        take=take.NUMBER,
        count=2,
        metavar=("M", "P"),
    )
    ramp: float | None = option(
        "linear ramps, one of any direction in each image: root mean square height from the centre to the edge in "
        f"noise deviations (0; {_USUAL['ramp']:g})",
        None,
        Question(
            "ramp",
            "Height of ramps",
            "Each image has a linear ramp of a direction of its own. This is how far it typically rises from the "
            "centre to the edge, in noise deviations; 0 for no ramps.",
            default=_USUAL["ramp"],
            limits=take.NUMBER,
            condition="realistic",
        ),
        take=take.NUMBER,
        metavar="H",
    )
    hot_pixels: float | None = option(
        f"mean number of hot pixels in an image, 8 to 30 noise deviations high (0; {_USUAL['hot_pixels']:g})",
        take=take.NUMBER,
        metavar="N",
    )
    intensities: str | None = option(
        "normalised: noise of mean 0 and variance 1; raw: not normalised at all, counts with a gain and an offset of "
        f"each micrograph (normalised; {_USUAL['intensities']})",
        None,
        Question(
            "raw",
            "Raw grey values?",
            "Yes: as counts, with a gain and an offset of each micrograph. No: noise of mean 0 and variance 1.",
            kind="yes",
            default=True,
            condition="realistic",
            advanced=True,
        ),
        choices=INTENSITIES,
    )
    defocus_error: float | None = option(
        "the defocus in the table is wrong by so much, the standard deviation among micrographs in angstrom; "
        f"truth.star has the true one (0; {_USUAL['defocus_error']:g})",
        take=take.ANGSTROM,
        metavar="A",
    )
    astigmatism: float | None = option(
        "standard deviation among micrographs of the difference of the two defocus values, in angstrom, in any "
        f"direction (0; {_USUAL['astigmatism']:g})",
        take=take.ANGSTROM,
        metavar="A",
    )
