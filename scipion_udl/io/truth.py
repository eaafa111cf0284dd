"""truth.star: the pose that takes each simulated particle to its template."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scipion_udl.alignment.geometry import Poses
from scipion_udl.errors import UdlError
from scipion_udl.io.tables import Table, number_texts, quote, read_tables

_LABELS = ("udlAngle", "udlShiftX", "udlShiftY", "udlMirror")


def truth_table(names: Sequence[str], poses: Poses) -> Table:
    """The table of N image names and true poses: degrees, pixels, 0 or 1."""
    columns = {"rlnImageName": [quote(name) for name in names]}
    for label, values in zip(_LABELS, (poses.angle, poses.shift[:, 0], poses.shift[:, 1])):
        columns[label] = number_texts(values)
    columns["udlMirror"] = ["1" if mirrored else "0" for mirrored in poses.mirror]
    return Table("particles", columns)


def read_truth(path: str) -> tuple[list[str], Poses]:
    """Image names (N) and true poses (N,) of a truth.star. Raises UdlError where it is missing or no such table."""
    table = next((table for table in read_tables(path) if "rlnImageName" in table and "udlAngle" in table), None)
    if table is None or not len(table):
        raise UdlError(f"{path} holds no true poses: a table with _rlnImageName and _udlAngle is needed")
    shift = [table.numbers(label) if label in table else np.zeros(len(table)) for label in ("udlShiftX", "udlShiftY")]
    mirror = table.numbers("udlMirror") != 0 if "udlMirror" in table else None
    return list(table.texts("rlnImageName")), Poses(table.numbers("udlAngle"), np.stack(shift, -1), mirror)
