"""STAR and XMD files as columns of text.

Every value stays the text it was in the file, so that columns nobody asked about come back character for character;
numbers are made from it by label, when somebody asks.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from emtable import Table as EmTable

from scipion_udl.errors import UdlError
from scipion_udl.io.output import durable
from scipion_udl.io.star.blocks import read_blocks
from scipion_udl.io.star.columns import Column, Decimals, ImageNames, Texts, decimals_of, each_of, repeated, rows_of
from scipion_udl.io.star.growing import column_of
from scipion_udl.io.star.rows import write_rows
from scipion_udl.messages import message

# What programs write for a number that they do not know: RELION -999, others a word, STAR itself . and ?.
UNKNOWN_NUMBERS = (-999.0, -9999.0)
_UNKNOWN_WORDS = frozenset(("", "none", "null", "nan", "<na>", "n/a", "na", ".", "?"))


class Table:
    """One table of a STAR or XMD file: ``columns`` maps a label (without its underscore) to N texts.

    name: what follows ``data_`` in the file; path: the file, for messages; numbered: whether the labels of a loop that
    was read carry the numbers of their columns; in_pairs: whether its one row is written as label and value, line by
    line, as RELION writes what a run has in general. Texts are as in the file, quotes included; :meth:`texts` gives
    them without.
    """

    def __init__(self, name: str = "", columns: Mapping[str, Sequence[str]] | None = None, path: str = "") -> None:
        self.name = name
        self.columns: dict[str, Sequence[str]] = dict(columns or {})
        self.path = path
        self.numbered = True
        self.in_pairs = False

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
        return Table(self.name, {label: rows_of(column, indices) for label, column in self.columns.items()}, self.path)

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
        if isinstance(texts, str):
            texts = repeated(texts, len(self))
        column = texts if isinstance(texts, Column) else list(texts)
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


def _floats(column: Sequence[str], number: Callable[[str], float]) -> np.ndarray:
    if isinstance(column, (Texts, Decimals)) and number is float:
        return column.floats()
    return each_of(column, number)


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


def number_texts(values: np.ndarray) -> Sequence[str]:
    """Numbers as tables have them: six decimals, and no minus before a zero.

    Parameters
    ----------
    values : (N,) array

    Returns
    -------
    sequence of str
    """
    return decimals_of(values, 6, rounded=True)


def share_texts(values: np.ndarray) -> Sequence[str]:
    """Shares as tables have them, and what is counted beside them.

    Parameters
    ----------
    values : (N,) array
        Numbers from 0 to 1, with four decimals; whole numbers, as they are.

    Returns
    -------
    sequence of str
    """
    return Decimals(values.astype(np.int64)) if values.dtype.kind in "iu" else decimals_of(values, 4)


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


def quoted(texts: Sequence[str]) -> Sequence[str]:
    """Texts as STAR values.

    Parameters
    ----------
    texts : sequence of str

    Returns
    -------
    sequence of str
        As :func:`quote` makes each.

    Raises
    ------
    UdlError
        Where no kind of quotes can hold one.
    """
    if isinstance(texts, ImageNames) and all(quote(f"1@{file}") == f"1@{file}" for _, file in texts.files):
        return texts
    return column_of(map(quote, texts))


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
    tables = []
    for block in read_blocks(path, used):
        table = Table(block.name, block.taken(), path)
        table.numbered = block.numbered
        tables.append(table)
    if not tables:
        raise UdlError(message("text_without_table", path=path))
    return tables


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
    if table.in_pairs:
        file.writelines(f"_{label} {next(iter(column))}\n" for label, column in table.columns.items())
        writer.writeNewline()
        return
    file.write("loop_\n")
    # emtable's header leaves the numbers out, by which small programs of the field find the columns
    file.writelines(f"_{label} #{number}\n" for number, label in enumerate(table.columns, 1))
    write_rows(file, writer, list(table.columns.values()))
    writer.writeNewline()
