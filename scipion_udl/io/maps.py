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
    """The reader of a map's sections, none of which is read yet.

    Parameters
    ----------
    path : str

    Returns
    -------
    StackReader
        ``count`` voxels a side, ``pixel_size`` in angstrom.

    Raises
    ------
    UdlError
        Where the file is missing, no MRC file, not a cube, or not with its axes in the order x, y, z.
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
    """Read a map and its voxel size; packed files (.gz, .bz2), too.

    Parameters
    ----------
    path : str

    Returns
    -------
    volume : (D, D, D) float32 array
        [z, y, x].
    pixel_size : float or None
        Angstrom; None where the file does not say.

    Raises
    ------
    UdlError
        What :func:`open_map` raises, and for NaN or infinite values.
    """
    reader = open_map(path)
    return reader.read(), reader.pixel_size


def write_map(path: str, volume: np.ndarray, pixel_size: float) -> None:
    """Write a map as an MRC volume of mode 2; the final name appears when the file is complete.

    Parameters
    ----------
    path : str
    volume : (D, D, D) array
        [z, y, x], of any real type.
    pixel_size : float
        Angstrom.

    Raises
    ------
    UdlError
        Where it cannot be written, with the reason.
    """
    temporary = f"{path}.part"
    try:
        with mrcfile.new(durable.new(temporary), np.asarray(volume, np.float32), overwrite=True) as mrc:
            mrc.set_volume()
            mrc.voxel_size = pixel_size
        durable.replace(temporary, path)
    except OSError as error:
        raise UdlError(message("cannot_be_written", path=path, reason=error.strerror or error)) from None
