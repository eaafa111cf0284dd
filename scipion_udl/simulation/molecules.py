"""Molecules: densities in three dimensions that can be looked at from any direction. Here, those of blobs; those given
as maps are in map_molecules.py.

A molecule has ``box`` (pixels), ``volume()`` -> float32 (box, box, box) as [z, y, x], and ``project(directions,
poses)`` -> float32 (N, box, box). A direction v is a unit vector (x, y, z) in the frame of the map, whose origin is
voxel box//2. It is the line of sight of RELION's angles:

    v = (sin tilt cos rot, sin tilt sin rot, cos tilt),    rot = atan2(v_y, v_x),    tilt = acos(v_z)

The map's point r falls on (x, y) = the first two rows of E r, where E = :func:`view_matrices` (v) is RELION's matrix of
(rot, tilt, psi = 0): that is the canonical projection from v, the density summed along v. At the poles, where rot says
nothing, it is 0. ``poses`` are those of :mod:`scipion_udl.imaging.poses` and take the particle to the canonical
projection from its direction; a pose that turns by an angle is RELION's psi = +angle. So the projection from -v is the
mirror image (y -> -y) of that from v.
"""

from __future__ import annotations

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.messages import message
from scipion_udl.simulation.phantoms import blob_images, widened


def view_matrices(directions: np.ndarray) -> np.ndarray:
    """RELION's matrices E of rot, tilt and psi = 0 for viewing directions.

    Parameters
    ----------
    directions : (N, 3) array
        Unit vectors v.

    Returns
    -------
    (N, 3, 3) float64 array
        The third row is v.
    """
    x, y, z = np.asarray(directions, np.float64).T
    rot, flat = np.arctan2(y, x), np.hypot(x, y)
    c, s, zero = np.cos(rot), np.sin(rot), np.zeros_like(z)
    rows = [[z * c, z * s, -flat], [-s, c, zero], [flat * c, flat * s, z]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


class BlobMolecule:
    """A molecule of K round Gaussian blobs: its projections are exact, a formula like that of a phantom of one view.

    blobs: (K, 5) float64: x, y, z, width (standard deviation), all in parts of the box from its origin, and weight, the
    height of the blob's projection, the same from every side.
    """

    def __init__(self, blobs: np.ndarray, box: int) -> None:
        if box < 8:
            raise UdlError(message("simulated_box_too_small", box=box))
        self.box = int(box)
        self._centre = blobs[:, :3] * box
        self._width, self._weight = widened(blobs[:, 3] * box, blobs[:, 4])

    def volume(self) -> np.ndarray:
        """The density; summed along z it is the projection from (0, 0, 1).

        Returns
        -------
        (box, box, box) float32 array
            [z, y, x].
        """
        axis = np.arange(self.box) - self.box // 2
        sides = np.exp(-0.5 * ((axis[:, None, None] - self._centre.T) / self._width) ** 2)  # (box, 3, K)
        height = self._weight / (np.sqrt(2 * np.pi) * self._width)
        x, y, z = (np.ascontiguousarray(sides[:, k]) for k in range(3))
        volume = np.empty((self.box,) * 3, np.float32)
        for section, values in zip(volume, z * height):
            section[:] = (y * values) @ x.T
        return volume

    def project(self, directions: np.ndarray, poses: Poses) -> np.ndarray:
        """The particles of some directions and poses.

        Parameters
        ----------
        directions : (N, 3) array
            Unit vectors.
        poses : Poses
            N, each takes its particle to the canonical projection.

        Returns
        -------
        (N, box, box) float32 array
        """
        seen = np.einsum("nij,kj->nki", view_matrices(directions)[:, :2], self._centre)
        matrices = to_matrices(poses)
        centre = np.einsum("nji,nkj->nki", matrices[:, :2, :2], seen - matrices[:, None, :2, 2])
        return blob_images(centre, self._width, self._weight, self.box)
