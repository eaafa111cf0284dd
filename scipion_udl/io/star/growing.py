"""A column of a table that is read piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from scipion_udl.io.star.characters import TOGETHER, characters, cut, decoded, encoded, lengths, parsed_decimals, pieces
from scipion_udl.io.star.columns import SHARED, Column, Decimals, ImageNames, Texts

_WASTE = 4  # how many times longer than its texts a column may be, where one of them is very long
_WIDER = 2  # the same, where texts are put behind narrower ones
_SMALL = 1 << 16  # bytes of which nobody asks
_LONG, _SHARED_LONG = 24, 8 / 7  # from so many characters, as names have, the same: in no order they repeat late
_DIFFERENT = 1 << 16  # texts of a column that are there once, at most: while it is read each of them is an object
_FIRST = 1 << 12  # rows by which it is seen whether a column has much in common
_FEW = 4  # rows up to which nobody asks how they are kept
_LARGEST = np.iinfo(np.int32).max  # number of an image that is kept as one
_DIGITS = 10  # of the number of an image, at most
_AT, _ZERO = ord("@"), ord("0")


class Growing:
    """A column that is read piece by piece, into few large arrays: many small ones, put together at the end, would
    leave as much memory again in pieces that the process keeps."""

    def __init__(self) -> None:
        # until there are so many that what they have in common shows
        self._first: list[np.ndarray | Sequence[str]] = []
        self._kept: _Shared | _Named | _Numbers | None = None  # as long as the rows have much in common
        self._parts: list[_Room | list[str]] = []

    def add(self, texts: Sequence[str] | np.ndarray) -> None:
        """Put the texts of the next rows behind the others.

        Parameters
        ----------
        texts : sequence of str, or (n,) array of dtype S
        """
        if isinstance(texts, np.ndarray):
            self._add(texts)
        elif isinstance(texts, Column):
            for piece in pieces(len(texts)):
                self._add(texts.encoded(piece))
        elif 4 * max(map(len, texts), default=0) * len(texts) <= _SMALL + 4 * _WASTE * sum(map(len, texts)):
            self._add(texts)
        else:  # one of them is very long
            self._leave_kept()
            self._parts.append(list(texts))

    def _add(self, texts: np.ndarray | Sequence[str]) -> None:
        if self._kept is None and not self._parts:
            self._first.append(texts)
            if sum(map(len, self._first)) >= _FIRST:
                self._begin()
            return
        piece = _bytes(texts)
        if self._kept is None:
            self._put(piece)
        elif not self._kept.add(piece):
            self._leave_kept()
            self._put(piece)

    def _begin(self) -> None:
        """Find out by the first rows what they have in common."""
        first, self._first = self._first, []
        if first:
            piece = np.concatenate(list(map(_bytes, first)))
            self._kept = next((kept for kept in (_Shared(), _Named(), _Numbers()) if kept.add(piece)), None)
            if self._kept is None:
                self._put(piece)

    def _leave_kept(self) -> None:
        """Make of what rows have in common the texts of each."""
        self._begin()
        if self._kept is not None:
            column, self._kept = self._kept.column(), None
            for piece in pieces(len(column)):
                self._put(column.encoded(piece))

    def _put(self, piece: np.ndarray) -> None:
        last = self._parts[-1] if self._parts else None
        if piece.nbytes > _SMALL + _WASTE * int(np.count_nonzero(characters(piece))):
            self._parts.append(decoded(piece))
        elif isinstance(last, _Room) and last.fits(piece):
            last.add(piece)
        else:
            self._parts.append(_Room(piece))

    def column(self) -> Sequence[str]:
        """All texts as a column.

        Returns
        -------
        sequence of str
            :class:`Texts`, :class:`ImageNames` or :class:`Decimals`, or a list where a few long texts would make all
            take their place.
        """
        if self._first and sum(map(len, self._first)) < _FEW:
            return [
                text for piece in self._first for text in (Texts(piece) if isinstance(piece, np.ndarray) else piece)
            ]
        self._begin()
        if self._kept is not None:
            return self._kept.column()
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


def _bytes(texts: np.ndarray | Sequence[str]) -> np.ndarray:
    return texts if isinstance(texts, np.ndarray) else encoded(texts)


def _runs(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rows differ from those before them in one of the keys (n,), the first row among them; and how many are
    equal from there on."""
    new = np.ones(len(keys[0]), bool)
    if len(new):
        new[1:] = False
        for key in keys:
            new[1:] |= key[1:] != key[:-1]
    first = np.flatnonzero(new)
    return first, np.diff(first, append=len(new))


