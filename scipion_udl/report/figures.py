"""The figures of the report and of the evaluation: matplotlib, one look for all.

Every function draws on axes it is given or returns a Figure; nothing touches pyplot, so no display and no global state
is needed. ``to_svg`` turns them into text for a page. The Scipion viewers draw with it too, so it runs on Python 3.8.
"""

from __future__ import annotations

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

from scipion_udl.imaging.poses import Poses, wrap

INK, MUTED, LINE, AXIS, PAPER = "#1c2833", "#5d6d7e", "#dfe5eb", "#aeb8c2", "#ffffff"
BLUE, TEAL, AMBER, RED, PALE = "#21618c", "#0f766e", "#ca8a04", "#b03a2e", "#d6e6f2"

# What a page calls these colours, which are others in its dark scheme.
IN_PAGES = {INK: "ink", MUTED: "muted", LINE: "line", AXIS: "axis", PAPER: "paper", BLUE: "blue", TEAL: "teal",
            AMBER: "amber", RED: "red"}  # fmt: skip

STYLE = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": AXIS,
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
    """An empty figure in the common style. Draw inside ``style()``.

    Parameters
    ----------
    width, height : float
        Inches.

    Returns
    -------
    Figure
        With a layout that keeps labels apart.
    """
    return Figure(figsize=(width, height), layout="constrained")


def style() -> matplotlib.rc_context:
    """The context in which figures are drawn and saved.

    Returns
    -------
    context manager
        Of matplotlib's settings.
    """
    return matplotlib.rc_context(STYLE)


# Text for a page.


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element for an HTML page.

    Parameters
    ----------
    figure : Figure
        The figure.
    name : str
        Its ids start with it, so that figures do not collide.

    Returns
    -------
    str
        The element.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True)
    svg = stream.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(r"(?<=fill: |roke: )#[0-9a-f]{6}", _in_pages, svg)
    svg = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.strip()


def _in_pages(colour: re.Match[str]) -> str:
    """A colour as the style sheet of a page calls it."""
    name = IN_PAGES.get(colour[0])
    return f"var(--{name},{colour[0]})" if name else colour[0]


def draw_frc(
    axes: Axes,
    frequency: np.ndarray,
    frc: np.ndarray,
    threshold: float,
    crossing: float | None,
    unit: str,
    colour: str = BLUE,
) -> None:
    """Draw an FRC curve over spatial frequency with its threshold.

    Parameters
    ----------
    axes : Axes
        Where.
    frequency : (F,) array
        1/unit.
    frc : (F,) array
        FRC.
    threshold : float
        Drawn as a line.
    crossing : float or None
        Where the curve falls to it, in ``unit``; None for no mark.
    unit : str
        Of lengths.
    colour : str, optional
        Of the curve.
    """
    axes.axhline(0, color=AXIS, lw=0.8)
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
        _mark_crossing(axes, frequency, frc, crossing, unit)
    axes.set(
        xlim=(0, top),
        ylim=(min(-0.1, float(np.nanmin(frc, initial=0)) * 1.05), 1.03),
        ylabel="FRC",
        xlabel=f"resolution ({unit})",
    )
    ticks = [100, 50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.5, 2.2, 2, 1.8, 1.6, 1.4, 1.2, 1]
    axes.set_xticks(*_apart(ticks, top))


def _mark_crossing(axes: Axes, frequency: np.ndarray, frc: np.ndarray, crossing: float, unit: str) -> None:
    """Mark where a curve falls to its threshold, with the resolution beside it."""
    axes.axvline(1 / crossing, color=TEAL, lw=1, ls=(0, (1, 2)))
    height = np.interp(1 / crossing, frequency, frc)  # a cautious claim lies where the curve is not down yet
    axes.plot([1 / crossing], [height], "o", color=TEAL, ms=6, mec="white", mew=1.2)
    # Beside the curve, above it: what lies beyond the crossing is low.
    late = 1 / crossing > 0.85 * float(np.max(frequency))
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


def _apart(resolutions: list[float], top: float, least: float = 0.055) -> tuple[list[float], list[str]]:
    """Ticks (frequencies, labels) of the resolutions below ``top`` that are ``least`` of the axis apart."""
    ticks: list[float] = []
    for resolution in resolutions:
        if 1 / resolution <= top * 1.001 and 1 / resolution - (ticks[-1] if ticks else 0) >= least * top:
            ticks.append(1 / resolution)
    return ticks, [f"{1 / t:.3g}" for t in ticks]


