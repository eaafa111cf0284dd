"""The particles of a run for a viewer: what is known of each, and their images, read when they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np
from scipy import ndimage

from scipion_udl.alignment.geometry import Poses, to_matrices
from scipion_udl.errors import UdlError
from scipion_udl.io import forms
from scipion_udl.io.particles import ParticleSource, open_particles

CLASS_LABELS = ("ref", "rlnClassNumber")
OUTLIER_LABEL = "udlOutlier"


@dataclass
class AlignedParticles:
    """N particles as a run aligned them.

    source: their images; poses (N,); score (N,); ambiguous, outlier (N,) bool; class_number (N,) int, None where they
    are one class.
    """

    source: ParticleSource
    poses: Poses
    score: np.ndarray
    ambiguous: np.ndarray
    outlier: np.ndarray
    class_number: Optional[np.ndarray]

    @classmethod
    def read(cls, table: str) -> AlignedParticles:
        """The particles of an aligned.xmd (which knows mirrored ones) or aligned.star; no image is read.

        Raises UdlError where it is missing or holds no alignment.
        """
        source = open_particles(table)
        poses = source.poses()
        if poses is None:
            raise UdlError(f"{table} holds no alignment")
        known, n = source.table, len(source)

        def flags(label: str) -> np.ndarray:
            return known.numbers(label) != 0 if label in known else np.zeros(n, bool)

        classes = next((known.numbers(label).astype(int) for label in CLASS_LABELS if label in known), None)
        score = known.numbers(forms.SCORE_LABEL[source.form])
        return cls(source, poses, score, flags(forms.AMBIGUOUS_LABEL), flags(OUTLIER_LABEL), classes)

    def as_they_came(self, rows: np.ndarray) -> np.ndarray:
        """The images (n, D, D) of rows (n,), float32."""
        return self.source.read(rows)

    def aligned(self, rows: np.ndarray) -> np.ndarray:
        """The images (n, D, D) of rows (n,) with their poses applied."""
        matrices = to_matrices(self.poses[np.asarray(rows)])
        return np.stack([apply_pose(image, matrix) for image, matrix in zip(self.source.read(rows), matrices)])

    def orders(self) -> dict[str, np.ndarray]:
        """The rows by score."""
        rising = np.argsort(self.score, kind="stable")
        return {"Worst first": rising, "Best first": rising[::-1]}

    def words(self, row: int) -> str:
        """Score and flags of a particle."""
        words = [f"{self.score[row]:.3f}"]
        words += ["ambiguous"] if self.ambiguous[row] else []
        words += ["outlier"] if self.outlier[row] else []
        return ", ".join(words)


def apply_pose(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """An image (D, D) with a pose applied, given as its 3 x 3 matrix; what comes in from outside is the image's mean.

    The matrix is :func:`scipion_udl.alignment.geometry.to_matrices`'s: x to the right, y down, origin at pixel D // 2.
    """
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])  # rows count y, columns x
    back = swap @ np.linalg.inv(matrix[:2, :2]) @ swap
    centre = np.array(image.shape) // 2
    offset = centre - back @ (centre + matrix[:2, 2][::-1])
    return ndimage.affine_transform(image, back, offset, order=3, mode="constant", cval=float(image.mean()))