class _Shared:
    """Texts that many rows share: each once, and for every row which one it has."""

    def __init__(self) -> None:
        self._code_of: dict[bytes, int] = {}
        self._codes = _Room(np.empty(0, np.uint16))

    def add(self, piece: np.ndarray) -> bool:
        """Put texts (n,) behind the others; False, and nothing is done, where too many would differ then."""
        first, times = _runs(piece)
        texts = piece[first].tolist()
        new = [text for text in dict.fromkeys(texts) if text not in self._code_of]
        different = len(self._code_of) + len(new)
        if not _worthwhile(different, len(self._codes) + len(piece), lambda: sum(map(len, [*self._code_of, *new]))):
            return False
        self._code_of.update(zip(new, range(len(self._code_of), different)))
        codes = np.fromiter(map(self._code_of.__getitem__, texts), np.uint16, len(texts))
        self._codes.add(np.repeat(codes, times))
        return True

    def column(self) -> Texts:
        """All texts."""
        values, codes = np.array(list(self._code_of), np.bytes_), self._codes.taken()
        return Texts(values, codes.astype(np.uint8) if len(values) <= 1 << 8 else codes)


def _worthwhile(different: int, rows: int, characters: Callable[[], int]) -> bool:
    """Whether to have that many texts, of so many characters together, once each, for that many rows."""
    if different > _DIFFERENT or _SHARED_LONG * different > rows:
        return False
    return SHARED * different <= rows or characters() >= _LONG * different


class _Named:
    """Texts that are names of images, NUMBER@FILE, many of a file: each file once, and for every row its number."""

    def __init__(self) -> None:
        self._file_of: dict[tuple[int, bytes], int] = {}
        self._numbers, self._of = _Room(np.empty(0, np.int32)), _Room(np.empty(0, np.uint16))

    def add(self, piece: np.ndarray) -> bool:
        """Put texts (n,) behind the others; False, and nothing is done, where one is no such name, or too many files
        would differ then."""
        named = _numbers_and_files(piece)
        if named is None:
            return False
        numbers, least, names = named
        first, times = _runs(names, least)
        files = list(zip(least[first].tolist(), names[first].tolist()))
        new = [file for file in dict.fromkeys(files) if file not in self._file_of]
        different = len(self._file_of) + len(new)
        many = not _worthwhile(different, len(self._of) + len(piece), lambda: _LONG * different)
        if many or numbers.max() > _LARGEST:
            return False
        self._file_of.update(zip(new, range(len(self._file_of), different)))
        self._numbers.add(numbers.astype(np.int32))
        of = np.fromiter(map(self._file_of.__getitem__, files), np.uint16, len(files))
        self._of.add(np.repeat(of, times))
        return True

    def column(self) -> ImageNames:
        """All names."""
        files = [(least, file.decode("utf-8", "surrogateescape")) for least, file in self._file_of]
        return ImageNames(self._numbers.taken(), files, self._of.taken())


def _numbers_and_files(piece: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The numbers (n,) int64 of image names (n,), the digits that they have at least, and their files; None where one
    is no NUMBER@FILE."""
    each = characters(piece)
    head = each[:, : _DIGITS + 1]
    at = (head == _AT).argmax(1)
    if not len(at) or (head[np.arange(len(at)), at] != _AT).any() or not at.all():
        return None
    numbers = np.zeros(len(at), np.int64)
    for place in range(int(at.max())):
        digit = (head[:, place] - _ZERO).astype(np.int64)  # of other characters it is above 9, for it has no sign
        more = place < at
        if (digit[more] > 9).any():
            return None
        numbers = np.where(more, 10 * numbers + digit, numbers)
    starts = np.arange(len(at)) * each.shape[1] + at + 1
    files = cut(each.reshape(-1), starts, lengths(piece) - at - 1)
    return numbers, np.where(head[:, 0] == _ZERO, at, 1), files


class _Numbers:
    """Numbers that all have as many decimals, and are written as computed ones are."""

    def __init__(self) -> None:
        self._numbers: _Room | None = None
        self._decimals = 0

    def add(self, piece: np.ndarray) -> bool:
        """Put texts (n,) behind the others; False, and nothing is done, where one is no such number."""
        if self._numbers is None:
            self._decimals = len(bytes(piece[0]).partition(b".")[2])
        numbers = parsed_decimals(piece, self._decimals)
        if numbers is None:
            return False
        if self._numbers is None:
            self._numbers = _Room(numbers)
        else:
            self._numbers.add(numbers)
        return True

    def column(self) -> Decimals:
        """All numbers."""
        return Decimals(np.empty(0, np.int32) if self._numbers is None else self._numbers.taken(), self._decimals)


class _Room:
    """Texts as bytes, or codes, with room for more: an array that grows where it is, as long as it is of one width."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values if values.flags.owndata else values.copy()  # what is a part of another cannot grow
        self._count = len(values)

    def __len__(self) -> int:
        return self._count

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
    """Texts as a column, in as little memory as they take.

    Parameters
    ----------
    texts : iterable of str

    Returns
    -------
    sequence of str
        As :meth:`Growing.column` gives it.
    """
    found, piece = Growing(), []
    for text in texts:
        piece.append(text)
        if len(piece) == TOGETHER:
            found.add(piece)
            piece = []
    if piece:
        found.add(piece)
    return found.column()
