"""Particles of many views: molecules in three dimensions, seen from random directions, among noise and one another.

Each particle is the projection of its molecule from a direction of its own, turned in its plane and shifted. What a
direction and a pose mean stands in :mod:`scipion_udl.simulate.molecules`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.simulate.map_molecules import MapMolecule
from scipion_udl.simulate.molecules import BlobMolecule
from scipion_udl.simulate.particles import Simulation

WAYS = ("random", "uneven")
# Classes of particles in truth.star.
NOISE, FIRST, SECOND = 0, 1, 2
# Uneven views: the shares of the preferred directions (all others: the rest), and how far the particles of one lie off
# it: the standard deviation along either axis across it, in degrees.
PREFERRED_SHARES = (0.4, 0.25, 0.15)
SPREAD = 8.0
# What random numbers are for, beside the poses (0), the noise (1 and 2) of simulate/particles.py.
_DRAW, _PREFER = 3, 4

Molecule = BlobMolecule | MapMolecule


def uniform_directions(draws: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 3), uniform over the sphere, of numbers (N, 2) that are uniform from 0 to 1."""
    z, turn = 2 * draws[:, 0] - 1, 2 * np.pi * draws[:, 1]
    flat = np.sqrt(1 - z * z)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), z], -1)


def directions_around(axes: np.ndarray, draws: np.ndarray, spread: float = SPREAD) -> np.ndarray:
    """Unit vectors (N, 3) about unit ``axes`` (N, 3), by the von Mises-Fisher distribution.

    draws: (N, 2), uniform from 0 to 1; spread: degrees, about the standard deviation along either axis across.
    """
    concentration = 1 / np.radians(spread) ** 2
    cosine = 1 + np.log(draws[:, 0] + (1 - draws[:, 0]) * np.exp(-2 * concentration)) / concentration
    sine, turn = np.sqrt(np.maximum(1 - cosine**2, 0)), 2 * np.pi * draws[:, 1]
    # two axes across each: with the coordinate axis that lies farthest off it
    least = np.eye(3)[np.abs(axes).argmin(1)]
    one = np.cross(axes, least)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other = np.cross(axes, one)
    across = np.cos(turn)[:, None] * one + np.sin(turn)[:, None] * other
    return cosine[:, None] * axes + sine[:, None] * across


def preferred_directions(seed: int, molecule: int) -> np.ndarray:
    """The preferred directions (3, 3) of a molecule (1 or 2): at right angles to each other, drawn from the seed."""
    random = np.random.default_rng([seed, molecule, _PREFER])
    axes, _ = np.linalg.qr(random.standard_normal((3, 3)))
    return axes.T


@dataclass
class ViewSimulation(Simulation):
    """N particles of molecules seen from many directions.

    As :class:`Simulation`, but ``template`` is a molecule. views: "random", uniform over the sphere, or "uneven", as at
    an air-water interface: of each molecule four in five particles lie about one of three preferred directions
    (:data:`PREFERRED_SHARES`, :data:`SPREAD`), seen from one side, and the rest anywhere. second: a second molecule, of
    the same box, which the part ``second_share`` of the particles shows; noise_share: the part of the particles that
    holds noise alone. Both are drawn particle by particle. A particle of noise alone has variance 1, pose 0 and no
    direction (zeros). Raises UdlError for values that make no particles.
    """

    template: Molecule
    views: str = "random"
    noise_share: float = 0.0
    second: Molecule | None = None
    second_share: float = 0.0

    def __post_init__(self) -> None:
        if self.views not in WAYS:
            raise UdlError(f"there are no views '{self.views}': take {' or '.join(WAYS)}")
        if not 0 <= self.noise_share <= 1 or not 0 <= self.second_share <= 1 - self.noise_share:
            raise UdlError(
                f"shares of {self.noise_share:g} noise and {self.second_share:g} of a second molecule make no whole: "
                "they must be from 0 to 1, and not above 1 together"
            )
        if (self.second is None) != (self.second_share == 0):
            raise UdlError("a second molecule and its share, above 0, belong together: give both or none")
        if self.second and self.second.box != self.box:
            raise UdlError(f"the second molecule has a box of {self.second.box} pixels, the first of {self.box}")
        if self.noise_share and np.isinf(self.snr):
            raise UdlError("an SNR of inf leaves no noise, and the noise share asks for particles of it: give only one")
        super().__post_init__()
        draws = np.array([self._random(k, _DRAW).random(4) for k in range(self.count)])
        first_from = self.noise_share + self.second_share
        self._molecule = np.select([draws[:, 0] < self.noise_share, draws[:, 0] < first_from], [NOISE, SECOND], FIRST)
        self._direction = self._directions(draws[:, 1], draws[:, 2:])
        noise = self._molecule == NOISE
        self._direction[noise] = 0
        self._poses.angle[noise] = 0
        self._poses.shift[noise] = 0

    def _directions(self, choice: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Directions (N, 3) of numbers (N,) and (N, 2) that are uniform from 0 to 1."""
        directions = uniform_directions(draws)
        if self.views == "random":
            return directions
        preferred = np.searchsorted(np.cumsum(PREFERRED_SHARES), choice, side="right")
        for molecule in (FIRST, SECOND):
            mine = (self._molecule == molecule) & (preferred < len(PREFERRED_SHARES))
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

    def project(self, indices: np.ndarray) -> np.ndarray:
        """The particles ``indices`` (from 0) without CTF and noise, float32 (n, box, box)."""
        indices = np.asarray(indices, np.int64)
        images = np.zeros((len(indices), self.box, self.box), np.float32)
        for number, molecule in ((FIRST, self.template), (SECOND, self.second)):
            mine = self._molecule[indices] == number
            if mine.any():
                images[mine] = molecule.project(self._direction[indices[mine]], self._poses[indices[mine]])
        return images
