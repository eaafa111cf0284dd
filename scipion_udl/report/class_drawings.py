"""Drawings of many classes, small enough for a hundred of them. The style sheet of the page gives their colours."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 320, 130  # of a curve, in the units of its view box
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 4, 8, 18  # room around it
_POINTS = 100  # of a curve, at most
_LOWEST = -0.1  # of the FRC that is drawn


def frc_curve(frc: np.ndarray, field: float, crossing: float | None, unit: str, of: str) -> Markup:
    """The half-set FRC of a class as a small curve over spatial frequency.

    Parameters
    ----------
    frc : (F,) array
        FRC of the Fourier pixels 1 to F; not finite where it is not known.
    field : float
        Box x pixel size, in ``unit``.
    crossing : float or None
        Where it falls to 0.143, in ``unit``; None where it does not.
    unit : str
        Of lengths.
    of : str
        What it is of, for those who cannot see it.

    Returns
    -------
    Markup
        An <svg> element.
    """
    last = max(len(frc), 1)
    pixels = np.unique(np.linspace(1, last, min(last, _POINTS)).round().astype(int))
    values = np.asarray(frc, np.float64)[pixels - 1] if len(frc) else np.zeros(0)
    points = [(_x(pixel / last), _y(value)) for pixel, value in zip(pixels, values) if np.isfinite(value)]
    path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points) if points else ""
    low, limit, right = _y(_LOWEST), _y(0.143), WIDTH - _RIGHT
    label = f"FRC of the halves of {of}: "
    label += f"falls to 0.143 at {crossing:.3g} {unit}" if crossing else "does not fall to 0.143 where it was measured"
    drawn = [
        f'<path class="axis" d="M{_LEFT},{_TOP}V{low:.1f}H{right}M{_LEFT},{_y(0):.1f}H{right}"/>',
        f'<path class="limit" d="M{_LEFT},{limit:.1f}H{right}"/>',
        f'<path class="graph" d="{path}"/>',
        *(f'<text x="{_LEFT - 4}" y="{_y(v) + 4:.1f}" text-anchor="end">{v:g}</text>' for v in (0, 1)),
        f'<text x="{right}" y="{HEIGHT - 3}" text-anchor="end">{field / last:.3g} {escape(unit)}</text>',
    ]
    if crossing:
        x = _x(min(field / crossing / last, 1.0))
        end = "end" if x > 0.6 * WIDTH else "start"
        drawn.append(f'<path class="crossing" d="M{x:.1f},{_TOP}V{low:.1f}"/>')
        drawn.append(
            f'<text class="crossing" x="{x + (-5 if end == "end" else 5):.1f}" y="{_TOP + 9}" text-anchor="{end}">'
            f"{crossing:.3g} {escape(unit)}</text>"
        )
    box = f"0 0 {WIDTH} {HEIGHT}"
    return Markup(f'<svg class="curve" viewBox="{box}" role="img" aria-label="{escape(label)}">{"".join(drawn)}</svg>')


def _x(share: float) -> float:
    """Where a share of the highest frequency lies."""
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _y(frc: float) -> float:
    """Where an FRC lies; what is below the lowest is drawn there."""
    share = (1 - max(float(frc), _LOWEST)) / (1 - _LOWEST)
    return _TOP + share * (HEIGHT - _TOP - _BOTTOM)


def size_bars(numbers: list[int], sizes: list[int], ticked: list[bool], filled: str) -> dict[str, object]:
    """The sizes of classes as bars, the largest first.

    Parameters
    ----------
    numbers, sizes : list of int
        Of the classes; how many particles each has.
    ticked : list of bool
        Whether its bar is filled.
    filled : str
        What the filled ones are, as goes on after "classes that".

    Returns
    -------
    dict
        For the template's macro ``bars``.
    """
    order = sorted(range(len(sizes)), key=lambda k: (-sizes[k], numbers[k]))
    most = max(sizes, default=0)
    columns = [
        {
            "number": numbers[k],
            "title": f"Class {numbers[k]}: {sizes[k]} particle{'' if sizes[k] == 1 else 's'}",
            "percent": 100 * sizes[k] / max(most, 1),
            "ticked": ticked[k],
        }
        for k in order
    ]
    title = f"{sizes[order[0]]} particles in class {numbers[order[0]]}" if order else "No class"
    title += f" down to {sizes[order[-1]]} in class {numbers[order[-1]]}" if len(order) > 1 else ""
    return {"columns": columns, "title": title, "filled": filled}
