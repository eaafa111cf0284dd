"""The command `compare`: classifications of the same particles against each other, of any program."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from scipion_udl.compute.log import Log, command_line
from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.io.classes.class_runs import JUDGED, average_places, class_table, read_averages, same_particles
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.output.no_folder import NoFolder
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.messages import Message, message
from scipion_udl.results.comparison import Classification, Comparison, write_comparison
from scipion_udl.settings.commands import CompareSettings
from scipion_udl.validation.class_agreement import ABSENT
from scipion_udl.validation.reference_match import pose_onto, transform

BY_CHANCE = 0.1  # an adjusted Rand index below which two runs hardly agree: 0 is what chance gives
ENOUGH_IN_COMMON = 0.5  # of the particles of the smaller run


class _Job:
    """What one comparison works with: the log, and its warnings, each said once."""

    def __init__(self, settings: CompareSettings, out: OutputFolder, silent: bool = False) -> None:
        self.out, self.warnings = out, list[Message]()
        self.log = Log(settings.quiet, settings.verbose, out.log, silent=silent)
        self.log.begin(f"{command_line()}  (version {__version__})")

    def warn(self, sentence: Message | None) -> None:
        """A warning, where there is one."""
        if sentence is not None and sentence not in self.warnings:
            self.warnings.append(sentence)
            self.log.warn(sentence)


def compare(settings: CompareSettings) -> Comparison:
    """Do `scipion-udl compare`: compare.star, compare.xmd, compare.csv, compare.png, report.html, summary.json in OUT.

    Parameters
    ----------
    settings : CompareSettings
        The options.

    Returns
    -------
    Comparison
        What was found.

    Raises
    ------
    UdlError
        Where there are no two runs, one has no classes, or none of the particles of the first.
    """
    names = list(settings.runs)
    _check_enough(names)
    folder = OutputFolder(settings.output, settings.overwrite, False, "compare")
    folder.spare(names)
    tables = _tables(names)
    beside = [os.path.join(os.path.dirname(table), name) for table in tables for name in JUDGED]
    folder.spare([*tables, *filter(os.path.isfile, beside)])
    with folder as out:
        job = _Job(settings, out)
        sources = [_opened(table, settings, table == tables[0]) for table in tables]
        for source in sources:
            out.spare(source.files())
        out.begin_log()
        runs, labels, rows = _joined(job, names, tables, sources)
        found = Comparison(runs, labels, settings.least_in_common)
        _warn_of(job, found)
        _rotate_averages(job, found)
        text = write_comparison(out, settings, found, sources[0], rows, job.warnings)
    job.log.result(text)
    return found


def compare_tables(settings: CompareSettings) -> tuple[Comparison, np.ndarray, list[Message]]:
    """The same in memory: nothing is printed or written, and no averages are read.

    Parameters
    ----------
    settings : CompareSettings
        The options.

    Returns
    -------
    found : Comparison
        What was found, of N particles.
    rows : (n,) int array
        Which of these the particles of the first run are, in its order.
    warnings : list of Message
        What there is to say.

    Raises
    ------
    UdlError
        As of :func:`compare`.
    """
    names, job = list(settings.runs), _Job(settings, NoFolder(), silent=True)
    _check_enough(names)
    tables = _tables(names)
    sources = [_opened(table, settings, False) for table in tables]
    runs, labels, rows = _joined(job, names, tables, sources)
    found = Comparison(runs, labels, settings.least_in_common)
    _warn_of(job, found)
    return found, rows, job.warnings


def compare_labels(
    labels: Sequence[np.ndarray], settings: CompareSettings
) -> tuple[Comparison, np.ndarray, list[Message]]:
    """The same of labels.

    Parameters
    ----------
    labels : sequence of (N,) arrays of int or str
        The class of each particle in each run; below 0 where a run does not hold it.
    settings : CompareSettings
        The options.

    Returns
    -------
    found : Comparison
        What was found.
    rows : (N,) int array
        All particles.
    warnings : list of Message
        What there is to say.

    Raises
    ------
    UdlError
        Where there are no two runs, labels are none or not of the same particles, or a run holds none of the first's.
    """
    names, job = [f"run {k}" for k in range(1, len(labels) + 1)], _Job(settings, NoFolder(), silent=True)
    _check_enough(names)
    own = np.full((len(labels), len(labels[0]) if labels[0].ndim else 0), ABSENT, np.int32)
    runs = []
    for name, given, row in zip(names, labels, own):
        if given.ndim != 1 or given.dtype.kind not in "iuU":
            raise UdlError(message("labels_are_none", run=name, shape=str(given.shape), kind=str(given.dtype)))
        if len(given) != len(row):
            raise UdlError(message("labels_of_other_number", run=name, count=len(given), first=len(row)))
        held = given >= 0 if given.dtype.kind in "iu" else np.ones(len(given), bool)
        number, row[held] = np.unique(given[held], return_inverse=True)
        if len(number) == 1:
            job.warn(message("one_class_to_compare", path=name))
        runs.append(Classification(name, "", number))
    _check_in_common(names, own)
    found = Comparison(runs, own, settings.least_in_common)
    _warn_of(job, found)
    return found, np.arange(own.shape[1]), job.warnings


def _check_enough(names: list[str]) -> None:
    if len(names) < 2:
        raise UdlError(message("one_run_to_compare", path=names[0] if names else ""))


def _tables(names: list[str]) -> list[str]:
    """The tables of runs. Raises UdlError where there is none, or the same twice."""
    tables = [class_table(name) for name in names]
    places = [os.path.realpath(table) for table in tables]
    for k, place in enumerate(places):
        if place in places[:k]:
            raise UdlError(message("compared_with_itself", path=names[k]))
    return tables


def _check_in_common(names: list[str], labels: np.ndarray) -> None:
    """Raise UdlError where a run has no particle of the first; labels: (R, N)."""
    for name, own in zip(names[1:], labels[1:]):
        if not ((own != ABSENT) & (labels[0] != ABSENT)).any():
            raise UdlError(message("nothing_in_common", path=name, first=names[0]))


def _opened(table: str, settings: CompareSettings, whole: bool) -> ParticleSource:
    """The particles of a table; whole: with all its columns. The rows of a .cs tell the uid."""
    return open_particles(table, settings.pixel_size, lean=not whole and not table.lower().endswith(".cs"))


def _joined(
    job: _Job, names: list[str], tables: list[str], sources: list[ParticleSource]
) -> tuple[list[Classification], np.ndarray, np.ndarray]:
    """The runs, the labels (R, N) of the particles that are in any, and which of these those of the first run are."""
    runs, own_labels = [], []
    for name, table, source in zip(names, tables, sources):
        for sentence in (*source.warnings, source.missing_classes()):
            job.warn(sentence)
        number, label = _classes(source)
        if len(number) == 1:
            job.warn(message("one_class_to_compare", path=name))
        runs.append(Classification(name, table, number, _averages(job, name, table, number.tolist())))
        own_labels.append(label)
        job.log.say(f"{len(source)} particles in {len(number)} classes in {name}")
    rows = same_particles(sources)
    labels = np.full((len(runs), 1 + max(int(own.max()) for own in rows)), ABSENT, np.int32)
    for k, (own, label) in enumerate(zip(rows, own_labels)):
        labels[k, own] = label
    _check_in_common(names, labels)
    return runs, labels, rows[0]


def _classes(source: ParticleSource) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the classes (K,), ascending, and which of them each particle has (N,), from 0."""
    try:
        number, label = np.unique(source.classes(), return_inverse=True)
    except UdlError as error:
        if error.message.code not in ("stack_without_classes", "no_class_numbers"):
            raise
        raise UdlError(message("no_classes_to_compare", path=source.path)) from None
    return number, label


