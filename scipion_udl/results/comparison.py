"""What `compare` leaves behind: the consensus as a table, a row a class, figures and the report."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from scipion_udl.compute.log import command_line
from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.io.dialects import CONSENSUS_LABEL, CONSENSUS_SHARE_LABEL, NO_CLASS
from scipion_udl.io.output.data_files import write_csv, write_json
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.particles import ParticleSource
from scipion_udl.io.selected import write_selected
from scipion_udl.messages import Message, entries
from scipion_udl.results.run_results import count_warnings
from scipion_udl.settings.commands import CompareSettings
from scipion_udl.validation.class_agreement import ABSENT, UNMATCHED, Agreement, agreements, consensus, like_first

COLUMNS = ("run", "class", "particles", "comes_again", "comes_again_sd", "together", "in_common", "alone", "consensus")
OF_OTHERS = ("match", "comes_again", "together", "in_common", "parts")  # columns, for each run


@dataclass
class Classification:
    """One run. name: as the user gave it; path: of its table; number: (K,) of its classes, ascending; averages: (D, D)
    each, by class number, of those that have one."""

    name: str
    path: str
    number: np.ndarray
    averages: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass
class Comparison:
    """R runs over N particles that are in any of them.

    labels: (R, N) int, the class of each particle in each run, from 0, ABSENT where it does not hold it; least: of what
    a class must have in common with another, in parts of both, to be in another run, too.
    """

    runs: list[Classification]
    labels: np.ndarray
    least: float

    @cached_property
    def pairs(self) -> dict[tuple[int, int], Agreement]:
        """Every two runs, from 0, in either direction."""
        return agreements(self.labels, [len(run.number) for run in self.runs])

    @cached_property
    def consensus(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) int classes of the first run, from 0, UNMATCHED where there is none; (N,) float shares of the runs."""
        return consensus(like_first(self.labels, self.pairs))

    def others(self, run: int) -> list[int]:
        """The runs but one.

        Parameters
        ----------
        run : int
            That one, from 0.

        Returns
        -------
        list of int
            From 0.
        """
        return [other for other in range(len(self.runs)) if other != run]

    def over_others(self, run: int, figure: Callable[[Agreement], np.ndarray]) -> np.ndarray:
        """A figure of the classes of a run, against each other run.

        Parameters
        ----------
        run : int
            From 0.
        figure : callable
            (K,) array of an Agreement.

        Returns
        -------
        (R - 1, K) float64 array
            NaN where the other run holds none of a class's particles.
        """
        return np.stack([figure(self.pairs[run, other]) for other in self.others(run)])

    def comes_again(self, run: int) -> np.ndarray:
        """The share of each class's particles that are together again in its match, mean over the other runs.

        Parameters
        ----------
        run : int
            From 0.

        Returns
        -------
        (K,) float64 array
            NaN where no other run holds any of them.
        """
        return _mean(self.over_others(run, lambda pair: pair.comes_again))

    def comes_again_sd(self, run: int) -> np.ndarray:
        """How much that share differs from one other run to the next.

        Parameters
        ----------
        run : int
            From 0.

        Returns
        -------
        (K,) float64 array
            Standard deviation; NaN where it is known of fewer than two others. The mean over n of them is off by about
            this over the square root of n.
        """
        shares = self.over_others(run, lambda pair: pair.comes_again)
        known = (~np.isnan(shares)).sum(0)
        squares = np.nansum((shares - _mean(shares)) ** 2, 0)
        return np.where(known > 1, np.sqrt(squares / np.maximum(known - 1, 1)), np.nan)

    def in_common(self, run: int) -> np.ndarray:
        """What each class has in common with the class of any other run that is most like it.

        Parameters
        ----------
        run : int
            From 0.

        Returns
        -------
        (K,) float64 array
            Particles in both, in parts of those in either; NaN where no other run holds any of its particles.
        """
        best = self.over_others(run, lambda pair: pair.best).max(0)
        return np.where(np.isnan(self.comes_again(run)), np.nan, best)

    def alone(self, run: int) -> np.ndarray:
        """Which classes no other run has.

        Parameters
        ----------
        run : int
            From 0.

        Returns
        -------
        (K,) bool array
            A class that could not be compared is none of these.
        """
        return self.in_common(run) < self.least


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the rows (R, K) that are known; NaN where none is."""
    known = ~np.isnan(values)
    return np.where(known.any(0), np.nansum(values, 0) / np.maximum(known.sum(0), 1), np.nan)


def write_comparison(
    out: OutputFolder,
    settings: CompareSettings,
    found: Comparison,
    source: ParticleSource,
    rows: np.ndarray,
    warnings: list[Message],
) -> str:
    """Write all files of `compare`.

    Parameters
    ----------
    out : OutputFolder
        Where.
    settings : CompareSettings
        The options.
    found : Comparison
        What was found.
    source : ParticleSource
        The particles of the first run.
    rows : (n,) int array
        Which of the N particles each of them is.
    warnings : list of Message
        Those of the run, to which what comes up is added.

    Returns
    -------
    str
        The screen's summary.
    """
    warnings += _write_tables(out, found, source, rows)
    classes = [one for run in range(len(found.runs)) for one in _classes(found, run)]
    header = [*COLUMNS, *(f"{name}_{k + 1}" for k in range(len(found.runs)) for name in OF_OTHERS)]
    write_csv(out.scratch("compare.csv"), header, ([_text_of(one.get(name)) for name in header] for one in classes))
    figures = _summary(settings, found, source, classes, warnings)
    write_json(out.scratch("summary.json"), figures)
    _write_report(out, found, figures)
    return _text(out, found, figures)


def _write_tables(out: OutputFolder, found: Comparison, source: ParticleSource, rows: np.ndarray) -> list[Message]:
    """compare.star and compare.xmd; a form that cannot hold the particles is left out, with a warning."""
    label, share = (values[rows] for values in found.consensus)
    number = found.runs[0].number
    columns = {
        CONSENSUS_LABEL: np.where(label == UNMATCHED, NO_CLASS, number[np.maximum(label, 0)]),
        CONSENSUS_SHARE_LABEL: share,
    }
    warnings: list[Message] = []
    for ending in (".star", ".xmd"):
        try:
            warnings += write_selected(source, out.scratch(f"compare{ending}"), columns)
        except UdlError as error:
            if error.message.code != "star_cannot_mirror":
                raise
            warnings.append(error.message)
    return warnings


def _classes(found: Comparison, run: int) -> list[dict[str, Any]]:
    """The classes of a run, as summary.json and compare.csv have them; what is not known is None."""
    own, sizes = found.runs[run], np.bincount(found.labels[run][found.labels[run] != ABSENT])
    again, common, alone = found.comes_again(run), found.in_common(run), found.alone(run)
    differing = found.comes_again_sd(run)
    together = _mean(found.over_others(run, lambda pair: pair.together))
    agreed = np.bincount(found.consensus[0][found.consensus[0] != UNMATCHED], minlength=len(own.number))
    rows: list[dict[str, Any]] = [
        {
            "run": run + 1,
            "class": int(own.number[k]),
            "particles": int(sizes[k]),
            "comes_again": _known(again[k]),
            "comes_again_sd": _known(differing[k]),
            "together": _known(together[k]),
            "in_common": _known(common[k]),
            "alone": bool(alone[k]),
            "consensus": int(agreed[k]) if run == 0 else None,
        }
        for k in range(len(own.number))
    ]
    for other in found.others(run):
        pair, theirs = found.pairs[run, other], found.runs[other].number
        match, parts, shares = pair.match, pair.parts, (pair.comes_again, pair.together, pair.best)
        for k, row in enumerate(rows):
            row[f"match_{other + 1}"] = int(theirs[match[k]]) if match[k] != UNMATCHED else None
            for name, values in zip(("comes_again", "together", "in_common"), shares):
                row[f"{name}_{other + 1}"] = None if math.isnan(shares[0][k]) else _known(values[k])
            row[f"parts_{other + 1}"] = theirs[parts[k]].tolist()
    return rows


def _known(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _text_of(value: object) -> object:
    """A value in compare.csv: what is not known is empty, flags are 0 and 1, lists have blanks."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else int(value) if isinstance(value, bool) else value


