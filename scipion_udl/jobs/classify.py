"""The command `classify`: 2D classes of particles that show many views."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial

import torch

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.constants import LEAST_OF_A_CLASS, MODEL, RUN_DATA
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.io.cryosparc.write import write_class_averages
from scipion_udl.io.dialects import CERTAINTY_LABEL, QUALITY_LABEL
from scipion_udl.io.output.data_files import write_csv
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.messages import message
from scipion_udl.models.checkpoint import ModelCard, load_model, save_model
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.pipelines.appending.append_to_classes import check_appending, check_fits
from scipion_udl.pipelines.appending.appendable_classes import (
    HISTORY_COLUMNS,
    Earlier,
    files_of,
    write_appended,
    write_for_later,
    write_references,
)
from scipion_udl.pipelines.classify_set import Classified, classify_like, classify_set
from scipion_udl.pipelines.continued import check_began_with
from scipion_udl.pipelines.learn_classes import (
    CLASSES,
    check_enough,
    checked_classes,
    keep_poses,
    learn_classes,
    shift_search_range,
    warn_of_few,
    with_classes,
    with_found_number,
)
from scipion_udl.pipelines.run import Run, given_files
from scipion_udl.results.class_results import COLUMNS, write_classes
from scipion_udl.results.classes_so_far import show_classes
from scipion_udl.results.relion_files import write_relion_files
from scipion_udl.settings.commands import ClassifySettings
from scipion_udl.settings.option import given
from scipion_udl.training.history import read_history

WEIGHTED = "averages_weighted.mrcs"  # the class averages that other programs go on with
_GIVEN = ("append_to", "model", "references")  # what brings classes along
OWN = ("crossing", "quality", "share", "score_spread", "inside", "flagged", "flag", "mirror_of", "view", "superclass")


@torch.no_grad()
def classify(settings: ClassifySettings) -> None:
    """Do `scipion-udl classify`: classes.star, classes.xmd, averages, classes.csv, report.html, summary.json in OUT.

    Parameters
    ----------
    settings : ClassifySettings
        The options.

    Raises
    ------
    UdlError
        Where there are too few particles for so many classes.
    """
    settings, earlier = _earlier(_checked(settings))
    with ProcessGroup.from_environment() as group:
        classify_in(group, settings, earlier)


def classify_in(group: ProcessGroup, settings: ClassifySettings, earlier: Earlier | None = None) -> None:
    """The same in processes that have met already.

    Parameters
    ----------
    group : ProcessGroup
        The processes.
    settings : ClassifySettings
        The options; the number of classes and the model are among them.
    earlier : Earlier, optional
        The run that the particles are to join.

    Raises
    ------
    UdlError
        As :func:`classify`.
    """
    folder = OutputFolder(settings.output, settings.overwrite, settings.resume, "classify")
    folder.spare([*given_files(settings), *(files_of(given(settings.append_to)) if earlier else [])])
    with group.folder(folder) as out:
        run = Run(settings, out, group)
        if earlier is not None:  # few particles come at a time: they are not shared
            if not group.first:
                return
            run = run.by_itself()
        _check(run, earlier)
        _look_through(run, earlier)
        bank, card, history = run.within_memory(lambda: _network(run))
        run.settings = with_found_number(run.settings, bank)
        sampling = card.inputs_as(PolarSampling)
        done = classify_set(run, bank, sampling) if earlier is None else classify_like(run, earlier, bank, sampling)
        if done is not None:
            _write(run.by_itself(), done, sampling, card, history, earlier)


def _write(
    run: Run,
    done: Classified,
    sampling: PolarSampling,
    card: ModelCard,
    history: list[dict] | None,
    earlier: Earlier | None,
) -> None:
    """Write what came of it, and what later runs go on from."""
    settings, out, more = run.settings, run.out, {} if earlier is None else write_references(run, earlier, done.classes)
    # The templates in the order of the classes, for those who come later.
    save_model(out.scratch(MODEL), done.bank, replace(card, config=done.bank.config))
    if earlier is None:
        run.note_ctf()
    columns = {"number": done.found.label + 1, "flagged": (done.flags != "")[done.found.label]}
    if done.quality is not None:
        columns["shares"] = {QUALITY_LABEL: done.quality, CERTAINTY_LABEL: done.found.certainty}
    more |= {"flagged_particles": int(columns["flagged"].sum()), "superclasses": done.grouped.as_figures()}
    if done.life is not None and earlier is not None:
        more |= {"class_events": [dict(zip(HISTORY_COLUMNS, row)) for row in done.life.history if row[0] > 1]}
    if not settings.model:
        more |= {"classes_asked": settings.classes, "classes_supported": len(done.flags)}
    named = tuple(name for name in COLUMNS if name != "note")
    named += ("reference",) if settings.fixed_references else ()
    run.method, trained_on = card.method, card.training if history else None
    text = write_classes(run, done.classes, trained_on, history, "classes", (*named, *OWN, "note"), columns, more)
    figures = [{"image": k, **one.figures} for k, one in enumerate(done.classes, 1)]
    write_relion_files(run, WEIGHTED, figures)
    if settings.write_cs or run.source.cs is not None:
        stack = os.path.abspath(out.final(WEIGHTED))
        write_class_averages(out.scratch("class_averages.cs"), stack, figures, run.source.box, run.source.pixel_size)
    shutil.copyfile(out.scratch("classes.star"), out.scratch(RUN_DATA))  # numbered as the images are
    if earlier is not None:
        write_appended(run, earlier, done.classes, done.life)
    elif not settings.no_align:
        # Who appends looks for the poses of what comes, in classes that nobody has aligned.
        write_for_later(run, sampling, done.classes, done.life)
    run.log.result(text)


def _checked(settings: ClassifySettings) -> ClassifySettings:
    """With what nobody asked for filled in. Raises UdlError for options on how classes are learned where none are."""
    given = next((settings.option(name).flag for name in _GIVEN if getattr(settings, name)), None)
    begins = given == settings.option("references").flag
    code = "references_bring_classes" if begins else "classes_come_along"
    alone: tuple[str, ...] = (
        ("classes", "starts") if begins else ("classes", "starts", "training_subset", "repeat", "references")
    )
    if begins and settings.fixed_references:
        alone += ("training_subset", "repeat")
    for name in alone:
        if given and getattr(settings, name) is not None:
            raise UdlError(message(code, given=given, name=settings.option(name).flag))
    if settings.keep_classes and not settings.append_to:
        raise UdlError(message("keep_without_appending"))
    if settings.append_to or settings.model:
        return settings.but(classes=CLASSES)
    folder = OutputFolder(settings.output, settings.overwrite, settings.resume, "classify")
    folder.spare([settings.references])  # before it is read: it may be one of the results
    return with_classes(settings)


def _earlier(settings: ClassifySettings) -> tuple[ClassifySettings, Earlier | None]:
    """The settings with the model of the run that particles are to join, and this run; None where there is none."""
    if not settings.append_to:
        return settings, None
    check_appending(settings)
    return settings.but(model=os.path.join(settings.append_to, MODEL)), Earlier.read(settings.append_to)


def _check(run: Run, earlier: Earlier | None) -> None:
    """Raises UdlError for what cannot go together, before anything is done."""
    settings, least = run.settings, LEAST_OF_A_CLASS * max(given(run.settings.classes), 1)
    shift_search_range(run)
    if earlier is not None:
        check_fits(run, earlier)
    elif (
        settings.training_subset is not None
        and not settings.model
        and not settings.fixed_references
        and settings.training_subset < least
    ):
        raise UdlError(
            message(
                "too_few_to_teach", teach=settings.training_subset, classes=settings.classes, least=LEAST_OF_A_CLASS
            )
        )


def _look_through(run: Run, earlier: Earlier | None) -> None:
    """Measure what preparation needs and take the CTF, as the run that particles join took it."""
    if earlier is None:
        keep_poses(run)
        run.scan()
        run.use_ctf()
        return
    known = {f"{run.settings.append_to} or of those that it was joined to": earlier.preparation.known}
    earlier.preparation.scan(run, known)
    earlier.preparation.use_ctf(run)


def _network(run: Run) -> tuple[ClassBank, ModelCard, list[dict] | None]:
    """The class network, loaded, kept from before, or taught now; its card and its rounds."""
    settings, out = run.settings, run.out
    kept = run.group.agree(bool(settings.resume and out.has(MODEL)))
    path = settings.model or (out.final(MODEL) if kept else None)
    if path:
        found = run.group.on_rank0(lambda: _network_of(run, path))
        show_classes(run, found[0], found[1].inputs_as(PolarSampling))
        return found
    check_enough(run)
    out.start_anew(MODEL)
    bank, card, rows = learn_classes(run, partial(show_classes, run))
    if run.group.first:
        save_model(out.scratch(MODEL), bank, card)
        header = list(rows[0])
        write_csv(out.scratch("training.csv"), header, ([row[name] for name in header] for row in rows))
        out.publish("training.csv", MODEL)
    return bank, card, rows


def _network_of(run: Run, path: str) -> tuple[ClassBank, ModelCard, list[dict] | None]:
    """The same of a file: a model that was given, or what a run that was stopped has left."""
    settings, out = run.settings, run.out
    bank, card = checked_classes(run, *load_model(path, run.device), path)
    history = None
    if not settings.model:
        check_began_with(run, card, path)
        warn_of_few(run, card.training)
        history = read_history(out.final("training.csv"))
    out.start_anew(MODEL)  # not before: from here on nothing is wrong with what was given
    run.say(f"{bank.config['classes']} classes of {path}")
    return bank, card, history
