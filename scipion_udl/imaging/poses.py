"""The pose of a particle: the one convention of the project and its translation into the forms of other programs.

A pose is the transform to APPLY to a particle so that it falls on the average:

    p_aligned = M R(angle) p + t,    R = [[c, -s], [s, c]],    M = diag(-1, 1) if mirrored, else the identity

x to the right, y down (row 0 on top), origin at pixel D//2 for even and odd boxes D. A positive angle turns the content
clockwise as seen with row 0 at the top. Angles are degrees in (-180, 180]; shifts are (x, y) in pixels of the input.

numpy only: both sides of the project, and tests, can import it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_TOGETHER = 1 << 16  # poses whose matrices are there at one time


def wrap(angle: np.ndarray | float, period: float = 360.0) -> np.ndarray:
    """Angles (degrees, any shape) brought into (-period/2, period/2], float64.

    Parameters
    ----------
    angle : float or array of any shape
        Degrees.
    period : float, optional
        Degrees.

    Returns
    -------
    float64 array of that shape
        Degrees.
    """
    angle = np.asarray(angle, dtype=np.float64)
    return period / 2 - np.mod(period / 2 - angle, period)


@dataclass
class Poses:
    """Poses of N particles.

    angle: (N,) float64, degrees in (-180, 180]; shift: (N, 2) float64, (x, y) in pixels of the input image;
    mirror: (N,) bool. Missing shift or mirror mean none. Raises ValueError where the lengths differ.
    """

    angle: np.ndarray
    shift: np.ndarray
    mirror: np.ndarray

    def __init__(
        self, angle: np.ndarray | float, shift: np.ndarray | None = None, mirror: np.ndarray | None = None
    ) -> None:
        self.angle = wrap(np.atleast_1d(angle))
        n = len(self.angle)
        self.shift = np.zeros((n, 2)) if shift is None else np.asarray(shift, np.float64).reshape(-1, 2)
        self.mirror = np.zeros(n, bool) if mirror is None else np.atleast_1d(mirror).astype(bool)
        if not len(self.shift) == len(self.mirror) == n:
            raise ValueError(f"{n} angles, {len(self.shift)} shifts and {len(self.mirror)} mirror flags do not fit")

    def __len__(self) -> int:
        return len(self.angle)

    def __getitem__(self, index: np.ndarray | slice | list[int]) -> Poses:
        """The poses of a slice, an index array or a mask."""
        return Poses(self.angle[index], self.shift[index], self.mirror[index])

    @classmethod
    def identity(cls, n: int) -> Poses:
        """N poses that leave a particle as it is.

        Parameters
        ----------
        n : int
            How many.

        Returns
        -------
        Poses
            Angle 0, no shift, no mirror.
        """
        return cls(np.zeros(n))


def rotations(angle: np.ndarray) -> np.ndarray:
    """Rotation matrices R, (..., 2, 2), of angles (...,) in degrees.

    Parameters
    ----------
    angle : (...) array
        Degrees.

    Returns
    -------
    (..., 2, 2) float64 array
        The matrices.
    """
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def to_matrices(poses: Poses) -> np.ndarray:
    """The matrices A = [M R | t], (N, 3, 3): what a Scipion Transform holds (its third row and column added).

    Parameters
    ----------
    poses : Poses
        N of them.

    Returns
    -------
    (N, 3, 3) float64 array
        Shifts in pixels.
    """
    matrices = np.tile(np.eye(3), (len(poses), 1, 1))
    matrices[:, :2, :2] = rotations(poses.angle)
    matrices[poses.mirror, 0, :2] *= -1
    matrices[:, :2, 2] = poses.shift
    return matrices


def from_matrices(matrices: np.ndarray) -> Poses:
    """Poses of matrices (N, 3, 3); the inverse of :func:`to_matrices`. A negative determinant means mirrored.

    Parameters
    ----------
    matrices : (N, 3, 3) array
        Shifts in pixels.

    Returns
    -------
    Poses
        N of them.
    """
    m = np.array(matrices, np.float64).reshape(-1, 3, 3)
    mirror = np.linalg.det(m[:, :2, :2]) < 0
    m[mirror, 0, :2] *= -1
    # Copies without gaps: of a column of matrices numpy thinks it ends beyond them, and where the result happens to lie
    # just there it computes it in another way, which differs in the last digit.
    sine, cosine = m[:, 1, 0].copy(), m[:, 0, 0].copy()
    return Poses(np.degrees(np.arctan2(sine, cosine)), m[:, :2, 2], mirror)


def compose(second: Poses, first: Poses) -> Poses:
    """The pose that applies ``first`` and then ``second`` (either may hold one pose for all).

    Parameters
    ----------
    second : Poses
        Applied last.
    first : Poses
        Applied first.

    Returns
    -------
    Poses
        As many as the longer of both.
    """
    return from_matrices(to_matrices(second) @ to_matrices(first))


def invert(poses: Poses) -> Poses:
    """The poses that undo the given ones.

    Parameters
    ----------
    poses : Poses
        N of them.

    Returns
    -------
    Poses
        N of them.
    """
    return from_matrices(np.linalg.inv(to_matrices(poses)))


def mirrored_first(poses: Poses) -> Poses:
    """Unmirrored poses of particles that were mirrored before, those that ``poses`` mirror: M R p + t = R^-1 (M p) + t.
    Applied to unmirrored poses and flags, the inverse is the same change of the angle's sign.

    Parameters
    ----------
    poses : Poses
        N of them.

    Returns
    -------
    Poses
        N of them, none mirrored.
    """
    return Poses(np.where(poses.mirror, -poses.angle, poses.angle), poses.shift)


# The forms of other programs. Each is checked on images with the program that owns it (tests/alignment).


def to_relion(poses: Poses) -> tuple[np.ndarray, np.ndarray]:
    """RELION's (rlnAnglePsi in degrees (N,), rlnOrigin x, y in pixels (N, 2)): psi = angle, origin = R^T t.

    RELION shifts first and rotates afterwards (measured with relion_stack_create 3.1.3). In RELION 3.1 and later the
    origin is written times the pixel size as rlnOriginXAngst, rlnOriginYAngst.

    Parameters
    ----------
    poses : Poses
        N of them, none mirrored.

    Returns
    -------
    tuple of arrays
        psi (N,), degrees, and origin (N, 2), pixels.

    Raises
    ------
    ValueError
        For mirrored poses, which RELION's 2D alignment cannot express.
    """
    if poses.mirror.any():
        raise ValueError("RELION has no mirrored 2D alignment")
    origin = np.empty((len(poses), 2))
    for start in range(0, len(poses), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        origin[some] = np.einsum("nji,nj->ni", rotations(poses.angle[some]), poses.shift[some])
    return poses.angle.copy(), origin


def from_relion(psi: np.ndarray, origin: np.ndarray) -> Poses:
    """Poses of rlnAnglePsi (degrees, (N,)) and rlnOrigin (x, y in pixels, (N, 2)): angle = psi, t = R origin.

    Parameters
    ----------
    psi : (N,) array
        Degrees.
    origin : (N, 2) array
        x and y, pixels.

    Returns
    -------
    Poses
        N of them.
    """
    psi = np.asarray(psi, np.float64)
    return Poses(psi, np.einsum("nij,nj->ni", rotations(psi), np.asarray(origin, np.float64).reshape(-1, 2)))


def to_xmipp(poses: Poses) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Xmipp's (anglePsi in degrees (N,), shiftX and shiftY in pixels (N, 2), flip (N,)): psi = -angle, shift = t.

    Parameters
    ----------
    poses : Poses
        N of them.

    Returns
    -------
    tuple of arrays
        psi (N,), degrees, shift (N, 2), pixels, and flip (N,).
    """
    return wrap(-poses.angle), poses.shift.copy(), poses.mirror.copy()


