"""Poses that the particles come with: whether one can start from them, and how far they held."""

from __future__ import annotations

import numpy as np

from scipion_udl.alignment.refinement import FAR
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, pose_errors
from scipion_udl.io.source import Source
from scipion_udl.messages import Message, message

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
        raise UdlError(message("pose_shift_too_large", path=path, row=row + 1, x=x, y=y, box=box, more=more))
    return poses


def given_poses(source: Source, mirrored: bool) -> Poses:
    """The poses (N,) of a set, to start from; mirrored: whether some may be mirrored.

    Raises UdlError where the set carries none, or projection directions, or mirrored ones that may not be.
    """
    poses = source.poses()
    if poses is None:
        raise UdlError(message("start_without_poses", path=source.path))
    if source.has_3d_angles:
        raise UdlError(message("start_from_3d_poses", path=source.path))
    if poses.mirror.any() and not mirrored:
        raise UdlError(message("start_poses_mirrored", path=source.path, count=int(poses.mirror.sum())))
    return check_measure(poses, source.box, source.path)


def how_far_they_held(given: Poses, found: Poses, used: np.ndarray) -> tuple[float, Message]:
    """(share of the particles ``used``, indices, that lie elsewhere than given, by more than FAR degrees or mirrored; a
    sentence on it), once the turn common to all is taken out."""
    given, found = given[used], found[used]
    same = given.mirror == found.mirror
    if same.mean() < 0.5:  # all mirrored is the same alignment, seen from behind
        return _told(float(same.mean()), 0.0)
    errors = np.abs(pose_errors(found[same], given[same]).rotation)
    return _told(1 - float((errors <= FAR).sum()) / len(used), float(np.median(errors)))


def _told(share: float, median: float) -> tuple[float, Message]:
    return share, message("start_held", elsewhere=share, far=FAR, median=median)
