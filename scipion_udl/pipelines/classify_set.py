"""Particles sorted into classes of a network; the classes numbered, flagged, aligned, and compared with each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from scipion_udl.alignment.aligner import Alignment, AlignmentPlan
from scipion_udl.alignment.known_start import KnownStart
from scipion_udl.classification.assignment import Sorted, like_noise, sort_particles
from scipion_udl.classification.flags import NOISE, REASONS, SENTENCES, shown_flags
from scipion_udl.classification.real_space import LikelyRounds
from scipion_udl.classification.samples import gathered
from scipion_udl.classification.similarity import by_similarity, correlations, mirror_pairs
from scipion_udl.classification.superclasses import Superclasses
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.messages import message, some_of
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.particles.name_order import ranks
from scipion_udl.particles.outliers import outliers, score_limit, score_spread
from scipion_udl.pipelines.align_classes import deal_classes
from scipion_udl.pipelines.align_set import averages_of, resolution_of
from scipion_udl.pipelines.appending.append_to_classes import append_to_classes
from scipion_udl.pipelines.appending.appendable_classes import Earlier, Life
from scipion_udl.pipelines.appending.renewed_classes import (
    BORN,
    MERGED,
    SPLIT,
    Event,
    Renewed,
    as_it_was,
    first_life,
    renew,
)
from scipion_udl.pipelines.classes import ClassResult, group_by_view
from scipion_udl.pipelines.guide import Guide
from scipion_udl.pipelines.judge_classes import Judged, judge_classes
from scipion_udl.pipelines.learn_classes import named_references, shift_search_range
from scipion_udl.pipelines.outcome import Outcome
from scipion_udl.pipelines.run import Run
from scipion_udl.pipelines.settle_flags import settle_flags
from scipion_udl.settings.option import given


@dataclass
class Classified:
    """The particles of a run in classes.

    bank: the network, its templates in the order of the classes; found: where each particle is; classes: aligned, by
    ascending number; flags: codes (K,), "" for none; quality: (N,) the probability that each particle is good, None
    for those that join the classes of an earlier run; grouped: the classes by the view that they show.
    """

    bank: ClassBank
    found: Sorted
    classes: list[ClassResult]
    flags: np.ndarray
    quality: np.ndarray | None
    grouped: Superclasses
    life: Life | None = None


def classify_set(run: Run, bank: ClassBank, sampling: PolarSampling) -> Classified | None:
    """Sort the run's particles into a network's classes, align each class, and flag those that show no particle.

    Shared by the processes of a group: each sorts its share of the particles, and aligns classes of its own.

    Parameters
    ----------
    run : Run
        With the particles.
    bank : ClassBank
        The network.
    sampling : PolarSampling
        How particles are sampled for it.

    Returns
    -------
    Classified or None
        Classes, in the order of their numbers, and what is wrong with them; None for all but the first process.
    """
    found = run.within_memory(lambda: sort_particles(run.particles, bank, sampling, shift_search_range(run)))
    if not run.settings.fixed_references and not _keeps_poses(run):
        found = _in_real_space(run, found)
    bank, found, flags, origin = run.within_memory(partial(_numbered, run, bank, sampling, found))
    run.within_memory(lambda: _ask_for_ctf(run, found, flags != ""))
    classes = _aligned(run, found, bank.config["rings"])
    if not run.group.first:
        return None
    run = run.by_itself()
    judged = judge_classes(run, classes)
    flags = settle_flags(run, flags, classes)
    tell_of_flagged(run, flags, found)
    run.within_memory(lambda: _characterise(run, classes, bank, sampling, flags))
    _score(run, classes, found)
    if run.settings.fixed_references:
        for one in classes:
            one.figures["reference"] = int(origin[one.number - 1]) + 1
        _note_unused(run, origin)
    _add_quality(classes, judged)
    if any(one.figures["resolution"] for one in classes):
        run.notes.append(HALVES)
    stay = run.settings.fixed_references or run.settings.no_align
    life = None if stay else run.within_memory(lambda: first_life(run, bank, sampling, classes))
    return Classified(bank, found, classes, flags, judged.particles, group_by_view(run, classes), life)


def classify_like(run: Run, earlier: Earlier, bank: ClassBank, sampling: PolarSampling) -> Classified:
    """Sort the run's particles into the classes of an earlier run, and align them to its averages.

    Parameters
    ----------
    run : Run
        With the particles that come.
    earlier : Earlier
        What the earlier run left.
    bank : ClassBank
        Its network.
    sampling : PolarSampling
        How particles are sampled for it.

    Returns
    -------
    Classified
        Its classes, with the new particles in them, and classes of views that these are the first to show.
    """
    lives = earlier.life is not None and not run.settings.keep_classes
    count, search = len(earlier.classes), shift_search_range(run)
    renewed = as_it_was(bank, earlier.life, count)
    if lives:
        renewed = run.within_memory(partial(renew, run, renewed, sampling, count))
    elif earlier.life is None and not run.settings.keep_classes:
        run.note(message("classes_cannot_live", run=run.settings.append_to))
    found = renewed.found or run.within_memory(lambda: sort_particles(run.particles, renewed.bank, sampling, search))
    found = replace(found, label=renewed.active[found.label], likely=renewed.active[found.likely])
    opened = [int(k) + 1 for k in renewed.active if k >= count]
    flags = np.array(
        [one.get("flag") or NOISE if one["flagged"] else "" for one in earlier.classes] + [""] * len(opened)
    )
    found = with_blank(run, found, flags != "")
    classes = run.within_memory(lambda: append_to_classes(run, earlier, found, search, lives))
    if opened:
        added, flags = _opened(run, found, opened, renewed, sampling, flags)
        classes += added
    tell_of_flagged(run, flags, found)
    _tell_of_events(run, renewed.events)
    life = renewed.life(earlier, classes) if lives else None
    return Classified(renewed.bank, found, classes, flags, None, group_by_view(run, classes), life)


def _tell_of_events(run: Run, events: list[Event]) -> None:
    """Note which classes were opened, and which get nothing from now on."""
    for code, kinds in (("classes_opened", (BORN, SPLIT)), ("classes_merged", (MERGED,))):
        numbers = sorted(event.class_number for event in events if event.kind in kinds)
        if numbers:
            run.note(message(code, numbers=some_of(numbers)))


def _opened(
    run: Run, found: Sorted, numbers: list[int], renewed: Renewed, sampling: PolarSampling, flags: np.ndarray
) -> tuple[list[ClassResult], np.ndarray]:
    """Classes of views that nobody has seen before, numbers from 1, each aligned; and the flags of all classes."""
    members = {number: np.flatnonzero(found.label == number - 1) for number in numbers}
    classes = _aligned_apart(run, found, members, renewed.bank.config["rings"])
    judged = judge_classes(run, classes)
    known = len(flags) - len(numbers)
    flags = np.concatenate([flags[:known], settle_flags(run, flags[known:], classes)])
    own = np.flatnonzero(np.isin(renewed.active, np.array(numbers) - 1))
    _characterise(run, classes, renewed.bank.chosen(torch.from_numpy(own)), sampling, flags[known:])
    _score(run, classes, found)
    _add_quality(classes, judged)
    for one in classes:
        one.figures.update(mirror_of=None, particles_before=0)
    return classes, flags


def _add_quality(classes: list[ClassResult], judged: Judged) -> None:
    """Add to the figures of each class how good it is, and what speaks against it."""
    for one, quality, why in zip(classes, judged.quality, judged.reasons):
        one.figures.update(quality=round(float(quality), 3), reasons=[reason.code for reason in why])


def _note_unused(run: Run, origin: np.ndarray) -> None:
    """Note which references have no class; origin: the numbers, from 0, of those that have one."""
    unused = ~np.isin(np.arange(given(run.settings.classes)), origin)
    if unused.any():
        count, numbers = int(unused.sum()), named_references(unused)
        run.notes.append(message("references_without_particles", count=count, total=len(unused), numbers=numbers))


def _keeps_poses(run: Run) -> bool:
    """Whether poses stay as the network has them, or as they were given."""
    return bool(run.settings.no_refine or run.settings.no_align)


def _numbered(
    run: Run, bank: ClassBank, sampling: PolarSampling, found: Sorted
) -> tuple[ClassBank, Sorted, np.ndarray, np.ndarray]:
    """Classes numbered by their size, those without particles left out; the codes of their flags (K,), of flags.py,
    empty for none; and the numbers (K,), from 0, that they had in the bank."""
    bank, found, first = _by_size(bank, found, run.particles.usable)
    flags = run.group.on_rank0(lambda: _flags(run, bank, sampling, found))
    bank, found, order = _by_size(bank, with_blank(run, found, flags != ""), np.arange(len(found.label)))
    return bank, found, flags[order], first[order]


def with_blank(run: Run, found: Sorted, flagged: np.ndarray) -> Sorted:
    """Put blank images into the first flagged class; into the last one where none is.

    Parameters
    ----------
    run : Run
        With the particles.
    found : Sorted
        The particles in classes.
    flagged : (K,) bool array
        Which classes are flagged.

    Returns
    -------
    Sorted
        The same with other classes of blank images.
    """
    label = found.label.copy()
    label[run.particles.statistics.blank] = flagged.argmax() if flagged.any() else len(flagged) - 1
    return replace(found, label=label)


def _by_size(bank: ClassBank, found: Sorted, counted: np.ndarray) -> tuple[ClassBank, Sorted, np.ndarray]:
    """Classes numbered by how many of the particles ``counted`` they hold, those without left out; and the numbers that
    they had. What is not counted and was in one of those is in class -1."""
    sizes = np.bincount(found.label[counted], minlength=bank.config["classes"])
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    new = np.full(len(sizes), -1)
    new[order] = np.arange(len(order))
    return bank.chosen(torch.from_numpy(order)), replace(found, label=new[found.label], likely=new[found.likely]), order


def _flags(run: Run, bank: ClassBank, sampling: PolarSampling, found: Sorted) -> np.ndarray:
    """The codes of the flags of classes (K,): their particles fit no better than noise, or show no particle."""
    few = run.particles.subset(256, run.settings.seed)
    samples = gathered(run.particles, sampling, few)
    usable = run.particles.usable
    seen = replace(found, label=found.label[usable], gain=found.gain[usable])
    noise = like_noise(bank, sampling, shift_search_range(run), samples.ctf, seen, run.settings.seed)
    statistics = run.particles.statistics
    shown = shown_flags(seen.label, statistics.matter[usable], statistics.loud[usable], noise)
    return np.where((shown == "") & noise, NOISE, shown)


def _score(run: Run, classes: list[ClassResult], found: Sorted) -> None:
    """Give particles the network's score, which compares those of different classes; a correlation with the average of
    each class ranks them within it alone."""
    for one in classes:
        score = found.score[one.members]
        one.alignment = replace(one.alignment, score=score)
        usable = ~run.particles.statistics.blank[one.members]
        one.figures["score_mean"] = float(score[usable].mean()) if usable.any() else 0.0


def _ask_for_ctf(run: Run, found: Sorted, flagged: np.ndarray) -> None:
    """Ask particles of all classes but the flagged ones (K,), together, how their CTF is to be taken."""
    particles, label = run.particles, found.label[run.particles.usable]
    usable = particles.usable
    order = np.argsort(ranks(particles.source.names, run.settings.seed)[usable], kind="stable")
    for number in np.flatnonzero(~flagged):
        own = usable[order[label[order] == number]]
        run.ctf_choice.hear(str(number), particles, own, found.poses[own])
    run.settle_ctf(map(str, np.flatnonzero(~flagged)))


def _aligned_apart(run: Run, found: Sorted, members: dict[int, np.ndarray], rings: int) -> list[ClassResult]:
    """Classes, by their numbers, each aligned in real space, from where the network of so many rings has them."""
    settings = AlignmentPlan(
        shift_search_range(run) * run.particles.scale, run.settings.seed, bound=run.settings.max_shift
    )
    guide = Guide(None, SpectraSettings.for_box(run.particles.box))
    return deal_classes(run, guide, settings, members, KnownStart(found.poses, rings))


def _aligned(run: Run, found: Sorted, rings: int) -> list[ClassResult]:
    """Each class aligned in real space, from where the network has its particles; or left as the network has it. rings:
    of the network."""
    members = {k + 1: np.flatnonzero(found.label == k) for k in range(found.label.max() + 1)}
    if not _keeps_poses(run):
        return _aligned_apart(run, found, members, rings)
    done = []
    for number, own in members.items():
        part = run.part(own, f"Class {number}")
        blank, score = part.particles.statistics.blank, found.score[own]
        half, no = np.arange(len(own)) % 2, np.zeros(len(own), bool)
        limit = score_limit(score[~blank])
        alignment = Alignment(
            found.poses[own], None, half, score, no, 0.0, False, np.full(len(own), np.nan),
            outliers(score, part.particles.statistics.odd, limit), score_limit=limit,
        )  # fmt: skip
        averages = averages_of(part, alignment)
        estimate, frc = resolution_of(part, alignment, averages, 0)
        done.append(ClassResult.of(number, own, Outcome(part, alignment, averages, estimate, frc)))
    return done


def _characterise(
    run: Run, classes: list[ClassResult], bank: ClassBank, sampling: PolarSampling, flags: np.ndarray
) -> None:
    """Add to the figures of each class what it is among the others."""
    bank = bank.free()
    pairs = mirror_pairs(correlations(bank, sampling, shift_search_range(run), True), flags != "")
    place = np.empty(len(classes), np.int64)
    place[by_similarity(correlations(bank, sampling, shift_search_range(run), False))] = np.arange(1, len(classes) + 1)
    for k, (result, pair) in enumerate(zip(classes, pairs)):
        result.figures.update(
            share=round(len(result.members) / len(run.source), 5),
            score_spread=round(float(score_spread(result.alignment.score)[1]), 5),
            flagged=bool(flags[k]),
            flag=str(flags[k]),
            mirror_of=None if pair is None else pair + 1,
            view=int(place[k]),
            note=SENTENCES[str(flags[k])] if flags[k] else result.figures["resolution_note"],
        )
    several = [(k + 1, p + 1) for k, p in enumerate(pairs) if p is not None and k < p]
    if several:
        run.notes.append(message("mirror_classes", shown=some_of([f"{a} and {b}" for a, b in several], 5)))
    alone = [k + 1 for k, p in enumerate(pairs) if p == k]
    if alone:
        run.notes.append(message("own_mirror_classes", shown=some_of(alone)))


NONE_FOUND = message("no_classes")


def tell_of_flagged(run: Run, flags: np.ndarray, found: Sorted) -> None:
    """Say which classes are flagged, and where classes found no particles; warn where none is left.

    Parameters
    ----------
    run : Run
        Which is told.
    flags : (K,) str array
        The code of each class's flag, "" for none.
    found : Sorted
        The particles in classes.
    """
    asked, flagged = given(run.settings.classes), flags != ""
    if (flags == NOISE).all():
        run.warn(NONE_FOUND)
        return
    if not run.settings.model and len(flags) < asked:
        run.note(message("classes_supported", found=len(flags), asked=asked))
    usable = run.particles.usable
    for code, why in REASONS.items():
        which = flags == code
        if which.any():
            share = which[found.label[usable]].sum() / max(len(usable), 1)
            run.note(message("classes_flagged", count=which.sum(), total=len(flags), share=share, why=why))
    if flagged.all():
        run.warn(message("all_classes_flagged"))


HALVES = message("resolution_of_classes")


def _in_real_space(run: Run, found: Sorted) -> Sorted:
    given = (shift_search_range(run), run.settings.seed, not run.settings.model)
    return run.within_memory(lambda: LikelyRounds(run.particles, *given).run(found))
