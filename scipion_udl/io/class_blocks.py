"""Files of 2D classes as Xmipp's CL2D writes them: a block of classes, and a block of images for each class."""

from __future__ import annotations

import re
from collections.abc import Sequence

from scipion_udl.errors import UdlError
from scipion_udl.io.star.columns import Unread
from scipion_udl.io.star.growing import column_of
from scipion_udl.io.tables import Table
from scipion_udl.messages import Message, message

_IMAGES = re.compile(r"class_?(\d+)(_images)?")
_CLASSES = re.compile(r"classes(_\w+)?")


def joined_blocks(tables: Sequence[Table], warnings: list[Message]) -> list[Table]:
    """The images of all classes as one table, where the tables are those of a file of classes.

    Parameters
    ----------
    tables : sequence of Table
        All of a file.
    warnings : list of Message
        Told of columns that not all blocks have, which are left out.

    Returns
    -------
    list of Table
        One table whose column ``ref`` is the number in the name of each image's block; ``tables`` for any other file.

    Raises
    ------
    UdlError
        Where no block of images has a row; names the file.
    """
    blocks = [(int(match.group(1)), table) for match, table in _matched(tables)]
    others = [table for table in tables if "image" in table and not _IMAGES.fullmatch(table.name)]
    if not blocks or any(not _CLASSES.fullmatch(table.name) for table in others):
        return list(tables)
    path = blocks[0][1].path
    blocks = [(number, table) for number, table in blocks if len(table)]
    if not blocks:
        raise UdlError(message("class_blocks_empty", path=path))
    shared = [label for label in blocks[0][1].columns if all(label in table for _, table in blocks)]
    lost = sorted({label for _, table in blocks for label in table.columns if label not in shared} - {"ref"})
    if lost:
        warnings.append(message("class_columns_left_out", path=path, columns=", ".join(lost)))
    kept = [label for label in shared if not isinstance(blocks[0][1].columns[label], Unread)]
    columns = {label: column_of(text for _, table in blocks for text in table.columns[label]) for label in kept}
    columns["ref"] = column_of(str(number) for number, table in blocks for _ in range(len(table)))
    return [Table("noname", columns, path)]


def block_of_classes(tables: Sequence[Table]) -> Table | None:
    """The block that names the average of each class, where a file has one.

    Parameters
    ----------
    tables : sequence of Table
        All of a file.

    Returns
    -------
    Table or None
        With columns ``image`` and ``ref``.
    """
    blocks = (table for table in tables if _CLASSES.fullmatch(table.name) and "image" in table and "ref" in table)
    return next(blocks, None)


def _matched(tables: Sequence[Table]) -> list[tuple[re.Match, Table]]:
    found = ((_IMAGES.fullmatch(table.name), table) for table in tables if "image" in table)
    return [(match, table) for match, table in found if match]
