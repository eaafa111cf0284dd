"""Crowded ice: where the molecules around a particle lie, and images put together of several of them."""

from __future__ import annotations

import numpy as np

# The part of a molecule's energy that its diameter holds, and pixels that a site must be nearer for it to be seen.
_ENERGY, _FRINGE = 0.99, 0.15


def diameter(images: np.ndarray) -> float:
    """The diameter of the circle about the origin that holds 99 % of the images' energy.

    Parameters
    ----------
    images : (N, box, box) array

    Returns
    -------
    float
        Pixels.
    """
    box = images.shape[-1]
    axis = np.arange(box) - box // 2
    radius = np.hypot(axis[:, None], axis[None]).ravel()
    order = np.argsort(radius, kind="stable")
    energy = np.cumsum((images.astype(np.float64) ** 2).sum(0).ravel()[order])
    return float(2 * radius[order][np.searchsorted(energy, _ENERGY * energy[-1])])


def sites(random: np.random.Generator, spacing: float, width: float, share: float, reach: float) -> np.ndarray:
    """Places of the molecules around one at (0, 0).

    A hexagonal pattern, rotated by chance, each site off its place by up to half of the room that is left, and taken
    with the probability ``share``. So no two are nearer than ``width``.

    Parameters
    ----------
    random : Generator
    spacing : float
        Distance of the sites, pixels; at least ``width``.
    width : float
        A molecule's diameter, pixels.
    share : float
        0 to 1.
    reach : float
        Pixels; sites with x or y beyond +-``reach`` are left out.

    Returns
    -------
    (n, 2) float64 array
        x and y in pixels.
    """
    n = int(np.ceil(2 * reach / spacing)) + 1
    i, j = (part.ravel() for part in np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1)))
    others = (i != 0) | (j != 0)
    rotation = random.random() * np.pi / 3
    draws = random.random((others.sum(), 3))
    places = spacing * np.stack([i + 0.5 * j, np.sqrt(0.75) * j], -1)[others]
    c, s = np.cos(rotation), np.sin(rotation)
    places = places @ np.array([[c, s], [-s, c]])
    away = (spacing - width) / 2 * np.sqrt(draws[:, 0])
    places += away[:, None] * np.stack([np.cos(2 * np.pi * draws[:, 1]), np.sin(2 * np.pi * draws[:, 1])], -1)
    return places[(draws[:, 2] < share) & (np.abs(places) <= reach).all(1)]


def extent_of_neighbours(box: int, width: float) -> float:
    """How far from a box's centre a molecule may lie to be seen in it, the fringes of the CTF included.

    Parameters
    ----------
    box : int
        Pixels.
    width : float
        The molecule's diameter, pixels.

    Returns
    -------
    float
        Pixels.
    """
    return box / 2 + width / 2 + _FRINGE * box


def add_at(field: np.ndarray, image: np.ndarray, place: np.ndarray) -> None:
    """Add an image to a field; what leaves the field is left out.

    Parameters
    ----------
    field : (side, side) array
        Changed in place.
    image : (box, box) array
    place : (2,) array
        Where the image's origin falls: whole pixels (x, y) from the field's origin.
    """
    side, box = len(field), len(image)
    x, y = (int(value) + side // 2 - box // 2 for value in place)
    top, left = max(0, y), max(0, x)
    bottom, right = min(side, y + box), min(side, x + box)
    if bottom > top and right > left:
        field[top:bottom, left:right] += image[top - y : bottom - y, left - x : right - x]
