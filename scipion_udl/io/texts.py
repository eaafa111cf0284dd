"""A column of a table as the bytes of its file, in one piece: a set of millions of particles takes no object for each
value. Texts that many rows share are there once, and so are the files that image names have behind their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

_TOGETHER = 1 << 14  # texts that are objects at one time
_WASTE = 4  # how many times longer than its texts a column may be, where one of them is very long
_WIDER = 2  # the same, where texts are put behind narrower ones
_SMALL = 1 << 16  # bytes of which nobody asks
_SHARED = 2  # rows a text, on average, from which each is there once
_LONG, _SHARED_LONG = 24, 8 / 7  # from so many characters, as names have, the same: in no order they repeat late
_DIFFERENT = 1 << 16  # texts of a column that are there once, at most: while it is read each of them is an object
_LARGEST = np.iinfo(np.int32).max  # number of an image that is kept as one
_QUOTES = (ord('"'), ord("'"))


class Column(Sequence):
    """N texts, read-only, otherwise as good as a list of them."""

    @property
    def nbytes(self) -> int:
        """The memory that they take, bytes."""
        raise NotImplementedError

    def rows(self, indices: np.ndarray) -> Column:
        """The texts of some rows.

        Parameters
        ----------
        indices : int array
            From 0; their order is kept.

        Returns
        -------
        Column
        """
        raise NotImplementedError

    def begin_quoted(self) -> bool:
        """Whether one of the texts begins with a quote.

        Returns
        -------
        bool
        """
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other))

    __hash__ = None  # type: ignore[assignment]  # lists, too, have none

    def __add__(self, other: Sequence[str]) -> list[str]:
        return [*self, *other]

    def __radd__(self, other: Sequence[str]) -> list[str]:
        return [*other, *self]

    def __mul__(self, times: int) -> list[str]:
        return list(self) * times

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"{kind}({list(self)!r})" if len(self) < 10 else f"{kind}({self[:10]!r} and {len(self) - 10} more)"


class Texts(Column):
    """Texts as the bytes that they are in a file.

    values: their bytes (UTF-8, other bytes as they were), dtype S (N,); or, with ``codes`` (N,), which are places in
    it, those of the texts that differ, (K,).
    """

    def __init__(self, values: np.ndarray, codes: np.ndarray | None = None) -> None:
        self.values, self.codes = values, codes

    def __len__(self) -> int:
        return len(self.values if self.codes is None else self.codes)

    def __getitem__(self, which: int | slice) -> str | list[str]:
        if isinstance(which, slice):
            return _decoded(self.values[which if self.codes is None else self.codes[which]])
        value: bytes = self.values[which if self.codes is None else self.codes[which]]
        return value.decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        if self.codes is None:
            for start in range(0, len(self), _TOGETHER):
                yield from _decoded(self.values[start : start + _TOGETHER])
            return
        different = _decoded(self.values)
        for start in range(0, len(self), _TOGETHER):
            yield from map(different.__getitem__, self.codes[start : start + _TOGETHER].tolist())

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.codes is None else self.codes.nbytes)

    def rows(self, indices: np.ndarray) -> Texts:
        if self.codes is None:
            return Texts(self.values[indices])
        codes = self.codes[indices]
        return Texts(self.values, codes) if len(codes) >= _SHARED * len(self.values) else Texts(self.values[codes])

    def begin_quoted(self) -> bool:
        if not len(self.values):
            return False
        first = self.values.view(np.uint8).reshape(len(self.values), -1)[:, 0]
        return bool(np.isin(first, _QUOTES).any())

    def floats(self, number: Callable[[bytes], float] = float) -> np.ndarray:
        """The numbers that the texts say.

        Parameters
        ----------
        number : callable, optional
            Makes a number of bytes; what it raises of a text that says none is raised.

        Returns
        -------
        (N,) float64 array
        """
        each = self.values
        values = (value for k in range(0, len(each), _TOGETHER) for value in each[k : k + _TOGETHER].tolist())
        found = np.fromiter((number(value) for value in values), np.float64, len(each))
        return found if self.codes is None else found[self.codes]


class ImageNames(Column):
    """Names of images, NUMBER@FILE.

    numbers: (N,); files: what comes behind the numbers, each with the digits that the number has at least, where it
    begins with a 0, else 1; of: (N,) which of them each name has.
    """

    def __init__(self, numbers: np.ndarray, files: Sequence[tuple[int, str]], of: np.ndarray) -> None:
        self.numbers, self.files, self.of = numbers, files, of

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, which: int | slice) -> str | list[str]:
        if isinstance(which, slice):
            return list(map(self._name, self.numbers[which].tolist(), self.of[which].tolist()))
        return self._name(int(self.numbers[which]), int(self.of[which]))

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _TOGETHER):
            yield from self[start : start + _TOGETHER]

    def _name(self, number: int, of: int) -> str:
        digits, file = self.files[of]
        return f"{number:0{digits}d}@{file}"

    @property
    def nbytes(self) -> int:
        return self.numbers.nbytes + self.of.nbytes

    def rows(self, indices: np.ndarray) -> ImageNames:
        return ImageNames(self.numbers[indices], self.files, self.of[indices])

    def begin_quoted(self) -> bool:
        return False


class Unread(Column):
    """N texts of a file that nobody asks for: they were counted as they went by, in place of :class:`Growing`."""

    def __init__(self, count: int = 0) -> None:
        self._rows = count

    def add(self, texts: Sequence[str]) -> None:
        """Count the texts of the next rows.

        Parameters
        ----------
        texts : sequence of str
        """
        self._rows += len(texts)

    def column(self) -> Unread:
        """All of them, as a column.

        Returns
        -------
        Unread
        """
        return self

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, which: int | slice) -> str | list[str]:
        raise RuntimeError("a column was asked for that was not kept when its table was read")

    def __repr__(self) -> str:
        return f"Unread({self.count})"

    @property
    def nbytes(self) -> int:
        return 0

    def rows(self, indices: np.ndarray) -> Unread:
        return Unread(len(indices))

    def begin_quoted(self) -> bool:
        return False


class Growing:
    """A column that is read piece by piece, into few large arrays: many small ones, put together at the end, would
    leave as much memory again in pieces that the process keeps."""

    def __init__(self) -> None:
        self._kept: _Shared | _Named | None = None  # as long as the rows have much in common
        self._parts: list[_Room | list[str]] = []

    def add(self, texts: Sequence[str]) -> None:
        """Put the texts of the next rows behind the others.

        Parameters
        ----------
        texts : sequence of str
        """
        if self._kept is None and not self._parts:
            self._kept = next((kept for kept in (_Shared(), _Named()) if kept.add(texts)), None)
        elif self._kept is not None and not self._kept.add(texts):
            column, self._kept = self._kept.column(), None
            for start in range(0, len(column), _TOGETHER):
                self._put(_encoded(column[start : start + _TOGETHER]))
        if self._kept is None:
            self._put(_encoded(texts))

    def _put(self, piece: np.ndarray | list[str]) -> None:
        last = self._parts[-1] if self._parts else None
        if isinstance(piece, np.ndarray) and isinstance(last, _Room) and last.fits(piece):
            last.add(piece)
        else:
            self._parts.append(_Room(piece) if isinstance(piece, np.ndarray) else piece)

    def column(self) -> Sequence[str]:
        """All texts as a column.

        Returns
        -------
        sequence of str
            :class:`Texts` or :class:`ImageNames`, or a list where a few long texts would make all take their place.
        """
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


class _Shared:
    """Texts that many rows share: each once, and for every row which one it has."""

    def __init__(self) -> None:
        self._code_of: dict[str, int] = {}
        self._codes = _Room(np.empty(0, np.uint16))

    def add(self, texts: Sequence[str]) -> bool:
        """Put ``texts`` behind the others; False, and nothing is done, where too many would differ then."""
        new = [text for text in dict.fromkeys(texts) if text not in self._code_of]
        different = len(self._code_of) + len(new)
        if not _worthwhile(different, len(self._codes) + len(texts), lambda: sum(map(len, [*self._code_of, *new]))):
            return False
        self._code_of.update(zip(new, range(len(self._code_of), different)))
        self._codes.add(np.fromiter(map(self._code_of.__getitem__, texts), np.uint16, len(texts)))
        return True

    def column(self) -> Sequence[str]:
        """All texts."""
        different, codes = list(self._code_of), self._codes.taken()
        values = _encoded(different)
        if isinstance(values, list):  # a few are very long
            return [different[code] for code in codes.tolist()]
        return Texts(values, codes.astype(np.uint8) if len(values) <= 1 << 8 else codes)


def _worthwhile(different: int, rows: int, characters: Callable[[], int]) -> bool:
    """Whether to have that many texts, of so many characters together, once each, for that many rows."""
    if different > _DIFFERENT or _SHARED_LONG * different > rows:
        return False
    return _SHARED * different <= rows or characters() >= _LONG * different


class _Named:
    """Texts that are names of images, NUMBER@FILE, many of a file: each file once, and for every row its number."""

    def __init__(self) -> None:
        self._file_of: dict[tuple[int, str], int] = {}
        self._numbers, self._of = _Room(np.empty(0, np.int32)), _Room(np.empty(0, np.uint16))

    def add(self, texts: Sequence[str]) -> bool:
        """Put ``texts`` behind the others; False, and nothing is done, where one is no such name, or too many files
        would differ then."""
        names = [text.partition("@") for text in texts]
        if not all(at and number.isascii() and number.isdigit() and len(number) <= 10 for number, at, _ in names):
            return False
        numbers = np.fromiter((int(number) for number, _, _ in names), np.int64, len(names))
        files = [(len(number) if number[0] == "0" else 1, file) for number, _, file in names]
        new = [file for file in dict.fromkeys(files) if file not in self._file_of]
        different = len(self._file_of) + len(new)
        many = not _worthwhile(different, len(self._of) + len(texts), lambda: _LONG * different)
        if many or numbers.max() > _LARGEST:
            return False
        self._file_of.update(zip(new, range(len(self._file_of), different)))
        self._numbers.add(numbers.astype(np.int32))
        self._of.add(np.fromiter(map(self._file_of.__getitem__, files), np.uint16, len(files)))
        return True

    def column(self) -> ImageNames:
        """All names."""
        return ImageNames(self._numbers.taken(), list(self._file_of), self._of.taken())


class _Room:
    """Texts as bytes, or codes, with room for more: an array that grows where it is, as long as it is of one width."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self._count = values, len(values)

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