def _averages(job: _Job, name: str, table: str, numbers: list[int]) -> dict[int, np.ndarray]:
    """The averages of classes by their numbers, of those that have one that can be read; none for a silent job."""
    if job.log.silent:
        return {}
    try:
        places = average_places(table, numbers)
        job.out.spare(stack for stack, _ in places.values())
        return read_averages(places)
    except UdlError as error:
        if error.message.code in ("input_among_results", "input_would_be_replaced"):
            raise
        job.warn(message("averages_not_shown", path=name, reason=error.message))
        return {}


def _warn_of(job: _Job, found: Comparison) -> None:
    """Warn of runs that share few particles, and of such as agree by chance alone."""
    sizes = (found.labels != ABSENT).sum(1)
    for (one, other), pair in found.pairs.items():
        if one > other:
            continue
        first, second = found.runs[one].name, found.runs[other].name
        common, fewer = int(pair.table.sum()), int(min(sizes[one], sizes[other]))
        if common < ENOUGH_IN_COMMON * fewer:
            job.warn(message("compared_in_part", one=first, other=second, common=common, fewer=fewer))
        if pair.rand < BY_CHANCE:
            job.warn(message("compared_by_chance", one=first, other=second, rand=pair.rand))


def _rotate_averages(job: _Job, found: Comparison) -> None:
    """Bring the averages of the other runs onto those of the first that they are matched with, where boxes are one."""
    first = found.runs[0]
    if not first.averages or not any(run.averages for run in found.runs[1:]):
        return
    job.log.say("Averages are brought into the orientation of those of the first run")
    for other in found.others(0):
        run = found.runs[other]
        for number, match in zip(first.number.tolist(), found.pairs[0, other].match.tolist()):
            theirs = int(run.number[match]) if match >= 0 else None
            one, moved = first.averages.get(number), run.averages.get(theirs) if theirs is not None else None
            if theirs is None or one is None or moved is None or one.shape != moved.shape:
                continue
            if one.std() > 0 and moved.std() > 0:
                run.averages[theirs] = transform(moved, pose_onto(moved, one)).astype(np.float32)
