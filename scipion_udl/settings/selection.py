"""The options of `scipion-udl select`: which classes, and which of their particles, are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipion_udl import values as take
from scipion_udl.settings.common import Input, Output
from scipion_udl.settings.option import Group, Settings, flag, option, variant

LEAST_QUALITY = 0.5  # where nothing else is asked for: what is more likely good than not


@dataclass(frozen=True)
class Choosing(Settings):
    """What is chosen from, and what counts."""

    input: str = variant(
        Input,
        "input",
        help="classes: the folder of a classify run, or a table of particles with their classes from any program "
        "(.star of RELION, or its model.star or optimiser.star; .xmd of Xmipp; .cs of cryoSPARC). Particles without "
        "classes are classified first",
    )
    output: str = variant(
        Output,
        "output",
        help="folder for the results, made new; or a table such as good.star (.xmd, .cs), which the chosen particles "
        "go into, and the rest of the results into the folder of that name without its ending",
    )
    overwrite: bool = variant(Output, "overwrite")


@dataclass(frozen=True)
class Choice(Settings):
    """Which classes and particles."""

    GROUP: ClassVar[Group | None] = Group(
        "choice",
        "without any of these, classes and particles that are more likely good than not; the others apply together",
    )

    chosen: tuple[int, ...] | None = option(
        "these classes and no others, whatever their quality, with all their particles: numbers as in the table, such "
        "as 2,3,5-12",
        flags=("--classes",),
        exclusive="which",
        take=take.WholeNumbers(),
        metavar="LIST",
    )
    auto: bool = flag("by quality: this is what is done where nothing else is said", exclusive="which")
    min_quality: float | None = option(
        f"the quality, 0 to 1, that classes and particles must have ({LEAST_QUALITY:g}; with --classes: none)",
        take=take.SHARE,
        metavar="Q",
    )
    min_particles: int | None = option(
        "only classes of N particles or more",
        take=take.COUNT,
        metavar="N",
    )
    max_resolution: float | None = option(
        "only classes whose halves agree (FRC 0.143, measured) to A angstrom or finer",
        take=take.ANGSTROM_ABOVE_0,
        metavar="A",
    )
    keep: float | None = option(
        "of what is chosen, the best so large a share, 0 to 1",
        take=take.SHARE,
        metavar="SHARE",
    )


@dataclass(frozen=True)
class Places(Settings):
    """Where the chosen particles lie in their micrographs."""

    GROUP: ClassVar[Group | None] = Group("places in the micrographs")

    recentre: bool = flag(
        "write coordinates.star, too: where the centre of each chosen particle lies in its micrograph, its coordinate "
        "less its shift, to extract it again from there",
    )
    min_distance: float | None = option(
        "of chosen particles whose centres lie closer than A angstrom in a micrograph, keep the best alone",
        take=take.ANGSTROM_ABOVE_0,
        metavar="A",
    )
