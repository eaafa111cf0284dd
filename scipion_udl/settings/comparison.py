"""The options of `scipion-udl compare`: which classifications, and when classes are called alike."""

from __future__ import annotations

from dataclasses import dataclass

from scipion_udl import values as take
from scipion_udl.settings.option import Question, Settings, option

# Particles in common, in parts of all that either class has: two classes of one size that share two in five of their
# particles. The halves of a class that came apart have 0.5, its fourths 0.25.
LEAST_IN_COMMON = 0.25


@dataclass(frozen=True)
class Compared(Settings):
    """What is compared."""

    runs: tuple[str, ...] = option(
        "two classifications of the same particles, or more: folders of classify runs, or tables of particles with "
        "their classes from any program (.star of RELION, or its model.star or optimiser.star; .xmd of Xmipp; .cs of "
        "cryoSPARC). The consensus is told in the classes of the first",
        (),
        by_place=True,
        count="+",
        metavar="RUN",
    )


@dataclass(frozen=True)
class Alike(Settings):
    """When a class is in another run, too."""

    least_in_common: float = option(
        "a class that no class of another run has so much in common with is one that its run alone has: particles that "
        f"are in both, in parts of those that are in either, 0 to 1 ({LEAST_IN_COMMON:g})",
        LEAST_IN_COMMON,
        Question(
            "leastInCommon",
            "Least in common",
            "A class is said to be in its run alone where no class of another run has so much in common with it: "
            "particles that are in both, in parts of those that are in either.",
            default=LEAST_IN_COMMON,
            limits=take.SHARE,
            advanced=True,
        ),
        take=take.SHARE,
        metavar="Q",
    )
