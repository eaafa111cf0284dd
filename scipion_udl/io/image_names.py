"""Names of images in tables (NUMBER@FILE), and the files that they speak of."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from scipion_udl.errors import OnIssue, UdlError
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.star.columns import ImageNames
from scipion_udl.io.subtomograms import ADVICE
from scipion_udl.messages import message

PACKED = (".gz", ".bz2")
STACKS = (".mrc", ".mrcs", ".map", ".st")


def any_counts_from_zero(names: Sequence[str]) -> bool:
    """Whether an image name has the number 0, which no program has that counts from 1.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    bool
    """
    if isinstance(names, ImageNames):
        return bool((names.numbers == 0).any())
    parts = (name.partition("@") for name in names)
    return any(at and _is_number(number) and int(number) == 0 for number, at, _ in parts)


def counted_from_one(path: str, names: Sequence[str]) -> Sequence[str]:
    """Image names whose numbers begin at 0, with numbers that begin at 1.

    Parameters
    ----------
    path : str
        Of the table, for the message.
    names : sequence of str

    Returns
    -------
    sequence of str

    Raises
    ------
    UdlError
        For a name without a number; gives its row (from 1).
    """
    if isinstance(names, ImageNames):
        files = [(max(least, 6), file) for least, file in names.files]
        return ImageNames(names.numbers.astype(np.int64) + 1, files, names.of)
    found = []
    for row, name in enumerate(names):
        number, at, file = name.partition("@")
        if not (at and _is_number(number)):
            raise UdlError(message("image_without_number", path=path, row=row + 1, name=name))
        found.append(f"{int(number) + 1:0{max(len(number), 6)}d}@{file}")
    return found


def locate(
    path: str, names: Sequence[str], on_issue: OnIssue
) -> tuple[list[StackReader], np.ndarray, np.ndarray, list[tuple[str, str]]]:
    """The stacks that image names speak of, and where in them each image is.

    A name that nothing can be read by is complained of, and has stack -1.

    Parameters
    ----------
    path : str
        Of the table.
    names : sequence of str
        N of them.
    on_issue : OnIssue
        Told of each name, number and file that is wrong.

    Returns
    -------
    stacks : list of StackReader
    stack, item : (N,) int64 arrays
        Of each name, from 0.
    renamed : list of (str, str)
        Name and path of the files that are there under another ending only.

    Raises
    ------
    UdlError
        What ``on_issue`` raises.
    """
    file_of, item, files = _parsed(path, names, on_issue)
    stack_of = np.full(len(files) + 1, -1, np.int64)  # the last one is that of names without a file
    readers: list[StackReader] = []
    renamed: list[tuple[str, str]] = []
    for place, (file, row) in enumerate(files):
        try:
            reader = _reader(path, file, row, names[row], on_issue)
        except UdlError as error:
            on_issue("files", error.message)
        else:
            stack_of[place] = len(readers)
            readers.append(reader)
            if _without_format(file).rpartition(".")[2] != reader.path.rpartition(".")[2]:
                renamed.append((file, reader.path))
    stack = stack_of[file_of]
    del file_of
    counts = np.array([*(reader.count for reader in readers), np.iinfo(np.int64).max])  # the last of no file: -1
    for row in np.flatnonzero(item >= counts[stack]):
        reader = readers[stack[row]]
        stack[row] = -1
        on_issue(
            "image numbers",
            message(
                "image_past_end", path=path, row=row + 1, item=item[row] + 1, stack=reader.path, count=reader.count
            ),
        )
    return readers, stack, item, renamed


def _parsed(path: str, names: Sequence[str], on_issue: OnIssue) -> tuple[np.ndarray, np.ndarray, list[tuple[str, int]]]:
    """What names (N) say: the place of each one's file among the files, int32, -1 for none, the item in it, int64, from
    0, and the files, each with the first row (from 0) that names it."""
    if isinstance(names, ImageNames) and (names.numbers > 0).all() and all(file for _, file in names.files):
        return _parsed_at_once(names)
    number_of: dict[str, int] = {}
    file_of, item = np.full(len(names), -1, np.int32), np.zeros(len(names), np.int64)
    first_row: list[int] = []
    for row, name in enumerate(names):
        number, at, file = name.partition("@")
        if not at:
            number, file = "1", name
        if not (_is_number(number) and int(number) > 0 and file):
            on_issue("image names", message("image_name_odd", path=path, row=row + 1, name=name))
            continue
        file_of[row] = number_of.setdefault(file, len(number_of))
        item[row] = int(number) - 1
        if file_of[row] == len(first_row):
            first_row.append(row)
    return file_of, item, list(zip(number_of, first_row))


def _parsed_at_once(names: ImageNames) -> tuple[np.ndarray, np.ndarray, list[tuple[str, int]]]:
    """What :func:`_parsed` says of names that nothing is wrong with."""
    used, row = np.unique(names.of, return_index=True)
    number_of: dict[str, int] = {}
    first_row: list[int] = []
    place = np.zeros(len(names.files), np.int32)
    for of, first in sorted(zip(used.tolist(), row.tolist()), key=lambda pair: pair[1]):
        file = names.files[of][1]
        if file not in number_of:
            number_of[file] = len(number_of)
            first_row.append(first)
        place[of] = number_of[file]
    return place[names.of], names.numbers.astype(np.int64) - 1, list(zip(number_of, first_row))


def _reader(path: str, file: str, row: int, name: str, on_issue: OnIssue) -> StackReader:
    """The stack of a file that a table names in a row. Raises UdlError where a name without a number is of several
    images."""
    reader = StackReader(_resolve(path, file, row), on_issue)
    if "@" not in name and reader.count > 1:
        raise UdlError(
            message("image_of_several", path=path, row=row + 1, name=name, count=reader.count, advice=ADVICE)
        )
    return reader


def _resolve(table: str, file: str, row: int) -> str:
    """Where a file named in a table is: from the current folder, the table's folder, or one of its parents; of an
    absolute name that is there no more, beside the table. Where it is nowhere, its name with .mrc for .mrcs, or the
    reverse, is looked for: cryoSPARC's stacks end in .mrc, and those who bring them to other programs rename either the
    files or the table."""
    file = _without_format(file)
    plain = file.lower()
    for ending in PACKED:
        plain = plain[: -len(ending)] if plain.endswith(ending) else plain
    if not plain.endswith(STACKS):
        raise UdlError(message("image_file_no_mrc", table=table, row=row + 1, file=file))
    folder = os.path.dirname(os.path.abspath(table))
    places = [os.getcwd()]
    while folder not in places[1:]:
        places.append(folder)
        folder = os.path.dirname(folder)
    for name in filter(None, (file, _other_ending(file))):
        for place in places:
            candidate = os.path.join(place, name)
            if os.path.isfile(candidate):
                return name if place == places[0] else candidate
    beside = os.path.join(os.path.dirname(os.path.abspath(table)), os.path.basename(file))
    if os.path.isabs(file) and os.path.isfile(beside):  # a folder of table and stack that was moved as a whole
        return beside
    raise UdlError(message("image_file_not_found", table=table, row=row + 1, file=file))


def lasting(file: str, path: str) -> str:
    """The name of a file as tables have it, made absolute where it was opened under another one.

    Parameters
    ----------
    file : str
        The name in the table, with its format (:mrcs) or without.
    path : str
        Under which it was opened.

    Returns
    -------
    str
    """
    plain = _without_format(file)
    if plain == path:
        return file
    stack = ":mrcs" if plain.endswith(".mrcs") and not path.endswith(".mrcs") else ""
    return os.path.abspath(path) + (file[len(plain) :] or stack)


def lasting_image_names(names: ImageNames, stack: np.ndarray, paths: Sequence[str]) -> ImageNames:
    """Image names with their files made absolute where they were opened under other names.

    Parameters
    ----------
    names : ImageNames
        N.
    stack : (N,) int array
        Which of ``paths`` each lies in, from 0; -1 for one that lies nowhere, whose name stays.
    paths : sequence of str
        Under which the files were opened.

    Returns
    -------
    ImageNames
    """
    pairs = names.of.astype(np.int64) * (len(paths) + 1) + stack + 1
    used, row, of = np.unique(pairs, return_index=True, return_inverse=True)
    files = []
    for first in row.tolist():
        least, file = names.files[names.of[first]]
        files.append((least, file if stack[first] < 0 else lasting(file, paths[stack[first]])))
    if all(names.files[names.of[first]] == file for first, file in zip(row.tolist(), files)):
        return names
    return ImageNames(names.numbers, files, of.astype(np.min_scalar_type(len(used))))


def refuse_repeated(path: str, names: Sequence[str], stack: np.ndarray, item: np.ndarray, on_issue: OnIssue) -> None:
    """OnIssue of every image that is named twice.

    Parameters
    ----------
    path : str
        Of the table.
    names : sequence of str
        N of them.
    stack, item : (N,) int arrays
        Where each name's image lies, from 0; stack -1 nowhere.
    on_issue : OnIssue
    """
    # The number in a name that lies nowhere may be any: with it the keys of others would leave 64 bits.
    key = place_numbers(stack.astype(np.int64), item, int(item.max(where=stack >= 0, initial=0)) + 1)
    nowhere = np.flatnonzero(stack < 0)
    key[nowhere] = -1 - nowhere
    if (key[1:] > key[:-1]).all():  # as most tables are: no need to bring millions of rows in order
        return
    order = np.argsort(key, kind="stable")
    key = key[order]
    for k in np.flatnonzero(key[1:] == key[:-1]):
        first, second = order[k], order[k + 1]
        on_issue(
            "same image twice",
            message("same_image_twice", path=path, first=first + 1, second=second + 1, name=names[first]),
        )


def place_numbers(file: np.ndarray, item: np.ndarray, items: int) -> np.ndarray:
    """A number for each place: a file and an item of it.

    Parameters
    ----------
    file : (N,) int64 array
        It is overwritten.
    item : (N,) int array
        From 0, below ``items``.
    items : int

    Returns
    -------
    (N,) int64 array
        The memory of ``file``.
    """
    file *= items
    file += item
    return file


def _is_number(text: str) -> bool:
    """Whether a text is a whole number that may count images: plain digits, and no more than 64 bits hold."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def _without_format(file: str) -> str:
    """The name of a file without the format that tables put behind it for RELION and Xmipp."""
    for suffix in (":mrcs", ":mrc"):
        file = file[: -len(suffix)] if file.endswith(suffix) else file
    return file


def _other_ending(file: str) -> str | None:
    """The name with .mrc for .mrcs, or the reverse, None for others."""
    return next((file[: -len(a)] + b for a, b in ((".mrcs", ".mrc"), (".mrc", ".mrcs")) if file.endswith(a)), None)
