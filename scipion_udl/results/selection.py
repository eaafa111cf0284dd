"""What `select` leaves behind: tables of the chosen and of the rest, averages, and the reason for each class."""

from __future__ import annotations

import math
import os

import numpy as np

from scipion_udl.classification.flags import REASONS
from scipion_udl.constants import RUN_DATA
from scipion_udl.errors import UdlError
from scipion_udl.io.dialects import CLASS_LABEL, QUALITY_LABEL, find_particles
from scipion_udl.io.output.data_files import write_csv, write_json
from scipion_udl.io.selected import NAME, write_coordinates, write_selected
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.pipelines.run import Run
from scipion_udl.pipelines.select_set import BALANCE, CLASS, JUNK, NEAR, SHARE, Judgement, Selection, sentences
from scipion_udl.results.references import write_references
from scipion_udl.results.relion_files import write_relion_files
from scipion_udl.results.run_results import count_warnings, summary

CHOSEN, REST = "selected", "rest"
COLUMNS = ("class", "chosen", "why", "quality", "particles", "kept", "crossing", "resolution", "flag", "superclass",
           "beyond_balance", "reasons")  # fmt: skip
WORDS = {CLASS: "of classes that are not chosen", JUNK: "below the quality", NEAR: "close to a better one",
         SHARE: "beyond the share to be kept", BALANCE: "beyond what one view may have"}  # fmt: skip


def write_selection(run: Run, judged: Judgement, selection: Selection) -> str:
    """Write all files of `select` into the run's output folder.

    Parameters
    ----------
    run : Run
        The run.
    judged : Judgement
        Of its classes.
    selection : Selection
        What was chosen of them.

    Returns
    -------
    str
        The screen's summary.
    """
    out = run.out
    for name, which in ((CHOSEN, selection.kept), (REST, ~selection.kept)):
        rows = np.flatnonzero(which)
        if len(rows):
            _write_tables(run, name, rows, judged.particles[rows])
    if selection.recentred is not None and selection.kept.any():
        rows = np.flatnonzero(selection.kept)
        shares = {QUALITY_LABEL: judged.particles[rows]}
        write_coordinates(run.source.subset(rows), out.scratch(NAME), selection.recentred[rows], shares)
    kept = _in_classes(judged, selection.kept)
    chosen = np.flatnonzero(selection.chosen)
    if len(chosen):
        write_stack(out.scratch("averages.mrcs"), judged.averages[chosen].astype(np.float32), run.source.pixel_size)
        finest = [_known(judged.crossing[k]) for k in chosen]
        facts = judged.number[chosen].tolist(), kept[chosen].tolist(), finest
        write_references(out.scratch("averages.star"), out.final("averages.mrcs"), *facts)
        _write_for_relion(run, judged, selection, kept)
    beyond = _in_classes(judged, selection.why == BALANCE)
    rows_of = (_row(judged, selection, kept, beyond, k) for k in range(len(kept)))
    write_csv(out.scratch("selection.csv"), list(COLUMNS), rows_of)
    figures = _summary(run, judged, selection, kept)
    write_json(out.scratch("summary.json"), figures)
    _write_report(run, figures, judged)
    return _text(run, figures)


def _write_for_relion(run: Run, judged: Judgement, selection: Selection, kept: np.ndarray) -> None:
    """The chosen classes as RELION opens them, numbered as their averages are."""
    path = run.out.scratch(f"{CHOSEN}.star")
    if not os.path.isfile(path):
        return
    tables = read_tables(path)
    chosen, place = np.flatnonzero(selection.chosen), np.searchsorted(judged.number, judged.label[selection.kept])
    particles, form = find_particles(path, tables)
    particles.set(CLASS_LABEL[form], [str(number) for number in np.searchsorted(chosen, place) + 1])
    facts = ("resolution", judged.resolution), ("crossing", judged.crossing)
    classes = [
        {"image": number, "particles": int(kept[k]), **{name: _known(values[k]) for name, values in facts}}
        for number, k in enumerate(chosen, 1)
    ]
    write_tables(run.out.scratch(RUN_DATA), tables)
    write_relion_files(run, "averages.mrcs", classes)


