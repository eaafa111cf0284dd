"""The blocks of a STAR or XMD file: their labels, and their rows as columns.

Rows are taken apart here, once: emtable's reader takes too few values for an error, too many for none, and a comment
for a row.
"""

from __future__ import annotations

import re
from collections import Counter, namedtuple
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.io.star.characters import TOGETHER, cut, decoded
from scipion_udl.io.star.columns import Unread
from scipion_udl.io.star.growing import Growing
from scipion_udl.io.star.lines import Lines, read_lines
from scipion_udl.messages import message

# One value of a row. RELION and Xmipp put names with spaces and empty text in quotes.
_VALUE = re.compile(r"""(?:"[^"]*"|'[^']*')(?!\S)|\S+""")
# Where line breaks lack in a header: the UDL program of 2023 writes data_nonameloop_ (see _with_breaks).
_HEADER = re.compile(r"#?\s*XMIPP_STAR_1\s*\*[\s#]*((?:data_|loop_).*)")
_LOOP_BEHIND = re.compile(r"(data_\S*?)\s*loop_")
_AT_ONCE = 32  # plain rows from which it pays to take them apart together
_WIDEST = 1 << 25  # bytes that the texts of one column may take while they are as wide as the longest


class Block:
    """A ``data_`` block: its name, its labels, whether it is a loop, whether all labels of the loop carry the numbers
    of their columns, and its columns, which grow with the rows. Rows that are taken in one by one wait as texts in
    ``rows`` (line number, text) until there are some thousand. used: as of :func:`read_blocks`."""

    def __init__(self, path: str, name: str, used: Callable[[str], bool]) -> None:
        self.path, self.name, self.used = path, name, used
        self.columns: dict[str, Growing | Unread] = {}
        self.count = 0
        self.loop = False
        self.numbered = True
        self.labels: list[str] = []
        self.rows: list[tuple[int, str]] = []

    def add(self, number: int, line: str) -> None:
        """Take in one line.

        Parameters
        ----------
        number : int
            From 1, for messages.
        line : str
            Not empty, without white space at its ends.

        Raises
        ------
        UdlError
            Where a second table begins, or the line is neither label nor row.
        """
        if line.startswith("loop_") and line.split(None, 1)[0] == "loop_":
            if self.loop or self.labels:
                self.take_rows()  # what is wrong before comes first
                raise UdlError(message("second_table_in_block", path=self.path, line=number, name=self.name))
            self.loop = True
        elif line[0] == "_" and (not self.loop or not self.count):
            label = line.split(None, 1)[0]
            self.labels.append(label[1:])
            if self.loop:
                self.numbered = self.numbered and "#" in line
            else:
                self.rows.append((number, line[len(label) :]))
        elif self.loop:
            self.rows.append((number, line))
            self.count += 1
            if len(self.rows) == TOGETHER:
                self.take_rows()
        else:
            self.take_rows()
            raise UdlError(message("line_not_understood", path=self.path, line=number))

    def add_plain(self, lines: Lines, first: int, count: int) -> None:
        """Take in rows of a loop that has rows already, each of one plain line with as many words as there are labels.

        Parameters
        ----------
        lines : Lines
        first, count : int
            The first of its lines, from 0, and how many.
        """
        self.take_rows()
        width = len(self.labels)
        words = slice(lines.first[first], lines.first[first] + count * width)
        starts, ends = lines.words[words].reshape(count, width), lines.ends[words].reshape(count, width)
        for place, column in enumerate(self.columns.values()):
            if isinstance(column, Unread):
                column.add(starts)
                continue
            start, size = np.ascontiguousarray(starts[:, place]), ends[:, place] - starts[:, place]
            if count * int(size.max()) <= _WIDEST:
                column.add(cut(lines.block, start, size))
            else:  # one of them is very long
                column.add([text for k in range(count) for text in decoded(cut(lines.block, start[[k]], size[[k]]))])
        self.count += count

    def take_rows(self) -> None:
        """Make columns of the rows that are still texts.

        Raises
        ------
        UdlError
            Where values and labels do not match.
        """
        if not self.columns:
            repeated = {label for label, times in Counter(self.labels).items() if times > 1}
            if repeated:
                raise UdlError(message("label_twice", path=self.path, name=self.name, label=min(repeated)))
            self.columns = {label: Growing() if self.used(label) else Unread() for label in self.labels}
            if self.rows:
                self._check_labels()
        rows = [self._values(number, text) for number, text in self.rows] if self.loop else self._pairs()
        for grown, column in zip(self.columns.values(), zip(*rows)):
            grown.add(column)
        self.rows = []

    def _check_labels(self) -> None:
        """Raise UdlError where a label is no name in Python: what reads with emtable could not take it from us."""
        try:
            namedtuple("_Row", self.labels)
        except ValueError as error:
            raise UdlError(message("label_unreadable", path=self.path, name=self.name, reason=error)) from None

    def _values(self, number: int, text: str) -> list[str]:
        """The values of a row of a loop, quotes included. Raises UdlError where they are not as many as the labels."""
        values = _VALUE.findall(text) if "'" in text or '"' in text else text.split()
        if len(values) != len(self.labels):
            count, width = len(values), len(self.labels)
            raise UdlError(
                message("row_of_wrong_length", path=self.path, line=number, count=count, width=width, name=self.name)
            )
        return values

    def _pairs(self) -> list[list[str]]:
        """The one row of a block that is no loop: the value behind each label. Raises UdlError where one has none."""
        values = [_VALUE.findall(text)[:1] for _, text in self.rows]
        if not all(values):
            raise UdlError(message("label_without_value", path=self.path, label=self.labels[values.index([])]))
        return [[value[0] for value in values]] if values else []

    def taken(self) -> dict[str, Sequence[str]]:
        """The columns, which the block has no longer.

        Returns
        -------
        dict of str to sequence of str
            By label.
        """
        self.take_rows()
        # one after the other: as a whole, each would be there twice
        return {label: self.columns.pop(label).column() for label in list(self.columns)}


