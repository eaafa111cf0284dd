"""A column of a table in one piece: a set of millions of particles takes no object for each value. Texts are the bytes
of their file; those that many rows share are there once, and so are the files that image names have behind their
numbers; numbers that were computed are numbers until they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from scipion_udl.io.star.characters import (
    characters,
    decimal_characters,
    decoded,
    digits,
    encoded,
    packed,
    pieces,
    steps,
)

SHARED = 2  # rows a text, on average, from which each is there once
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

    def encoded(self, which: slice) -> np.ndarray:
        """The texts of some rows as the bytes that a file has of them.

        Parameters
        ----------
        which : slice

        Returns
        -------
        (n,) array
            Of dtype S.
        """
        raise NotImplementedError

    def each(self, function: Callable[[str], Any], kind: type = float) -> np.ndarray:
        """What a function makes of the texts.

        Parameters
        ----------
        function : callable
            What it raises is raised.
        kind : type, optional
            Of the array that is made.

        Returns
        -------
        (N,) array
        """
        return np.fromiter(map(function, self), kind, len(self))

    def __iter__(self) -> Iterator[str]:
        for piece in pieces(len(self)):
            yield from decoded(self.encoded(piece))

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
            return decoded(self.encoded(which))
        value: bytes = self.values[which if self.codes is None else self.codes[which]]
        return value.decode("utf-8", "surrogateescape")

    def encoded(self, which: slice) -> np.ndarray:
        return self.values[which if self.codes is None else self.codes[which]]

    def __iter__(self) -> Iterator[str]:
        if self.codes is None:
            yield from super().__iter__()
            return
        different = decoded(self.values)
        for piece in pieces(len(self)):
            yield from map(different.__getitem__, self.codes[piece].tolist())

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.codes is None else self.codes.nbytes)

    def rows(self, indices: np.ndarray) -> Texts:
        if self.codes is None:
            return Texts(self.values[indices])
        codes = self.codes[indices]
        return Texts(self.values, codes) if len(codes) >= SHARED * len(self.values) else Texts(self.values[codes])

    def begin_quoted(self) -> bool:
        if not len(self.values):
            return False
        first = self.values.view(np.uint8).reshape(len(self.values), -1)[:, 0]
        return bool(np.isin(first, _QUOTES).any())

    def each(self, function: Callable[[str], Any], kind: type = float) -> np.ndarray:
        if self.codes is None:
            return super().each(function, kind)
        return np.array([function(text) for text in decoded(self.values)], kind)[self.codes]

    def floats(self) -> np.ndarray:
        """The numbers that the texts say.

        Returns
        -------
        (N,) float64 array

        Raises
        ------
        ValueError
            Where a text says none.
        """
        each = self.values
        values = (value for piece in pieces(len(each)) for value in each[piece].tolist())
        found = np.fromiter(map(float, values), np.float64, len(each))  # which takes bytes, too
        return found if self.codes is None else found[self.codes]


class Decimals(Column):
    """Numbers, written with so many decimals each.

    numbers: (N,) int, how many of the last decimal each is.
    """

    def __init__(self, numbers: np.ndarray, decimals: int = 0) -> None:
        self.numbers, self.decimals = numbers, decimals

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, which: int | slice) -> str | list[str]:
        if isinstance(which, slice):
            return decoded(self.encoded(which))
        (text,) = decoded(packed(decimal_characters(self.numbers[[which]], self.decimals)))
        return text

    def encoded(self, which: slice) -> np.ndarray:
        return packed(decimal_characters(self.numbers[which], self.decimals))

    @property
    def nbytes(self) -> int:
        return self.numbers.nbytes

    def rows(self, indices: np.ndarray) -> Decimals:
        return Decimals(self.numbers[indices], self.decimals)

    def begin_quoted(self) -> bool:
        return False

    def floats(self) -> np.ndarray:
        """The numbers.

        Returns
        -------
        (N,) float64 array
            Those that the texts say, to the last bit: a division of whole numbers that are exact is rounded once.
        """
        return self.numbers / 10.0**self.decimals


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

    def _name(self, number: int, of: int) -> str:
        least, file = self.files[of]
        return f"{number:0{least}d}@{file}"

    def __iter__(self) -> Iterator[str]:
        for piece in pieces(len(self)):
            yield from self[piece]

    def encoded(self, which: slice) -> np.ndarray:
        of, numbers = self.of[which], self.numbers[which]
        used, place = np.unique(of, return_inverse=True)
        files = encoded([f"@{self.files[k][1]}" for k in used.tolist()])
        least = np.array([self.files[k][0] for k in used.tolist()], np.int64)[place]
        found = digits(numbers, int(least.max(initial=1)))
        if int(least.min(initial=0)) < found.shape[1]:
            first = found.shape[1] - np.maximum(least, np.count_nonzero(digits(numbers), axis=1))
            found[np.arange(found.shape[1]) < first[:, None]] = 0
        return packed(np.concatenate([found, characters(files)[place]], 1))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ImageNames) and len(other) == len(self) and np.array_equal(self.numbers, other.numbers):
            place = {file: k for k, file in enumerate(dict.fromkeys([*self.files, *other.files]))}
            mine, theirs = (np.array([place[file] for file in one.files], np.int64) for one in (self, other))
            if np.array_equal(mine[self.of], theirs[other.of]):
                return True
        return super().__eq__(other)

    __hash__ = None

    @property
    def nbytes(self) -> int:
        return self.numbers.nbytes + self.of.nbytes

    def rows(self, indices: np.ndarray) -> ImageNames:
        return ImageNames(self.numbers[indices], self.files, self.of[indices])

    def begin_quoted(self) -> bool:
        return False

    def with_files(self, file_of: Callable[[str], str]) -> ImageNames:
        """The same numbers of other files.

        Parameters
        ----------
        file_of : callable
            The name of the other file, of that of one.

        Returns
        -------
        ImageNames
        """
        return ImageNames(self.numbers, [(least, file_of(file)) for least, file in self.files], self.of)


class Unread(Column):
    """N texts of a file that nobody asks for: they were counted as they went by, in place of a column that grows."""

    def __init__(self, count: int = 0) -> None:
        self._rows = count

    def add(self, texts: Sequence[str] | np.ndarray) -> None:
        """Count the texts of the next rows.

        Parameters
        ----------
        texts : sequence of str, or array
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

    def encoded(self, which: slice) -> np.ndarray:
        raise RuntimeError("a column was asked for that was not kept when its table was read")

    def __repr__(self) -> str:
        return f"Unread({len(self)})"

    @property
    def nbytes(self) -> int:
        return 0

    def rows(self, indices: np.ndarray) -> Unread:
        return Unread(len(indices))

    def begin_quoted(self) -> bool:
        return False


