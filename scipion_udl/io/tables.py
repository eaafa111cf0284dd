"""STAR and XMD files as columns of text.

Every value stays the text it was in the file, so that columns nobody asked about come back character for character;
numbers are made from it by label, when somebody asks. Rows are taken apart here, once: emtable's reader takes too few
values for an error, too many for none, and a comment for a row. Tables are written through emtable.
"""

from __future__ import annotations

import io
import re
from collections import Counter, namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from emtable import Table as EmTable

from scipion_udl.errors import UdlError
from scipion_udl.io.output import durable
from scipion_udl.io.texts import Column, Growing, Texts, Unread, column_of
from scipion_udl.messages import message

# One value of a row. RELION and Xmipp put names with spaces and empty text in quotes.
_VALUE = re.compile(r"""(?:"[^"]*"|'[^']*')(?!\S)|\S+""")
# Where line breaks lack in a header: the UDL program of 2023 writes data_nonameloop_ (see _with_breaks).
_HEADER = re.compile(r"#?\s*XMIPP_STAR_1\s*\*[\s#]*((?:data_|loop_).*)")
_LOOP_BEHIND = re.compile(r"(data_\S*?)\s*loop_")
# What programs write for a number that they do not know: RELION -999, others a word, STAR itself . and ?.
UNKNOWN_NUMBERS = (-999.0, -9999.0)
_UNKNOWN_WORDS = frozenset(("", "none", "null", "nan", "<na>", "n/a", "na", ".", "?"))
_TOGETHER = 1 << 14  # rows that are texts at one time
_LOOK = 1 << 16  # characters by which a file is known to be none of text


class Table:
    """One table of a STAR or XMD file: ``columns`` maps a label (without its underscore) to N texts.

    name: what follows ``data_`` in the file; path: the file, for messages; numbered: whether the labels of a loop that
    was read carry the numbers of their columns. Texts are as in the file, quotes included: :meth:`texts` gives them
    without.
    """

    def __init__(self, name: str = "", columns: Mapping[str, Sequence[str]] | None = None, path: str = "") -> None:
        self.name = name
        self.columns: dict[str, Sequence[str]] = dict(columns or {})
        self.path = path
        self.numbered = True

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __contains__(self, label: str) -> bool:
        return label in self.columns

    def copy(self) -> Table:
        """A table whose columns can be added and dropped without touching this one.

        Returns
        -------
        Table
            The texts are shared.
        """
        return Table(self.name, dict(self.columns), self.path)

    def rows(self, indices: Sequence[int] | np.ndarray) -> Table:
        """A table of some of the rows.

        Parameters
        ----------
        indices : int array
            From 0; their order is kept.

        Returns
        -------
        Table
            The texts are shared.
        """
        indices = np.asarray(indices, np.int64)
        return Table(self.name, {label: _rows(column, indices) for label, column in self.columns.items()}, self.path)

    def texts(self, label: str) -> Sequence[str]:
        """A column as texts without quotes.

        Parameters
        ----------
        label : str

        Returns
        -------
        sequence of str
            N.

        Raises
        ------
        UdlError
            Where the table lacks the label.
        """
        if label not in self.columns:
            raise UdlError(message("column_missing", path=self.path, name=self.name, column=label))
        column = self.columns[label]
        if isinstance(column, Column):
            return column_of(map(unquote, column)) if column.begin_quoted() else column
        return [unquote(text) for text in column] if any(text[:1] in "\"'" for text in column) else column

    def numbers(self, label: str) -> np.ndarray:
        """A column as finite numbers.

        Parameters
        ----------
        label : str

        Returns
        -------
        (N,) float64 array

        Raises
        ------
        UdlError
            Naming label and row (from 1) where a value is none.
        """
        column = self.texts(label)
        try:
            values = _floats(column, float)
        except ValueError:
            values = _floats(column, number)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise UdlError(
                message("value_not_a_number", path=self.path, row=bad[0] + 1, value=column[bad[0]], label=label)
            )
        return values

    def known(self, label: str) -> np.ndarray:
        """A column as numbers, NaN where the text stands for a value that is not known.

        Parameters
        ----------
        label : str

        Returns
        -------
        (N,) float64 array
            NaN for nothing, ``None``, ``nan``, ``.``, ``?`` and the like, or -999, which RELION writes where it has
            none.

        Raises
        ------
        UdlError
            Naming label and row (from 1) for other text that is no finite number.
        """
        column = self.texts(label)
        try:
            values = _floats(column, float)
        except ValueError:
            values = _floats(column, lambda text: np.nan if is_placeholder(text) else number(text, np.inf))
        bad = np.flatnonzero(np.isinf(values))
        if len(bad):
            raise UdlError(
                message("value_not_a_number", path=self.path, row=bad[0] + 1, value=column[bad[0]], label=label)
            )
        values[np.isin(values, UNKNOWN_NUMBERS)] = np.nan
        return values

    def set(self, label: str, texts: Iterable[str] | str) -> None:
        """Set a column.

        Parameters
        ----------
        label : str
        texts : iterable of str, or str
            N texts, or one for all rows.

        Raises
        ------
        ValueError
            Where the number does not fit.
        """
        column = [texts] * len(self) if isinstance(texts, str) else texts if isinstance(texts, Column) else list(texts)
        if self.columns and len(column) != len(self):
            raise ValueError(f"{len(column)} values for {len(self)} rows of column {label}")
        self.columns[label] = column

    def drop(self, labels: Iterable[str]) -> list[str]:
        """Remove columns.

        Parameters
        ----------
        labels : iterable of str

        Returns
        -------
        list of str
            Those of them that the table had.
        """
        return [label for label in labels if self.columns.pop(label, None) is not None]


