"""The rows of a table as text: what emtable writes of them, many at once."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scipion_udl.io.star.characters import characters, encoded, lengths, pieces
from scipion_udl.io.star.columns import Column

if TYPE_CHECKING:
    from emtable import Table as EmTable

_SPACE = ord(" ")
_WIDEST = 4  # how many times longer than its texts a column may be, where one of them is very long


def write_rows(file: io.TextIOBase, writer: EmTable.Writer, columns: Sequence[Sequence[str]]) -> None:
    """Write rows as emtable does: each value right-aligned to the width that it has in the first row.

    Parameters
    ----------
    file : text file
    writer : emtable.Table.Writer
        Of that file; it writes the first row, by which it knows the widths, and those with other than ASCII characters.
    columns : sequence of sequences of str
        N texts each.
    """
    count = len(columns[0])
    if not count:
        return
    first = [column[0] for column in columns]
    writer.writeRowValues(first)
    widths = [len(text) + 1 for text in first]
    for piece in pieces(count):
        rows = slice(max(piece.start, 1), piece.stop)
        lines = _lines([_encoded(column, rows) for column in columns], widths)
        if lines is not None:
            file.write(lines)
            continue
        for row in zip(*(column[rows] for column in columns)):
            writer.writeRowValues(row)


def _encoded(column: Sequence[str], rows: slice) -> np.ndarray | None:
    """Some texts as bytes, None where one is so long that all would take its place."""
    if isinstance(column, Column):
        return column.encoded(rows)
    texts = column[rows]
    size = [len(text) for text in texts]
    return None if len(size) * max(size, default=0) > (1 << 16) + _WIDEST * sum(size) else encoded(texts)


def _lines(columns: Sequence[np.ndarray | None], widths: Sequence[int]) -> str | None:
    """Lines of n texts a column, each aligned to its width and followed by a space, and with one between two; None
    where one has other than ASCII characters, which are fewer than bytes."""
    parts = []
    for texts, width in zip(columns, widths):
        if texts is None:
            return None
        each = characters(texts)
        if each.max(initial=0) > 127:
            return None
        size = lengths(texts)
        before = np.maximum(width - size, 0)
        spaces = np.tri(int(before.max(initial=0)) + 1, int(before.max(initial=0)), -1, np.uint8) * np.uint8(_SPACE)
        space = np.full((len(texts), 1), _SPACE, np.uint8)
        parts += [spaces[before], each, space, space]
    parts[-1] = np.full((len(parts[-1]), 1), ord("\n"), np.uint8)
    return np.concatenate(parts, 1).tobytes().translate(None, b"\0").decode("ascii")
