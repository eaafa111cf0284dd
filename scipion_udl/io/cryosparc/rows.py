"""The rows of a .cs file of cryoSPARC, which is a numpy array with named fields. Nothing in it is ever run (no pickle).

A header is checked against the size of its file before memory is asked for, and single fields are read a piece of the
rows at a time, so that a file that holds more than is wanted costs no more than what is.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.messages import message

CHUNK_BYTES = 16 << 20
_COMPRESSED = b"CSDAT"  # behind a first byte that is 0x95 today: the other form that cryoSPARC has for the same
_LONGEST_HEADER = 100_000  # bytes; that of 100 fields has 5 000
_LONGEST_FIELD = 65536  # bytes of one field of a row


@dataclass
class CsFile:
    """What the header of a .cs file says: path; dtype of a row; count of rows; start, the byte at which they begin.

    Raises UdlError (by :meth:`open`) where the file cannot be read, is cut, is of the compressed form, or is none.
    """

    path: str
    dtype: np.dtype
    count: int
    start: int

    @classmethod
    def open(cls, path: str) -> CsFile:
        """Read the header of a .cs file.

        Parameters
        ----------
        path : str

        Returns
        -------
        CsFile

        Raises
        ------
        UdlError
            Where the file cannot be read, is cut, is of the compressed form (says how to get the other), or is none.
        """
        try:
            with open(path, "rb") as file:
                if file.read(len(_COMPRESSED) + 1)[1:] == _COMPRESSED:
                    raise UdlError(_of_compressed(path))
                file.seek(0)
                return _read_header(path, file)
        except OSError as error:
            raise UdlError(message("cannot_be_read", path=path, reason=error.strerror or error)) from None

    @property
    def names(self) -> tuple[str, ...]:
        """The fields of a row."""
        return self.dtype.names or ()

    def has_ids(self) -> bool:
        """Whether each row has a number of its own (``uid``).

        Returns
        -------
        bool
        """
        return "uid" in self.names and is_whole(self.dtype["uid"])

    def rows(self) -> np.ndarray:
        """All rows.

        Returns
        -------
        (count,) structured array

        Raises
        ------
        UdlError
            Where the file cannot be read, with the reason.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.start)
                return np.fromfile(file, self.dtype, self.count)
        except OSError as error:
            raise UdlError(message("cannot_be_read", path=self.path, reason=error.strerror or error)) from None

    def column(self, name: str) -> np.ndarray:
        """One field of all rows.

        Parameters
        ----------
        name : str

        Returns
        -------
        (count, ...) array

        Raises
        ------
        UdlError
            What :meth:`pieces` raises.
        """
        out = np.empty((self.count, *self.dtype[name].shape), self.dtype[name].base)
        for first, part in self.pieces([name]):
            out[first : first + len(part)] = part[name]
        return out

    def pieces(self, names: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
        """Some fields of all rows, a piece of the file at a time.

        Parameters
        ----------
        names : sequence of str
            The fields.

        Yields
        ------
        first : int
            Number of the piece's first row.
        rows : (n,) structured array

        Raises
        ------
        UdlError
            Where the file cannot be read, with the reason.
        """
        step = max(1, CHUNK_BYTES // max(1, self.dtype.itemsize))
        try:
            with open(self.path, "rb") as file:
                file.seek(self.start)
                for first in range(0, self.count, step):
                    yield first, np.fromfile(file, self.dtype, min(step, self.count - first))[list(names)]
        except OSError as error:
            raise UdlError(message("cannot_be_read", path=self.path, reason=error.strerror or error)) from None


def is_whole(kind: np.dtype) -> bool:
    """Whether a field holds one whole number a row.

    Parameters
    ----------
    kind : dtype
        Of the field.

    Returns
    -------
    bool
    """
    return kind.kind in "iu" and not kind.shape


def joined(fields: dict[str, np.ndarray]) -> np.ndarray:
    """Columns as one structured array.

    Parameters
    ----------
    fields : dict of str to (N, ...) array

    Returns
    -------
    (N,) structured array
    """
    count = len(next(iter(fields.values())))
    array = np.empty(count, [(name, values.dtype, values.shape[1:]) for name, values in fields.items()])
    for name, values in fields.items():
        array[name] = values
    return array


def _of_compressed(path: str) -> str:
    plain = f"{os.path.splitext(os.path.basename(path))[0]}_numpy.cs"
    return message("cs_compressed", path=path, file=os.path.basename(path), plain=plain)


def _read_header(path: str, file: BinaryIO) -> CsFile:
    try:
        version = np.lib.format.read_magic(file)
        length_bytes = 2 if version == (1, 0) else 4
        length = int.from_bytes(file.read(length_bytes), "little")
        if version not in ((1, 0), (2, 0)) or length > _LONGEST_HEADER:
            raise ValueError("its header is too long")
        file.seek(8)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        # before numpy 1.24 there was no limit of its own
        limit = {"max_header_size": _LONGEST_HEADER} if "max_header_size" in inspect.signature(read).parameters else {}
        shape, _, dtype = read(file, **limit)
    except Exception as error:  # numpy has many kinds for a text that is no header
        why = " ".join(str(error).split()).partition(": <ast.")[0]  # which would name an object of Python's
        raise UdlError(message("cs_is_none", path=path, reason=why)) from None
    # a text may claim any length there, and less than none
    sizes = [dtype[name].itemsize for name in dtype.names or ()]
    if not sizes or dtype.hasobject or len(shape) != 1 or min(sizes) < 0 or max(sizes) > _LONGEST_FIELD:
        raise UdlError(message("cs_without_fields", path=path))
    there = (os.path.getsize(path) - file.tell()) // max(1, dtype.itemsize)
    if shape[0] > there:
        raise UdlError(message("cs_truncated", path=path, promised=shape[0], there=there))
    return CsFile(path, dtype, max(0, shape[0]), file.tell())
