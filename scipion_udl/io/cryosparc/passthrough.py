"""What the file of a cryoSPARC job lacks, out of the files beside it, by ``uid``.

A job writes the fields that it made or changed. The rest is in a passthrough file in the same folder, whose name has
``passthrough`` in it and otherwise follows the output (particles, split_0, ...). Which file belongs to which is told by
the ids of the particles alone. Fields come by whole groups (blob, ctf, ...), since
those of a group speak of one another.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.io.cryosparc.rows import CsFile, joined
from scipion_udl.messages import Message, message

# Taken from a file that is no passthrough: what belongs to an image whatever was done with it since.
_OF_THE_IMAGE = ("blob/", "ctf/", "location/")
# The same of all particles of a microscope: where one row lacks it, another's is no worse, and no group is split by it.
_OF_THE_MICROSCOPE = ("ctf/accel_kv", "ctf/cs_mm", "ctf/amp_contrast", "ctf/exp_group_id", "blob/psize_A", "blob/sign")
_POSE = "alignments2D/"


class Completed:
    """Rows of a .cs file with the fields that the files beside it add.

    file: its header; kept: which of its fields, and of those beside it, there is a use for, None for all; rows:
    structured array (N,) of all fields, (0,) where not all are kept (:meth:`pieces` and :meth:`column` read them then);
    added: the fields from beside, (N, ...) each, (0, ...) where they are not kept; lacking: name of an added field ->
    (N,) bool, the rows that no file had it for; there it is NaN in a 2D alignment, the value of the others in what
    belongs to the microscope, and 0 or no text in all else; warnings: sentences for the user.
    """

    def __init__(self, file: CsFile, kept: Collection[str] | None = None) -> None:
        self.file, self.path, self.kept = file, file.path, kept
        self.added: dict[str, np.ndarray] = {}
        self.lacking: dict[str, np.ndarray] = {}
        self.warnings: list[Message] = []
        self.rows = np.empty(0, file.dtype) if kept is not None else file.rows()

    def __len__(self) -> int:
        return self.file.count

    def dtypes(self) -> dict[str, np.dtype]:
        """The fields, and the type of each.

        Returns
        -------
        dict of str to dtype
        """
        own = {name: self.file.dtype[name] for name in self.file.names}
        return {**own, **{name: np.dtype((v.dtype, v.shape[1:])) for name, v in self.added.items()}}

    def column(self, name: str) -> np.ndarray:
        """One field of all rows.

        Parameters
        ----------
        name : str

        Returns
        -------
        (N, ...) array
        """
        if name in self.added:
            return self.added[name]
        return self.rows[name] if self.kept is None else self.file.column(name)

    def pieces(self, count: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """The rows piece by piece, with the fields that are kept.

        Parameters
        ----------
        count : int
            Rows of a piece; at the end of what is read at a time it has fewer.

        Yields
        ------
        first : int
            Number of the piece's first row.
        fields : dict of str to (n, ...) array
        """
        names = [name for name in self.file.names if self.kept is None or name in self.kept]
        pieces = [(0, self.rows)] if self.kept is None else self.file.pieces(names)
        for start, piece in pieces:
            for k in range(0, len(piece), count):
                part, first = piece[k : k + count], start + k
                added = {name: v[first : first + len(part)] for name, v in self.added.items() if len(v)}
                yield first, {**{name: part[name] for name in names}, **added}


def completed(file: CsFile, kept: Collection[str] | None = None) -> Completed:
    """The rows of a .cs file, completed by the files beside it.

    Added is every field that a passthrough file beside it has for the rows' ``uid``, or, of image, CTF and place on the
    micrograph, any other .cs file beside it.

    Parameters
    ----------
    file : CsFile
    kept : collection of str, optional
        The fields that there is a use for; all by default.

    Returns
    -------
    Completed
    """
    result = Completed(file, kept)
    beside = _beside(file.path) if file.has_ids() else []
    ids = result.column("uid") if beside else np.empty(0, np.uint64)
    for other in sorted(filter(None, (_Other.of(one, file, ids) for one in beside)), key=lambda one: one.rank):
        _take(result, other)
    _fill(result.added, result.lacking)
    if result.added and kept is None:
        result.rows = joined({**{name: result.rows[name] for name in file.names}, **result.added})
        result.added = {name: result.rows[name] for name in result.added}
    result.warnings += _told(result, ids)
    return result


@dataclass
class _Other:
    """A file beside, with fields that lack: names of them; place (N,), the row of each particle in it; there (N,) bool,
    whether it has that particle."""

    file: CsFile
    names: list[str]
    place: np.ndarray
    there: np.ndarray

    @classmethod
    def of(cls, path: str, of: CsFile, wanted: np.ndarray) -> _Other | None:
        """The file ``path``, None where it is of no use for the file ``of``, whose uids are ``wanted`` (N,): of another
        kind, cut, or of other particles."""
        try:
            file = CsFile.open(path)
            own = {_group(name) for name in of.names}
            names = [name for name in _offered(file) if _group(name) not in own]
            if not (names and file.has_ids() and file.count):
                return None
            ids = file.column("uid").astype(np.uint64)  # of two kinds numpy would compare as float64, too coarsely
        except UdlError:
            return None
        order, wanted = np.argsort(ids, kind="stable"), wanted.astype(np.uint64)
        place = order[np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)]
        there = ids[place] == wanted
        return cls(file, names, place, there) if there.any() else None

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Passthrough files come first, and those that have more of the particles."""
        return not _passes_through(self.file.path), -int(self.there.sum()), self.file.path

    def values(self, name: str) -> np.ndarray:
        """A field of each particle, (N, ...), nothing where it is not there."""
        values = self.file.column(name)[self.place]
        values[~self.there] = np.zeros((), values.dtype)
        return values


