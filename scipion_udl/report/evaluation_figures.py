"""The figure of the evaluation: a row of panels for each thing that was measured."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from scipion_udl.report.figures import AMBER, BLUE, MUTED, TEAL, draw_frc, draw_shifts, new_figure
from scipion_udl.report.pictures import to_grey

COLOURS = {"": (BLUE, "full circle"), "_180": (TEAL, "modulo 180"), "_symmetry": (AMBER, "modulo the symmetry")}
Row = Callable[[FigureBase], None]  # draws one row of panels


def evaluation_figure(rows: list[Row]) -> Figure:
    """Put rows below each other in one figure. To be called, and saved, within ``figures.style()``.

    Parameters
    ----------
    rows : list of callable
        Each draws into the part of the figure that it is given.

    Returns
    -------
    Figure
        The whole.
    """
    figure = new_figure(13, 3.5 * len(rows))
    for part, row in zip(np.ravel(figure.subfigures(len(rows), 1)), rows):
        row(part)
    return figure


def draw_errors(part: FigureBase, errors: dict[str, np.ndarray], shift: np.ndarray, of: str) -> None:
    """Draw rotation errors and shift errors.

    Parameters
    ----------
    part : FigureBase
        Where.
    errors : dict of str to (N,) array
        Degrees, by the endings of ``evaluation.periods``.
    shift : (N, 2) array
        Shift errors, pixels.
    of : str
        What the errors are those of, for the titles.
    """
    circle, near, shares, shifts = part.subplots(1, 4)
    full = errors[""]
    circle.hist(full, bins=np.linspace(-180, 180, 91), color=BLUE, log=True)
    circle.set(
        title=f"Rotation error, {of}",
        xlabel="degrees",
        ylabel=of,
        ylim=(0.7, None),
        xlim=(-180, 180),
        xticks=[-180, -90, 0, 90, 180],
    )
    _plain_numbers(circle.yaxis)
    last = list(errors)[-1]  # the smallest error that can be said to be one
    reach = max(float(np.percentile(np.abs(errors[last]), 95)) * 1.5, 1e-3)
    near.hist(errors[last], bins=np.linspace(-reach, reach, 41), color=COLOURS[last][0])
    near.axvline(0, color=MUTED, lw=1, ls=(0, (4, 3)))
    near.set(title=f"The same, {COLOURS[last][1]}", xlabel="degrees", xlim=(-reach, reach))
    _draw_shares(shares, errors, of)
    draw_shifts(shifts, shift[np.abs(full) < 90])
    shifts.set_title("Shift error, right way round")


def _draw_shares(axes: Axes, errors: dict[str, np.ndarray], of: str) -> None:
    for ending, values in reversed(errors.items()):
        colour, label = COLOURS[ending]
        order = np.append(np.arange(1, len(values) + 1) / len(values) * 100, 100)
        axes.plot(np.append(np.maximum(np.sort(np.abs(values)), 1e-3), 180), order, color=colour, lw=1.8, label=label)
    axes.axvline(5, color=MUTED, lw=1, ls=(0, (4, 3)))
    axes.set(
        xscale="log",
        xlim=(0.01, 180),
        ylim=(0, 101),
        title=f"Share of {of} closer than",
        xlabel="rotation error (degrees)",
        ylabel="%",
    )
    _plain_numbers(axes.xaxis)
    axes.legend(loc="upper left")


def _plain_numbers(axis: matplotlib.axis.Axis) -> None:
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def draw_reference(
    part: FigureBase,
    average: np.ndarray,
    reference: np.ndarray,
    frequency: np.ndarray,
    frc: np.ndarray,
    resolution: float,
    unit: str,
) -> None:
    """Draw an average, the reference it was laid on, and their FRC with the threshold 0.5.

    Parameters
    ----------
    part : FigureBase
        Where.
    average, reference : (D, D) arrays
        Both images.
    frequency : (rings,) array
        1/unit.
    frc : (rings,) array
        FRC.
    resolution : float
        Where it falls to 0.5, in ``unit``.
    unit : str
        Of lengths.
    """
    _draw_images_and_frc(part, (average, reference), ("Average", "Reference"), (frequency, frc), 0.5, resolution, unit)
    part.axes[-1].set_title("FRC against the reference")


def draw_halves(
    part: FigureBase,
    halves: tuple[np.ndarray, np.ndarray],
    frequency: np.ndarray,
    frc: np.ndarray,
    resolution: float,
    unit: str,
) -> None:
    """Draw the averages of even and odd items, and their FRC with the threshold 0.143.

    Parameters
    ----------
    part : FigureBase
        Where.
    halves : tuple of two (D, D) arrays
        Both averages.
    frequency : (rings,) array
        1/unit.
    frc : (rings,) array
        FRC.
    resolution : float
        Where it falls to 0.143, in ``unit``.
    unit : str
        Of lengths.
    """
    titles = ("Average of one half", "of the other half")
    _draw_images_and_frc(part, halves, titles, (frequency, frc), 0.143, resolution, unit)
    part.axes[-1].set_title("FRC of these halves (no claim)")


def _draw_images_and_frc(
    part: FigureBase,
    images: tuple[np.ndarray, np.ndarray],
    titles: tuple[str, str],
    curve: tuple[np.ndarray, np.ndarray],
    threshold: float,
    resolution: float,
    unit: str,
) -> None:
    left, middle, right = part.subplots(1, 3, width_ratios=[1, 1, 1.35])
    for axes, image, title in zip((left, middle), images, titles):
        axes.imshow(to_grey(image), cmap="gray", interpolation="bicubic")
        axes.set_title(title)
        axes.set_axis_off()
    frequency, frc = curve
    draw_frc(right, frequency[1:], frc[1:], threshold, resolution if np.isfinite(resolution) else None, unit)
