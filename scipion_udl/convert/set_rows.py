"""Items of Scipion's sets as rows of their SQLite files: columns read in one query, output sets filled by SQL.

Scipion makes an object of every row, which takes 0.4 ms to read and 2 ms to copy: minutes for a large set. What is in
the file otherwise than this module knows it goes through Scipion's own objects, with the same result. The first item of
an output is always appended through Scipion, so that the tables of the file are those that Scipion makes.

Labels are Scipion's: ``_filename``, ``_ctfModel._defocusU``, and whatever else programs hang on an item.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Callable

import numpy as np
from pwem.objects import EMSet, Particle, SetOfParticles

from scipion_udl.errors import UdlError
from scipion_udl.messages import message

logger = logging.getLogger(__name__)

ID = "id"
_COMMON = (ID, "enabled", "label", "comment", "creation")
# An item without these takes the acquisition of its set (pwem's Image.hasAcquisition).
_ACQUISITION = ("_acquisition._magnification", "_acquisition._voltage")
_MOST_ASKED = 500  # ids in one query
_PATIENCE = 600  # seconds that another program may hold a file


@dataclass
class Column:
    """New values of one attribute for the items of a set.

    label: of the attribute; values: one an item, as SQLite stores them; make: makes the attribute (that of the label's
    first part) where items have none, or have another; None where they have it.
    """

    label: str
    values: Sequence
    make: Callable[[], object] | None = None

    def set(self, item: Particle, row: int) -> None:
        """Give an item the value of a row."""
        if self.make is not None:
            setattr(item, self.label.partition(".")[0], self.make())
        item.setAttributeValue(self.label, self.values[row])


@dataclass
class Growth:
    """What is new in a set that another program fills: (id, whether it is enabled) of its items by ascending id, and
    whether nothing more will come."""

    items: list[tuple[int, bool]]
    closed: bool


def read_growth(path: str, known: set[int]) -> Growth:
    """What a set's file holds beside the items with ``known`` ids; what was known before is not read again.

    A set without any item has no tables yet: then nothing is known of its end. Raises sqlite3.Error where the file
    cannot be read now.
    """
    last = max(known, default=0)
    with closing(_reader(path)) as database:
        database.execute("BEGIN")  # items and state of one moment
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Objects'").fetchone():
            return Growth([], False)
        state = database.execute("SELECT value FROM Properties WHERE key = '_streamState'").fetchone()
        start = last
        if database.execute("SELECT COUNT(*) FROM Objects WHERE id <= ?", (last,)).fetchone()[0] > len(known):
            start = 0  # some came with ids below those that came before them
        rows = database.execute("SELECT id, enabled FROM Objects WHERE id > ? ORDER BY id", (start,)).fetchall()
    closed = state is not None and str(state[0]) == str(SetOfParticles.STREAM_CLOSED)
    return Growth([(item_id, bool(enabled)) for item_id, enabled in rows if item_id not in known], closed)


def read_columns(items: SetOfParticles, labels: Sequence[str], ids: Sequence[int] | None = None) -> dict[str, list]:
    """The values of the enabled items of a set, by label, and their ids under ``id``; in the order of the ids.

    ids: of those that are wanted, None for all. A value that an item does not have is None. An item without an
    acquisition has that of its set.
    """
    table = _Table.of(items)
    if table is not None:
        return _chosen(table.read(labels, (min(ids), max(ids)) if ids else None), ids)
    found: dict[str, list] = {label: [] for label in (ID, *labels)}
    for item in items.iterItems():
        if item.isEnabled():
            values = item.getObjDict()
            found[ID].append(item.getObjId())
            for label in labels:
                found[label].append(values.get(label))
    return _chosen(found, ids)


def _chosen(columns: dict[str, list], ids: Sequence[int] | None) -> dict[str, list]:
    """The rows of columns whose ids are wanted."""
    if ids is None or len(columns[ID]) == len(ids):
        return columns
    wanted = set(ids)
    rows = [row for row, item_id in enumerate(columns[ID]) if item_id in wanted]
    return {label: [values[row] for row in rows] for label, values in columns.items()}


def set_problem(items: EMSet) -> str:
    """What is wrong where the file of a set is gone, as a sentence; "" where it is there. Scipion would make an empty
    one in its place."""
    path = items.getFileName()
    if not path or os.path.isfile(path):
        return ""
    return message("input_set_gone", path=path)


def check_there(items: EMSet) -> None:
    """Raise UdlError where the file of a set is gone."""
    problem = set_problem(items)
    if problem:
        raise UdlError(problem)


def count_items(items: SetOfParticles) -> int:
    """How many items a set has on the disk, disabled ones included."""
    table = _Table.of(items)
    return items.getSize() if table is None else table.count()


def copy_items(
    sources: Sequence[SetOfParticles],
    output: SetOfParticles,
    ids: Sequence[int] | np.ndarray,
    columns: Sequence[Column] = (),
    without: Sequence[str] = (),
) -> None:
    """Append the enabled items of ``sources`` that ``ids`` names to an empty ``output``, as Scipion would copy them.

    Their attributes, ids, labels and comments come along. ids: one or more, of items of the sources; columns: what is
    new of them, in the order of ids; without: names of attributes that are left behind. The info of the output must
    have been set before. An output that is a class must be in its set already.
    """
    rows = {int(item_id): row for row, item_id in enumerate(ids)}

    def update(item: Particle, _row: object = None) -> None:
        row = rows.get(item.getObjId())
        item._appendItem = row is not None
        if row is not None:
            for name in without:
                setattr(item, name, None)
            for column in columns:
                column.set(item, row)

    tables = [table for table in map(_Table.of, sources) if table is not None]
    if len(tables) < len(sources):
        logger.info("A set is not stored as expected: its items are copied one by one")
        for source in sources:
            output.copyItems(source, updateItemCallback=update, doClone=False)
        return
    of_each = zip(sources, tables)
    first = next((item for source, table in of_each for item in _first_item(source, table, rows)), None)
    if first is None:
        return
    update(first)
    output.append(first)
    output.write(properties=False)  # commits, so that the file is free
    output.close()
    _fill(_table_of(output), tables, ids, columns, _constants(output))
    output.load()


def append_items(
    source: SetOfParticles, output: SetOfParticles, ids: Sequence[int] | np.ndarray, columns: Sequence[Column] = ()
) -> None:
    """Append the enabled items of ``source`` that ``ids`` names to an ``output`` that :func:`copy_items` filled with
    others of them: all or, where the program is stopped in between, none. columns: as there."""
    table, target = _table_of(source), _table_of(output)
    output.close()
    _fill(target, [table], ids, columns, _constants(output), keep=True)
    output.load()


def _table_of(items: EMSet) -> _Table:
    """The table of a set that is on the disk. Raises UdlError where it is not as Scipion's flat mapper writes it."""
    table = _Table.of(items)
    if table is None:
        raise UdlError(message("set_not_of_scipion", path=items.getFileName()))
    return table


