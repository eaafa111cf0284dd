"""The lines of a text file, block by block, and the words of many lines at once.

A line is plain where its words are what stands between white space: without quotes, and without white space or control
characters beyond those of ASCII. The words of plain lines are found in one go; others are for who reads line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.messages import message

BLOCK = 1 << 21  # bytes that are read at one time
_LOOK = 1 << 16  # bytes by which a file is known to be none of text
_PADDING = np.zeros(256, np.uint8)  # behind a block, for texts are cut out of it in one width
_WIDE_SPACE = re.compile("[\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_BREAK, _SPACE, _COMMENT = ord("\n"), ord(" "), ord("#")
_BEGINNINGS = (b"data_", b"loop_", b"XMIPP")  # of lines that are no rows, or need not be


class Lines:
    """Whole lines of a file, L of them.

    start: (L,) where each begins in ``block``, uint8, with padding behind it; words: (W,) where its words begin, and
    ``ends`` where they end; first: (L + 1,) the first word of each line; special: (L,) whether a line is not plain, or
    may be more than a row: a comment, the beginning of a table or of a loop.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text if text.endswith(b"\n") else text + b"\n"
        self.block = np.concatenate([np.frombuffer(self._text, np.uint8), _PADDING])
        block = self.block[: len(self._text)]
        breaks = np.flatnonzero(block == _BREAK)
        self.start = np.concatenate([[0], breaks[:-1] + 1])
        self._end = breaks
        white = block <= _SPACE
        edges = np.flatnonzero(white[1:] != white[:-1]) + 1
        edges = edges if white[0] else np.concatenate([[0], edges])
        self.words, self.ends = edges[::2], edges[1::2]
        self.first = np.concatenate([self._first(), [len(self.words)]])
        self.special = self._beginnings() | self._odd(block)

    def __len__(self) -> int:
        return len(self.start)

    def line(self, k: int) -> str:
        """One line, without white space at its ends.

        Parameters
        ----------
        k : int
            From 0.

        Returns
        -------
        str
            Bytes that are no UTF-8 are kept as surrogates, so that they come back as they were.
        """
        return self._text[self.start[k] : self._end[k]].decode("utf-8", "surrogateescape").strip()

    def _first(self) -> np.ndarray:
        """The first word of each line, (L,), or the next one where it has none."""
        each, over = divmod(len(self.words), len(self.start))
        if each and not over:  # as in most blocks, all lines have as many words
            words, ends = self.words.reshape(-1, each), self.ends.reshape(-1, each)
            if (words[:, 0] >= self.start).all() and (ends[:, -1] <= self._end).all():
                return np.arange(0, len(self.words), each)
        return np.searchsorted(self.words, self.start)

    def _beginnings(self) -> np.ndarray:
        """Which lines begin in a way that rows do not, or need not, (L,)."""
        found = np.zeros(len(self), bool)
        lines = np.flatnonzero(self.first[1:] > self.first[:-1])
        words = self.words[self.first[:-1][lines]]
        heads = self.block[words]
        found[lines[heads == _COMMENT]] = True
        for beginning in _BEGINNINGS:
            some = np.flatnonzero(heads == beginning[0])
            found[lines[some]] = [self._text.startswith(beginning, place) for place in words[some].tolist()]
        return found

    def _odd(self, block: np.ndarray) -> np.ndarray:
        """Which lines have anything by which their words are not what stands between white space, (L,)."""
        found = np.zeros(len(self), bool)
        odd = []
        for quotes in (b'"', b"'"):
            if quotes in self._text:
                odd.append(block == quotes[0])
        controls = (block < _SPACE) & ((block < ord("\t")) | (block > _BREAK))
        if controls.any():
            odd.append(controls)
        if not self._text.isascii() and _WIDE_SPACE.search(self._text.decode("utf-8", "surrogateescape")):
            odd.append(block > 127)
        for each in odd:
            found[np.searchsorted(self.start, np.flatnonzero(each), "right") - 1] = True
        return found


def read_lines(path: str) -> Iterator[Lines]:
    """The lines of a text file, block by block; a carriage return ends a line as well.

    Parameters
    ----------
    path : str

    Yields
    ------
    Lines

    Raises
    ------
    UdlError
        Where the file cannot be read, or is none of text.
    """
    binary = UdlError(message("not_a_text_table", path=path))
    for text in _texts(path, binary):
        zero = text.find(b"\0")
        if zero < 0:
            yield Lines(text)
            continue
        before = text[: text.rfind(b"\n", 0, zero) + 1]
        if before:
            yield Lines(before)
        raise binary


def _texts(path: str, binary: UdlError) -> Iterator[bytes]:
    """Whole lines, \\n behind each but perhaps the last. Raises ``binary`` where the beginning is none of text."""
    held = bytearray()
    try:
        with open(path, "rb") as file:
            look = True
            for block in iter(lambda: file.read(BLOCK), b""):
                if look and b"\0" in block[:_LOOK]:
                    raise binary
                look = False
                # A carriage return at the end may be half of a line break.
                cut = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1
                held += block[:cut]
                if cut:
                    yield _with_plain_breaks(bytes(held))
                    held = bytearray()
                held += block[cut:]
        if held:
            yield _with_plain_breaks(bytes(held))
    except OSError as error:
        raise UdlError(message("cannot_be_read", path=path, reason=error.strerror or error)) from None


def _with_plain_breaks(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text