def _rows(column: Sequence[str], indices: np.ndarray) -> Sequence[str]:
    return column.rows(indices) if isinstance(column, Column) else [column[index] for index in indices.tolist()]


def _floats(column: Sequence[str], number: Callable[[str], float]) -> np.ndarray:
    if isinstance(column, Texts) and number is float:  # which takes bytes, too
        return column.floats()
    return np.fromiter((number(text) for text in column), np.float64, len(column))


def unquote(text: str) -> str:
    """A text without the quotes around it, if it has any.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def number_texts(values: np.ndarray) -> list[str]:
    """Numbers as tables have them: six decimals, and no minus before a zero.

    Parameters
    ----------
    values : (N,) array

    Returns
    -------
    list of str
    """
    return [f"{value:.6f}" for value in np.round(values, 6) + 0.0]


def quote(text: str) -> str:
    """A text as one STAR value: in quotes where it is empty, holds white space or begins like a quoted one.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Raises
    ------
    UdlError
        Where no kind of quotes can hold it.
    """
    if text and text[0] not in "\"'" and not re.search(r"\s", text):
        return text
    kind = "'" if '"' in text else '"'
    if kind in text or "\n" in text:
        raise UdlError(message("text_not_writable", text=text))
    return f"{kind}{text}{kind}"


def is_placeholder(text: str) -> bool:
    """Whether a text of a table stands for a value that is not known.

    Parameters
    ----------
    text : str

    Returns
    -------
    bool
    """
    if text.strip().lower() in _UNKNOWN_WORDS:
        return True
    value = number(text)
    return value in UNKNOWN_NUMBERS or (value != value and text.strip().lower().lstrip("+-") == "nan")


def number(text: str, otherwise: float = float("nan")) -> float:
    """A text as a number.

    Parameters
    ----------
    text : str
    otherwise : float, optional
        Given where the text is none.

    Returns
    -------
    float
    """
    try:
        return float(text)
    except ValueError:
        return otherwise


class _Block:
    """The lines of one ``data_`` block: its labels, its rows (line number, text), and whether it is a loop. The rows of
    a loop become columns some thousand at a time: ``rows`` are those that have not yet. used: as of read_tables."""

    def __init__(self, name: str, used: Callable[[str], bool]) -> None:
        self.name, self.used = name, used
        self.columns: dict[str, Growing | Unread] = {}
        self.count = 0
        self.loop = False
        self.numbered = True
        self.labels: list[str] = []
        self.rows: list[tuple[int, str]] = []

    def add(self, path: str, number: int, line: str) -> None:
        """Take in one line. Raises UdlError where a second table begins."""
        if line.startswith("loop_") and line.split(None, 1)[0] == "loop_":
            if self.loop or self.labels:
                raise UdlError(message("second_table_in_block", path=path, line=number, name=self.name))
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
            if len(self.rows) == _TOGETHER:
                self.take_rows(path)
        else:
            raise UdlError(message("line_not_understood", path=path, line=number))

    def take_rows(self, path: str) -> None:
        """Make columns of the rows that are still texts. Raises UdlError where values and labels do not match."""
        if not self.columns:
            repeated = {label for label, times in Counter(self.labels).items() if times > 1}
            if repeated:
                raise UdlError(message("label_twice", path=path, name=self.name, label=min(repeated)))
            self.columns = {label: Growing() if self.used(label) else Unread() for label in self.labels}
            if self.rows:
                self._check_labels(path)
        rows = [_values(path, self, number, text) for number, text in self.rows] if self.loop else _pairs(path, self)
        for grown, column in zip(self.columns.values(), zip(*rows)):
            grown.add(column)
        self.rows = []

    def _check_labels(self, path: str) -> None:
        """Raise UdlError where a label is no name in Python: what reads with emtable could not take it from us."""
        try:
            namedtuple("_Row", self.labels)
        except ValueError as error:
            raise UdlError(message("label_unreadable", path=path, name=self.name, reason=error)) from None


def read_tables(path: str, used: Callable[[str], bool] = lambda label: True) -> list[Table]:
    """Read the tables of a STAR or XMD file, in its order (empty ones have no rows).

    Parameters
    ----------
    path : str
    used : callable, optional
        Whether anybody will ask for the column of a label; of others, which are :class:`Unread`, no text is kept.

    Returns
    -------
    list of Table

    Raises
    ------
    UdlError
        Naming the file (and line) where it is missing, no such file, or a row has too few or many values.
    """
    tables = [_to_table(path, block) for block in _blocks(path, _lines(path), used)]
    if not tables:
        raise UdlError(message("text_without_table", path=path))
    return tables


def _lines(path: str) -> Iterator[str]:
    """The lines of a text file, one at a time."""
    try:
        # surrogateescape: text in another encoding comes back as the bytes it was
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            binary = "\0" in file.read(_LOOK)
            file.seek(0)
            for line in file:
                if binary or "\0" in line:
                    raise UdlError(message("not_a_text_table", path=path))
                yield line
    except OSError as error:
        raise UdlError(message("cannot_be_read", path=path, reason=error.strerror or error)) from None


def _blocks(path: str, lines: Iterable[str], used: Callable[[str], bool]) -> list[_Block]:
    blocks: list[_Block] = []
    for number, line in _with_breaks(lines):
        if not line or line[0] == "#":
            continue
        if line.startswith("data_") and not (blocks and _is_row(line, blocks[-1])):
            if blocks:
                blocks[-1].take_rows(path)
            blocks.append(_Block(line.split(None, 1)[0][len("data_") :], used))
        elif blocks:
            blocks[-1].add(path, number, line)
        else:
            raise UdlError(message("line_before_data", path=path, line=number))
    return blocks


def _with_breaks(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(number, line) of a text, with the line breaks that some programs leave out of an XMD's header put in: behind
    the version line, and between data_NAME and loop_."""
    for number, line in enumerate(map(str.strip, lines), 1):
        header = _HEADER.fullmatch(line) if "XMIPP_STAR_1" in line else None
        line = header.group(1) if header else line
        if header and line.startswith("loop_"):
            yield number, "data_noname"
        joined = _LOOP_BEHIND.fullmatch(line) if line.endswith("loop_") else None
        yield number, joined.group(1) if joined else line
        if joined:
            yield number, "loop_"


