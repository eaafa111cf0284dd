"""Maps: three-dimensional densities as MRC files, x along the rows, z across the sections."""

from __future__ import annotations

import os

import mrcfile
import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.io.output import durable
from scipion_udl.io.stacks import StackReader
from scipion_udl.messages import message

_AXES = (1, 2, 3)  # columns, rows and sections of the file are x, y and z


def open_map(path: str) -> StackReader:
    """The reader of a map's sections, none of which is read yet: ``count`` voxels a side, ``pixel_size`` in angstrom.

    Raises UdlError where the file is missing, no MRC file, not a cube, or not with its axes in the order x, y, z.
    """
    path = str(path)
    if not os.path.isfile(path):
        raise UdlError(message("map_not_there", path=path))
    reader = StackReader(path)
    rows, columns = reader.shape
    if not reader.count == rows == columns:
        raise UdlError(message("map_not_a_cube", path=path, columns=columns, rows=rows, count=reader.count))
    if reader.axes not in (_AXES, (0, 0, 0)):  # zeros: of programs that leave these fields empty
        raise UdlError(message("map_axes", path=path))
    return reader


def read_map(path: str) -> tuple[np.ndarray, float | None]:
    """The map, float32 (D, D, D) as [z, y, x], and its pixel size in angstrom (None where the file does not say).

    Packed files (.gz, .bz2) are read, too. Raises what :func:`open_map` raises, and UdlError for NaN or infinite
    values.
    """
    reader = open_map(path)
    return reader.read(), reader.pixel_size


def write_map(path: str, volume: np.ndarray, pixel_size: float) -> None:
    """Write a map (D, D, D), [z, y, x], as an MRC volume of mode 2; pixel_size: angstrom.

    The final name appears when the file is complete. Raises UdlError where it cannot be written.
    """
    temporary = f"{path}.part"
    try:
        with mrcfile.new(durable.new(temporary), np.asarray(volume, np.float32), overwrite=True) as mrc:
            mrc.set_volume()
            mrc.voxel_size = pixel_size
        durable.replace(temporary, path)
    except OSError as error:
        raise UdlError(message("cannot_be_written", path=path, reason=error.strerror or error)) from None
