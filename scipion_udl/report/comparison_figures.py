"""The picture of a comparison of classifications: where the classes of one run lie in another."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from scipion_udl.report.figures import BLUE, PAPER, new_figure, style

NAMED = 40  # classes: of more, axes do not name each
_SHARES = LinearSegmentedColormap.from_list("shares", (PAPER, BLUE))
_SIDE, _ABREAST = 4.4, 3  # inches of a matrix; how many stand in a row


def matrices_figure(first: str, numbers: np.ndarray, others: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    """The matrices of several runs against the first.

    Parameters
    ----------
    first : str
        What the first run is called.
    numbers : (K,) int array
        Its classes, in the order of the rows.
    others : sequence of (str, (L,) int array, (K, L) array)
        Of each other run its name, its classes in the order of the columns, and which share of each row's particles
        lies in each, NaN where that is not known.

    Returns
    -------
    Figure
        Dark where many of a row's particles lie; classes that are matched stand on the diagonal.
    """
    abreast = min(_ABREAST, len(others))
    down = -(-len(others) // abreast)
    with style():
        figure = new_figure(_SIDE * abreast, _SIDE * down)
        places = figure.subplots(down, abreast, squeeze=False).ravel()
        for axes, (name, columns, shares) in zip(places, others):
            _draw(axes, shares, (first, numbers), (name, columns))
        for axes in places[len(others) :]:
            axes.set_axis_off()
    return figure


def _draw(axes: Axes, shares: np.ndarray, rows: tuple[str, np.ndarray], columns: tuple[str, np.ndarray]) -> None:
    axes.grid(False)
    axes.imshow(np.nan_to_num(shares), cmap=_SHARES, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for axis, (name, numbers), word in ((axes.yaxis, rows, "Classes of"), (axes.xaxis, columns, "Classes of")):
        axis.set_label_text(f"{word} {name}")
        axis.set_ticks(range(len(numbers)), [str(number) for number in numbers] if len(numbers) <= NAMED else None)
        if len(numbers) > NAMED:
            axis.set_ticks([])
    if len(columns[1]) > 12:
        axes.tick_params(axis="x", labelrotation=90)
    axes.tick_params(labelsize=6 if max(len(rows[1]), len(columns[1])) > 20 else 8)
