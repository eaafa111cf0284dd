"""The particles of a run for a viewer: what is known of each, and their images, read when they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scipion_udl.convert.classes import read_with_classes
from scipion_udl.convert.particles import ITEM_ID, Results
from scipion_udl.imaging.poses import to_matrices
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.io.source import table_of


@dataclass
class AlignedParticles:
    """N particles as a run aligned them.

    sources: the images that it was given, in one or more parts; at: (N, 2) part and row of each particle among them;
    results: what was found; of_class: (N,) the class of each, int64, None where there are no classes.
    """

    sources: list[ParticleSource]
    at: np.ndarray
    results: Results
    of_class: np.ndarray | None

    @classmethod
    def read(cls, parts: Sequence[tuple[str, str]]) -> AlignedParticles:
        """The particles of one or more parts: a table of results (aligned.star, aligned.xmd, classes.star), and the
        table that the engine was given.

        Reads no image. Raises UdlError where a file is missing, or holds no alignment.
        """
        sources = [open_particles(given) for _, given in parts]
        found, numbers = zip(*(read_with_classes(table, given) for table, given in parts))
        places = [_rows_of(source, results.ids) for source, results in zip(sources, found)]
        at = [np.stack([np.full(len(rows), part), rows], -1) for part, rows in enumerate(places)]
        classes = None if any(own is None for own in numbers) else np.concatenate(numbers)
        return cls(sources, np.concatenate(at), Results.joined(found), classes)

    def as_they_came(self, rows: np.ndarray) -> np.ndarray:
        """The images (n, D, D) of rows (n,), float32."""
        return np.stack([self.sources[part].read([row])[0] for part, row in self.at[rows]])

    def aligned(self, rows: np.ndarray) -> np.ndarray:
        """The images (n, D, D) of rows (n,) with their poses applied."""
        matrices = to_matrices(self.results.poses[np.asarray(rows)])
        return np.stack([apply_pose(image, matrix) for image, matrix in zip(self.as_they_came(rows), matrices)])

    def orders(self) -> dict[str, np.ndarray]:
        """The rows by score."""
        rising = np.argsort(self.results.score, kind="stable")
        return {"Worst first": rising, "Best first": rising[::-1]}

    def words(self, row: int) -> str:
        """Score and flags of a particle."""
        found = self.results
        words = [f"{found.score[row]:.3f}"]
        words += ["ambiguous"] if found.ambiguous[row] else []
        words += ["outlier"] if found.outlier[row] else []
        return ", ".join(words)


def _rows_of(source: ParticleSource, ids: np.ndarray) -> np.ndarray:
    """The rows (n,) of the items with these ids (n,) in the table of a source."""
    known = table_of(source).numbers(ITEM_ID).astype(np.int64)
    order = np.argsort(known)
    return order[np.searchsorted(known, ids, sorter=order)]


def apply_pose(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """An image (D, D) with a pose applied, given as its 3 x 3 matrix; what comes in from outside is the image's mean.

    The matrix is :func:`scipion_udl.imaging.poses.to_matrices`'s: x to the right, y down, origin at pixel D // 2.
    """
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])  # rows count y, columns x
    back = swap @ np.linalg.inv(matrix[:2, :2]) @ swap
    centre = np.array(image.shape) // 2
    offset = centre - back @ (centre + matrix[:2, 2][::-1])
    return ndimage.affine_transform(image, back, offset, order=3, mode="constant", cval=float(image.mean()))
