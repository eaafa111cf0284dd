"""Phantoms: views of protein-like particles made by formula, so that users and tests need no download.

A phantom is a sum of round Gaussian blobs. A turn or shift only moves their centres, so it is sampled exactly, with no
interpolation at all; and each blob is a product of a function of x and one of y, so an image is one matrix product.
Lengths are in parts of the box, weights in any unit; nothing is random.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scipion_udl.constants import PHANTOM_VIEWS
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.messages import message

# Blobs narrower than this many pixels would hold frequencies that the pixels cannot.
_NARROWEST = 0.7
# exp(_FAR) is nothing beside the height of any blob.
_FAR = -40.0
# Steps of a sequence that fills the plane evenly without a pattern (from the root of x^3 = x + 1), and its weights.
_STEPS = np.array([0.7548776662466927, 0.5698402909980532, 0.6180339887498949])


class BlobTemplate:
    """A template (see :mod:`scipion_udl.simulation.templates`) of K Gaussian blobs.

    blobs: (K, 4) float64: x, y, width (standard deviation), all in parts of the box from its origin, and weight, the
    height of the blob.
    """

    def __init__(self, blobs: np.ndarray, box: int) -> None:
        if box < 8:
            raise UdlError(message("simulated_box_too_small", box=box))
        self.box = int(box)
        self._centre = blobs[:, :2] * box
        self._width, self._weight = widened(blobs[:, 2] * box, blobs[:, 3])

    def image(self) -> np.ndarray:
        """The phantom itself.

        Returns
        -------
        (box, box) float32 array
        """
        return self.sample(Poses.identity(1))[0]

    def sample(self, poses: Poses) -> np.ndarray:
        """The particles that poses take to the phantom.

        Parameters
        ----------
        poses : Poses
            N.

        Returns
        -------
        (N, box, box) float32 array
        """
        matrices = to_matrices(poses)
        # A blob at c in the template is at (M R)^T (c - t) in the particle.
        centre = np.einsum("nji,nkj->nki", matrices[:, :2, :2], self._centre - matrices[:, None, :2, 2])
        return blob_images(centre, self._width, self._weight, self.box)


def widened(width: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blobs as pixels can hold them: never too narrow, of the same mass.

    Parameters
    ----------
    width : (K,) array
        Standard deviations, pixels.
    weight : (K,) array
        Heights.

    Returns
    -------
    width, weight : (K,) arrays
    """
    wide = np.hypot(width, _NARROWEST)
    return wide, weight * (width / wide) ** 2


def blob_images(centre: np.ndarray, width: np.ndarray, weight: np.ndarray, box: int) -> np.ndarray:
    """Images of K blobs each.

    Parameters
    ----------
    centre : (N, K, 2) array
        x and y in pixels from the origin.
    width : (K,) array
        Standard deviations, pixels.
    weight : (K,) array
        Heights.
    box : int
        Pixels.

    Returns
    -------
    (N, box, box) float32 array
    """
    axis = np.arange(box) - box // 2
    # In C order, without which the product below is not made by the fast routines.
    sides = (axis[:, None] - np.ascontiguousarray(centre.transpose(0, 2, 1))[:, :, None, :]) / width
    # Bounded, for numbers below what float32 holds as normal make the product many times slower.
    sides = np.exp(np.maximum(-0.5 * sides * sides, _FAR).astype(np.float32))
    return np.matmul(sides[:, 1] * weight.astype(np.float32), sides[:, 0].transpose(0, 2, 1))


def _blob(x: float, y: float, width: float, weight: float) -> np.ndarray:
    return np.array([[x, y, width, weight]])


def _bar(x0: float, y0: float, x1: float, y1: float, width: float, weight: float) -> np.ndarray:
    """A straight rod, such as a helix lying in the plane, as a row of blobs with a faint beat along it."""
    length = np.hypot(x1 - x0, y1 - y0)
    n = max(2, int(np.ceil(length / (1.6 * width))) + 1)
    along = np.linspace(0, 1, n)
    beat = weight * (0.8 + 0.2 * np.cos(2 * np.pi * 3 * along))
    return np.stack([x0 + (x1 - x0) * along, y0 + (y1 - y0) * along, np.full(n, width), beat], -1)


def _ring(x: float, y: float, radius: float, n: int, width: float, weight: float, gap: float = 0.0) -> np.ndarray:
    """n blobs on a circle, of uneven weight; ``gap`` is the part of the circle left open."""
    rotation = 2 * np.pi * (1 - gap) * (np.arange(n) + 0.5) / n
    uneven = weight * (1 + 0.35 * np.sin(2.7 * np.arange(n) + 0.5))
    return np.stack([x + radius * np.cos(rotation), y + radius * np.sin(rotation), np.full(n, width), uneven], -1)


