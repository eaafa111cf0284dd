"""A column of a table as the bytes of its file, in one piece: a set of millions of particles takes no object for each
value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

_TOGETHER = 1 << 14  # texts that are objects at one time
_WASTE = 4  # how many times longer than its texts a column may be, where one of them is very long
_WIDER = 2  # the same, where texts are put behind narrower ones
_SMALL = 1 << 16  # bytes of which nobody asks
_QUOTES = (ord('"'), ord("'"))


class Texts(Sequence):
    """N texts, read-only; ``values``: their bytes (UTF-8, other bytes as they were), dtype S (N,)."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: int | slice) -> str | list[str]:
        if isinstance(which, slice):
            return _decoded(self.values[which])
        return self.values[which].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self.values), _TOGETHER):
            yield from _decoded(self.values[start : start + _TOGETHER])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other))

    __hash__ = None

    def __add__(self, other: Sequence[str]) -> list[str]:
        return [*self, *other]

    def __radd__(self, other: Sequence[str]) -> list[str]:
        return [*other, *self]

    def __mul__(self, times: int) -> list[str]:
        return list(self) * times

    def __repr__(self) -> str:
        return f"Texts({list(self)!r})" if len(self) < 10 else f"Texts({self[:10]!r} and {len(self) - 10} more)"

    def rows(self, indices: np.ndarray) -> Texts:
        """The texts of some rows (from 0), in that order."""
        return Texts(self.values[indices])

    def begin_quoted(self) -> bool:
        """Whether one of them begins with a quote."""
        if not len(self.values):
            return False
        first = self.values.view(np.uint8).reshape(len(self.values), -1)[:, 0]
        return bool(np.isin(first, _QUOTES).any())

    def floats(self, number: Callable[[bytes], float] = float) -> np.ndarray:
        """The numbers float64 (N,) that they say. Raises what ``number`` does of one that says none."""
        values = (value for k in range(0, len(self), _TOGETHER) for value in self.values[k : k + _TOGETHER].tolist())
        return np.fromiter((number(value) for value in values), np.float64, len(self))


class Growing:
    """A column that is read piece by piece, into few large arrays: many small ones, put together at the end, would
    leave as much memory again in pieces that the process keeps."""

    def __init__(self) -> None:
        self._parts: list[_Room | list[str]] = []

    def add(self, texts: Sequence[str]) -> None:
        """The texts of the next rows."""
        piece = _encoded(texts)
        last = self._parts[-1] if self._parts else None
        if isinstance(piece, np.ndarray) and isinstance(last, _Room) and last.fits(piece):
            last.add(piece)
        else:
            self._parts.append(_Room(piece) if isinstance(piece, np.ndarray) else piece)

    def column(self) -> Sequence[str]:
        """All of them: :class:`Texts`, or a list where a few long ones would make all take their place."""
        parts = [part.taken() if isinstance(part, _Room) else part for part in self._parts]
        if not parts:
            return []
        arrays = [part for part in parts if isinstance(part, np.ndarray)]
        width, count = max((part.itemsize for part in arrays), default=0), sum(map(len, parts))
        if len(arrays) == len(parts) and width * count <= _SMALL + _WASTE * sum(part.nbytes for part in arrays):
            return Texts(np.concatenate(arrays) if len(arrays) > 1 else arrays[0])
        known: dict[str, str] = {}
        texts = (text for part in parts for text in (part if isinstance(part, list) else Texts(part)))
        return [known.setdefault(text, text) for text in texts]


class _Room:
    """Texts as bytes with room for more: an array that grows where it is, as long as it is of one width."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self._count = values, len(values)

    def fits(self, piece: np.ndarray) -> bool:
        """Whether both in one width take little more than each in its own."""
        count, width = self._count + len(piece), max(self._values.itemsize, piece.itemsize)
        return width * count <= _SMALL + _WIDER * (self._values.itemsize * self._count + piece.nbytes)

    def add(self, piece: np.ndarray) -> None:
        """Put ``piece`` behind the others."""
        if piece.itemsize > self._values.itemsize:
            self._values = self._values[: self._count].astype(piece.dtype)
        count = self._count + len(piece)
        if count > len(self._values):
            self._values.resize(max(count, len(self._values) * 9 // 8), refcheck=False)
        self._values[self._count : count] = piece
        self._count = count

    def taken(self) -> np.ndarray:
        """The texts, and no room any more."""
        self._values.resize(self._count, refcheck=False)
        return self._values


def column_of(texts: Iterable[str]) -> Sequence[str]:
    """Texts as a column."""
    found, piece = Growing(), []
    for text in texts:
        piece.append(text)
        if len(piece) == _TOGETHER:
            found.add(piece)
            piece = []
    if piece:
        found.add(piece)
    return found.column()


def _encoded(texts: Sequence[str]) -> np.ndarray | list[str]:
    lengths = list(map(len, texts))
    if 4 * max(lengths) * len(texts) > _SMALL + 4 * _WASTE * sum(lengths):
        return list(texts)
    try:
        return np.array(texts, np.bytes_)  # of ASCII alone
    except UnicodeEncodeError:
        return np.array([text.encode("utf-8", "surrogateescape") for text in texts], np.bytes_)


def _decoded(values: np.ndarray) -> list[str]:
    try:
        return values.astype(np.str_).tolist()
    except UnicodeDecodeError:
        return [value.decode("utf-8", "surrogateescape") for value in values.tolist()]