def _first_item(source: SetOfParticles, table: _Table, rows: dict[int, int]) -> Iterator[Particle]:
    """The first enabled item of a set, with its table, that is among ``rows``; none where there is none."""
    first = table.first(sorted(rows))
    if first is not None:
        yield from source.iterItems(where=f"id={first}", iterate=False)


def _constants(output: SetOfParticles) -> tuple[str, ...]:
    """Labels whose value Scipion takes from the set when it appends an item."""
    return ("_samplingRate",) if output.getSamplingRate() else ()


def _fill(
    target: _Table,
    sources: Sequence[_Table],
    ids: Sequence[int] | np.ndarray,
    columns: Sequence[Column],
    constants: Sequence[str],
    keep: bool = False,
) -> None:
    """Replace the one row of a new set by its sources' rows (keep: add them to what it has); what neither they nor
    ``columns`` have is that (the first) row's."""
    with closing(sqlite3.connect(target.path, timeout=_PATIENCE)) as database:
        names = "".join(f", v{k}" for k in range(len(columns)))
        database.execute(f"CREATE TEMP TABLE new (id INTEGER PRIMARY KEY{names})")
        marks = ", ".join("?" * (1 + len(columns)))
        values = zip((int(item_id) for item_id in ids), *(column.values for column in columns))
        database.executemany(f"INSERT INTO new VALUES ({marks})", values)
        first = _first_row(database, target)
        if not keep:
            database.execute(f"DELETE FROM main.{target.objects}")
        for source in sources:
            database.commit()  # no file can be attached within a transaction
            database.execute("ATTACH DATABASE ? AS source", (source.path,))
            _insert(database, target, source, first, columns, constants)
            database.commit()
            database.execute("DETACH DATABASE source")


def _first_row(database: sqlite3.Connection, target: _Table) -> dict[str, object]:
    query = f"SELECT {', '.join(target.columns.values())} FROM main.{target.objects} LIMIT 1"
    return dict(zip(target.columns, database.execute(query).fetchone()))


