"""Poses that the particles come with: whether one can start from them, and how far they held."""

from __future__ import annotations

import numpy as np

from scipion_udl.alignment.refinement.refiner import FAR
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, pose_errors
from scipion_udl.io.source import Source
from scipion_udl.messages import Message, message

MANY = 0.3  # share of the particles that lie elsewhere, above which the user is warned


def check_measure(poses: Poses, box: int, path: str) -> Poses:
    """The poses as they are, refused where one leaves nothing of a particle in view.

    No program means a shift by more than the box, and sums of such numbers are none.

    Parameters
    ----------
    poses : Poses
        N of them; shifts in pixels.
    box : int
        Pixels.
    path : str
        Of the file, for the message.

    Returns
    -------
    Poses
        The same.

    Raises
    ------
    UdlError
        Where one shifts a particle by more than its box, or is no number; names file and row.
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
    """The poses of a set, to start from.

    Parameters
    ----------
    source : Source
        N particles.
    mirrored : bool
        Whether some may be mirrored.

    Returns
    -------
    Poses
        N of them; shifts in pixels of the input.

    Raises
    ------
    UdlError
        Where the set carries none, or projection directions, or mirrored ones that may not be; or where a shift is
        longer than the box.
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
    """How many particles lie elsewhere than given, once the rotation common to all is taken out.

    Parameters
    ----------
    given, found : Poses
        N each.
    used : int array
        The particles that count, from 0.

    Returns
    -------
    share : float
        Of these, 0 to 1, those that lie off by more than FAR degrees or are mirrored.
    told : Message
        A sentence on it.
    """
    given, found = given[used], found[used]
    same = given.mirror == found.mirror
    if same.mean() < 0.5:  # all mirrored is the same alignment, seen from behind
        return _told(float(same.mean()), 0.0)
    errors = np.abs(pose_errors(found[same], given[same]).rotation)
    return _told(1 - float((errors <= FAR).sum()) / len(used), float(np.median(errors)))


def _told(share: float, median: float) -> tuple[float, Message]:
    return share, message("start_held", elsewhere=share, far=FAR, median=median)
