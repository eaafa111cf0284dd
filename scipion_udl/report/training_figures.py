"""The figures of a training: its course over the epochs, and the templates that it has learned. Runs on Python 3.8."""

from __future__ import annotations

from typing import Sequence

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scipion_udl.report.figures import AMBER, BLUE, INK, RED, TEAL, new_figure


def draw_template(axes: Axes, template: np.ndarray, frequency: np.ndarray, unit: str) -> None:
    """Draw a polar template, both halves: amplitudes know no sign of k.

    Directions count from +x towards +y, clockwise as on an image.

    Parameters
    ----------
    axes : Axes
        Polar.
    template : (radii, angles) array
        Over 180 degrees.
    frequency : (radii,) array
        1/unit, evenly spaced.
    unit : str
        Of lengths.
    """
    step = frequency[1] - frequency[0] if len(frequency) > 1 else frequency[0]
    edges = np.append(frequency - step / 2, frequency[-1] + step / 2)
    count = template.shape[1]
    directions = np.radians((np.arange(2 * count + 1) - 0.5) * 180 / count)
    reach = max(1e-12, float(np.percentile(np.abs(template), 99.5)))
    axes.grid(False)
    axes.pcolormesh(directions, edges, np.tile(template, 2), cmap="gray", vmin=-reach, vmax=reach, rasterized=True)
    axes.set_theta_direction(-1)
    axes.set_ylim(0, edges[-1])
    axes.set_xticks(np.radians([0, 90, 180, 270]), ["0°", "90°", "180°", "−90°"])
    axes.set_yticks([])
    circle = np.linspace(0, 2 * np.pi, 181)
    for ring in np.quantile(frequency, [1 / 3, 2 / 3, 1]):
        axes.plot(circle, np.full_like(circle, ring), color=AMBER, lw=0.8)
        axes.text(
            np.radians(-45),
            ring,
            f"{1 / ring:.3g} {unit}",
            color=INK,
            fontsize=8.5,
            ha="center",
            va="center",
            bbox={"facecolor": "white", "alpha": 0.85, "pad": 1.2, "lw": 0},
        )
    axes.spines["polar"].set_visible(False)


# Whole figures of the report.


def template_figure(template: np.ndarray, frequency: np.ndarray, unit: str) -> Figure:
    """What a polar network rotates particles to; see :func:`draw_template`.

    Parameters
    ----------
    template : (radii, angles) array
        Over 180 degrees.
    frequency : (radii,) array
        1/unit, evenly spaced.
    unit : str
        Of lengths.

    Returns
    -------
    Figure
        With one panel.
    """
    figure = new_figure(4.6, 4.9)
    draw_template(figure.subplots(subplot_kw={"projection": "polar"}), template, frequency, unit)
    figure.suptitle("Learned template: the log spectrum that\nthe network rotates every particle to", fontsize=10)
    return figure


