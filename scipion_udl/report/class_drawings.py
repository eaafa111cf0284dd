"""Drawings of many classes, small enough for a hundred of them. The style sheet of the page gives their colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 320, 130  # of a curve, in the units of its view box
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 4, 8, 18  # room around it
_POINTS = 100  # of a curve, at most
_LOWEST = -0.1  # of the FRC that is drawn
_LEAF, _TREE_LEFT, _TREE_HEIGHT = 18, 40, 170  # of a tree of classes: between two classes, beside the first, of it all
_TREE_TOP, _TREE_BOTTOM = 10, 36  # room above and below the branches


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


def class_tree(
    numbers: Sequence[int], groups: Sequence[int], merges: Sequence[Sequence[float]], limit: float
) -> Markup:
    """How classes come together by the view that they show, the most similar first, and where the tree is cut.

    Parameters
    ----------
    numbers : (K,) sequence of int
        Of the classes.
    groups : (K,) sequence of int
        The superclass of each.
    merges : (K - 1, 4) sequence
        What comes together: one, other, distance, classes; classes count from 0, what a merge makes from K.
    limit : float
        The distance at which the tree is cut: 1 - correlation.

    Returns
    -------
    Markup
        An <svg> element; empty where there is no tree.
    """
    if len(merges) != len(numbers) - 1 or not len(merges):
        return Markup("")
    order = _leaves(merges, len(numbers))
    top, low = max(limit * 1.25, *(float(row[2]) for row in merges)), _TREE_HEIGHT - _TREE_BOTTOM
    width = _TREE_LEFT + _LEAF * len(order)

    def y(distance: float) -> float:
        return low - distance / top * (low - _TREE_TOP)

    places = {leaf: (_TREE_LEFT + _LEAF * (k + 0.5), float(low)) for k, leaf in enumerate(order)}
    drawn = [f'<path class="limit" d="M{_TREE_LEFT},{y(limit):.1f}H{width}"/>']
    for made, (one, other, distance, _) in enumerate(merges, len(order)):
        (x, from_y), (to_x, to_y) = sorted((places[int(one)], places[int(other)]))
        height = y(float(distance))
        kind = "same" if distance <= limit else "apart"
        drawn.append(f'<path class="{kind}" d="M{x:.1f},{from_y:.1f}V{height:.1f}H{to_x:.1f}V{to_y:.1f}"/>')
        places[made] = (x + to_x) / 2, height
    for value, where in ((1.0, low), (1 - limit, y(limit))):
        drawn.append(f'<text x="{_TREE_LEFT - 6}" y="{where + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for leaf in order:
        told = f"<title>Class {numbers[leaf]}, superclass {groups[leaf]}</title>"
        drawn.append(
            f'<text x="{places[leaf][0]:.1f}" y="{low + 14}" text-anchor="middle">{told}{numbers[leaf]}</text>'
        )
    drawn += _brackets([groups[leaf] for leaf in order], low)
    label = _tree_in_words(numbers, groups)
    box = f'viewBox="0 0 {width} {_TREE_HEIGHT}" width="{width}"'
    return Markup(f'<svg class="tree" {box} role="img" aria-label="{escape(label)}">{"".join(drawn)}</svg>')


def _leaves(merges: Sequence[Sequence[float]], count: int) -> list[int]:
    """The classes, from 0, in an order in which no branches cross."""
    under = {k: [k] for k in range(count)}
    for made, (one, other, *_) in enumerate(merges, count):
        under[made] = under.pop(int(one)) + under.pop(int(other))
    return under[count + len(merges) - 1]


def _brackets(groups: list[int], low: float) -> list[str]:
    """A line below the classes of each superclass, with its number."""
    drawn, begin = [], 0
    for k in range(1, len(groups) + 1):
        if k == len(groups) or groups[k] != groups[begin]:
            left, right = _TREE_LEFT + _LEAF * begin + 3, _TREE_LEFT + _LEAF * k - 3
            drawn.append(f'<path class="same" d="M{left},{low + 19}H{right}"/>')
            middle = (left + right) / 2
            drawn.append(
                f'<text class="group" x="{middle:g}" y="{low + 32}" text-anchor="middle">{groups[begin]}</text>'
            )
            begin = k
    return drawn


def _tree_in_words(numbers: Sequence[int], groups: Sequence[int]) -> str:
    """Which classes each superclass has, for those who cannot see the tree."""
    found: dict[int, list[str]] = {}
    for number, group in sorted(zip(numbers, groups)):
        found.setdefault(group, []).append(str(number))
    told = "; ".join(f"superclass {group}: {', '.join(own)}" for group, own in sorted(found.items()))
    return f"Tree of {len(numbers)} classes by the view that they show. {told}."
