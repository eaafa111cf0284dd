"""What the engine needs of particles, wherever they lie: in files (io/particles.py), or in an array."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.star.columns import ImageNames, rows_of
from scipion_udl.messages import Message, message

if TYPE_CHECKING:
    from scipion_udl.io.stacks import StackReader
    from scipion_udl.io.tables import Table

ARRAY = "array"  # what the images of an array are named after


@dataclass
class Optics:
    """What the user says of the microscope: kV, mm, and a fraction; None where nothing is said."""

    voltage: float | None = None
    cs: float | None = None
    amplitude_contrast: float | None = None


class Source(Protocol):
    """N particles of one box and pixel size.

    path: what messages call them by; box: pixels of a side; pixel_size: angstrom; pixel_size_known: False where nobody
    gave one and 1.0 stands in; names: N image names; table: its rows, of all ``tables``, in the ``form`` of a program
    (io/dialects.py), None, [] and "" without; cs: the rows of a cryoSPARC file, None for others; optics: what the user
    says of the microscope; stacks: the files of images, [] of an array; warnings: sentences for the user.
    """

    path: str
    box: int
    pixel_size: float
    pixel_size_known: bool
    names: Sequence[str]
    table: Table | None
    tables: list[Table]
    form: str
    cs: np.ndarray | None
    optics: Optics
    stacks: list[StackReader]
    warnings: list[Message]

    def __len__(self) -> int: ...

    @property
    def numbers(self) -> np.ndarray:
        """The places (N,) of the particles in the input, from 1."""
        raise NotImplementedError

    @property
    def stack(self) -> np.ndarray:
        """Which of ``stack_names`` each particle lies in, int (N,), from 0."""
        raise NotImplementedError

    @property
    def stack_names(self) -> list[str]:
        """The files, or what stands for them, that :attr:`stack` counts."""
        raise NotImplementedError

    @property
    def has_3d_angles(self) -> bool:
        """Whether its poses are projection directions, not a 2D alignment."""
        raise NotImplementedError

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """The images of some particles.

        Parameters
        ----------
        indices : sequence of int
            From 0, in any order.

        Returns
        -------
        (n, box, box) float32 array
            C-contiguous.

        Raises
        ------
        UdlError
            Naming the item (from 1) for an index past the end, NaN or inf.
        """

    def subset(self, indices: np.ndarray) -> Source:
        """Some of the particles as a source of their own.

        Parameters
        ----------
        indices : int array
            From 0; their order is kept.

        Returns
        -------
        Source
        """

    def poses(self) -> Poses | None:
        """The in-plane poses that come with the particles.

        Returns
        -------
        Poses or None
            N; None without.
        """

    def classes(self) -> np.ndarray:
        """The class number of each particle.

        Returns
        -------
        (N,) int64 array

        Raises
        ------
        UdlError
            Where there is none.
        """

    def missing_classes(self) -> Message | None:
        """The warning of particles without a class among others that have one.

        Returns
        -------
        Message or None
            None where all have one.
        """

    def missing_poses(self) -> Message | None:
        """The warning of particles without a pose among others that have one.

        Returns
        -------
        Message or None
            None where all or none have one.
        """

    def locations(self) -> list[tuple[str, int]]:
        """Where each particle lies.

        Returns
        -------
        list of (str, int)
            N: a name of the stack, item from 0.
        """

    def places(self, rows: slice | np.ndarray = ...) -> np.ndarray:
        """A number for the place of each particle.

        Parameters
        ----------
        rows : slice or int array, optional
            Of these only (from 0).

        Returns
        -------
        (N,) int64 array
            Equal where two particles are one.
        """

    def lasting_names(self) -> Sequence[str]:
        """The image names for tables that are written elsewhere.

        Returns
        -------
        sequence of str
            N.
        """

    def files(self) -> list[str]:
        """Every file that this source may read.

        Returns
        -------
        list of str
        """


def table_of(source: Source) -> Table:
    """The table of a source that has one.

    Parameters
    ----------
    source : Source

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        Without a table.
    """
    if source.table is None:
        raise ValueError(f"{source.path} has no table")
    return source.table


class ArraySource(Source):
    """Particles in an array: a source without files.

    images: (N, D, D), numpy or torch (on any device), of any real type; it is not copied, only what is read at a time
    is. pixel_size: angstrom, None where it is not known; name: what they are named after, ``000001@array`` and so on.
    It has no poses, no classes and no files.
    Raises UdlError where the shape or the type is another.
    """

    def __init__(self, images: Any, pixel_size: float | None = None, name: str = ARRAY) -> None:
        shape = tuple(int(n) for n in getattr(images, "shape", ()))
        if len(shape) != 3 or shape[1] != shape[2] or not all(shape):
            raise UdlError(message("array_shape", shape=str(shape)))
        kind = str(images.dtype).replace("torch.", "")
        if not kind.startswith(("float", "int", "uint", "bfloat")):
            raise UdlError(message("array_type", kind=kind))
        if pixel_size is not None and not (np.isfinite(pixel_size) and pixel_size > 0):
            raise UdlError(message("pixel_size_not_a_number", value=pixel_size))
        self._images, self._rows = images, np.arange(shape[0])
        self.path, self.box = name, shape[1]
        self.pixel_size, self.pixel_size_known = (1.0, False) if pixel_size is None else (float(pixel_size), True)
        self.names: Sequence[str] = ImageNames(self._rows + 1, [(6, name)], np.zeros(shape[0], np.uint8))
        self.table: Table | None = None
        self.tables: list[Table] = []
        self.form = ""
        self.cs: np.ndarray | None = None
        self.optics = Optics()
        self.stacks: list[StackReader] = []
        self.warnings: list[Message] = []
        if pixel_size is None:
            self.warnings.append(message("array_pixel_size_unknown"))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def stack(self) -> np.ndarray:
        return np.zeros(len(self), np.int32)

    @property
    def stack_names(self) -> list[str]:
        return [self.path]

    @property
    def has_3d_angles(self) -> bool:
        return False

    @property
    def numbers(self) -> np.ndarray:
        return self._rows + 1

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        indices = np.asarray(indices, np.int64).reshape(-1)
        wrong = indices[(indices < 0) | (indices >= len(self))]
        if len(wrong):
            raise UdlError(message("array_without_item", path=self.path, count=len(self), item=wrong[0] + 1))
        images = self._images[self._rows[indices]]
        if not isinstance(images, np.ndarray):  # of torch
            images = images.detach().cpu().float().numpy()
        with np.errstate(over="ignore"):
            images = np.ascontiguousarray(images, np.float32)
        # A sum is NaN or inf where a pixel is, and needs no array of flags as large as the images.
        bad = np.flatnonzero(~np.isfinite(images.sum((1, 2), dtype=np.float64)))
        if len(bad):
            what = "NaN" if np.isnan(images[bad[0]]).any() else "values that are infinite, or too large"
            raise UdlError(
                message("array_image_not_finite", item=self.numbers[indices[bad[0]]], path=self.path, what=what)
            )
        return images

    def subset(self, indices: np.ndarray) -> ArraySource:
        part = copy.copy(self)
        part.warnings = []
        part._rows = self._rows[indices]
        part.names = rows_of(self.names, indices)
        return part

    def poses(self) -> Poses | None:
        return None

    def classes(self) -> np.ndarray:
        raise UdlError(message("array_without_classes", path=self.path))

    def missing_classes(self) -> Message | None:
        return None

    def missing_poses(self) -> Message | None:
        return None

    def locations(self) -> list[tuple[str, int]]:
        return [(self.path, int(row)) for row in self._rows]

    def places(self, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        return self._rows[rows].astype(np.int64)

    def lasting_names(self) -> Sequence[str]:
        return self.names

    def files(self) -> list[str]:
        return []
