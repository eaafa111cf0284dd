"""The pictures of docs/benchmarks.md, drawn from the rows of results.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from benchmarks.rows import FINAL, MODEL, NETWORK, ORACLE, Rows, label
from scipion_udl.report import figures
from scipion_udl.report.figures import AMBER, BLUE, INK, MUTED, RED, TEAL

COLOURS = {
    ORACLE: INK, FINAL: BLUE, NETWORK: "#7fb3d5", MODEL: BLUE, "classic": TEAL, "polar": AMBER, "relion": RED,
    "aspire": "#7d3c98",
}  # fmt: skip
LEAST_DRAWN = 0.02  # degrees: an axis of errors in powers of ten has no zero
COLUMNS = 4


def save_all(rows: Rows, folder: Path) -> dict[str, str]:
    """Draw what there are rows for; returns the file names by subject: errors, right, cpu."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    with figures.style():
        for subject, figure in (("errors", _errors(rows)), ("right", _right(rows)), ("cpu", _cpu(rows))):
            if figure is not None:
                made[subject] = f"benchmark_{subject}.png"
                figure.savefig(folder / made[subject], dpi=130, facecolor="white")
    return made


def _curve(rows: Rows, view: str, method: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """SNR and value of a method on a view, from the main and the faint cases."""
    points = sorted(
        (float(row["snr"]), row[column])
        for row in (*rows.of("main"), *rows.of("faint"))
        if row["view"] == view and row["method"] == method and row[column] is not None
    )
    return np.array(points).reshape(-1, 2).T


def _grid(rows: Rows, draw: object, y_label: str) -> object:
    """One panel a view, its methods as curves over the SNR, the legend below. None without rows."""
    views = list(dict.fromkeys(row["view"] for row in rows.of("main")))
    if not views:
        return None
    methods = rows.methods("main")
    lines = int(np.ceil(len(views) / COLUMNS))
    figure = figures.new_figure(10.5, 2.45 * lines + 0.5)
    panels = figure.subplots(lines, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes, view in zip(panels.flat, views):
        for method in methods:
            draw(axes, view, method)
        axes.set_xscale("log")
        axes.set_title(view)
    for axes in list(panels.flat)[len(views) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel(y_label)
    for axes in list(panels.flat)[max(0, len(views) - COLUMNS) : len(views)]:
        axes.set_xlabel("SNR")
        axes.tick_params(labelbottom=True)
    marks = [_line(panels[0, 0], method, [], []) for method in methods]
    figure.legend(marks, [label(method) for method in methods], loc="outside lower center", ncols=4)
    return figure


def _line(axes: Axes, method: str, x: object, y: object) -> object:
    style = "--" if method == ORACLE else ":" if method == NETWORK else "-"
    width = 2.2 if method == FINAL else 1.3
    return axes.plot(x, y, style, marker="o", ms=3.5 if len(x) > 1 else 5, lw=width, color=COLOURS[method])[0]


def _errors(rows: Rows) -> object:
    def draw(axes: Axes, view: str, method: str) -> None:
        snr, error = _curve(rows, view, method, "mean_180")
        if len(snr):
            _line(axes, method, snr, np.maximum(error, LEAST_DRAWN))
        axes.set_yscale("log")

    return _grid(rows, draw, "mean error modulo 180 (deg)")


def _right(rows: Rows) -> object:
    exact = {row["view"] for row in rows.of("main") if row["period"] < 360}

    def draw(axes: Axes, view: str, method: str) -> None:
        snr, share = _curve(rows, view, method, "right_way_round")
        if view in exact:
            axes.text(0.5, 0.5, "two-fold: no right way", transform=axes.transAxes, ha="center", color=MUTED)
        elif len(snr):
            _line(axes, method, snr, 100 * share)
        axes.set_ylim(45, 102)

    return _grid(rows, draw, "right way round (%)")


def _cpu(rows: Rows) -> object:
    """CPU time a particle, the median over the 512-particle cases; own also for 10 000 particles."""
    bars = []
    for method in rows.methods("main"):
        values = [row["cpu_ms_particle"] for row in rows.of("main") if row["method"] == method]
        bars.append((f"{label(method)}, 512 particles", float(np.median(values)), COLOURS[method]))
    for method, words in ((FINAL, "training included"), (MODEL, "with a given model")):
        row = rows.find("hook_0.1_10000", method)
        if row:
            bars.append((f"scipion-udl, 10 000 particles, {words}", row["cpu_ms_particle"], COLOURS[method]))
    if not bars:
        return None
    bars.sort(key=lambda bar: -bar[1])
    figure = figures.new_figure(8.5, 0.42 * len(bars) + 0.9)
    axes = figure.subplots()
    names, values, colours = zip(*bars)
    drawn = axes.barh(names, values, color=colours, height=0.65)
    axes.bar_label(drawn, [f"{value:.3g}" for value in values], padding=4, color=INK)
    axes.set_xscale("log")
    axes.set_xlim(min(1.0, min(values) / 2), max(values) * 3)
    axes.set_xlabel("CPU time a particle (ms)")
    axes.grid(axis="y", visible=False)
    return figure