def read_blocks(path: str, used: Callable[[str], bool]) -> list[Block]:
    """Read the blocks of a STAR or XMD file.

    Parameters
    ----------
    path : str
    used : callable
        Whether anybody will ask for the column of a label.

    Returns
    -------
    list of Block
        In the order of the file.

    Raises
    ------
    UdlError
        Naming the file (and line) where it is missing, no such file, or a row has too few or many values.
    """
    blocks: list[Block] = []
    before = 0  # lines
    for lines in read_lines(path):
        at = 0
        while at < len(lines):
            rows = _plain_rows(lines, at, blocks[-1]) if blocks and blocks[-1].count else 0
            if rows >= _AT_ONCE:
                blocks[-1].add_plain(lines, at, rows)
                at += rows
                continue
            for _ in range(max(rows, 1)):
                _take_line(path, blocks, before + at + 1, lines.line(at), used)
                at += 1
        before += len(lines)
    return blocks


def _plain_rows(lines: Lines, first: int, block: Block) -> int:
    """How many lines from ``first`` on are plain rows of a block."""
    width, look = len(block.labels), _AT_ONCE
    while width and not lines.special[first]:
        counts = np.diff(lines.first[first : first + look + 1])
        other = np.flatnonzero((counts != width) | lines.special[first : first + look])
        if len(other):
            return int(other[0])
        if first + look >= len(lines):
            return len(lines) - first
        look *= 16
    return 0


def _take_line(path: str, blocks: list[Block], number: int, line: str, used: Callable[[str], bool]) -> None:
    """Take in one line, of a block that it begins or the last. Raises UdlError where it stands before all blocks."""
    for part in _with_breaks(line):
        if not part or part[0] == "#":
            continue
        if part.startswith("data_") and not (blocks and _is_row(part, blocks[-1])):
            if blocks:
                blocks[-1].take_rows()
            blocks.append(Block(path, part.split(None, 1)[0][len("data_") :], used))
        elif blocks:
            blocks[-1].add(number, part)
        else:
            raise UdlError(message("line_before_data", path=path, line=number))


def _with_breaks(line: str) -> Iterator[str]:
    """The parts of a line that are lines of their own, where some programs leave out the breaks of an XMD's header:
    behind the version line, and between data_NAME and loop_."""
    header = _HEADER.fullmatch(line) if "XMIPP_STAR_1" in line else None
    line = header.group(1) if header else line
    if header and line.startswith("loop_"):
        yield "data_noname"
    joined = _LOOP_BEHIND.fullmatch(line) if line.endswith("loop_") else None
    yield joined.group(1) if joined else line
    if joined:
        yield "loop_"


def _is_row(line: str, block: Block) -> bool:
    """Whether a line that begins with data_ is a row of the block at hand (its first value a folder, say)."""
    return block.loop and len(block.labels) > 1 and len(line.split()) >= len(block.labels)
