"""Picks that show no particle: contamination and carbon. (Empty ice needs no picture, touching molecules none of its
own.)"""

from __future__ import annotations

import numpy as np

# Lumps of contamination: how many at most, their half axes in parts of the box, and their deviation over the box, after
# the CTF, against that of a particle: from, to.
_LUMPS, _AXES, STRENGTH = 3, (0.08, 0.3), (1.5, 4.0)
# How far from the box's centre the edge of the carbon passes at most, in parts of the box; how wide its soft edge is,
# in pixels; the variance of its grain, after the CTF, against that of all noise; and how much brighter or darker it is
# than the ice, in noise deviations.
_EDGE, _SOFT, GRAIN, STEP = 0.35, 1.5, (0.3, 1.0), (0.5, 2.0)
# Two molecules that touch: their distance in diameters.
_DISTANCE = (0.4, 0.8)


def between(random: np.random.Generator, limits: tuple[float, float]) -> float:
    """A number drawn uniformly from between two.

    Parameters
    ----------
    random : Generator
    limits : (float, float)

    Returns
    -------
    float
    """
    return limits[0] + random.random() * (limits[1] - limits[0])


def blob(random: np.random.Generator, side: int, box: int) -> np.ndarray:
    """Contamination: one to three soft lumps, long and round, near the middle of a field.

    Their scale is free; most are brighter than the ice and a few darker.

    Parameters
    ----------
    random : Generator
    side : int
        Pixels of the field.
    box : int
        Pixels of the particles.

    Returns
    -------
    (side, side) float64 array
    """
    axis = np.arange(side) - side // 2
    field = np.zeros((side, side))
    for _ in range(random.integers(1, _LUMPS + 1)):
        x, y = (random.random(2) - 0.5) * 0.5 * box
        long, short = sorted((between(random, _AXES) * box for _ in range(2)), reverse=True)
        rotation = random.random() * np.pi
        u = np.cos(rotation) * (axis[None] - x) + np.sin(rotation) * (axis[:, None] - y)
        v = -np.sin(rotation) * (axis[None] - x) + np.cos(rotation) * (axis[:, None] - y)
        sign = -1 if random.random() < 0.2 else 1
        field += sign * np.exp(-(((u / long) ** 2 + (v / short) ** 2) ** 2))
    return field


def carbon_film(random: np.random.Generator, side: int, box: int) -> np.ndarray:
    """Where carbon is: one side of a straight edge through the box, of any direction.

    Parameters
    ----------
    random : Generator
    side : int
        Pixels of the field.
    box : int
        Pixels of the particles.

    Returns
    -------
    (side, side) float64 array
        From 0 to 1.
    """
    axis = np.arange(side) - side // 2
    rotation, away = 2 * np.pi * random.random(), (2 * random.random() - 1) * _EDGE * box
    distance = np.cos(rotation) * axis[None] + np.sin(rotation) * axis[:, None] - away
    return 1 / (1 + np.exp(-np.clip(distance / _SOFT, -50, 50)))


def touching_places(random: np.random.Generator, width: float) -> np.ndarray:
    """Places of two molecules that overlap, on both sides of the box's centre.

    Parameters
    ----------
    random : Generator
    width : float
        Their diameter, pixels.

    Returns
    -------
    (2, 2) float64 array
        x and y of each, in pixels from the centre.
    """
    rotation, half = 2 * np.pi * random.random(), between(random, _DISTANCE) * width / 2
    one = half * np.array([np.cos(rotation), np.sin(rotation)])
    return np.stack([one, -one])
