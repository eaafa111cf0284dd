"""Poses that the particles come with: whether one can start from them, and how far they held."""

from __future__ import annotations

import numpy as np

from scipion_udl.alignment.refinement import FAR
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, pose_errors
from scipion_udl.io.source import Source

MANY = 0.3  # share of the particles that lie elsewhere, above which the user is warned


def check_measure(poses: Poses, box: int, path: str) -> Poses:
    """The poses (N,) as they are. Raises UdlError, which names file and row, where one shifts a particle by more than
    its box (pixels), so that nothing of it is left in view: no program means that, and sums of such numbers are none.
    """
    shift = np.abs(poses.shift).max(1) if len(poses) else np.zeros(0)
    wrong = np.flatnonzero(~(shift <= box) | ~np.isfinite(poses.angle))
    if len(wrong):
        row = wrong[0]
        x, y = poses.shift[row]
        more = f", and {len(wrong) - 1} more rows are like it" if len(wrong) > 1 else ""
        raise UdlError(
            f"{path}: row {row + 1} shifts its particle by {x:.6g}, {y:.6g} px, which is more than an alignment can "
            f"mean in a box of {box} px{more}: mend the row, or leave it out."
        )
    return poses


def given_poses(source: Source, mirrored: bool) -> Poses:
    """The poses (N,) of a set, to start from; mirrored: whether some may be mirrored.

    Raises UdlError where the set carries none, or projection directions, or mirrored ones that may not be.
    """
    poses = source.poses()
    if poses is None:
        raise UdlError(f"{source.path} carries no poses: leave --start-poses out, or give a table with a 2D alignment.")
    if source.has_3d_angles:
        raise UdlError(
            f"{source.path} holds directions of a 3D alignment (rot, tilt), which are no 2D alignment: leave "
            "--start-poses out."
        )
    if poses.mirror.any() and not mirrored:
        raise UdlError(
            f"The poses of {source.path} mirror {int(poses.mirror.sum())} particles: give --mirror, too, or leave "
            "--start-poses out."
        )
    return check_measure(poses, source.box, source.path)


def how_far_they_held(given: Poses, found: Poses, used: np.ndarray) -> tuple[float, str]:
    """(share of the particles ``used``, indices, that lie elsewhere than given, by more than FAR degrees or mirrored; a
    sentence on it), once the turn common to all is taken out."""
    given, found = given[used], found[used]
    same = given.mirror == found.mirror
    if same.mean() < 0.5:  # all mirrored is the same alignment, seen from behind
        return _told(float(same.mean()), 0.0)
    errors = np.abs(pose_errors(found[same], given[same]).rotation)
    return _told(1 - float((errors <= FAR).sum()) / len(used), float(np.median(errors)))


def _told(share: float, median: float) -> tuple[float, str]:
    return share, (
        f"Started from the poses of the input: {share:.1%} of the particles lie elsewhere now (by more than {FAR:g} "
        f"degrees), the others were turned by {median:.2f} degrees (median)."
    )