def _insert(
    database: sqlite3.Connection,
    target: _Table,
    source: _Table,
    first: dict[str, object],
    columns: Sequence[Column],
    constants: Sequence[str],
) -> None:
    new = {column.label: f"n.v{k}" for k, column in enumerate(columns)}
    wanted, given = [], []
    for label in target.columns:
        if label in new:
            wanted.append(new[label])
            continue
        own = "?" if label in constants or label not in source.columns else f"s.{source.columns[label]}"
        if label in source.acquisition:
            wanted.append(f"CASE WHEN {source.lacks_acquisition()} THEN ? ELSE {own} END")
            given.append(source.acquisition[label])
        else:
            wanted.append(own)
        given += [first[label]] if own == "?" else []
    names = ", ".join((*_COMMON, *target.columns.values()))
    values = ", ".join((*(f"s.{name}" for name in _COMMON), *wanted))
    database.execute(
        # The ids that are wanted are gone through, in their order, and not the source, which may have many more.
        f"INSERT INTO main.{target.objects} ({names}) SELECT {values} FROM new n CROSS JOIN source.{source.objects} s "
        "ON s.id = n.id WHERE s.enabled ORDER BY n.id",
        given,
    )


@dataclass
class _Table:
    """The rows of one set: file, name of the table of objects, the column of each label, the set's acquisition."""

    path: str
    objects: str
    columns: dict[str, str]
    acquisition: dict[str, object]

    @classmethod
    def of(cls, items: SetOfParticles) -> _Table | None:
        """The table of a set that is on the disk; None where it is not as Scipion's flat mapper writes it."""
        path, prefix = items.getFileName(), (items.getPrefix() or "").strip()
        if not path or not os.path.isfile(path) or not re.fullmatch(r"\w*", prefix) or _has_changes(items):
            return None
        prefix = f"{prefix}_" if prefix and not prefix.endswith("_") else prefix
        try:
            with closing(_reader(path)) as database:
                pairs = database.execute(f"SELECT label_property, column_name FROM {prefix}Classes").fetchall()
                there = {row[1] for row in database.execute(f"PRAGMA table_info({prefix}Objects)")}
        except sqlite3.Error:
            return None
        columns = {label: name for label, name in pairs if label != "self"}
        if not {"_index", "_filename"} <= set(columns) or not {*_COMMON, *columns.values()} <= there:
            return None
        acquisition = {f"_acquisition.{name}": value for name, value in items.getAcquisition().getObjDict().items()}
        return cls(path, f"{prefix}Objects", columns, acquisition)

    def read(self, labels: Sequence[str], between: tuple[int, int] | None = None) -> dict[str, list]:
        """As :func:`read_columns`; between: the lowest and the highest id that are wanted."""
        wanted = ["s.id"]
        given = []
        for label in labels:
            if label in self.acquisition:
                own = f"s.{self.columns[label]}" if label in self.columns else "?"
                wanted.append(f"CASE WHEN {self.lacks_acquisition()} THEN ? ELSE {own} END")
                given += [self.acquisition[label]] * (1 if label in self.columns else 2)
            else:
                wanted.append(f"s.{self.columns[label]}" if label in self.columns else "NULL")
        with closing(_reader(self.path)) as database:
            where = "s.enabled" if between is None else "s.enabled AND s.id BETWEEN ? AND ?"
            query = f"SELECT {', '.join(wanted)} FROM {self.objects} s WHERE {where} ORDER BY s.id"
            rows = database.execute(query, [*given, *(between or ())]).fetchall()
        return dict(zip((ID, *labels), map(list, zip(*rows)))) if rows else {label: [] for label in (ID, *labels)}

    def first(self, ids: Sequence[int]) -> int | None:
        """The first of ascending ``ids`` that an enabled row has; None where there is none."""
        with closing(_reader(self.path)) as database:
            for k in range(0, len(ids), _MOST_ASKED):
                asked = ", ".join(str(int(item_id)) for item_id in ids[k : k + _MOST_ASKED])
                query = f"SELECT MIN(id) FROM {self.objects} WHERE enabled AND id IN ({asked})"
                (found,) = database.execute(query).fetchone()
                if found is not None:
                    return found
        return None

    def count(self) -> int:
        """The number of rows."""
        with closing(_reader(self.path)) as database:
            return database.execute(f"SELECT COUNT(*) FROM {self.objects}").fetchone()[0]

    def lacks_acquisition(self) -> str:
        """The condition, in SQL, that an item has no acquisition, so that it takes the one of its set."""
        names = [self.columns.get(label) for label in _ACQUISITION]
        return f"({' OR '.join(f's.{name} IS NULL' for name in names)})" if all(names) else "1"


def _has_changes(items: SetOfParticles) -> bool:
    """Whether a set has items that are not on the disk yet: only its own connection sees them."""
    database = getattr(items._mapper, "db", None)
    return database is not None and database.connection.in_transaction


def _reader(path: str) -> sqlite3.Connection:
    plain = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(f"file:{plain}?mode=ro", uri=True, timeout=_PATIENCE)