def draw_rose(axes: Axes, angle: np.ndarray, bins: int = 36) -> None:
    """Draw angles as a rose: 0 to the right, growing clockwise as on an image (y down).

    Parameters
    ----------
    axes : Axes
        Polar.
    angle : (N,) array
        Degrees.
    bins : int, optional
        Of the full circle.
    """
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
    """Draw shifts as points, or as a density where they are many; x to the right, y down as on an image.

    Parameters
    ----------
    axes : Axes
        Where.
    shift : (N, 2) array
        Pixels.
    colour : str, optional
        Of the points.
    """
    reach = max(1.0, float(np.percentile(np.abs(shift), 99.8)) * 1.1) if len(shift) else 1.0
    if len(shift) <= 3000:
        axes.scatter(*shift.T, s=9 if len(shift) < 1000 else 5, color=colour, alpha=0.45, lw=0, rasterized=True)
    else:
        map_ = matplotlib.colors.LinearSegmentedColormap.from_list("udl", ["white", PALE, colour, INK])
        edges = np.linspace(-reach, reach, 61)
        axes.hist2d(*shift.T, bins=[edges, edges], cmap=map_, rasterized=True)
    axes.axhline(0, color=AXIS, lw=0.8)
    axes.axvline(0, color=AXIS, lw=0.8)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal", xlabel="x (px)", ylabel="y (px)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_major_formatter("{x:g}")


def draw_scores(axes: Axes, score: np.ndarray, ambiguous: np.ndarray, outlier: np.ndarray | None = None) -> None:
    """Draw a histogram of scores, ambiguous particles on top of the others and outliers in colours of their own.

    Parameters
    ----------
    axes : Axes
        Where.
    score : (N,) array
        Scores.
    ambiguous : (N,) bool array
        Which particles are ambiguous.
    outlier : (N,) bool array, optional
        Which are outliers; None: not known.
    """
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


def frc_figure(frequency: np.ndarray, frc: np.ndarray, crossing: float | None, unit: str) -> Figure:
    """The half-set FRC with the threshold 0.143.

    Parameters
    ----------
    frequency : (F,) array
        1/unit.
    frc : (F,) array
        FRC.
    crossing : float or None
        The claimed resolution, in ``unit``.
    unit : str
        Of lengths.

    Returns
    -------
    Figure
        With one panel.
    """
    figure = new_figure(7.4, 3.6)
    draw_frc(figure.subplots(), frequency, frc, 0.143, crossing, unit)
    return figure


def class_frc_figure(frequency: np.ndarray, curves: Sequence[np.ndarray], claimed: Sequence[bool], unit: str) -> Figure:
    """The half-set FRC of several classes with the threshold 0.143; those without a claim in another colour.

    Parameters
    ----------
    frequency : (F,) array
        1/unit.
    curves : sequence of (F,) arrays
        FRC of each class.
    claimed : sequence of bool
        Whether a resolution is claimed.
    unit : str
        Of lengths.

    Returns
    -------
    Figure
        With one panel.
    """
    figure = new_figure(7.4, 3.6)
    axes = figure.subplots()
    draw_frc(axes, frequency, np.full(len(frequency), np.nan), 0.143, None, unit)
    for curve, estimate in zip(curves, claimed):
        axes.plot(frequency, curve, color=BLUE if estimate else AMBER, lw=1, alpha=0.6)
    kinds = {"resolution claimed": BLUE, "none claimed": AMBER}
    handles = [Line2D([], [], color=colour, label=name) for name, colour in kinds.items()]
    axes.legend(handles=handles, loc="upper right")
    return figure


def rose_figure(poses: Poses) -> Figure:
    """How the angles of the particles are spread.

    Parameters
    ----------
    poses : Poses
        Theirs.

    Returns
    -------
    Figure
        With one panel: see :func:`draw_rose`.
    """
    figure = new_figure(3.5, 3.5)
    draw_rose(figure.subplots(subplot_kw={"projection": "polar"}), poses.angle)
    return figure


def shift_figure(poses: Poses) -> Figure:
    """How the shifts of the particles are spread.

    Parameters
    ----------
    poses : Poses
        Theirs.

    Returns
    -------
    Figure
        With one panel: see :func:`draw_shifts`.
    """
    figure = new_figure(3.5, 3.5)
    draw_shifts(figure.subplots(), poses.shift)
    return figure


def score_figure(score: np.ndarray, ambiguous: np.ndarray, outlier: np.ndarray | None = None) -> Figure:
    """How the scores of the particles are spread.

    Parameters
    ----------
    score : (N,) array
        Scores.
    ambiguous : (N,) bool array
        Which particles are ambiguous.
    outlier : (N,) bool array, optional
        Which are outliers; None: not known.

    Returns
    -------
    Figure
        With one panel: see :func:`draw_scores`.
    """
    figure = new_figure(3.5, 3.5)
    draw_scores(figure.subplots(), score, ambiguous, outlier)
    return figure