def _beside(path: str) -> list[str]:
    """The other .cs files of the folder."""
    own = os.path.realpath(path)
    files = sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(path)), "*.cs")))
    return [one for one in files if os.path.realpath(one) != own]


def _group(field: str) -> str:
    """What a field is part of: blob/sign is said of the image that blob/path names, of no other."""
    return field.partition("/")[0]


def _passes_through(path: str) -> bool:
    return "passthrough" in os.path.basename(path).lower()


def _offered(found: CsFile) -> list[str]:
    names = [name for name in found.names if name != "uid"]
    if _passes_through(found.path):
        return names
    return [name for name in names if name.startswith(_OF_THE_IMAGE)]


def _take(result: Completed, other: _Other) -> None:
    """Add the fields of a file for the particles that it has and that lack them still."""
    added = result.added
    took, there_already = set(), {_group(name) for name in added}
    for name in other.names:
        if name not in added and _group(name) in there_already:
            continue
        if name in added and not (result.lacking[name] & other.there).any():
            continue
        use = result.kept is None or name in result.kept
        kind = other.file.dtype[name]
        values = other.values(name) if use else np.empty((0, *kind.shape), kind.base)
        if name not in added:
            added[name], result.lacking[name] = values, ~other.there
        elif values.dtype.kind == added[name].dtype.kind and values.shape == added[name].shape:
            those = result.lacking[name] & other.there
            added[name] = added[name].astype(max(values.dtype, added[name].dtype, key=lambda kind: kind.itemsize))
            if use:
                added[name][those] = values[those]
            result.lacking[name] = result.lacking[name] & ~other.there
        else:
            continue
        took.add(name)
    if took:
        groups = ", ".join(sorted({_group(name) for name in took}))
        result.warnings.append(message("fields_from_elsewhere", path=result.path, groups=groups, other=other.file.path))


def _fill(added: dict[str, np.ndarray], lacking: dict[str, np.ndarray]) -> None:
    """Put what stands for nothing into the rows that lack a field."""
    for name, rows in lacking.items():
        if not (rows.any() and len(added[name])):
            continue
        if name in _OF_THE_MICROSCOPE:
            added[name][rows] = added[name][np.flatnonzero(~rows)[0]]
        elif name.startswith(_POSE) and added[name].dtype.kind == "f":
            added[name][rows] = np.nan


def _told(result: Completed, ids: np.ndarray) -> list[Message]:
    """One sentence on each set of particles that some fields lack for; ids: (N,) uids."""
    groups: dict[bytes, list[str]] = {}
    for name, rows in result.lacking.items():
        if rows.any() and name not in _OF_THE_MICROSCOPE:
            groups.setdefault(rows.tobytes(), []).append(name)
    sentences = []
    for names in groups.values():
        rows = np.flatnonzero(result.lacking[names[0]])
        fields = ", ".join(sorted({_group(name) for name in names}))
        sentences.append(
            message(
                "fields_lacking",
                path=result.path,
                fields=fields,
                count=len(rows),
                total=len(result),
                row=rows[0] + 1,
                uid=ids[rows[0]],
            )
        )
    return sentences