def _summary(
    settings: CompareSettings, found: Comparison, source: ParticleSource, classes: list[dict], warnings: list[Message]
) -> dict:
    held = found.labels != ABSENT
    share = found.consensus[1][held[0]]
    compared, all_runs = share > 0, share == 1
    most = (found.consensus[0][held[0]] != UNMATCHED) & ~all_runs
    return {
        "version": __version__,
        "command": command_line(),
        "input": found.runs[0].name,
        "box": source.box,
        "pixel_size": source.pixel_size,
        "pixel_size_known": source.pixel_size_known,
        "runs": [
            {"run": k, "name": run.name, "table": run.path, "particles": int(own.sum()), "classes": len(run.number)}
            for k, (run, own) in enumerate(zip(found.runs, held), 1)
        ],
        "particles": int(held.all(0).sum()),  # that all runs hold
        "least_in_common": found.least,
        "pairs": [
            {
                "runs": [one + 1, other + 1],
                "particles": int(pair.table.sum()),
                "only_first": int((held[one] & ~held[other]).sum()),
                "only_second": int((held[other] & ~held[one]).sum()),
                "adjusted_rand": _known(pair.rand),
                "in_matched_classes": _known(_in_matched(pair)),
            }
            for (one, other), pair in found.pairs.items()
            if one < other
        ],
        "consensus": {
            "compared": int(compared.sum()),
            "all": int(all_runs.sum()),
            "most": int(most.sum()),
            "none": int((compared & ~all_runs & ~most).sum()),
        },
        "classes": classes,
        "warnings": warnings,
        "codes": [one.code for one in warnings],
        "messages": entries(warnings),
    }


