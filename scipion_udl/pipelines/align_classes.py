"""A set of classes, each aligned by itself, several at a time."""

from __future__ import annotations

import threading
from itertools import chain

import numpy as np

from scipion_udl.alignment.aligner import AlignmentPlan
from scipion_udl.alignment.given_poses import given_poses
from scipion_udl.alignment.known_start import KnownStart
from scipion_udl.alignment.mirror_search import decide_mirror
from scipion_udl.compute.threads import CLASSES, side_by_side
from scipion_udl.errors import is_out_of_memory
from scipion_udl.messages import message
from scipion_udl.pipelines.align_set import align_set
from scipion_udl.pipelines.classes import ClassResult
from scipion_udl.pipelines.guide import Guide
from scipion_udl.pipelines.outcome import Outcome
from scipion_udl.pipelines.run import Run


def align_classes(
    run: Run,
    guide: Guide,
    settings: AlignmentPlan,
    classes: dict[int, np.ndarray],
    start: KnownStart | None = None,
) -> list[ClassResult]:
    """Align each class by itself, several at a time.

    Parameters
    ----------
    run : Run
        With all particles.
    guide : Guide
        What tells the angles.
    settings : AlignmentPlan
        How each is aligned.
    classes : dict of int to (n,) int array
        The particles (from 0) of each class.
    start : KnownStart, optional
        Poses of all particles that are about right.

    Returns
    -------
    list of ClassResult
        What came of them by ascending number; of a group, all but the first process get none.
    """
    done = _aligned(run, guide, settings, classes, start)
    return align_classes(run, guide, settings, classes, start) if _takes_ctf_otherwise(run, done) else done


def deal_classes(
    run: Run,
    guide: Guide,
    settings: AlignmentPlan,
    classes: dict[int, np.ndarray],
    start: KnownStart | None = None,
) -> list[ClassResult]:
    """The same by the processes of a group, each of which aligns classes of its own.

    Parameters
    ----------
    run, guide, settings, classes, start
        As :func:`align_classes` takes them.

    Returns
    -------
    list of ClassResult
        What came of all of them by ascending number, on all processes.
    """
    numbers = list(classes)
    own = [numbers[k] for k in run.group.deal(np.array([len(classes[number]) for number in numbers]))]
    mine = _aligned(run.by_itself(), guide, settings, {number: classes[number] for number in own}, start)
    done = sorted(chain(*run.group.gather_all(mine)), key=lambda result: result.number)
    if run.asks_for_ctf:
        run.ctf_choice.gather(run.group)
    return deal_classes(run, guide, settings, classes, start) if _takes_ctf_otherwise(run, done) else done


def _takes_ctf_otherwise(run: Run, done: list[ClassResult]) -> bool:
    """Whether the CTF is to be taken in another way, now that all classes are aligned. What those tell whose halves
    agree on nothing is of no account: junk, or noise."""
    return run.settle_ctf([f"Class {one.number}: " for one in done if one.figures["signal_found"] is not False])


def _aligned(
    run: Run, guide: Guide, settings: AlignmentPlan, classes: dict[int, np.ndarray], start: KnownStart | None
) -> list[ClassResult]:
    """The classes, each aligned once, by ascending number."""
    work = _ClassWork(run, guide, settings, classes, start)
    found: list[ClassResult | None] = []
    order, finished = list(work.order), 0
    run.say(f"Aligning {len(order)} classes, each by itself")
    while order and (run.group.size > 1 or run.device.type != "cpu"):
        number = order.pop(0)
        found.append(work.alone(number))
        finished += len(classes[number])
        run.particles.reader.context.report("alignment of the classes", finished, len(run.particles))
    given_up = threading.Event()
    most = min(CLASSES, max(len(order), 1))
    for number, result in side_by_side(lambda n: work.quietly(n, given_up), order, run.device, most, given_up):
        found.append(result)
        finished += len(classes[number])
        run.particles.reader.context.report("alignment of the classes", finished, len(run.particles))
    found += [work.alone(number) for number in work.short]  # by itself, each has all of the memory
    return sorted((result for result in found if result is not None), key=lambda result: result.number)


class _ClassWork:
    """The alignment of each of the ``classes`` of a run; arguments as of :func:`align_classes`. ``order``: their
    numbers, as they are aligned; ``short``: of those for which memory was not enough beside others."""

    def __init__(
        self,
        run: Run,
        guide: Guide,
        settings: AlignmentPlan,
        classes: dict[int, np.ndarray],
        start: KnownStart | None,
    ) -> None:
        self.run, self.guide, self.settings, self.classes, self.start = run, guide, settings, classes, start
        # The largest class comes first: what takes longest is not left to the end.
        self.order = sorted(classes, key=lambda number: (-len(classes[number]), number))
        self.short: list[int] = []

    def alone(self, number: int) -> ClassResult | None:
        """A class while no other is aligned; None for all but the first process of a group."""
        part = self._part(number)
        outcome = part.within_memory(lambda: self._outcome(part, number))
        self.run.particles.reader.chunk = part.particles.reader.chunk  # what was too much once is not tried again
        return None if outcome is None else ClassResult.of(number, self.classes[number], outcome)

    def quietly(self, number: int, given_up: threading.Event) -> tuple[int, ClassResult | None]:
        """(number, what came of the class) beside others; None where memory was not enough."""

        def report(stage: str, done: int, total: int) -> None:
            if given_up.is_set():
                raise RuntimeError("given up")

        part = self._part(number)
        part.particles.reader = part.particles.reader.told_to(report)
        try:
            outcome = self._outcome(part, number)
            return number, None if outcome is None else ClassResult.of(number, self.classes[number], outcome)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        self.short.append(number)
        return number, None

    def _part(self, number: int) -> Run:
        own = self.classes[number]
        place = f"{self.order.index(number) + 1} of {len(self.order)}"
        self.run.say(f"Class {number} ({place}): {len(own)} particle{'' if len(own) == 1 else 's'}", detail=True)
        return self.run.part(own, f"Class {number}")

    def _outcome(self, part: Run, number: int) -> Outcome | None:
        first = None if self.start is None else self.start[self.classes[number]]
        return align_set(part, self.guide.of(part, number), self.settings, start=first)


def find_mirrored(run: Run, classes: dict[int, np.ndarray] | None) -> None:
    """Decide which particles are to be mirrored before anything is aligned.

    As their poses say where these are the start, or by their spectra, class by class; where the hands cannot be told
    apart nothing is, and the user is told.

    Parameters
    ----------
    run : Run
        Its particles take note of it.
    classes : dict of int to (n,) int array, or None
        The particles (from 0) of each class; None for one view.
    """
    particles = run.particles
    if run.settings.start_poses and given_poses(run.source, True).mirror.any():
        particles.mirrored = given_poses(run.source, True).mirror
        return
    flags, unclear = np.zeros(len(particles), bool), 0
    for own in [np.arange(len(particles))] if classes is None else classes.values():
        found = decide_mirror(particles if classes is None else particles.part(own), run.settings.seed)
        unclear += found is None
        if found is not None:
            flags[own] = found
    if unclear:
        some = None if classes is None else message("mirror_not_clear_in_classes", count=unclear, total=len(classes))
        run.warn(some or message("mirror_not_clear"))
    if flags.any():
        particles.mirrored = flags
