"""The command `select`: good classes and particles out of those of any program."""

from __future__ import annotations

import os
import shutil

import numpy as np
import torch

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.constants import proposed_classes
from scipion_udl.errors import UdlError
from scipion_udl.io import dialects
from scipion_udl.io.classes.class_runs import JUDGED, TABLE, class_table
from scipion_udl.io.output import durable
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.io.selected import centres, micrographs
from scipion_udl.io.source import table_of
from scipion_udl.jobs.classify import classify_in
from scipion_udl.messages import message
from scipion_udl.pipelines.run import Run
from scipion_udl.pipelines.select_set import BALANCE, Judgement, Selection, choose, judge_set
from scipion_udl.results.selection import CHOSEN, write_selection
from scipion_udl.settings.commands import ClassifySettings, SelectSettings

ENDINGS = (".star", ".xmd", ".cs")


@torch.no_grad()
def select(settings: SelectSettings) -> None:
    """Do `scipion-udl select`: selected.star and rest.star (.xmd, .cs), averages, selection.csv, report.html in OUT.

    Parameters
    ----------
    settings : SelectSettings
        The options.

    Raises
    ------
    UdlError
        Where the input has no classes to choose from, or lacks what an option needs.
    """
    table = settings.output if settings.output.lower().endswith(ENDINGS) else None
    with ProcessGroup.from_environment() as group:
        if table is not None:
            group.on_rank0(lambda: _check_table(settings, table))
            settings = settings.but(output=os.path.splitext(settings.output)[0])
        run = _select_in(group, settings)
        if table is not None and group.first:
            _hand_out(settings, table, run)


def _select_in(group: ProcessGroup, settings: SelectSettings) -> Run:
    """Write the folder of the settings, whose input may have no classes yet, in processes that have met."""
    folder = OutputFolder(settings.output, settings.overwrite, False, "select")
    folder.spare([settings.input])
    settings = settings.but(input=class_table(settings.input))
    source = open_particles(settings.input, settings.pixel_size, lean=True)
    read = [os.path.join(os.path.dirname(settings.input), name) for name in JUDGED]
    folder.spare([settings.input, *source.files(), *filter(os.path.isfile, read)])
    if not _has_classes(source):
        group.on_rank0(folder.check)
        settings = _classified(group, settings, len(source))
        folder = OutputFolder(settings.output, settings.overwrite, False, "select")
        folder.spare([settings.input])
    del source  # the run opens the particles again, with all of their columns
    with group.folder(folder) as out:
        run = Run(settings, out, group)
        judged = judge_set(run)
        if judged is None:
            return run
        run = run.by_itself()
        selection = _selection(run, judged)
        if selection.most is not None:
            views, left = judged.superclass_of(selection.kept), int((selection.why == BALANCE).sum())
            run.note(message("balanced", count=len(np.unique(views)), most=selection.most, left=left))
        if not selection.kept.any():
            run.warn(message("nothing_chosen", path=settings.input, rest=out.final("rest.star")))
        text = write_selection(run, judged, selection)
    run.log.result(text)
    return run


def _check_table(settings: SelectSettings, table: str) -> None:
    """Raises UdlError where the name that the chosen particles are to get is taken, before anything is done."""
    if os.path.isdir(table):
        raise UdlError(message("cannot_be_written", path=table, reason="it is a folder"))
    if os.path.lexists(table) and not settings.overwrite:
        raise UdlError(message("table_exists", path=table))
    _spare_table(table, [settings.input])


def _spare_table(table: str, files: list[str]) -> None:
    place = os.path.realpath(table)
    if any(os.path.realpath(file) == place for file in files):
        raise UdlError(message("result_is_read", path=table))


def _has_classes(source: ParticleSource) -> bool:
    """Whether the particles come in classes; a table that has one number for all of them has none."""
    try:
        return len(np.unique(source.classes())) > 1
    except UdlError as error:
        if error.message.code not in ("stack_without_classes", "no_class_numbers"):
            raise
        return False


def _classified(group: ProcessGroup, settings: SelectSettings, count: int) -> SelectSettings:
    """The settings, for so many particles, with the classes of a run of `classify`, made in the output folder now."""
    if settings.chosen is not None:
        raise UdlError(message("no_classes_to_name", path=settings.input))
    place = os.path.join(settings.output, "classes")
    classify_in(group, ClassifySettings.of({**vars(settings), "output": place, "classes": proposed_classes(count)}))
    group.barrier()  # the first has written its table now
    return settings.but(input=os.path.join(place, TABLE), overwrite=True)


def _selection(run: Run, judged: Judgement) -> Selection:
    """What is chosen, where it lies in the micrographs where that is asked for."""
    settings, source = run.settings, run.source
    assert isinstance(settings, SelectSettings)
    asked = [name for name in ("recentre", "min_distance") if getattr(settings, name)]
    if not asked:
        return choose(settings, judged, None, None)
    found, where = centres(source), micrographs(source)
    if found is None or where is None:
        options = [settings.option(name).flag for name in asked]
        raise UdlError(message("coordinates_lacking", path=settings.input, option=options))
    places, warning = found
    run.warn_of(warning)
    size = dialects.micrograph_pixel_size(table_of(source), dialects.optics_table(source.tables))
    selection = choose(settings, judged, places * (size or source.pixel_size), where)
    selection.recentred = places if settings.recentre else None
    return selection


def _hand_out(settings: SelectSettings, table: str, run: Run) -> None:
    """Give the table of the chosen particles the name that the user asked for."""
    _spare_table(table, run.source.files())
    made = os.path.join(settings.output, CHOSEN + os.path.splitext(table)[1].lower())
    if not os.path.isfile(made):
        raise UdlError(message("chosen_not_written", path=table, folder=settings.output))
    try:
        shutil.copyfile(made, durable.new(f"{table}.part"))
        durable.replace(f"{table}.part", table)
    except OSError as error:
        raise UdlError(message("cannot_be_written", path=table, reason=error.strerror or error)) from None