def templates_figure(
    templates: np.ndarray, frequency: np.ndarray, unit: str, names: Sequence[str], most: int = 12
) -> Figure:
    """What a polar network of several views rotates the particles of each to; see :func:`draw_template`.

    Parameters
    ----------
    templates : (views, radii, angles) array
        Over 180 degrees.
    frequency : (radii,) array
        1/unit, evenly spaced.
    unit : str
        Of lengths.
    names : sequence of str
        Of the views.
    most : int, optional
        How many are shown.

    Returns
    -------
    Figure
        A panel a view.
    """
    shown = min(most, len(templates))
    columns = min(4, shown)
    figure = new_figure(2.6 * columns, 0.5 + 2.8 * -(-shown // columns))
    panels = figure.subplots(-(-shown // columns), columns, subplot_kw={"projection": "polar"}, squeeze=False).ravel()
    for axes, template, name in zip(panels, templates, names[:shown]):
        draw_template(axes, template, frequency, unit)
        axes.set_title(name, loc="center")
    for axes in panels[shown:]:
        axes.set_axis_off()
    more = "" if shown == len(templates) else f" ({shown} of {len(templates)})"
    figure.suptitle(f"Learned templates{more}: the log spectra that the network rotates particles to", fontsize=10)
    return figure


def training_figure(rows: list[dict]) -> Figure | None:
    """Loss over epochs, one panel a stage of the training: stages may measure their loss in different ways.

    Parameters
    ----------
    rows : list of dict
        One an epoch with "epoch", "stage", "loss", "validation" and, of simulated particles, "true_error" in degrees,
        which has an axis of its own (numbers or their text; what lacks is not drawn).

    Returns
    -------
    Figure or None
        None where no row holds a loss.
    """
    curves = training_curves(rows)
    if not curves:
        return None
    figure = new_figure(8.4, 3.1)
    lengths = [max(1.0, np.sqrt(len(next(iter(part.values()))))) for part in curves.values()]
    panels = figure.subplots(1, len(curves), width_ratios=lengths, squeeze=False)[0]
    for axes, (stage, part) in zip(panels, curves.items()):
        draw_stage(axes, part)
        axes.set_title(stage)
    panels[0].set_ylabel("loss")
    return figure


def training_curves(rows: list[dict]) -> dict[str, dict[str, np.ndarray]]:
    """The numeric columns of each stage of a training that has a loss.

    Parameters
    ----------
    rows : list of dict
        As of :func:`training_figure`.

    Returns
    -------
    dict of str to dict of str to (epochs,) array
        Columns by name, by the stage's name.
    """
    stages: dict[str, list[dict]] = {}
    for row in rows:
        stages.setdefault(str(row.get("stage") or "training"), []).append(row)
    curves = {stage: numeric_columns(part) for stage, part in stages.items()}
    return {stage: part for stage, part in curves.items() if "loss" in part or "validation" in part}


def draw_stage(axes: Axes, columns: dict[str, np.ndarray]) -> None:
    """Draw loss, validation and true error of one stage.

    Parameters
    ----------
    axes : Axes
        Where.
    columns : dict of str to (epochs,) array
        NaN where there is none.
    """
    drawn = [(name, colour) for name, colour in (("loss", BLUE), ("validation", TEAL)) if name in columns]
    count = len(columns[drawn[0][0]])
    epoch = columns.get("epoch", np.arange(1.0, count + 1))
    lines = [_draw_epochs(axes, epoch, columns[name], colour, name) for name, colour in drawn]
    axes.set_xlabel("epoch")
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.ticklabel_format(axis="y", useOffset=False)
    if "true_error" in columns:
        right = axes.twinx()
        lines.append(_draw_epochs(right, epoch, columns["true_error"], RED, "true error"))
        right.set(ylim=(0, 1.08 * np.nanmax(columns["true_error"]) + 1e-9))
        right.set_ylabel("true error (°)", color=RED)
        right.spines["right"].set_visible(True)
        right.grid(False)
        axes = right  # it lies above, and the legend above all lines
    if len(lines) > 1:
        # above the panel, where it covers no curve of either axis
        axes.legend(
            handles=lines,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=len(lines),
            columnspacing=1.0,
            handlelength=1.2,
            borderaxespad=0.3,
        )


def _draw_epochs(axes: Axes, epoch: np.ndarray, values: np.ndarray, colour: str, label: str) -> Line2D:
    there = np.isfinite(values)
    marker = "o" if len(values) < 40 else None
    return axes.plot(epoch[there], values[there], color=colour, lw=1.7, marker=marker, ms=3, label=label)[0]


def numeric_columns(rows: list[dict]) -> dict[str, np.ndarray]:
    """The columns of rows that hold numbers.

    Parameters
    ----------
    rows : list of dict
        Numbers or their text by column.

    Returns
    -------
    dict of str to (rows,) float64 array
        By name; NaN where a row has none.
    """
    columns = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        try:
            values = np.array([np.nan if row.get(name) in (None, "") else float(row[name]) for row in rows])
        except (TypeError, ValueError):
            continue
        if np.isfinite(values).any():
            columns[str(name)] = values
    return columns
