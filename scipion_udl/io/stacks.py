"""MRC image stacks: headers through mrcfile, images read in any order and written piece by piece.

Images are read with pread into arrays of our own. The pages of a memory map would count as resident memory of the
process and make a large stack look (and, under a memory limit, be) as if it were held as a whole.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import warnings
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.mrcinterpreter import MrcInterpreter
from mrcfile.utils import data_dtype_from_header

from scipion_udl.errors import OnIssue, UdlError, raise_issue
from scipion_udl.io.mrc_integers import meant
from scipion_udl.io.output import durable
from scipion_udl.io.unpacking import discard, unpack
from scipion_udl.messages import message

HEADER_BYTES = HEADER_DTYPE.itemsize
CHUNK_BYTES = 16 << 20
_PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open}
# Where the header says how long its extension is.
_EXTENSION = slice(92, 96)
_COMPLEX_MODES = (3, 4)
_READABLE_MODES = (0, 1, 2, 6, 12)
_MAX_SIDE = 65536


class StackReader:
    """The images of an MRC file, read by number.

    path: as given; count: number of images; whole: how many of them the file has to its end (all, but for a truncated
    file whose fault was only noted); shape: (rows, columns); pixel_size: angstrom from the header, None where it has
    none; mode: of the MRC file; unsigned: what tells that its whole numbers are unsigned where the mode means signed
    ones (they are read so), None where nothing does; highest: of a stack of mode 6 the largest value known, its
    header's until images were read (0 for others); odd_header: whether the header lacks the MAP word or a machine
    stamp; axes: of which axis of space, 1 to 3 for x to z, the columns, rows and sections are; looks_like_volume:
    whether a program that knows nothing else would take it for a map.
    .gz and .bz2 are unpacked to a scratch file (in TMPDIR), which goes away with the reader (see unpacking.py).
    Raises UdlError where the file is missing, no MRC file, or of a mode that holds no real images; tells ``on_issue``
    (which raises it by default) where it is truncated.
    """

    def __init__(self, path: str, on_issue: OnIssue = raise_issue) -> None:
        self.path = str(path)
        self._file = self.path
        opener = _PACKED.get(_first_bytes(self.path))
        if opener:
            self._file = unpack(self.path, opener, HEADER_BYTES, lambda file: _promised(self.path, file))
            self._remove = weakref.finalize(self, discard, self._file)
        start, header, self.odd_header = _read_header(self.path, self._file)
        self.count = int(header.nz)
        self.shape = (int(header.ny), int(header.nx))
        self.mode = int(header.mode)
        top = float(header.dmax)
        self.highest, self._read_any = (int(top) if self.mode == 6 and 0 < top < 2**16 else 0), False
        self._start = HEADER_BYTES + int(header.nsymbt)
        low, self._dtype = float(header.dmin), data_dtype_from_header(header)
        self._dtype, self.unsigned = meant(self.mode, start, self._dtype, low, top, self._first_image)
        self.pixel_size = _header_pixel_size(header)
        self.axes = (int(header.mapc), int(header.mapr), int(header.maps))
        is_map = int(header.ispg) != 0 and ".mrcs" not in os.path.basename(self.path).lower()
        self.looks_like_volume = is_map and self.count == self.shape[0] == self.shape[1] > 1
        self.whole = self._check_size(on_issue)

    def _first_image(self) -> np.ndarray | None:
        """The first rows (rows, columns) of the first image as they lie in the file, all of them where it is no giant;
        None where they are not whole."""
        width = self.shape[1] * self._dtype.itemsize
        rows = min(self.shape[0], max(1, CHUNK_BYTES // width))
        if os.path.getsize(self._file) < self._start + rows * width:
            return None
        with open(self._file, "rb") as file:
            file.seek(self._start)
            return np.fromfile(file, self._dtype, rows * self.shape[1]).reshape(rows, -1)

    @property
    def _image_bytes(self) -> int:
        return self.shape[0] * self.shape[1] * self._dtype.itemsize

    def _check_size(self, on_issue: OnIssue) -> int:
        there = max(0, os.path.getsize(self._file) - self._start) // self._image_bytes
        if there < self.count:
            on_issue(
                "files",
                message("stack_truncated", path=self.path, promised=self.count, there=there),
            )
        return min(there, self.count)

    def read(self, indices: np.ndarray | None = None) -> np.ndarray:
        """Read images.

        Parameters
        ----------
        indices : int array, optional
            From 0, in any order; all by default.

        Returns
        -------
        (n, rows, columns) float32 array
            C-contiguous, in the order of ``indices``.

        Raises
        ------
        UdlError
            Naming file and item (from 1) for an index past the end, NaN or inf, or an unreadable file.
        """
        indices = np.arange(self.count) if indices is None else np.asarray(indices, np.int64).reshape(-1)
        images = np.empty((len(indices), *self.shape), np.float32)
        self.read_into(images, np.arange(len(indices)), indices)
        return images

    def read_into(
        self, images: np.ndarray, places: np.ndarray, indices: np.ndarray, on_issue: OnIssue = raise_issue
    ) -> None:
        """Read image ``indices[k]`` into ``images[places[k]]``.

        Parameters
        ----------
        images : (M, rows, columns) float32 array
            Written to.
        places, indices : (n,) int arrays
            From 0.
        on_issue : OnIssue, optional
            Told of NaN and inf; raises it by default.

        Raises
        ------
        UdlError
            What :meth:`read` raises.
        """
        if not len(indices):
            return
        wrong = (indices < 0) | (indices >= self.count)
        if wrong.any():
            raise UdlError(message("no_such_image", path=self.path, count=self.count, item=indices[wrong][0] + 1))
        order = np.argsort(indices, kind="stable")
        places, indices = places[order], indices[order]
        longest = max(1, CHUNK_BYTES // self._image_bytes)
        try:
            descriptor = os.open(self._file, os.O_RDONLY)
        except OSError as error:
            raise UdlError(message("cannot_be_read", path=self.path, reason=error.strerror)) from None
        try:
            for first, last in _runs(indices, longest):
                chunk = self._read_run(descriptor, int(indices[first]), int(indices[last - 1]) + 1)
                self._look_for_nan(chunk, int(indices[first]), on_issue)
                if self.mode == 6:
                    self.highest = max(int(chunk.max()), self.highest if self._read_any else 0)
                    self._read_any = True
                images[places[first:last]] = chunk[indices[first:last] - indices[first]]
        finally:
            os.close(descriptor)

    def _read_run(self, descriptor: int, first: int, last: int) -> np.ndarray:
        raw = np.empty((last - first, *self.shape), self._dtype)
        view = raw.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            item = first + done // self._image_bytes + 1
            try:
                got = os.preadv(descriptor, [view[done:]], self._start + first * self._image_bytes + done)
            except OSError as error:
                raise UdlError(
                    message("image_cannot_be_read", path=self.path, item=item, reason=error.strerror)
                ) from None
            if got <= 0:
                raise UdlError(message("stack_ends_within", path=self.path, item=item))
            done += got
        return raw

    def _look_for_nan(self, raw: np.ndarray, first: int, on_issue: OnIssue) -> None:
        """OnIssue of each image (n, rows, columns) that is not finite; ``first``: the item (from 0) of the first."""
        if raw.dtype.kind != "f":
            return
        # A sum is NaN or inf exactly where a pixel is, and needs no array of flags as large as the images.
        with np.errstate(all="ignore"):
            bad = np.flatnonzero(~np.isfinite(np.add.reduce(raw, axis=(1, 2), dtype=np.float64)))
        for k in bad:
            kind = "NaN" if np.isnan(raw[k]).any() else "infinite values"
            on_issue("pixel values", message("image_value_not_finite", path=self.path, item=first + k + 1, kind=kind))


def _runs(indices: np.ndarray, longest: int) -> list[tuple[int, int]]:
    """Slices of sorted indices whose images lie together in the file, none spanning more than ``longest`` images."""
    runs = []
    first = 0
    for k in range(1, len(indices) + 1):
        at_end = k == len(indices)
        if at_end or indices[k] > indices[k - 1] + 1 or indices[k] - indices[first] >= longest:
            runs.append((first, k))
            first = k
    return runs


def _first_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(2)
    except OSError as error:
        raise UdlError(message("cannot_be_read", path=path, reason=error.strerror)) from None


def _promised(path: str, file: str) -> int:
    """Bytes that a file has by the header in ``file``."""
    _, header, _ = _read_header(path, file)
    images = int(header.nz) * int(header.ny) * int(header.nx) * data_dtype_from_header(header).itemsize
    return HEADER_BYTES + int(header.nsymbt) + images


def _remove_quietly(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass


def _read_header(path: str, file: str) -> tuple[bytes, np.recarray, bool]:
    """The header as it lies in the file and through mrcfile, and whether the permissive reading was needed. Raises
    UdlError."""
    try:
        with open(file, "rb") as stream:
            start = stream.read(HEADER_BYTES)
    except OSError as error:
        raise UdlError(message("cannot_be_read", path=path, reason=error.strerror or error)) from None
    if len(start) < HEADER_BYTES:
        raise UdlError(message("mrc_too_short", path=path))
    # mrcfile gets the header without its extension, which it would load, however large a broken header says it is.
    plain = start[: _EXTENSION.start] + bytes(4) + start[_EXTENSION.stop :]
    odd = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = MrcInterpreter(io.BytesIO(plain), header_only=True).header.copy()
        except ValueError:
            odd = True
            header = MrcInterpreter(io.BytesIO(plain), permissive=True, header_only=True).header.copy()
    header = header.view(np.recarray)
    if not _sane(header):
        header = header.view(header.dtype.newbyteorder()).view(np.recarray)
    header.nsymbt = np.frombuffer(start[_EXTENSION], header.nsymbt.dtype)[0]
    _check_header(path, header)
    return start, header, odd


def _sane(header: np.recarray) -> bool:
    return all(0 < int(n) <= _MAX_SIDE for n in (header.nx, header.ny)) and int(header.nz) > 0


def _check_header(path: str, header: np.recarray) -> None:
    mode = int(header.mode)
    if not _sane(header) or int(header.nsymbt) < 0:
        raise UdlError(message("mrc_without_size", path=path))
    if mode in _COMPLEX_MODES:
        raise UdlError(message("mrc_of_transforms", path=path, mode=mode))
    if mode not in _READABLE_MODES:
        raise UdlError(message("mrc_mode_unknown", path=path, mode=mode))
    if int(header.ispg) >= 401:
        raise UdlError(message("mrc_of_volumes", path=path, space_group=int(header.ispg)))


def _header_pixel_size(header: np.recarray) -> float | None:
    width, pixels = float(header.cella.x), int(header.mx)
    size = width / pixels if pixels > 0 else 0.0
    return round(size, 6) if np.isfinite(size) and 1e-3 < size < 1e4 else None


class StackWriter:
    """An MRC stack (mode 2) written piece by piece, with its final name only when it is complete.

    As a context manager: ``with StackWriter(path, n, box, pixel_size) as out: out.write(images)``. n: number of images
    to come; box: pixels of a side, or (rows, columns); pixel_size: angstrom. Leaving it by an error removes the
    unfinished file. Raises UdlError where the file cannot be written, ValueError where the number of images is wrong.
    """

    def __init__(self, path: str, n: int, box: int | tuple[int, int], pixel_size: float) -> None:
        self.path = str(path)
        self.count = int(n)
        self.shape = (box, box) if isinstance(box, (int, np.integer)) else (int(box[0]), int(box[1]))
        self.pixel_size = float(pixel_size)
        self._temporary = f"{self.path}.part"
        self._written = 0
        self._sum = self._squares = 0.0
        self._low, self._high = np.inf, -np.inf
        self._file: BinaryIO | None = None  # while it is open

    def __enter__(self) -> StackWriter:
        try:
            # mrcfile makes the fixed fields of the header; the images go behind it piece by piece.
            durable.new(self._temporary)
            with mrcfile.new(self._temporary, np.zeros((1, *self.shape), np.float32), overwrite=True) as mrc:
                # One image: mrcfile reads it as (1, rows, columns) for space group 1, for 0 it drops the first axis.
                mrc.header.ispg = 1 if self.count == 1 else 0
                mrc.header.nz, mrc.header.mz = self.count, 1
                mrc.voxel_size = self.pixel_size
                self._header = mrc.header.copy()
            self._file = open(self._temporary, "r+b")
            self._file.seek(HEADER_BYTES)
        except OSError as error:
            raise UdlError(message("cannot_be_written", path=self.path, reason=error.strerror or error)) from None
        return self

    def write(self, images: np.ndarray) -> None:
        """Append images.

        Parameters
        ----------
        images : (n, rows, columns) or (rows, columns) array
            Of any real type; stored as float32.

        Raises
        ------
        UdlError
            Where the file cannot be written, with the reason.
        ValueError
            For more images than were announced.
        """
        images = np.ascontiguousarray(images, np.float32).reshape(-1, *self.shape)
        self._written += len(images)
        if self._written > self.count:
            raise ValueError(f"{self.path}: {self._written} images for {self.count} places")
        if not len(images):
            return
        flat = images.reshape(-1)
        self._sum += float(flat.sum(dtype=np.float64))
        self._squares += float(np.einsum("i,i->", flat, flat, dtype=np.float64))
        self._low, self._high = min(self._low, float(flat.min())), max(self._high, float(flat.max()))
        try:
            self._opened.write(images.data)
        except OSError as error:
            raise UdlError(message("cannot_be_written", path=self.path, reason=error.strerror)) from None

    def end_here(self) -> None:
        """No more images come: the stack holds those that were written, where fewer than announced are fine."""
        self.count = self._written
        self._header.nz, self._header.ispg = self.count, 1 if self.count == 1 else 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            self._opened.close()
            _remove_quietly(self._temporary)

    def _complete(self) -> None:
        if self._written != self.count:
            raise ValueError(f"{self.path}: {self._written} images were written, {self.count} announced")
        try:
            self._opened.seek(0)
            self._opened.write(self._final_header())
            self._opened.close()
            durable.replace(self._temporary, self.path)
        except OSError as error:
            raise UdlError(message("cannot_be_written", path=self.path, reason=error.strerror)) from None

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError(f"{self.path} is not open: write to it within its `with`")
        return self._file

    def _final_header(self) -> bytes:
        header, pixels = self._header.view(np.recarray), max(1, self.count * self.shape[0] * self.shape[1])
        mean = self._sum / pixels
        header.dmin, header.dmax, header.dmean = self._low, self._high, mean
        header.rms = max(0.0, self._squares / pixels - mean * mean) ** 0.5
        return header.tobytes()


def write_stack(path: str, images: np.ndarray, pixel_size: float) -> None:
    """Write images as an MRC file of mode 2; the final name appears when the file is complete.

    Parameters
    ----------
    path : str
    images : (n, rows, columns) or (rows, columns) array
        A stack, or one 2D image.
    pixel_size : float
        Angstrom.

    Raises
    ------
    UdlError
        Where it cannot be written, with the reason.
    """
    images = np.asarray(images)
    temporary = f"{path}.part"
    if images.ndim == 3:
        with StackWriter(path, len(images), (images.shape[1], images.shape[2]), pixel_size) as out:
            out.write(images)
        return
    try:
        with mrcfile.new(durable.new(temporary), overwrite=True) as mrc:
            with np.errstate(over="ignore"):  # it takes the deviation of very large values in single precision
                mrc.set_data(images.astype(np.float32))
            mrc.header.rms = images.std(dtype=np.float64)
            mrc.voxel_size = pixel_size
        durable.replace(temporary, path)
    except OSError as error:
        raise UdlError(message("cannot_be_written", path=path, reason=error.strerror or error)) from None
