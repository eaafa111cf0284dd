"""Phantoms in three dimensions: protein-like molecules made by formula, to be looked at from every side.

A phantom is a sum of round Gaussian blobs in space, so that its projection from any direction is the same number of
blobs in a plane, exactly (:class:`scipion_udl.simulation.molecules.BlobMolecule`). Lengths are in parts of the box:
at 128 pixels of 2 A the lumps are of 4 to 20 A, and the molecules about 150 A long. The centre of mass is the origin.
Nothing is random.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scipion_udl.constants import PHANTOM_MOLECULES
from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.simulation.molecules import BlobMolecule

# Steps of a sequence that fills five dimensions evenly without a pattern: powers of 1/g, with g^6 = g + 1.
_STEPS = 1.1347241384015194 ** -np.arange(1.0, 6.0)


def _blob(x: float, y: float, z: float, width: float, weight: float) -> np.ndarray:
    return np.array([[x, y, z, width, weight]])


def _rotation(about_z: float, about_y: float, again_z: float) -> np.ndarray:
    """The matrix (3, 3) that turns by three angles in degrees: about z, then about y, then about z."""

    def matrix(angle: float, i: int, j: int) -> np.ndarray:
        out = np.eye(3)
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        out[i, i], out[i, j], out[j, i], out[j, j] = c, -s, s, c
        return out

    return matrix(again_z, 0, 1) @ matrix(about_y, 2, 0) @ matrix(about_z, 0, 1)


def _domain(
    place: tuple[float, float, float],
    axes: tuple[float, float, float],
    rotation: tuple[float, float, float],
    n: int,
    weight: float,
    start: int,
    coarse: float = 1.0,
) -> np.ndarray:
    """A folded domain: an ellipsoid (half axes, rotated by three angles) of n lumps on a smooth ground.

    One lump in five is broad, the others range from fine to middling, by ``coarse`` times. start: where in the sequence
    of points the domain begins, so that no two have the same texture.
    """
    u, v, w, p, q = np.mod((np.arange(n) + 1 + start)[:, None] * _STEPS, 1.0).T
    radius, height = np.cbrt(u), 2 * v - 1
    flat = np.sqrt(1 - height**2)
    inside = radius[:, None] * np.stack([flat * np.cos(2 * np.pi * w), flat * np.sin(2 * np.pi * w), height], -1)
    broad = np.arange(n) % 5 == 0
    width = coarse * np.where(broad, 0.020 + 0.012 * p, 0.006 + 0.012 * p * p)
    lumps = weight * np.where(broad, 0.4 + 0.5 * q, 0.5 + 1.5 * q)
    matrix = _rotation(*rotation)
    ground = [
        np.array([*(place + matrix @ ([f * axes[0], 0, 0])), 0.28 * sum(axes) / 2, 0.8 * weight]) for f in (-0.45, 0.45)
    ]
    return np.concatenate([np.column_stack([place + (inside * axes) @ matrix.T, width, lumps]), ground])


def _rod(begin: tuple, stop: tuple, width: float, weight: float) -> np.ndarray:
    """A straight rod, such as a helix, as a row of blobs with a faint beat along it."""
    start, end = np.array(begin), np.array(stop)
    n = max(2, int(np.ceil(np.linalg.norm(end - start) / (1.6 * width))) + 1)
    along = np.linspace(0, 1, n)
    beat = weight * (0.8 + 0.2 * np.cos(2 * np.pi * 3 * along))
    return np.column_stack([start + along[:, None] * (end - start), np.full(n, width), beat])


def _fitted(parts: list[np.ndarray], length: float) -> np.ndarray:
    """The parts together, their centre of mass at the origin, with ``length`` between the farthest two blobs."""
    blobs = np.concatenate(parts)
    mass = blobs[:, 4] * blobs[:, 3] ** 2
    place = blobs[:, :3] - mass @ blobs[:, :3] / mass.sum()
    farthest = np.linalg.norm(place[:, None] - place, axis=-1).max()
    return np.column_stack([place * (length / farthest), blobs[:, 3:]])


def _boot() -> np.ndarray:
    """A leg, a foot at right angles to it, a heel, and a strap that leaves the plane of the two."""
    return _fitted(
        [
            _domain((-0.09, -0.02, 0.11), (0.17, 0.085, 0.075), (0, -78, 10), 42, 1.0, 0),
            _domain((0.04, 0.01, -0.12), (0.15, 0.08, 0.065), (20, 6, 12), 36, 1.0, 60),
            _domain((-0.14, -0.06, -0.15), (0.06, 0.05, 0.07), (40, 30, 0), 14, 1.1, 130),
            _domain((-0.02, 0.13, 0.04), (0.09, 0.05, 0.04), (0, 40, 70), 16, 0.9, 170),
            _rod((-0.10, 0.06, 0.22), (0.0, 0.15, 0.10), 0.013, 1.0),
            _blob(-0.05, -0.03, -0.03, 0.018, -1.2),
        ],
        0.52,
    )


def _crane() -> np.ndarray:
    """A compact body, a long arm that leans out of it, and a load at the arm's end; coarse in texture."""
    return _fitted(
        [
            _domain((-0.09, -0.06, -0.08), (0.13, 0.115, 0.10), (30, 35, 15), 46, 1.0, 300, 1.25),
            _domain((0.0, 0.03, 0.08), (0.16, 0.04, 0.045), (0, -52, 35), 24, 0.9, 420, 1.1),
            _domain((0.15, 0.12, 0.16), (0.075, 0.06, 0.05), (80, 50, 0), 18, 1.1, 500, 1.25),
            _domain((0.06, -0.14, -0.12), (0.09, 0.05, 0.045), (10, 20, -40), 16, 1.0, 560),
            _rod((0.13, 0.14, 0.11), (0.10, 0.17, -0.06), 0.014, 0.9),
        ],
        0.56,
    )