def _domain(
    x: float, y: float, a: float, b: float, rotation: float, n: int, weight: float, start: int = 0
) -> np.ndarray:
    """A folded domain: an ellipse (half axes a, b, rotated by ``rotation`` degrees) of n lumps on a smooth ground.

    One lump in six is broad, the others range from fine to middling. start: where in the sequence of points the domain
    begins, so that no two have the same texture.
    """
    k = np.arange(n)
    u, v, w = np.mod((k + 1 + start)[:, None] * _STEPS, 1.0).T
    c, s = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    p, q = a * np.sqrt(u) * np.cos(2 * np.pi * v), b * np.sqrt(u) * np.sin(2 * np.pi * v)
    broad = k % 6 == 0
    width = np.where(broad, 0.022 + 0.012 * w, 0.004 + 0.014 * w * w)
    height = weight * np.where(broad, 0.3 + 0.5 * v, 0.4 + 1.6 * np.mod(2 * v + w, 1.0))
    lumps = np.stack([x + c * p - s * q, y + s * p + c * q, width, height], -1)
    ground = [_blob(x + f * a * c, y + f * a * s, 0.4 * b + 0.12 * a, 0.7 * weight) for f in (-0.5, 0.0, 0.5)]
    return np.concatenate([lumps, *ground])


def _texture(a: float, b: float, n: int, weight: float, start: int) -> np.ndarray:
    """n fine lumps all over a rectangle of half sides a, b about the origin."""
    u, v, w = np.mod((np.arange(n) + 1 + start)[:, None] * _STEPS, 1.0).T
    return np.stack([a * (2 * u - 1), b * (2 * v - 1), 0.006 + 0.012 * w, weight * (0.4 + 1.6 * w)], -1)


def _rotated(blobs: np.ndarray) -> np.ndarray:
    """The blobs rotated by 180 degrees about the origin."""
    return blobs * [-1, -1, 1, 1]


def _hook() -> np.ndarray:
    """Asymmetric: a large domain with a cleft, a smaller one on an arm, and a bent tail."""
    return np.concatenate(
        [
            _domain(-0.07, 0.07, 0.17, 0.12, 20, 130, 1.0),
            _domain(-0.12, -0.09, 0.10, 0.07, -50, 60, 0.9, start=170),
            _domain(0.16, -0.13, 0.10, 0.08, -40, 60, 1.0, start=300),
            _domain(0.05, -0.05, 0.08, 0.035, -35, 24, 0.9, start=420),
            _bar(0.09, 0.13, 0.20, 0.10, 0.018, 0.9),
            _bar(0.20, 0.10, 0.22, 0.01, 0.015, 0.8),
            _bar(-0.16, 0.05, -0.01, 0.13, 0.010, 0.7),
            _blob(-0.03, 0.02, 0.016, -1.2),
        ]
    )


def _clamp() -> np.ndarray:
    """Asymmetric: an open ring with jaws of different size around a channel."""
    return np.concatenate(
        [
            _ring(0.01, 0.01, 0.13, 22, 0.028, 0.7, gap=0.18),
            _domain(0.14, 0.12, 0.12, 0.08, 60, 75, 0.9, start=40),
            _domain(-0.15, -0.04, 0.14, 0.09, 95, 110, 0.9, start=520),
            _domain(0.07, -0.16, 0.10, 0.07, 15, 65, 1.0, start=900),
            _domain(-0.05, 0.17, 0.08, 0.05, -20, 36, 0.8, start=1300),
            _bar(-0.05, 0.03, 0.04, -0.03, 0.012, 0.9),
        ]
    )


def _hammer() -> np.ndarray:
    """Asymmetric: a broad head on a stalk with a foot, as an enzyme in a membrane seen from the side."""
    return np.concatenate(
        [
            _domain(0.03, -0.17, 0.17, 0.09, 8, 130, 0.9, start=150),
            _domain(-0.11, -0.10, 0.07, 0.05, 60, 36, 0.9, start=1500),
            _domain(0.0, 0.04, 0.05, 0.13, 4, 60, 0.7, start=260),
            _bar(-0.02, -0.08, -0.03, 0.15, 0.014, 0.8),
            _bar(0.03, -0.08, 0.03, 0.12, 0.012, 0.7),
            _domain(-0.02, 0.20, 0.11, 0.06, -12, 65, 0.9, start=700),
            _domain(0.12, 0.09, 0.06, 0.045, 50, 30, 0.8, start=1000),
        ]
    )


def _dimer() -> np.ndarray:
    """Two-fold symmetric: the same half twice, 180 degrees apart."""
    half = np.concatenate(
        [
            _domain(0.11, 0.05, 0.13, 0.09, 35, 110, 0.9, start=220),
            _domain(0.13, 0.20, 0.07, 0.055, -30, 42, 1.0, start=610),
            _domain(0.17, -0.08, 0.07, 0.045, 15, 36, 0.8, start=1700),
            _bar(0.01, 0.03, 0.10, 0.15, 0.014, 0.8),
        ]
    )
    return np.concatenate([half, _rotated(half)])


