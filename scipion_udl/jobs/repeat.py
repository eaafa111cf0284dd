"""`classify --repeat N`: the same particles classified again with other seeds, to tell which classes come again."""

from __future__ import annotations

import csv
import json
import math
import os

import numpy as np

from scipion_udl.compute.launch import is_first
from scipion_udl.io.classes.class_runs import TABLE
from scipion_udl.io.output.data_files import write_csv, write_json
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.jobs.classify import classify
from scipion_udl.jobs.compare import compare
from scipion_udl.results.comparison import Comparison
from scipion_udl.settings.commands import ClassifySettings, CompareSettings
from scipion_udl.settings.option import given

COMPARED = "compared"  # the folder of the comparison, in that of the run
COLUMNS, BEFORE = ("comes_again", "comes_again_sd"), "note"  # of classes.csv: the columns, and what they stand before
# Of summary.json: what two runs have in common that are runs of the same thing.
_SAME = ("input", "particles", "classes_asked", "diameter", "version")


def classify_again(settings: ClassifySettings) -> None:
    """Do `scipion-udl classify --repeat N`: the run in OUT, those with other seeds in OUT/repeat_2 and so on, and their
    comparison in OUT/compared; the share of each class that comes again goes into OUT/classes.csv.

    Parameters
    ----------
    settings : ClassifySettings
        The options.

    Raises
    ------
    UdlError
        What `classify` and `compare` raise.
    """
    classify(settings)
    once = settings.but(repeat=None)
    folders = [settings.output]
    for number in range(2, given(settings.repeat) + 1):
        folders.append(os.path.join(settings.output, f"repeat_{number}"))
        again = once.but(output=folders[-1], seed=settings.seed + number - 1)
        if not (settings.resume and _is_done(again)):
            if is_first():
                print(f"\nRepeat {number} of {settings.repeat}, seed {again.seed}: {again.output}", flush=True)
            classify(again)
    if len(folders) > 1 and is_first():
        output = os.path.join(settings.output, COMPARED)
        print(f"\nComparison: {output}", flush=True)
        asked = CompareSettings(runs=tuple(folders), output=output, overwrite=True, pixel_size=settings.pixel_size)
        _add(settings, compare(asked.but(quiet=settings.quiet, verbose=settings.verbose)))


def _is_done(settings: ClassifySettings) -> bool:
    """Whether a run that was to be gone on with is complete, and of the particles and classes of the first run."""
    try:
        found, first = (_summary(folder) for folder in (settings.output, os.path.dirname(settings.output)))
    except (OSError, ValueError):
        return False
    same = all(found.get(name) == first.get(name) for name in _SAME)
    return same and found.get("seed") == settings.seed and os.path.isfile(os.path.join(settings.output, TABLE))


def _summary(folder: str) -> dict:
    with open(os.path.join(folder, "summary.json"), encoding="utf-8") as file:
        return json.load(file)


def _add(settings: ClassifySettings, found: Comparison) -> None:
    """Write what of each class comes again, and how much that differs, into classes.csv and summary.json of the run."""
    shares = np.stack([found.comes_again(0), found.comes_again_sd(0)], 1).round(4).tolist()
    told = {
        number: {name: None if math.isnan(value) else value for name, value in zip(COLUMNS, values)}
        for number, values in zip(found.runs[0].number.tolist(), shares)
    }
    unknown = dict.fromkeys(COLUMNS)
    rand = [found.pairs[0, other].rand for other in found.others(0)]
    with OutputFolder(settings.output, resume=True, command="classify") as out:
        with open(out.final("classes.csv"), encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = [name for name in rows[0] if name not in COLUMNS]
        place = names.index(BEFORE)
        header = [*names[:place], *COLUMNS, *names[place:]]
        rows = [{**row, **told.get(int(row["class"]), unknown)} for row in rows]
        write_csv(out.scratch("classes.csv"), header, ([row[name] for name in header] for row in rows))
        summary = _summary(settings.output)
        for one in summary["classes"]:
            one |= told.get(one["class"], unknown)
        again = {"runs": len(found.runs), "adjusted_rand": np.round(rand, 4).tolist(), "folder": COMPARED}
        write_json(out.scratch("summary.json"), {**summary, "repeats": again})
