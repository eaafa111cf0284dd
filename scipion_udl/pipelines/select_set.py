"""Good classes and particles chosen out of those of any program."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import numpy as np
from scipy import spatial

from scipion_udl.alignment.aligner import AlignmentPlan
from scipion_udl.alignment.known_start import KnownStart
from scipion_udl.classification.flags import CONTAMINATION, EMPTY, OUTSIDE, shown_flags
from scipion_udl.classification.superclasses import Superclasses, superclasses
from scipion_udl.constants import RUN_DATA, automatic_shift
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.io.dialects import QUALITY_LABEL
from scipion_udl.io.stacks import StackReader
from scipion_udl.messages import Message, message
from scipion_udl.messages.quality import TEXTS
from scipion_udl.particles.diameter import radius_in_use
from scipion_udl.pipelines.align_classes import deal_classes
from scipion_udl.pipelines.classes import group_by_view, members
from scipion_udl.pipelines.guide import Guide
from scipion_udl.pipelines.judge_classes import judge_classes
from scipion_udl.pipelines.run import Run
from scipion_udl.pipelines.settle_flags import settle_flags
from scipion_udl.settings.commands import SelectSettings
from scipion_udl.settings.selection import LEAST_QUALITY
from scipion_udl.values import MOST_OR_AUTO

RING = 24  # Fourier pixels: what is taken over of the alignment that classes come with

# Flags that quality has no say against: of 32 classes that had one of the first two, in simulated sets, none was of
# particles. Of those that fit no better than noise half were.
NOT_PARTICLES = (EMPTY, CONTAMINATION, OUTSIDE)
SHOWS_NO_PARTICLE = "flagged"
# Why a particle is not chosen, in the order in which it is asked.
CLASS, JUNK, NEAR, SHARE, BALANCE = "class", "quality", "duplicate", "share", "balance"


@dataclass
class Judgement:
    """What is known of K classes and N particles.

    number: (K,) of the classes, ascending; label: (N,) of the class of each particle; sizes: (K,); quality: (K,) and
    reasons: K lists of codes; crossing: (K,) where the halves' FRC falls to 0.143, angstrom, NaN where there are none;
    resolution: (K,) claimed, NaN for none; flag: (K,) codes of flags.py, "" for none; particles: (N,) quality;
    averages: (K, D, D); grouped: the classes by the view that they show.
    """

    number: np.ndarray
    label: np.ndarray
    sizes: np.ndarray
    quality: np.ndarray
    reasons: list[list[str]]
    crossing: np.ndarray
    resolution: np.ndarray
    flag: np.ndarray
    particles: np.ndarray
    averages: np.ndarray
    grouped: Superclasses

    def superclass_of(self, which: np.ndarray) -> np.ndarray:
        """The superclasses of particles.

        Parameters
        ----------
        which : (N,) bool array, or (n,) int array
            Of the particles.

        Returns
        -------
        (n,) int array
            Numbers, from 1.
        """
        return self.grouped.number[np.searchsorted(self.number, self.label[which])]


@dataclass
class Selection:
    """chosen: (K,) bool, the classes; refused: (K,) what each lacks, "" for those that are chosen; why: (N,) CLASS,
    JUNK, NEAR, SHARE or BALANCE for particles that are not chosen, "" for those that are; recentred: (N, 2) centres in
    the micrographs, pixels, None where nobody asked; most: of a superclass, None where nobody asked."""

    chosen: np.ndarray
    refused: list[str]
    why: np.ndarray
    recentred: np.ndarray | None = None
    most: int | None = None

    @property
    def kept(self) -> np.ndarray:
        """Which particles are chosen, (N,) bool."""
        return self.why == ""


def judge_set(run: Run) -> Judgement | None:
    """Judge the classes that a run's particles come in.

    Those of a `classify` run were judged when they were made, those of a selection when that was made. Of any other
    program each class is aligned to itself, beginning with the poses that it comes with, and judged by what comes of
    it.

    Parameters
    ----------
    run : Run
        With particles that are in classes.

    Returns
    -------
    Judgement or None
        Of all classes that have a particle; None for all but the first process of a group, which share the alignment of
        classes.
    """
    earlier = _told_before(run) if run.group.first else None
    return earlier if run.group.agree(earlier is not None) else _judged_now(run)


def _told_before(run: Run) -> Judgement | None:
    """What the run of `classify` or `select` that wrote the table says of its classes; None where none did."""
    table, place = run.source.table, os.path.dirname(run.settings.input)
    # A job of RELION has the table in its folder, and the run in one of the command's name.
    folders = [folder for folder in (place, os.path.join(place, "classify")) if _has_summary(folder)]
    if table is None or QUALITY_LABEL not in table or not folders:
        return None
    folder = folders[0]
    path = os.path.join(folder, "summary.json")
    try:
        with open(path, encoding="utf-8") as file:
            summary = json.load(file)
        if "left_out" in summary and os.path.basename(run.settings.input) == RUN_DATA:
            return None  # a selection numbers its classes anew for RELION
        told = {int(one["class"]): one for one in summary["classes"] if one["image"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    label = run.source.classes()
    number, sizes = np.unique(label, return_counts=True)
    if not all(k in told and {"quality", "crossing", "reasons", "image"} <= told[k].keys() for k in number.tolist()):
        return None
    stack = os.path.join(folder, "averages.mrcs")
    if not os.path.isfile(stack):
        return None
    rows = [told[k] for k in number.tolist()]
    averages = StackReader(stack).read(np.array([one["image"] - 1 for one in rows]))
    grouped = _grouped_before(summary, number) or superclasses(averages, _radius_of(run, summary), sizes)
    run.say(f"Classes were judged before: {path}")
    return Judgement(
        number,
        label,
        sizes,
        np.array([one["quality"] for one in rows], np.float64),
        [list(one["reasons"]) for one in rows],
        np.array([one["crossing"] for one in rows], np.float64),
        np.array([one["resolution"] for one in rows], np.float64),
        np.array([one.get("flag", "") for one in rows], object),
        table.numbers(QUALITY_LABEL),
        averages,
        grouped,
    )


def _grouped_before(summary: dict, number: np.ndarray) -> Superclasses | None:
    """The superclasses of classes (K,), ascending, as a run has told them; None where it has not."""
    tree, classes = summary.get("superclasses"), summary["classes"]
    if not tree or not all("superclass" in one for one in classes):
        return None
    place = {int(one["class"]): k for k, one in enumerate(classes)}
    merges = np.array(tree["merges"], np.float64).reshape(-1, 4)
    if len(merges) != len(classes) - 1:
        return None
    whole = Superclasses(np.array([one["superclass"] for one in classes]), merges, float(tree["limit"]))
    return whole.of(np.array([place[int(one)] for one in number]))


def _radius_of(run: Run, summary: dict) -> float:
    """The radius of the particle, pixels, in the run that wrote a summary."""
    return float(summary.get("mask_radius") or radius_in_use(run.particles))


def _has_summary(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "summary.json"))


def _judged_now(run: Run) -> Judgement | None:
    """What is found of classes of another program, once each is aligned to itself."""
    source = run.source
    own = members(source)
    run.warn_of(source.missing_classes())
    run.scan()
    run.use_ctf()
    poses = None if source.has_3d_angles else source.poses()
    if poses is None or poses.mirror.any():
        run.note(message("classes_aligned_anew", path=source.path))
        start = None
    else:
        run.warn_of(source.missing_poses())
        start = KnownStart(poses, min(RING, run.particles.k_max))
    shift = run.settings.max_shift
    reach = automatic_shift(source.box) if shift is None else float(shift)
    plan = AlignmentPlan(reach, run.settings.seed, bound=shift)
    classes = deal_classes(run, Guide(None, SpectraSettings.for_box(run.particles.box)), plan, own, start)
    if not run.group.first:
        return None
    run = run.by_itself()
    judged = judge_classes(run, classes)
    flags = settle_flags(run, _flags(run, source.classes(), judged.quality), classes)
    run.note_ctf()
    return Judgement(
        np.array([one.number for one in classes]),
        source.classes(),
        np.array([len(one.members) for one in classes]),
        judged.quality,
        [[reason.code for reason in why] for why in judged.reasons],
        np.array([one.figures["crossing"] for one in classes], np.float64),
        np.array([one.figures["resolution"] for one in classes], np.float64),
        flags,
        judged.particles,
        np.stack([one.images["after"] for one in classes]),
        group_by_view(run, classes),
    )


def _flags(run: Run, label: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """The codes of classes (K,) that show no particle, or contamination, by label (N,), ascending; "" for all others.
    quality: (K,), by which some classes are no measure of what good ones show."""
    statistics, usable = run.particles.statistics, run.particles.usable
    place = np.unique(label, return_inverse=True)[1][usable]
    poor = quality < LEAST_QUALITY
    unreliable = poor if not poor.all() else ~poor
    return shown_flags(place, statistics.matter[usable], statistics.loud[usable], unreliable).astype(object)


def choose(
    settings: SelectSettings, judged: Judgement, places: np.ndarray | None, where: np.ndarray | None
) -> Selection:
    """Choose classes, and particles of these.

    Parameters
    ----------
    settings : SelectSettings
        The options.
    judged : Judgement
        Of all classes and particles.
    places : (N, 2) array or None
        Centres of the particles in their micrographs, angstrom; None where nobody asked.
    where : (N,) array or None
        The micrograph of each, by a number or a name; None where nobody asked.

    Returns
    -------
    Selection
        What is chosen, and why all else is not.

    Raises
    ------
    UdlError
        Where a class is asked for that there is none of.
    """
    by_quality = settings.chosen is None
    least = settings.min_quality if settings.min_quality is not None else LEAST_QUALITY if by_quality else None
    refused = [_refused(settings, judged, k, least) for k in range(len(judged.number))]
    if by_quality:
        refused = [what or SHOWS_NO_PARTICLE * (flag in NOT_PARTICLES) for what, flag in zip(refused, judged.flag)]
    if by_quality and (judged.flag != "").all():  # compared with each other, classes of noise look good
        refused = [what or "flagged, as all are" for what in refused]
    missing = sorted(set(settings.chosen or ()) - set(judged.number.tolist()))
    if missing:
        shown = ", ".join(map(str, missing[:10]))
        raise UdlError(message("no_such_class", path=settings.input, missing=shown, count=len(judged.number)))
    chosen = np.array([not what for what in refused])
    place = np.searchsorted(judged.number, judged.label)
    why = np.where(chosen[place], "", CLASS).astype(object)
    if least is not None:
        why[(why == "") & (judged.particles < least)] = JUNK
    if settings.min_distance is not None and places is not None and where is not None:
        kept = np.flatnonzero(why == "")
        why[kept[near_better(places[kept], where[kept], judged.particles[kept], settings.min_distance)]] = NEAR
    if settings.keep is not None:
        kept = np.flatnonzero(why == "")
        order = kept[np.argsort(-judged.particles[kept], kind="stable")]
        why[order[round(settings.keep * len(order)) :]] = SHARE
    most = None
    if settings.balance is not None:
        kept = np.flatnonzero(why == "")
        group = judged.superclass_of(kept)
        most = most_of_each(group) if settings.balance == MOST_OR_AUTO.auto else settings.balance
        why[kept[beyond(group, judged.particles[kept], most)]] = BALANCE
    return Selection(chosen, refused, why, most=most)


def most_of_each(group: np.ndarray) -> int:
    """How many particles the superclass in the middle has.

    Parameters
    ----------
    group : (n,) int array
        The superclass of each particle.

    Returns
    -------
    int
        The median over the superclasses that have any; rounded down, 1 or more.
    """
    sizes = np.unique(group, return_counts=True)[1]
    return max(int(np.median(sizes)), 1) if len(sizes) else 1


def beyond(group: np.ndarray, quality: np.ndarray, most: int) -> np.ndarray:
    """Which particles a superclass has more of than it may have.

    Parameters
    ----------
    group : (n,) int array
        The superclass of each particle.
    quality : (n,) array
        The higher the better; of equals the first are kept.
    most : int
        So many of each are kept.

    Returns
    -------
    (n,) bool array
        True for those to be left out.
    """
    order = np.lexsort((-quality, group))
    _, first, count = np.unique(group[order], return_index=True, return_counts=True)
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(first, count)
    return rank >= most


def _refused(settings: SelectSettings, judged: Judgement, k: int, least: float | None) -> str:
    """What class k lacks, a word; "" where it is chosen."""
    if settings.chosen is not None and judged.number[k] not in settings.chosen:
        return "not asked for"
    if least is not None and judged.quality[k] < least:
        return "quality"
    if settings.min_particles is not None and judged.sizes[k] < settings.min_particles:
        return "too few particles"
    if settings.max_resolution is not None and not judged.crossing[k] <= settings.max_resolution:
        return "resolution"
    return ""


def near_better(places: np.ndarray, where: np.ndarray, quality: np.ndarray, distance: float) -> np.ndarray:
    """Which particles lie close to a better one of the same micrograph that is kept.

    Parameters
    ----------
    places : (n, 2) array
        Centres, angstrom.
    where : (n,) array
        The micrograph of each.
    quality : (n,) array
        The higher the better; of equals the first is kept.
    distance : float
        Angstrom: what is closer is close.

    Returns
    -------
    (n,) bool array
        True for those to be left out.
    """
    out = np.zeros(len(places), bool)
    _, number = np.unique(where.astype(str), return_inverse=True)
    for own in np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1]):
        tree = spatial.KDTree(places[own])
        close = tree.query_ball_point(places[own], np.nextafter(distance, 0))
        for k in np.argsort(-quality[own], kind="stable"):
            if not out[own[k]]:
                others = np.array([other for other in close[k] if other != k], np.int64)
                out[own[others]] = True
    return out


def sentences(codes: list[str]) -> list[Message]:
    """The sentences of codes that this version knows.

    Parameters
    ----------
    codes : list of str
        Of reasons.

    Returns
    -------
    list of Message
        In their order.
    """
    return [message(code) for code in codes if code in TEXTS]
