"""Scipion's sign of rotations and shifts: the one place that knows it.

A Scipion Transform holds the pose of :mod:`scipion_udl.imaging.poses` as its matrix, which is to be applied to the
particle: +angle, shift in pixels, a mirror as -1 in the first row.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pwem.objects import Particle, SetOfParticles

from scipion_udl.imaging.poses import Poses, from_matrices, to_matrices


def transform_matrices(poses: Poses) -> np.ndarray:
    """What the Scipion Transforms of poses (N,) hold: 4 x 4 matrices to apply, shift in pixels, float64 (N, 4, 4)."""
    whole = np.tile(np.eye(4), (len(poses), 1, 1))
    matrices = to_matrices(poses)
    whole[:, :2, :2], whole[:, :2, 3] = matrices[:, :2, :2], matrices[:, :2, 2]
    return whole


def poses_of(particles: SetOfParticles) -> Poses:
    """The poses that the items of a set with 2D alignment hold, in its order."""
    return poses_in(particles.iterItems())


def poses_in(items: Iterable[Particle]) -> Poses:
    """The poses that items with 2D alignment hold."""
    return poses_of_matrices([item.getTransform().getMatrix() for item in items])


def poses_of_matrices(matrices_of_items: list[np.ndarray] | np.ndarray) -> Poses:
    """The poses of the 4 x 4 matrices (N, 4, 4) that Scipion Transforms hold."""
    whole = np.array(matrices_of_items).reshape(-1, 4, 4)
    matrices = np.tile(np.eye(3), (len(whole), 1, 1))
    matrices[:, :2, :2], matrices[:, :2, 2] = whole[:, :2, :2], whole[:, :2, 3]
    return from_matrices(matrices)