def _saddle() -> np.ndarray:
    """A bent sheet of four lobes that differ, with a ridge on one side of it; fine in texture."""
    return _fitted(
        [
            _domain((0.14, 0.03, 0.05), (0.11, 0.09, 0.045), (70, 25, 0), 30, 1.0, 700, 0.85),
            _domain((-0.13, 0.05, 0.04), (0.10, 0.10, 0.05), (20, -30, 10), 30, 1.0, 800, 0.85),
            _domain((0.02, 0.15, -0.06), (0.10, 0.075, 0.05), (0, 15, 40), 24, 0.9, 900, 0.85),
            _domain((-0.03, -0.14, -0.05), (0.13, 0.07, 0.045), (15, -10, 25), 28, 1.1, 1000, 0.85),
            _domain((0.01, 0.01, 0.03), (0.08, 0.06, 0.05), (0, 0, 60), 16, 0.8, 1100),
            _rod((-0.08, -0.05, 0.09), (0.09, -0.03, 0.11), 0.014, 1.0),
        ],
        0.53,
    )


def _anvil() -> np.ndarray:
    """A long block with a horn on a narrow waist and a skewed base: of the size of the others, as a second molecule."""
    return _fitted(
        [
            _domain((0.0, 0.01, 0.12), (0.17, 0.085, 0.06), (0, 8, -15), 40, 1.0, 1300),
            _domain((0.19, -0.05, 0.09), (0.075, 0.035, 0.035), (0, 20, -25), 10, 1.0, 1400),
            _domain((-0.03, 0.0, 0.0), (0.06, 0.05, 0.08), (0, 0, 30), 20, 0.9, 1450),
            _domain((-0.01, 0.03, -0.14), (0.13, 0.09, 0.055), (0, -12, 65), 36, 1.0, 1500),
            _domain((-0.13, -0.10, -0.06), (0.06, 0.05, 0.07), (30, 60, 0), 14, 1.1, 1600),
            _rod((0.05, 0.09, -0.10), (0.10, 0.08, 0.08), 0.013, 1.0),
        ],
        0.53,
    )


def _tetramer() -> np.ndarray:
    """D2: the same subunit four times, by half turns about x, y and z."""
    subunit = np.concatenate(
        [
            _domain((0.09, 0.07, 0.12), (0.10, 0.075, 0.065), (25, 40, 10), 22, 1.0, 1800),
            _domain((0.15, 0.05, -0.01), (0.06, 0.05, 0.045), (60, 15, 0), 9, 1.0, 1900),
            _rod((0.02, 0.03, 0.04), (0.07, 0.13, 0.08), 0.014, 1.0),
        ]
    )
    flips = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
    return _fitted([subunit * [*signs, 1, 1] for signs in flips], 0.52)


# name: (formula, symmetry group as RELION writes it, what a user should know of it)
PHANTOMS_3D: dict[str, tuple[Callable[[], np.ndarray], str, str]] = {
    name: (formula, *PHANTOM_MOLECULES[name])
    for name, formula in {
        "boot": _boot,
        "crane": _crane,
        "saddle": _saddle,
        "anvil": _anvil,
        "tetramer": _tetramer,
    }.items()
}


def molecule(name: str, box: int) -> BlobMolecule:
    """The phantom of a name, in three dimensions.

    Parameters
    ----------
    name : str
        One of PHANTOMS_3D.
    box : int
        Pixels.

    Returns
    -------
    BlobMolecule

    Raises
    ------
    UdlError
        For a name that is not in PHANTOMS_3D; says which are.
    """
    if name not in PHANTOMS_3D:
        raise UdlError(message("no_such_phantom_3d", name=name, known=", ".join(PHANTOMS_3D)))
    return BlobMolecule(PHANTOMS_3D[name][0](), box)