def _in_matched(pair: Agreement) -> float:
    """The share of the particles in common that lie in classes which are matched; NaN without any."""
    matched = np.flatnonzero(pair.match != UNMATCHED)
    total = int(pair.table.sum())
    return float(pair.table[matched, pair.match[matched]].sum() / total) if total else float("nan")


def _write_report(out: OutputFolder, found: Comparison, figures: dict) -> None:
    from scipion_udl.report.comparison_figures import matrices_figure  # matplotlib takes a second
    from scipion_udl.report.comparison_page import write_comparison_report
    from scipion_udl.report.data import ComparisonData

    first, others = found.runs[0], found.others(0)
    sizes = np.bincount(found.labels[0][found.labels[0] != ABSENT], minlength=len(first.number))
    order = np.argsort(-sizes, kind="stable")
    panels = []
    for other in others:
        pair, theirs = found.pairs[0, other], found.runs[other].number
        matched = [k for k in pair.match[order].tolist() if k != UNMATCHED]
        columns = np.array([*matched, *sorted(set(range(len(theirs))) - set(matched))])
        panels.append((f"run {other + 1}", theirs[columns], pair.shares[order][:, columns]))
    figure = matrices_figure("run 1", first.number[order], panels)
    figure.savefig(out.scratch("compare.png"), dpi=150)
    data = ComparisonData(figures, [run.averages for run in found.runs], figure)
    write_comparison_report(out.scratch("report.html"), data)


def _text(out: OutputFolder, found: Comparison, figures: dict) -> str:
    """The screen's summary, of the content of summary.json."""
    consensus_of, classes = figures["consensus"], figures["classes"]
    runs = [
        f"{one['run']}  {one['name']}: {one['particles']} particles in {one['classes']} classes"
        for one in figures["runs"]
    ]
    pairs = [
        f"{pair['runs'][0]} and {pair['runs'][1]}: adjusted Rand index {_shown(pair['adjusted_rand'])}, "
        f"{_shown(pair['in_matched_classes'], '.1%')} of {pair['particles']} particles in matched classes"
        for pair in figures["pairs"]
    ]
    alone = [f"class {one['class']} of run {one['run']}" for one in classes if one["alone"]]
    more = f" and {len(alone) - 6} more" if len(alone) > 6 else ""
    compared = max(consensus_of["compared"], 1)
    lines = [
        "",
        *_under("Runs", runs),
        *_under("Agreement", pairs),
        *_under("Come again", _again(found)),
        f"In one run alone    {', '.join(alone[:6]) + more or 'no class'}",
        f"Consensus           {consensus_of['all']} particles of run 1 have the same class in all runs "
        f"({consensus_of['all'] / compared:.1%}), {consensus_of['most']} in most, {consensus_of['none']} in none",
        f"Results             {os.path.join(out.path, 'report.html')}, compare.star, compare.csv, compare.png",
    ]
    return "\n".join([*lines, *count_warnings(figures["warnings"])])


def _again(found: Comparison) -> list[str]:
    """One line on the classes of the first run: how much of them comes again."""
    again, number = found.comes_again(0), found.runs[0].number
    known = np.flatnonzero(~np.isnan(again))
    sizes = np.bincount(found.labels[0][found.labels[0] != ABSENT])[known]
    least, most = known[again[known].argmin()], known[again[known].argmax()]
    return [
        f"{again[known] @ sizes / sizes.sum():.1%} of the particles of run 1, {again[least]:.0%} of those of class "
        f"{number[least]} to {again[most]:.0%} of those of class {number[most]}"
    ]


def _under(title: str, lines: list[str]) -> list[str]:
    return [f"{title if not k else '':20}{line}" for k, line in enumerate(lines)]


def _shown(value: float | None, form: str = ".3f") -> str:
    return "unknown" if value is None else format(value, form)