def _write_tables(run: Run, name: str, rows: np.ndarray, quality: np.ndarray) -> None:
    """NAME.star, NAME.xmd and, of a .cs, NAME.cs; a form that cannot hold the particles is left out, with a warning."""
    part = run.source.subset(rows)
    for ending in (".star", ".xmd", *([".cs"] if run.source.cs is not None or run.settings.write_cs else [])):
        path = run.out.scratch(name + ending)
        try:
            for warning in write_selected(part, path, {QUALITY_LABEL: quality}):
                run.warn(warning)
        except UdlError as error:
            if error.message.code not in ("star_cannot_mirror", "cs_cannot_mirror"):
                raise
            run.warn(error.message)


def _in_classes(judged: Judgement, which: np.ndarray) -> np.ndarray:
    """How many particles of each class (K,) are among those that ``which`` (N,) says."""
    place = np.searchsorted(judged.number, judged.label[which])
    return np.bincount(place, minlength=len(judged.number))


def _write_report(run: Run, figures: dict, judged: Judgement) -> None:
    """report.html: all classes, those that are chosen and those that are not."""
    from scipion_udl.report.data import ClassEntry, SelectionData
    from scipion_udl.report.selection_page import write_selection_report  # matplotlib takes a second

    left = [(WORDS[code], count) for code, count in figures["left_out"].items()]
    classes = [ClassEntry(f, None, image, None) for f, image in zip(figures["classes"], judged.averages)]
    data = SelectionData(figures, classes, run.settings.input, (figures["chosen"], len(run.source)), left)
    write_selection_report(run.out.scratch("report.html"), data)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _row(judged: Judgement, selection: Selection, kept: np.ndarray, beyond: np.ndarray, k: int) -> list:
    """Class k in selection.csv; what is not known is empty."""
    flag = str(judged.flag[k])
    told = [REASONS[flag]] if flag in REASONS else []
    lengths = ["" if _known(value) is None else f"{value:.4g}" for value in (judged.crossing[k], judged.resolution[k])]
    chosen, refused = int(selection.chosen[k]), selection.refused[k]
    reasons = "; ".join([*told, *sentences(judged.reasons[k])])
    counts, views = (judged.sizes[k], kept[k]), (judged.grouped.number[k], "" if selection.most is None else beyond[k])
    return [judged.number[k], chosen, refused, f"{judged.quality[k]:.3f}", *counts, *lengths, flag, *views, reasons]


def _summary(run: Run, judged: Judgement, selection: Selection, kept: np.ndarray) -> dict:
    image = np.cumsum(selection.chosen)  # in averages.mrcs, of those that are chosen
    classes = [
        {
            "class": int(judged.number[k]),
            "image": int(image[k]) if selection.chosen[k] else None,
            "chosen": bool(selection.chosen[k]),
            "why": selection.refused[k],
            "quality": round(float(judged.quality[k]), 3),
            "particles": int(judged.sizes[k]),
            "kept": int(kept[k]),
            "crossing": _known(judged.crossing[k]),
            "resolution": _known(judged.resolution[k]),
            "flag": str(judged.flag[k]),
            "superclass": int(judged.grouped.number[k]),
            "reasons": judged.reasons[k],
        }
        for k in range(len(kept))
    ]
    left = {code: int((selection.why == code).sum()) for code in WORDS}
    more = {"most_of_a_superclass": selection.most, "superclasses": judged.grouped.as_figures()}
    return summary(run, chosen=int(selection.kept.sum()), left_out=left, classes=classes, **more)


def _text(run: Run, figures: dict) -> str:
    """The screen's summary, of the content of summary.json."""
    total, count, classes = len(run.source), figures["chosen"], figures["classes"]
    chosen = sum(one["chosen"] for one in classes)
    left = [f"{number} {WORDS[code]}" for code, number in figures["left_out"].items() if number]
    lines = [
        "",
        f"Classes             {chosen} of {len(classes)} chosen",
        f"Particles           {count} of {total} chosen ({count / total:.1%})",
        *([f"Left out            {'; '.join(left)}"] if left else []),
        f"Results             {run.out.path}/report.html, {'selected.star, ' * (count > 0)}rest.star, selection.csv",
    ]
    return "\n".join([*lines, *count_warnings(run.warnings)])
