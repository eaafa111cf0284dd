"""The options of `scipion-udl select`: which classes, and which of their particles, are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipion_udl import values as take
from scipion_udl.settings.alignment import Written
from scipion_udl.settings.common import Input, Output
from scipion_udl.settings.option import AUTOMATIC, Group, Question, Settings, flag, option, variant

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
        None,
        Question(
            "chosenClasses",
            "Classes",
            "The numbers of the classes that are kept, whatever their quality, with all their particles: 2,3,5-12. The "
            "gallery of a *udl - classify 2D* run shows the numbers.",
            kind="text",
            default="",
        ),
        flags=("--classes",),
        exclusive="which",
        take=take.WholeNumbers(),
        metavar="LIST",
    )
    auto: bool = flag("by quality: this is what is done where nothing else is said", exclusive="which")
    min_quality: float | None = option(
        f"the quality, 0 to 1, that classes and particles must have ({LEAST_QUALITY:g}; with --classes: none)",
        None,
        Question(
            "minQuality",
            "Least quality",
            "The quality that a class must have, and each particle of it: 0 is junk, 1 as good as it gets. "
            f"{LEAST_QUALITY:g} keeps what is more likely good than not; 0.8, say, keeps less and is surer of it; 0 "
            "keeps everything. To try another value, change it and run with *Continue*: nothing is judged anew.",
            default=LEAST_QUALITY,
            limits=take.SHARE,
        ),
        take=take.SHARE,
        metavar="Q",
    )
    min_particles: int | None = option(
        "only classes of N particles or more",
        None,
        Question(
            "minParticles",
            "Least number of particles",
            "Smaller classes are left out, however good they are. -1 asks for no number.",
            default=AUTOMATIC,
        ),
        take=take.COUNT,
        metavar="N",
    )
    max_resolution: float | None = option(
        "only classes whose halves agree (FRC 0.143, measured) to A angstrom or finer",
        None,
        Question(
            "maxResolution",
            "Worst resolution",
            "Classes are left out whose averages of two halves do not agree to this resolution (where their Fourier "
            "ring correlation falls to 0.143, as measured), or that are too small for halves. -1 asks for none.",
            default=float(AUTOMATIC),
        ),
        take=take.ANGSTROM_ABOVE_0,
        metavar="A",
    )
    balance: int | None = option(
        "of each superclass (classes that show the same view, whatever way it lies) at most N particles, the best by "
        "quality; auto: as many as the superclass in the middle has",
        None,
        Question(
            "balance",
            "Most particles of a view",
            "For even views: of all classes that show the same view (a superclass: rotated, shifted and mirrored ones "
            "are one view) no more particles than this are kept, the best by quality. *auto* keeps as many as the view "
            "in the middle has; nothing keeps all. What is left out is still in the input.",
            kind="text",
            default="",
        ),
        take=take.MOST_OR_AUTO,
        metavar="N",
    )
    keep: float | None = option(
        "of what is chosen, the best so large a share, 0 to 1",
        take=take.SHARE,
        metavar="SHARE",
    )


@dataclass(frozen=True)
class Tables(Settings):
    """What is written beside the usual."""

    write_cs: bool = variant(
        Written,
        "write_cs",
        help="write selected.cs and rest.cs for cryoSPARC too (always written where INPUT is a .cs)",
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