def _barrel() -> np.ndarray:
    """Nearly two-fold: a double barrel from the side, whose two ends differ in detail only."""
    half = np.concatenate(
        [
            _domain(0.10, 0.205, 0.10, 0.045, 6, 60, 0.9, start=400),
            _domain(-0.11, 0.20, 0.09, 0.045, -8, 55, 1.0, start=800),
            _domain(0.0, 0.07, 0.20, 0.035, 0, 90, 0.9, start=30),
            _domain(0.17, 0.13, 0.03, 0.06, 0, 18, 0.5, start=1900),
            _domain(-0.17, 0.13, 0.03, 0.06, 0, 18, 0.5, start=2000),
        ]
    )
    one_end = np.concatenate(
        [_blob(0.02, 0.245, 0.020, 1.5), _blob(-0.17, 0.23, 0.014, 1.5), _blob(0.09, 0.14, 0.016, 1.2)]
    )
    return np.concatenate([half, _rotated(half), one_end])


def _tube() -> np.ndarray:
    """A tube across the view, with a repeat along it and ends that differ: a shift along it is hard to tell."""
    rungs = [_bar(x - 0.02, -0.10, x + 0.02, 0.10, 0.013, 0.9 + 0.1 * np.sin(60 * x)) for x in np.arange(-4, 5) * 0.055]
    walls = [_bar(-0.25, y, 0.25, y, 0.018, 0.8) for y in (-0.10, 0.10)]
    ends = [_domain(0.265, 0.02, 0.025, 0.06, 0, 14, 0.9, start=2400), _blob(-0.26, 0.06, 0.022, 1.0)]
    return np.concatenate([*rungs, *walls, *ends, _texture(0.25, 0.09, 160, 0.5, start=1200)])


def _pebble() -> np.ndarray:
    """Asymmetric and compact: a small enzyme of two lobes around a cleft, a quarter of the box wide."""
    return np.concatenate(
        [
            _domain(-0.035, 0.02, 0.075, 0.055, 30, 70, 1.0, start=3100),
            _domain(0.055, -0.03, 0.055, 0.045, -55, 44, 0.9, start=3300),
            _domain(0.03, 0.065, 0.045, 0.025, -15, 20, 0.8, start=3500),
            _bar(-0.06, -0.045, 0.02, -0.075, 0.010, 0.9),
            _blob(0.012, 0.012, 0.012, -0.9),
        ]
    )


def _anchor() -> np.ndarray:
    """Asymmetric: a shank between two arms of different length, with a cap beside its upper end."""
    return np.concatenate(
        [
            _domain(-0.01, 0.02, 0.06, 0.15, -12, 80, 0.8, start=4100),
            _domain(-0.16, 0.13, 0.11, 0.065, 35, 62, 0.9, start=4300),
            _domain(0.15, 0.15, 0.07, 0.08, -20, 48, 1.0, start=4500),
            _domain(0.05, -0.19, 0.13, 0.06, -6, 72, 0.9, start=4700),
            _domain(-0.14, -0.09, 0.05, 0.07, 15, 26, 0.7, start=4900),
            _bar(0.07, -0.10, 0.15, 0.05, 0.012, 0.7),
            _blob(0.02, 0.10, 0.018, -0.9),
        ]
    )


def _spindle() -> np.ndarray:
    """Nearly two-fold: a long stack of four layers, lying aslant, that are wider in the middle; the tips differ."""
    layers = [
        _domain(0.035, -0.045, 0.15, 0.04, 38, 74, 1.0, start=5100),
        _domain(0.085, -0.12, 0.12, 0.035, 42, 56, 0.9, start=5300),
        _domain(0.135, -0.19, 0.075, 0.035, 30, 34, 0.9, start=5500),
        _bar(0.13, -0.04, 0.20, -0.13, 0.014, 0.6),
    ]
    half = np.concatenate(layers)
    tips = [_domain(0.17, -0.235, 0.03, 0.022, 38, 12, 0.7, start=5700), _blob(-0.205, 0.175, 0.016, 1.4)]
    return np.concatenate([half, _rotated(half), *tips])


# name: (formula, what a user should know of it)
PHANTOMS: dict[str, tuple[Callable[[], np.ndarray], str]] = {
    name: (formula, PHANTOM_VIEWS[name])
    for name, formula in {
        "hook": _hook,
        "clamp": _clamp,
        "hammer": _hammer,
        "dimer": _dimer,
        "barrel": _barrel,
        "tube": _tube,
        "pebble": _pebble,
        "anchor": _anchor,
        "spindle": _spindle,
    }.items()
}


def phantom(name: str, box: int) -> BlobTemplate:
    """The phantom of a name.

    Parameters
    ----------
    name : str
        One of PHANTOMS.
    box : int
        Pixels.

    Returns
    -------
    BlobTemplate

    Raises
    ------
    UdlError
        For a name that is not in PHANTOMS; says which are.
    """
    if name not in PHANTOMS:
        raise UdlError(message("no_such_phantom", name=name, known=", ".join(PHANTOMS)))
    return BlobTemplate(PHANTOMS[name][0](), box)
