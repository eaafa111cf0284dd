"""A set of classes, each aligned by itself: what belongs to which class, and the way from one class to the next.

One network serves all of them; a class is a part of the set that goes through :func:`pipelines.align_set.align_set` as
a set of one view does. Averages, halves, poses and what is claimed of them are each class's own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from scipion_udl.alignment.aligner import Alignment
from scipion_udl.alignment.averages import HalfFacts
from scipion_udl.classification.superclasses import Superclasses, superclasses, with_names_kept
from scipion_udl.imaging.half_set_frc import measured_crossing
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.source import Source
from scipion_udl.messages import entries
from scipion_udl.particles.diameter import radius_in_use
from scipion_udl.pipelines.outcome import Outcome
from scipion_udl.pipelines.run import Run

PER_PARTICLE = ("half", "score", "ambiguous", "network_angle", "outlier")  # of an Alignment, beside the poses
LEARNS = 8  # particles that a class must have for the network to learn its view


@dataclass
class ClassResult:
    """What is kept of a class once it is aligned.

    number; members: its particles, numbers from 0; alignment: theirs; figures: what summary.json says of it; images:
    averages (D, D) float32 by the names before, after and weighted, and of its halves (first, second) where they
    were aligned apart; frc: (rings,) of its halves; correntropy: (n,) correntropy, None where nobody asked; halves:
    what its halves are of, None where they were not aligned apart.
    """

    number: int
    members: np.ndarray
    alignment: Alignment
    figures: dict
    images: dict[str, np.ndarray]
    frc: np.ndarray
    correntropy: np.ndarray | None
    halves: HalfFacts | None = None

    @classmethod
    def of(cls, number: int, own: np.ndarray, outcome: Outcome) -> ClassResult:
        """What is to be kept of an outcome, which holds more.

        Parameters
        ----------
        number : int
            Of the class.
        own : (n,) int array
            Its particles, from 0.
        outcome : Outcome
            What came of aligning them.

        Returns
        -------
        ClassResult
            Without poses within the halves.
        """
        averages = outcome.averages
        images = {"before": averages.before, "after": averages.all, "weighted": outcome.weighted.astype(np.float32)}
        if averages.halves is not None:
            images |= dict(zip(("first", "second"), averages.halves))
        crossing = measured_crossing(outcome.frc, outcome.run.source.box * outcome.run.source.pixel_size)
        figures: dict[str, Any] = {"crossing": None if np.isnan(crossing) else round(crossing, 3)}
        figures |= {"particles": len(own), "usable": len(outcome.run.particles.usable), **outcome.figures()}
        figures |= {"warnings": outcome.run.warnings, "messages": entries(outcome.run.warnings, outcome.run.notes)}
        alignment = replace(outcome.alignment, half_poses=None)
        halves = None
        if outcome.alignment.half_poses is not None and averages.sums is not None and min(averages.sums.count) > 0:
            halves = averages.sums.facts()
        return cls(number, own, alignment, figures, images, outcome.frc, outcome.correntropy, halves)


def members(source: Source) -> dict[int, np.ndarray]:
    """The particles of each class, in order of class number.

    Parameters
    ----------
    source : Source
        With class numbers.

    Returns
    -------
    dict of int to (n,) int array
        Particles, from 0.

    Raises
    ------
    UdlError
        Without class numbers.
    """
    classes = source.classes()
    order = np.argsort(classes, kind="stable")
    numbers, starts = np.unique(classes[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, starts[1:])))


def training_subset(run: Run, classes: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The classes with enough images for the network to learn their view.

    Parameters
    ----------
    run : Run
        Its particles have been looked through.
    classes : dict of int to (n,) int array
        The particles (from 0) of each class.

    Returns
    -------
    dict of int to (n,) int array
        Those of at least LEARNS particles that are not blank.
    """
    blank = run.particles.statistics.blank
    return {number: own for number, own in classes.items() if int((~blank[own]).sum()) >= LEARNS}


def group_by_view(run: Run, classes: list[ClassResult]) -> Superclasses:
    """Group classes by the view that their averages show, and add to the figures of each its superclass. One that
    classes were in before keeps its number.

    Parameters
    ----------
    run : Run
        With their particles, whose diameter is known.
    classes : list of ClassResult
        K of them.

    Returns
    -------
    Superclasses
        Of the classes in their order.
    """
    images = np.stack([one.images["after"] for one in classes])
    sizes = np.array([one.figures["particles"] for one in classes])
    found = superclasses(images, radius_in_use(run.particles), sizes)
    before = np.array([one.figures.get("superclass") or 0 for one in classes])
    if before.any():
        found = with_names_kept(found, before, sizes)
    for one, number in zip(classes, found.number):
        one.figures["superclass"] = int(number)
    return found


def together(results: list[ClassResult]) -> tuple[Alignment, np.ndarray | None]:
    """The alignments and correntropies of all classes as those of the whole set, in its order.

    Parameters
    ----------
    results : list of ClassResult
        Every particle is in one of them.

    Returns
    -------
    Alignment
        Of all.
    (N,) array or None
        Correntropy, None where nobody asked.
    """
    back = np.argsort(np.concatenate([result.members for result in results]), kind="stable")
    parts = [result.alignment for result in results]
    whole = {name: np.concatenate([getattr(part, name) for part in parts])[back] for name in PER_PARTICLE}
    whole["poses"] = Poses(*(np.concatenate([getattr(p.poses, f.name) for p in parts])[back] for f in fields(Poses)))
    joined = replace(parts[0], **whole, searched=any(part.searched for part in parts), score_weight=None)
    if results[0].correntropy is None:
        return joined, None
    return joined, np.concatenate([result.correntropy for result in results])[back]


STACKS = {"averages": "after", "averages_before": "before", "averages_weighted": "weighted"}
