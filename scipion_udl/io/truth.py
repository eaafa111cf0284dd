"""truth.star: the pose that takes each simulated particle to its template.

Of particles of many views the template is the canonical projection from each particle's direction, and the table holds
that direction, too, and the molecule (:mod:`scipion_udl.simulation.molecules`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.tables import Table, number_texts, quoted, read_tables
from scipion_udl.messages import message

_LABELS = ("udlAngle", "udlShiftX", "udlShiftY", "udlMirror")
_VIEW_LABELS = ("udlViewX", "udlViewY", "udlViewZ")


def truth_table(names: Sequence[str], poses: Poses) -> Table:
    """The table of image names and true poses.

    Parameters
    ----------
    names : sequence of str
        N of them.
    poses : Poses
        N; written in degrees, pixels, and 0 or 1.

    Returns
    -------
    Table
    """
    columns = {"rlnImageName": quoted(names)}
    for label, values in zip(_LABELS, (poses.angle, poses.shift[:, 0], poses.shift[:, 1])):
        columns[label] = number_texts(values)
    columns["udlMirror"] = ["1" if mirrored else "0" for mirrored in poses.mirror]
    return Table("particles", columns)


def add_views(table: Table, molecule: np.ndarray, direction: np.ndarray) -> None:
    """Add to a truth table what its particles show, and from where.

    Parameters
    ----------
    table : Table
        N rows, changed in place.
    molecule : (N,) int array
        1 or 2, 0 for noise alone.
    direction : (N, 3) array
        Viewing directions, unit vectors in the frame of the map.
    """
    table.set("udlClass", [str(int(number)) for number in molecule])
    for label, values in zip(_VIEW_LABELS, np.asarray(direction).T):
        table.set(label, number_texts(values))


def read_views(path: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read the molecules and viewing directions of a truth.star of many views.

    Parameters
    ----------
    path : str

    Returns
    -------
    names : list of str
        N image names.
    molecule : (N,) int array
        1 or 2, or 0 for noise alone.
    direction : (N, 3) float64 array
        Unit vectors in the frame of the map; zeros for noise.

    Raises
    ------
    UdlError
        Where the file is missing or no such table.
    """
    table = next((table for table in read_tables(path) if "rlnImageName" in table and "udlViewX" in table), None)
    if table is None or not len(table):
        raise UdlError(message("truth_without_directions", path=path))
    direction = np.stack([table.numbers(label) for label in _VIEW_LABELS], -1)
    length = np.linalg.norm(direction, axis=1, keepdims=True)
    molecule = table.numbers("udlClass").astype(int)
    return list(table.texts("rlnImageName")), molecule, direction / np.where(length > 0, length, 1)


def read_truth(path: str) -> tuple[list[str], Poses]:
    """Read the true poses of a truth.star.

    Parameters
    ----------
    path : str

    Returns
    -------
    names : list of str
        N image names.
    poses : Poses
        N, each takes its particle to the template.

    Raises
    ------
    UdlError
        Where the file is missing or no such table.
    """
    table = next((table for table in read_tables(path) if "rlnImageName" in table and "udlAngle" in table), None)
    if table is None or not len(table):
        raise UdlError(message("truth_without_poses", path=path))
    shift = [table.numbers(label) if label in table else np.zeros(len(table)) for label in ("udlShiftX", "udlShiftY")]
    mirror = table.numbers("udlMirror") != 0 if "udlMirror" in table else None
    return list(table.texts("rlnImageName")), Poses(table.numbers("udlAngle"), np.stack(shift, -1), mirror)