def rows_of(texts: Sequence[str], indices: np.ndarray) -> Sequence[str]:
    """The texts of some rows.

    Parameters
    ----------
    texts : sequence of str
        N.
    indices : int array
        From 0; their order is kept.

    Returns
    -------
    sequence of str
        Of the kind of ``texts``.
    """
    return texts.rows(indices) if isinstance(texts, Column) else [texts[index] for index in indices.tolist()]


def each_of(texts: Sequence[str], function: Callable[[str], Any], kind: type = float) -> np.ndarray:
    """What a function makes of texts, of those that many rows share once.

    Parameters
    ----------
    texts : sequence of str
        N.
    function : callable
        What it raises is raised.
    kind : type, optional
        Of the array that is made.

    Returns
    -------
    (N,) array
    """
    return (
        texts.each(function, kind) if isinstance(texts, Column) else np.fromiter(map(function, texts), kind, len(texts))
    )


def repeated(text: str, count: int) -> Texts:
    """One text for all rows.

    Parameters
    ----------
    text : str
    count : int
        Of the rows.

    Returns
    -------
    Texts
    """
    return Texts(encoded([text]), np.zeros(count, np.uint8))


def chosen(texts: Sequence[str], which: np.ndarray) -> Texts:
    """For each row one of a few texts.

    Parameters
    ----------
    texts : sequence of str
        K.
    which : (N,) int or bool array
        Places in ``texts``, from 0.

    Returns
    -------
    Texts
    """
    values = encoded(list(texts))
    return Texts(values, np.asarray(which).astype(np.min_scalar_type(max(len(values) - 1, 1))))


def decimals_of(values: np.ndarray, decimals: int, rounded: bool = False) -> Sequence[str]:
    """Numbers as a format with so many decimals gives them.

    Parameters
    ----------
    values : (N,) array
    decimals : int
    rounded : bool, optional
        To round them by numpy first, in their own type; then there is no minus before a 0.

    Returns
    -------
    sequence of str
        Decimals, or a list where a number is too large for it, not finite, or is rounded to a 0 with a minus.
    """
    values = np.asarray(values)
    numbers = steps(values, decimals, rounded)
    if numbers is not None:
        return Decimals(numbers, decimals)
    values = np.round(values, decimals) + 0.0 if rounded else values
    return [f"{value:.{decimals}f}" for value in values.tolist()]
