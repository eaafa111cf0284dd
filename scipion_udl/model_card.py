"""The card of a model file, as both the engine and Scipion read it: what a network is, and what it was trained on.

A model file is a safetensors file, whose header is JSON that lists the tensors; the card is JSON in its metadata, under
"udl". No tensor is read, and neither torch nor safetensors is needed.
"""

from __future__ import annotations

import json
import os
import struct

from scipion_udl.errors import UdlError, no_file
from scipion_udl.messages import message

FIELD_TOLERANCE = 0.02  # by how much the field of view (box times pixel size) of particles may differ from the model's
# A header is a list of tensors and the card; more than this is some other file whose first bytes look like a length.
_LONGEST_HEADER = 100_000_000
_UNREADABLE = (struct.error, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


def read_card(path: str) -> dict:
    """The card of a model file.

    Parameters
    ----------
    path : str
        The file, safetensors.

    Returns
    -------
    dict
        Its fields, as they stand there.

    Raises
    ------
    UdlError
        For a file that is missing, cut, or without the card that this program's models have.
    """
    if no_file(path):
        missing = message("model_not_there", path=path) if not os.path.exists(path) else no_file(path)
        raise UdlError(message("no_model_file", what=missing))
    try:
        header = _header(path)
    except OSError as error:
        raise UdlError(message("not_a_model", path=path, reason=error.strerror)) from None
    except _UNREADABLE:
        raise UdlError(message("not_a_model", path=path, reason="no safetensors file")) from None
    try:
        card = json.loads(header["__metadata__"]["udl"])
    except _UNREADABLE:
        card = None
    if not isinstance(card, dict):
        raise UdlError(message("not_a_model", path=path, reason="no card"))
    return card


def _header(path: str) -> dict:
    """The header of a safetensors file. Raises OSError, or one of _UNREADABLE where it is none, or cut."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        tensors = os.fstat(file.fileno()).st_size - 8 - length  # bytes
        if length > _LONGEST_HEADER or tensors < 0:
            raise ValueError("no header")
        header = json.loads(file.read(length))
    ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
    if max(ends, default=0) != tensors:
        raise ValueError("of another length")
    return header


def fits(box: int, pixel_size: float, own_box: int, own_pixel_size: float) -> bool:
    """Whether particles have the field of view that a model was trained on.

    The network reads frequencies in units of 1/(box x pixel size), so a set that was only binned fits.

    Parameters
    ----------
    box : int
        Of the training particles, pixels.
    pixel_size : float
        Of the training particles, angstrom.
    own_box : int
        Of the particles, pixels.
    own_pixel_size : float
        Of the particles, angstrom.

    Returns
    -------
    bool
        Up to FIELD_TOLERANCE.
    """
    field = box * pixel_size
    return abs(field - own_box * own_pixel_size) <= FIELD_TOLERANCE * field
