"""Particles of many views: molecules in three dimensions, seen from random directions, among noise and one another.

Each particle is the projection of its molecule from a direction of its own, rotated in its plane and shifted. What a
direction and a pose mean stands in :mod:`scipion_udl.simulation.molecules`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scipion_udl.constants import MOST_JITTER
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, compose
from scipion_udl.messages import message
from scipion_udl.simulation.map_molecules import MapMolecule
from scipion_udl.simulation.molecules import BlobMolecule, view_matrices
from scipion_udl.simulation.particles import Simulation

WAYS = ("random", "uneven", "single")
# Classes of particles in truth.star.
NOISE, FIRST, SECOND = 0, 1, 2
# Uneven views: the shares of the preferred directions (all others: the rest), and how far the particles of one lie off
# it: the standard deviation along either axis across it, in degrees.
PREFERRED_SHARES = (0.4, 0.25, 0.15)
SPREAD = 8.0
# What random numbers are for, beside the poses (0), the noise (1 and 2) of simulation/particles.py.
_DRAW, _PREFER = 3, 4

Molecule = BlobMolecule | MapMolecule


def uniform_directions(draws: np.ndarray) -> np.ndarray:
    """Directions uniform over the sphere.

    Parameters
    ----------
    draws : (N, 2) array
        Uniform from 0 to 1.

    Returns
    -------
    (N, 3) float64 array
        Unit vectors.
    """
    z, rotation = 2 * draws[:, 0] - 1, 2 * np.pi * draws[:, 1]
    flat = np.sqrt(1 - z * z)
    return np.stack([flat * np.cos(rotation), flat * np.sin(rotation), z], -1)


def directions_around(axes: np.ndarray, draws: np.ndarray, spread: float = SPREAD) -> np.ndarray:
    """Directions about axes, by the von Mises-Fisher distribution.

    Parameters
    ----------
    axes : (N, 3) array
        Unit vectors.
    draws : (N, 2) array
        Uniform from 0 to 1.
    spread : float, optional
        Degrees, about the standard deviation along either axis across.

    Returns
    -------
    (N, 3) float64 array
        Unit vectors.
    """
    concentration = 1 / np.radians(spread) ** 2
    cosine = 1 + np.log(draws[:, 0] + (1 - draws[:, 0]) * np.exp(-2 * concentration)) / concentration
    sine, rotation = np.sqrt(np.maximum(1 - cosine**2, 0)), 2 * np.pi * draws[:, 1]
    # two axes across each: with the coordinate axis that lies farthest off it
    least = np.eye(3)[np.abs(axes).argmin(1)]
    one = np.cross(axes, least)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other = np.cross(axes, one)
    across = np.cos(rotation)[:, None] * one + np.sin(rotation)[:, None] * other
    return cosine[:, None] * axes + sine[:, None] * across


def preferred_directions(seed: int, molecule: int) -> np.ndarray:
    """The preferred directions of a molecule: at right angles to each other, drawn from the seed.

    Parameters
    ----------
    seed : int
    molecule : int
        1 or 2.

    Returns
    -------
    (3, 3) float64 array
        A unit vector a row.
    """
    random = np.random.default_rng([seed, molecule, _PREFER])
    axes, _ = np.linalg.qr(random.standard_normal((3, 3)))
    return axes.T


def rolled_angles(central: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """What views are rotated by in their planes against a central one that is rolled onto them by the shortest way.

    An angle d is the pose that takes the rolled view to the canonical projection
    (:mod:`scipion_udl.simulation.molecules`), whose own turn is RELION's psi = 0.

    Parameters
    ----------
    central : (3,) array
        Unit vector.
    directions : (N, 3) array
        Unit vectors, or zeros.

    Returns
    -------
    (N,) float64 array
        Degrees; 0 for zeros.
    """
    out = np.zeros(len(directions))
    shown = np.linalg.norm(directions, axis=1) > 0
    v = directions[shown]
    axis, cosine = np.cross(central, v), v @ central
    cross = np.zeros((len(v), 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]] = axis
    cross[:, [1, 2, 0], [2, 0, 1]] = -axis
    # Rodrigues' formula; directions opposite to the central one have no shortest way and are not met within the jitter
    roll = np.eye(3) + cross + cross @ cross / np.maximum(1 + cosine, 1e-6)[:, None, None]
    rolled = view_matrices(central[None]) @ np.swapaxes(roll, 1, 2)
    rotation = np.einsum("nij,nkj->nik", view_matrices(v), rolled)
    out[shown] = np.degrees(np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0]))
    return out


@dataclass
class ViewSimulation(Simulation):
    """N particles of molecules seen from many directions.

    As :class:`Simulation`, but ``template`` is a molecule. views: "random", uniform over the sphere, or "uneven", as at
    an air-water interface: of each molecule four in five particles lie about one of three preferred directions
    (:data:`PREFERRED_SHARES`, :data:`SPREAD`), seen from one side, and the rest anywhere; or "single", all from about
    one direction, ``central`` (rot, tilt in degrees; None: drawn from the seed), off it by a standard deviation of
    ``jitter`` degrees along either axis across it: what a class of real particles holds. The poses of a single view
    take each particle to the projection from the central direction, :meth:`central_view`: its own view is rolled into
    that one by the shortest way, without a turn in the plane. second: a second molecule, of
    the same box, which the part ``second_share`` of the particles shows; noise_share: the part of the particles that
    holds noise alone. Both are drawn particle by particle. A particle of noise alone has variance 1, pose 0 and no
    direction (zeros). Raises UdlError for values that make no particles.
    """

    template: Molecule  # type: ignore[assignment]  # in place of a single view
    views: str = "random"
    noise_share: float = 0.0
    second: Molecule | None = None
    second_share: float = 0.0
    central: tuple[float, float] | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.views not in WAYS:
            raise UdlError(message("no_such_views", views=self.views, known=" or ".join(WAYS)))
        if self.views != "single" and (self.jitter or self.central is not None):
            raise UdlError(message("direction_of_single_view", views=self.views))
        if not 0 <= self.jitter <= MOST_JITTER:
            raise UdlError(message("jitter_too_large", jitter=self.jitter, most=MOST_JITTER))
        if not 0 <= self.noise_share <= 1 or not 0 <= self.second_share <= 1 - self.noise_share:
            raise UdlError(message("shares_too_large", noise_share=self.noise_share, second_share=self.second_share))
        if (self.second is None) != (self.second_share == 0):
            raise UdlError(message("second_and_share"))
        if self.second and self.second.box != self.box:
            raise UdlError(message("second_of_other_box", box=self.second.box, first_box=self.box))
        if self.noise_share and np.isinf(self.snr):
            raise UdlError(message("noise_share_without_noise"))
        super().__post_init__()
        draws = np.array([self._random(k, _DRAW).random(4) for k in range(self.count)])
        first_from = self.noise_share + self.second_share
        self._molecule = np.select([draws[:, 0] < self.noise_share, draws[:, 0] < first_from], [NOISE, SECOND], FIRST)
        self._direction = self._directions(self._molecule, draws[:, 1], draws[:, 2:])
        noise = self._molecule == NOISE
        self._direction[noise] = 0
        self._poses.angle[noise] = 0
        self._poses.shift[noise] = 0

    def _directions(self, shown: np.ndarray, choice: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Directions (N, 3) of molecules ``shown`` (N,), of numbers (N,) and (N, 2) that are uniform from 0 to 1."""
        if self.views == "single":
            axes = np.tile(self.central_direction, (len(draws), 1))
            return directions_around(axes, draws, self.jitter) if self.jitter else axes
        directions = uniform_directions(draws)
        if self.views == "random":
            return directions
        preferred = np.searchsorted(np.cumsum(PREFERRED_SHARES), choice, side="right")
        for molecule in (FIRST, SECOND):
            mine = (shown == molecule) & (preferred < len(PREFERRED_SHARES))
            axes = preferred_directions(self.seed, molecule)[preferred[mine]]
            directions[mine] = directions_around(axes, draws[mine])
        return directions

    @property
    def molecule(self) -> np.ndarray:
        """What each particle shows, int (N,): 1 the first molecule, 2 the second, 0 noise alone."""
        return self._molecule

    @property
    def direction(self) -> np.ndarray:
        """The direction that each particle is seen from, unit vectors (N, 3) in the map's frame; zeros for noise."""
        return self._direction

    @property
    def central_direction(self) -> np.ndarray:
        """The direction of a single view, a unit vector (3,): the one given, or one drawn from the seed."""
        if self.central is None:
            return preferred_directions(self.seed, FIRST)[0]
        rot, tilt = np.radians(self.central)
        return np.array([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)])

    def central_view(self) -> np.ndarray:
        """The projection from the direction of a single view: what its poses lead to.

        Returns
        -------
        (box, box) float32 array
        """
        return self.template.project(self.central_direction[None], Poses.identity(1))[0]

    def show(self, indices: np.ndarray, poses: Poses) -> np.ndarray:
        indices = np.asarray(indices, np.int64)
        if self.views == "single":
            rotation = rolled_angles(self.central_direction, self._direction[indices])
            poses = compose(Poses(rotation), poses)
        return self._projections(self._molecule[indices], self._direction[indices], poses)

    def others(self, draws: np.ndarray, poses: Poses) -> np.ndarray:
        share = self.second_share / max(1 - self.noise_share, 1e-9)
        shown = np.where(draws[:, 0] < share, SECOND, FIRST)
        if self.views == "single":
            return self._projections(shown, uniform_directions(draws[:, 2:]), poses)
        return self._projections(shown, self._directions(shown, draws[:, 1], draws[:, 2:]), poses)

    def _projections(self, shown: np.ndarray, directions: np.ndarray, poses: Poses) -> np.ndarray:
        images = np.zeros((len(shown), self.box, self.box), np.float32)
        for number, molecule in ((FIRST, self.template), (SECOND, self.second)):
            mine = shown == number
            if molecule is not None and mine.any():
                images[mine] = molecule.project(directions[mine], poses[mine])
        return images
