"""Options on the particles: diameter, largest shift, high-resolution limit, polarity and CTF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipion_udl import values as take
from scipion_udl.settings.option import AUTOMATIC, Group, Question, Settings, flag, option

PARTICLE = Group("particle")


@dataclass(frozen=True)
class Size(Settings):
    """How large the particle is, in angstrom or, the older form, in pixels."""

    GROUP: ClassVar[Group | None] = PARTICLE

    diameter: float | None = option(
        "diameter of the particle in angstrom (default, or -1: nearly the whole box)",
        None,
        Question(
            "diameter",
            "Particle diameter",
            "Diameter of the circle that holds the particle once it is centred; what is outside is not compared. "
            "-1 is automatic: the summary and the report say which diameter was taken. A smaller circle keeps noise "
            "and neighbours out; one that cuts into the particle loses what lies outside. The wizard shows the circle "
            "on the particles, and begins at the automatic value.",
            default=float(AUTOMATIC),
        ),
        take=take.ANGSTROM_OR_AUTOMATIC,
        metavar="A",
    )
    mask_radius: float | None = option(
        "the same as a radius in pixels: the older form",
        None,
        Question(
            "maskRadius",
            "Mask radius",
            "The same as a radius in pixels, as runs of older projects have it. -1 leaves it to *Particle "
            "diameter*, the question that took its place.",
            kind="whole",
            default=AUTOMATIC,
            condition="maskRadius > 0",
        ),
        take=take.PIXELS_ABOVE_0,
        metavar="PX",
    )


@dataclass(frozen=True)
class Resolution(Settings):
    """What is compared at most."""

    GROUP: ClassVar[Group | None] = PARTICLE

    high_resolution_limit: float | None = option(
        "nothing finer than A angstrom is compared (default: all that the box holds)",
        None,
        Question(
            "finest",
            "High-resolution limit",
            "Nothing finer than this is compared. -1 uses all that the box holds, weighted by what the particles "
            "have in common. Give a coarser value (10 Å, say) where fine detail is noise, or differs among the "
            "particles: the angles then rest on the overall shape. The wizard shows the particle at a resolution.",
            default=float(AUTOMATIC),
            advanced=True,
        ),
        flags=("--high-resolution-limit",),
        aliases=("--finest",),
        take=take.ANGSTROM_ABOVE_0,
        metavar="A",
    )
    low_resolution_limit: float | None = option(
        "nothing coarser than A angstrom is compared: leaves out a micelle, a membrane or a gradient that all "
        "particles share (default: all that the box holds)",
        None,
        Question(
            "coarsest",
            "Low-resolution limit",
            "Nothing coarser than this is compared. -1 uses all that the box holds. Where a micelle, a membrane or a "
            "gradient drowns what tells particles apart, give a value finer than the detail that it has. "
            "Averages still show everything.",
            default=float(AUTOMATIC),
            advanced=True,
        ),
        flags=("--low-resolution-limit",),
        aliases=("--low-resolution",),
        take=take.ANGSTROM_ABOVE_0,
        metavar="A",
    )


@dataclass(frozen=True)
class Filament(Settings):
    """What is known of filaments."""

    GROUP: ClassVar[Group | None] = Group("filaments")

    helix: bool = flag(
        "the particles are segments of filaments: angles stay near the psi priors of INPUT, either way round, the same "
        "for all segments of a tube; the axis comes to lie along x (default: priors are not used)",
    )
    tube_diameter: float | None = option(
        "with --helix: how wide the tube is, in angstrom: only a band along the axis is compared (default: the circle "
        "of --diameter)",
        take=take.ANGSTROM_ABOVE_0,
        metavar="A",
    )
    rise: float | None = option(
        "with --helix: how far along the axis the filament looks the same again, in angstrom: shifts along it end at "
        "half of that to either side (default: at --max-shift)",
        take=take.ANGSTROM_ABOVE_0,
        metavar="A",
    )
    psi_range: float | None = option(
        "with --helix: how far angles go from the psi priors to either side, in degrees (10)",
        take=take.DEGREES,
        metavar="DEG",
    )


@dataclass(frozen=True)
class Particle(Settings):
    """What is known of the particles."""

    GROUP: ClassVar[Group | None] = PARTICLE

    max_shift: float | None = option(
        "how far off the centre of its box a particle may lie (default: automatic, about a fifth of the box; at most "
        "half)",
        None,
        Question(
            "maxShift",
            "Largest shift",
            "How far a particle may lie from the centre of its box at most, in pixels. -1 is automatic, about a fifth "
            "of the box: 14 px of 64, 23 of 128, 46 of 256. Where many particles lie at the limit, the run warns. A "
            "small value helps where neighbours come into the box, or along tubes; a large one finds particles that "
            "were picked badly. The wizard shows the range on the particles.",
            default=float(AUTOMATIC),
        ),
        take=take.PIXELS,
        metavar="PX",
    )
    polarity: str = option(
        "what the particles should look like: a warning tells where they clearly look otherwise; the alignment does "
        "not depend on it (auto, the default: nothing is expected)",
        "auto",
        Question(
            "contrast",
            "Particles are",
            "What you expect to see. The alignment is the same for either; if the images look otherwise, the run "
            "warns you that they may be inverted, before you mix them with others.",
            default=0,
            choices=("I do not know", "Bright on dark", "Dark on bright"),
            answers=(None, "bright", "dark"),
        ),
        flags=("--polarity",),
        aliases=("--contrast",),
        choices=("auto", "bright", "dark"),
    )
    ctf: str = option(
        "what the images carry of the CTF that the table's defocus gives: its absolute value, since "
        "their phases were flipped; the signed CTF, as the microscope left them; none: leave it out of account. "
        "auto (default): as the table says of each optics group (no word in a STAR or .cs: not flipped); the images "
        "are asked as a check, and decide for tables of Xmipp, which do not say",
        "auto",
        Question(
            "ctfTreatment",
            "CTF of the particles",
            "Particles with a CTF are compared with the average as each of them shows it at its own defocus. That "
            "needs to be known: whether their phases were flipped. The set says it (Phase flipped, in the info of the "
            "set), and the run warns if the images look otherwise; only then there is a reason to change this. The "
            "wrong choice of the two blurs what is finer than the first zero of the CTF. Without the CTF all particles "
            "count alike at all frequencies: the choice for defocus values that are wrong, or images that were "
            "multiplied by their CTF already. Particles without CTF are aligned without it, the others with theirs.",
            default=0,
            choices=("As the set says", "Phases were flipped", "Phases were not flipped", "Leave the CTF out"),
            advanced=True,
        ),
        choices=("auto", "flipped", "signed", "none"),
    )