def _is_row(line: str, block: _Block) -> bool:
    """Whether a line that begins with data_ is a row of the block at hand (its first value a folder, say)."""
    return block.loop and len(block.labels) > 1 and len(line.split()) >= len(block.labels)


def _to_table(path: str, block: _Block) -> Table:
    block.take_rows(path)
    table = Table(block.name, path=path)
    for label in list(block.columns):  # one after the other: as a whole, each would be there twice
        table.columns[label] = block.columns.pop(label).column()
    table.numbered = block.numbered
    return table


def _values(path: str, block: _Block, number: int, text: str) -> list[str]:
    """The values of a row of a loop, quotes included. Raises UdlError where they are not as many as the labels."""
    values = _VALUE.findall(text) if "'" in text or '"' in text else text.split()
    if len(values) != len(block.labels):
        raise UdlError(
            message(
                "row_of_wrong_length",
                path=path,
                line=number,
                count=len(values),
                width=len(block.labels),
                name=block.name,
            )
        )
    return values


def _pairs(path: str, block: _Block) -> list[list[str]]:
    """The one row of a block that is no loop: the value behind each label. Raises UdlError where one has none."""
    values = [_VALUE.findall(text)[:1] for _, text in block.rows]
    if not all(values):
        raise UdlError(message("label_without_value", path=path, label=block.labels[values.index([])]))
    return [[value[0] for value in values]] if values else []


def write_tables(path: str, tables: Sequence[Table], xmipp: bool = False) -> None:
    """Write tables as STAR or XMD, under the final name at once.

    Parameters
    ----------
    path : str
    tables : sequence of Table
        Those of 3.1 form (one is named optics) get RELION's version line.
    xmipp : bool, optional
        As XMD.

    Raises
    ------
    UdlError
        Where the file cannot be written, with the reason.
    """
    version = "\n# version 30001\n" if any(table.name == "optics" for table in tables) else ""
    temporary = f"{path}.part"
    try:
        with open(durable.new(temporary), "w", encoding="utf-8", errors="surrogateescape") as file:
            if xmipp:
                file.write("# XMIPP_STAR_1 * \n# \n")
            for table in tables:
                file.write("" if xmipp else version)
                _write_table(file, table)
        durable.replace(temporary, path)
    except OSError as error:
        raise UdlError(message("cannot_be_written", path=path, reason=error.strerror or error)) from None


def _write_table(file: io.TextIOBase, table: Table) -> None:
    writer = EmTable.Writer(file)
    writer.writeTableName(table.name)
    if not table.columns:
        return
    file.write("loop_\n")
    # emtable's header leaves the numbers out, by which small programs of the field find the columns
    file.writelines(f"_{label} #{number}\n" for number, label in enumerate(table.columns, 1))
    for row in zip(*table.columns.values()):
        writer.writeRowValues(row)
    writer.writeNewline()
