"""The figures of the report and of the evaluation: matplotlib, one look for all.

Every function draws on axes it is given or returns a Figure; nothing touches pyplot, so no display and no global state
is needed. ``to_svg`` and ``to_png`` turn them into text for a page. The Scipion viewers draw with it too, so it runs on
Python 3.8.
"""

from __future__ import annotations

import base64
import io
import re
from typing import Sequence

import matplotlib
import matplotlib.colors
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from scipion_udl.imaging.poses import Poses, wrap

INK, MUTED, LINE = "#1c2833", "#5d6d7e", "#dfe5eb"
BLUE, TEAL, AMBER, RED, PALE = "#21618c", "#148f77", "#ca8a04", "#b03a2e", "#d6e6f2"

STYLE = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": "#aeb8c2",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "scipion-udl",
    "figure.dpi": 100,
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of width x height inches in the common style. Draw inside ``style()``."""
    return Figure(figsize=(width, height), layout="constrained")


def style() -> matplotlib.rc_context:
    """The context in which figures are drawn and saved."""
    return matplotlib.rc_context(STYLE)


# Text for a page.


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element for an HTML page; its ids start with ``name``, so that figures do not collide."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True)
    svg = stream.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.strip()


def to_grey(image: np.ndarray) -> np.ndarray:
    """An image (D, D) as uint8 grey values, from its 0.3 to its 99.7 percentile; a constant image is mid grey."""
    low, high = np.percentile(image, [0.3, 99.7])
    if not high > low:
        return np.full(image.shape, 128, np.uint8)
    return (np.clip((image - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)


def to_png(image: np.ndarray, smallest: int = 0, largest: int = 4096) -> str:
    """An image (D, D), any dtype, as a data: URI of a grey PNG, resized so that its side is in [smallest, largest]."""
    picture = Image.fromarray(to_grey(np.asarray(image, np.float64)))
    side = min(max(picture.width, smallest), largest)
    if side != picture.width:
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def to_circle(box: int, radius: float) -> str:
    """A circle of ``radius`` pixels about the origin (pixel box//2) as an <svg> element to lie on an image of ``box``
    pixels a side, whatever the size it is shown in."""
    centre = box // 2 + 0.5  # a pixel is as wide as its number to the next
    return (
        f'<svg class="circle" viewBox="0 0 {box} {box}" aria-hidden="true"><circle cx="{centre:g}" cy="{centre:g}" '
        f'r="{radius:.3f}"/></svg>'
    )


def lowpass(image: np.ndarray, cycles: float) -> np.ndarray:
    """A copy of an image (D, D) for the eye: Gaussian low-pass with half amplitude at ``cycles`` per box side."""
    y, x = np.meshgrid(np.fft.fftfreq(len(image)), np.fft.rfftfreq(len(image)), indexing="ij")
    radius = np.hypot(x, y) * len(image)
    return np.fft.irfft2(np.fft.rfft2(image) * np.exp(-np.log(2) * (radius / cycles) ** 2), image.shape)


def nice_length(longest: float) -> float:
    """The largest of 1, 2, 5 x 10^k that is not longer than ``longest`` (> 0)."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(power * max(m for m in (1, 2, 5) if m * power <= longest * (1 + 1e-9)))


# Drawings on given axes.


def draw_frc(
    axes: Axes,
    frequency: np.ndarray,
    frc: np.ndarray,
    threshold: float,
    crossing: float | None,
    unit: str,
    colour: str = BLUE,
) -> None:
    """An FRC curve over spatial frequency (1/unit) with its threshold and, where given, the crossing (in unit)."""
    axes.axhline(0, color="#aeb8c2", lw=0.8)
    axes.axhline(threshold, color=MUTED, lw=1, ls=(0, (4, 3)))
    axes.plot(frequency, frc, color=colour, lw=1.9)
    top = float(np.max(frequency)) if len(frequency) else 1.0
    axes.text(
        top,
        threshold + 0.015,
        f"{threshold:g}",
        ha="right",
        va="bottom",
        color=MUTED,
        fontsize=8.5,
        bbox={"facecolor": "white", "alpha": 0.8, "pad": 0.8, "lw": 0},
    )
    if crossing:
        axes.axvline(1 / crossing, color=TEAL, lw=1, ls=(0, (1, 2)))
        height = np.interp(1 / crossing, frequency, frc)  # a cautious claim lies where the curve is not down yet
        axes.plot([1 / crossing], [height], "o", color=TEAL, ms=6, mec="white", mew=1.2)
        # Beside the curve, above it: what lies beyond the crossing is low.
        late = 1 / crossing > 0.85 * top
        axes.annotate(
            f"{crossing:.3g} {unit}",
            (1 / crossing, 0.93),
            textcoords="offset points",
            xytext=(-7 if late else 7, 0),
            ha="right" if late else "left",
            va="center",
            color=TEAL,
            weight="bold",
            fontsize=11,
            bbox={"facecolor": "white", "alpha": 0.8, "pad": 0.8, "lw": 0},
        )
    axes.set(
        xlim=(0, top),
        ylim=(min(-0.1, float(np.nanmin(frc, initial=0)) * 1.05), 1.03),
        ylabel="FRC",
        xlabel=f"resolution ({unit})",
    )
    ticks = [100, 50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.5, 2.2, 2, 1.8, 1.6, 1.4, 1.2, 1]
    axes.set_xticks(*_apart(ticks, top))


def _apart(resolutions: list[float], top: float, least: float = 0.055) -> tuple[list[float], list[str]]:
    """Ticks (frequencies, labels) of the resolutions below ``top`` that are ``least`` of the axis apart."""
    ticks: list[float] = []
    for resolution in resolutions:
        if 1 / resolution <= top * 1.001 and 1 / resolution - (ticks[-1] if ticks else 0) >= least * top:
            ticks.append(1 / resolution)
    return ticks, [f"{1 / t:.3g}" for t in ticks]


def draw_rose(axes: Axes, angle: np.ndarray, bins: int = 36) -> None:
    """Angles (N,) in degrees as a rose on polar axes: 0 to the right, growing clockwise as on an image (y down)."""
    edges = np.linspace(-180, 180, bins + 1)
    counts, _ = np.histogram(wrap(angle), edges)
    axes.set_theta_direction(-1)
    axes.bar(
        np.radians(edges[:-1]), counts, width=2 * np.pi / bins, align="edge", color=BLUE, alpha=0.85, ec="white", lw=0.6
    )
    circle = np.linspace(0, 2 * np.pi, 181)
    axes.plot(circle, np.full_like(circle, len(angle) / bins), color=AMBER, lw=1.1, ls=(0, (4, 3)))
    axes.set_xticks(np.radians([0, 90, 180, 270]), ["0°", "90°", "180°", "−90°"])
    axes.set_yticklabels([])
    axes.set_ylim(0, max(1.0, counts.max() * 1.05))
    axes.spines["polar"].set_visible(False)


def draw_shifts(axes: Axes, shift: np.ndarray, colour: str = BLUE) -> None:
    """Shifts (N, 2) in pixels as points, or as a density where they are many; x to the right, y down as on an image."""
    reach = max(1.0, float(np.percentile(np.abs(shift), 99.8)) * 1.1) if len(shift) else 1.0
    if len(shift) <= 3000:
        axes.scatter(*shift.T, s=9 if len(shift) < 1000 else 5, color=colour, alpha=0.45, lw=0, rasterized=True)
    else:
        map_ = matplotlib.colors.LinearSegmentedColormap.from_list("udl", ["white", PALE, colour, INK])
        edges = np.linspace(-reach, reach, 61)
        axes.hist2d(*shift.T, bins=[edges, edges], cmap=map_, rasterized=True)
    axes.axhline(0, color="#aeb8c2", lw=0.8)
    axes.axvline(0, color="#aeb8c2", lw=0.8)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal", xlabel="x (px)", ylabel="y (px)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_major_formatter("{x:g}")


def draw_scores(axes: Axes, score: np.ndarray, ambiguous: np.ndarray, outlier: np.ndarray | None = None) -> None:
    """Histogram of scores (N,), the ambiguous (N, bool) particles on top of the others in their own colour, and the
    outliers (N, bool; None: not known) in another."""
    edges = np.histogram_bin_edges(score, bins=int(np.clip(np.sqrt(len(score)), 10, 60)))
    outlier = np.zeros(len(score), bool) if outlier is None else outlier
    groups = {
        "clear": (~ambiguous & ~outlier, BLUE), "ambiguous": (ambiguous & ~outlier, AMBER), "outliers": (outlier, RED)
    }  # fmt: skip
    shown = {name: group for name, group in groups.items() if name != "outliers" or outlier.any()}
    axes.hist(
        [score[which] for which, _ in shown.values()],
        bins=edges,
        stacked=True,
        ec="white",
        lw=0.4,
        color=[colour for _, colour in shown.values()],
        label=list(shown),
    )
    axes.axvline(score.mean(), color=INK, lw=1, ls=(0, (4, 3)))
    axes.set(xlabel="score", ylabel="particles")
    axes.margins(y=0.16)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
    if ambiguous.any() or outlier.any():
        axes.legend(loc="upper right", handlelength=1, handleheight=0.9, labelspacing=0.25, borderaxespad=0)


def draw_template(axes: Axes, template: np.ndarray, frequency: np.ndarray, unit: str) -> None:
    """A polar template (radii, angles over 180 degrees) on polar axes, both halves: amplitudes know no sign of k.

    frequency: (radii,) in 1/unit, evenly spaced. Directions count from +x towards +y, clockwise as on an image.
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


def frc_figure(frequency: np.ndarray, frc: np.ndarray, crossing: float | None, unit: str) -> Figure:
    """The half-set FRC with the threshold 0.143; ``crossing`` is the claimed resolution in ``unit``, or None."""
    figure = new_figure(7.4, 3.6)
    draw_frc(figure.subplots(), frequency, frc, 0.143, crossing, unit)
    return figure


def class_frc_figure(frequency: np.ndarray, curves: Sequence[np.ndarray], claimed: Sequence[bool], unit: str) -> Figure:
    """The half-set FRC (F,) of several classes with the threshold 0.143; those without a claim in another colour."""
    figure = new_figure(7.4, 3.6)
    axes = figure.subplots()
    draw_frc(axes, frequency, np.full(len(frequency), np.nan), 0.143, None, unit)
    for curve, claim in zip(curves, claimed):
        axes.plot(frequency, curve, color=BLUE if claim else AMBER, lw=1, alpha=0.6)
    kinds = {"resolution claimed": BLUE, "none claimed": AMBER}
    handles = [Line2D([], [], color=colour, label=name) for name, colour in kinds.items()]
    axes.legend(handles=handles, loc="upper right")
    return figure


def rose_figure(poses: Poses) -> Figure:
    """How the angles of the particles are spread."""
    figure = new_figure(3.5, 3.5)
    draw_rose(figure.subplots(subplot_kw={"projection": "polar"}), poses.angle)
    return figure


def shift_figure(poses: Poses) -> Figure:
    """How the shifts of the particles are spread."""
    figure = new_figure(3.5, 3.5)
    draw_shifts(figure.subplots(), poses.shift)
    return figure


def score_figure(score: np.ndarray, ambiguous: np.ndarray, outlier: np.ndarray | None = None) -> Figure:
    """How the scores of the particles are spread."""
    figure = new_figure(3.5, 3.5)
    draw_scores(figure.subplots(), score, ambiguous, outlier)
    return figure


def template_figure(template: np.ndarray, frequency: np.ndarray, unit: str) -> Figure:
    """What a polar network turns particles to; see :func:`draw_template`."""
    figure = new_figure(4.6, 4.9)
    draw_template(figure.subplots(subplot_kw={"projection": "polar"}), template, frequency, unit)
    figure.suptitle("Learned template: the log spectrum that\nthe network turns every particle to", fontsize=10)
    return figure


def templates_figure(
    templates: np.ndarray, frequency: np.ndarray, unit: str, names: Sequence[str], most: int = 12
) -> Figure:
    """What a polar network of several views turns the particles of each to, of ``most`` of them: templates (views,
    radii, angles); see :func:`draw_template`."""
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
    figure.suptitle(f"Learned templates{more}: the log spectra that the network turns particles to", fontsize=10)
    return figure


def training_figure(rows: list[dict]) -> Figure | None:
    """Loss over epochs, one panel a stage of the training: stages may measure their loss in different ways.

    rows: one dict an epoch with "epoch", "stage", "loss", "validation" and, of simulated particles, "true_error" in
    degrees, which has an axis of its own (numbers or their text; what lacks is not drawn). None where no row holds a
    loss.
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
    """The numeric columns of each stage of a training that has a loss, by the stage's name; rows as above."""
    stages: dict[str, list[dict]] = {}
    for row in rows:
        stages.setdefault(str(row.get("stage") or "training"), []).append(row)
    curves = {stage: numeric_columns(part) for stage, part in stages.items()}
    return {stage: part for stage, part in curves.items() if "loss" in part or "validation" in part}


def draw_stage(axes: Axes, columns: dict[str, np.ndarray]) -> None:
    """Loss, validation and true error of one stage, whose columns are (epochs,) with NaN where there is none."""
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
    """The columns of rows that hold numbers, by name, (rows,) float64 with NaN where a row has none."""
    columns = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        try:
            values = np.array([np.nan if row.get(name) in (None, "") else float(row[name]) for row in rows])
        except (TypeError, ValueError):
            continue
        if np.isfinite(values).any():
            columns[str(name)] = values
    return columns