def from_xmipp(psi: np.ndarray, shift: np.ndarray, flip: np.ndarray | None = None) -> Poses:
    """Poses of Xmipp's anglePsi (degrees), shiftX, shiftY (pixels) and flip; the inverse of :func:`to_xmipp`.

    Parameters
    ----------
    psi : (N,) array
        Degrees.
    shift : (N, 2) array
        x and y, pixels.
    flip : (N,) bool array, optional
        Which are mirrored.

    Returns
    -------
    Poses
        N of them.
    """
    return Poses(-np.asarray(psi, np.float64), shift, flip)


# Comparison with a truth known up to one common rigid transform.


@dataclass
class PoseErrors:
    """What is left between found and true poses once their common transform is taken out.

    rotation: (N,) degrees in (-period/2, period/2]; shift: (N, 2) pixels, how far the template's origin falls from its
    common place; common: the pose that takes the true frame to the found one.
    """

    rotation: np.ndarray
    shift: np.ndarray
    common: Poses


def _robust_centre(values: np.ndarray, period: float) -> float:
    """The centre of angles (degrees) on a circle of ``period``: circular mean, then medians of what is left."""
    centre = float(np.angle(np.exp(2j * np.pi * values / period).mean()) * period / (2 * np.pi))
    for _ in range(10):
        centre += float(np.median(wrap(values - centre, period)))
    return centre


def pose_errors(found: Poses, truth: Poses, period: float = 360.0) -> PoseErrors:
    """Errors of ``found`` against ``truth`` (both (N,)), modulo the common transform and ``period`` degrees.

    The common transform G is defined by found = G truth; period is 360, or 180 (360/n) for two-fold (n-fold) views.
    Its rotation is the median of all rotations, so that a minority of wrong particles does not move it. Mirrored truths
    or results are compared as the matrices they are.

    Parameters
    ----------
    found, truth : Poses
        N of each, in the same order.
    period : float, optional
        Degrees, 360 / n for an n-fold view.

    Returns
    -------
    PoseErrors
        Degrees and pixels.
    """
    turn = from_matrices(to_matrices(found) @ np.linalg.inv(to_matrices(truth)))
    # Where most are right, the centre is found on the finer circle first: two equal heaps 180 apart have no mean.
    centre = _robust_centre(turn.angle, min(period, 180.0))
    if period > 180.0:
        flipped = np.abs(wrap(turn.angle - centre)) > 90
        centre += 180.0 if flipped.mean() > 0.5 else 0.0
    rotation = wrap(turn.angle - centre, period)
    # With a period below 360 the centre may be the minority's: the common shift is that of the majority's side.
    near = np.abs(wrap(turn.angle - centre)) <= 90
    offset = np.median(turn.shift[near if near.mean() >= 0.5 else ~near], axis=0)
    return PoseErrors(rotation, turn.shift - offset, Poses(np.array([centre]), offset))
