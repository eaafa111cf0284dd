"""What a table says of images that have been rotated and mirrored: axes of astigmatism and the priors of helical
segments turn along; terms of the CTF with another direction hold no more.

A direction at angle a of the image (degrees from x to y, y down) lies at a + angle in the rotated one, and at
180 - (a + angle) where that is mirrored; an axis has no sense, so that of astigmatism is taken modulo 180.
"""

from __future__ import annotations

import re
from typing import Callable

import numpy as np

from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.io.tables import UNKNOWN_NUMBERS, Table, number
from scipion_udl.messages import Message, message

# label: its values (degrees, (N,)) of the images that ``poses`` (N,) were applied to
_TURNING: dict[str, Callable[[np.ndarray, Poses], np.ndarray]] = {
    "rlnDefocusAngle": lambda angle, poses: rotated_axis(angle, poses),
    # A psi is what brings the tube along x, so it loses what the image was rotated by already.
    "rlnAnglePsiPrior": lambda psi, poses: wrap(np.where(poses.mirror, 180 - psi + poses.angle, psi - poses.angle)),
    # A mirrored projection is the one from the other side.
    "rlnAngleTiltPrior": lambda tilt, poses: np.where(poses.mirror, 180 - tilt, tilt),
    "rlnAngleRotPrior": lambda rot, poses: wrap(np.where(poses.mirror, rot + 180, rot)),
}
_DIRECTED = re.compile(r"rlnBeamTilt[XY]|rln(Odd|Even)Zernike|rlnMagMat(\d\d)")
_DIRECTED_CS = ("ctf/tilt_A", "ctf/trefoil_A", "ctf/shift_A", "ctf/tetra_A", "ctf/anisomag")
_POSES_CS = re.compile(r"alignments3D/.*|filament/filament_pose")


def rotated_axis(angle: np.ndarray, poses: Poses) -> np.ndarray:
    """Axes of images once poses have been applied to these.

    Parameters
    ----------
    angle : (N,) array
        Degrees, from x to y, y down.
    poses : Poses
        N.

    Returns
    -------
    (N,) float64 array
        Degrees in [0, 180).
    """
    rotated = np.asarray(angle, np.float64) + poses.angle
    return np.mod(np.round(np.where(poses.mirror, -rotated, rotated), 6), 180.0)


def rotate_columns(particles: Table, optics: Table | None, poses: Poses) -> list[Message]:
    """Make the rows of a STAR and its optics table true of the images that poses were applied to.

    Texts that are no number, and -999 and the like, which stand for unknown, stay.

    Parameters
    ----------
    particles : Table
        N rows, changed in place.
    optics : Table or None
        Changed in place.
    poses : Poses
        N.

    Returns
    -------
    list of Message
        Warnings of terms of the CTF that have a direction (beam tilt, Zernike coefficients, anisotropic magnification)
        and are left out, where they are not 0.
    """
    for label, rotation in _TURNING.items():
        if label not in particles:
            continue
        texts = particles.texts(label)
        values = np.array([number(text) for text in texts])
        known = np.isfinite(values) & ~np.isin(values, UNKNOWN_NUMBERS)
        with np.errstate(invalid="ignore"):
            rotated = rotation(values, poses)
        columns = particles.columns[label]
        particles.set(label, [f"{new:.6f}" if k else old for k, new, old in zip(known, rotated, columns)])
    left_out = [label for table in (particles, optics) if table is not None for label in _drop_directed(table)]
    return _warning(left_out, "aligned.star")


def rotate_fields(fields: dict[str, np.ndarray], poses: Poses) -> list[Message]:
    """Make the fields of a .cs true of the images that poses were applied to.

    The axis of astigmatism turns, terms with another direction become 0, and the poses of a 3D alignment are left out.

    Parameters
    ----------
    fields : dict of str to (N, ...) array
        Changed in place.
    poses : Poses
        N.

    Returns
    -------
    list of Message
        Warnings of what is left out.
    """
    label = "ctf/df_angle_rad"
    if label in fields:
        rotated = np.radians(rotated_axis(np.degrees(fields[label].astype(np.float64)), poses))
        fields[label] = rotated.astype(fields[label].dtype)
    left_out = [name for name in _DIRECTED_CS if name in fields and np.any(fields[name] != 0)]
    for name in left_out:
        fields[name] = np.zeros_like(fields[name])
    poses_3d = [name for name in fields if _POSES_CS.fullmatch(name)]
    for name in poses_3d:
        del fields[name]
    return _warning([*left_out, *sorted({name.partition("/")[0] for name in poses_3d})], "aligned.cs")


def _warning(left_out: list[str], name: str) -> list[Message]:
    if not left_out:
        return []
    labels = ", ".join(dict.fromkeys(left_out))
    return [message("directed_left_out", path=name, labels=labels)]


def _drop_directed(table: Table) -> list[str]:
    """Remove the columns of directed terms that say anything; returns their labels."""
    directed = {label: _DIRECTED.fullmatch(label) for label in table.columns}
    return table.drop([label for label, found in directed.items() if found and _says_something(table, label, found)])


def _says_something(table: Table, label: str, found: re.Match) -> bool:
    nothing = 1.0 if found.group(2) in ("00", "11") else 0.0  # a matrix that changes nothing is the identity
    words = re.split(r"[\s,\[\]]+", " ".join(set(table.texts(label))))
    return any(number(word) != nothing for word in words if word)
