"""Classifications of any program, as they lie on disk: which table, where its averages are, and which particles of
several are the same."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np

from scipion_udl.errors import UdlError, raise_issue
from scipion_udl.io.class_blocks import block_of_classes
from scipion_udl.io.image_names import locate, place_numbers
from scipion_udl.io.particles import ParticleSource
from scipion_udl.io.relion.project import RUN_DATA
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.tables import read_tables
from scipion_udl.messages import message

TABLE = "classes.star"  # of a classify run
JUDGED = ("summary.json", "averages.mrcs")  # of one: what is read beside its table
_MODELS, _DATA, _IMAGES = ("_model.star", "_optimiser.star"), "_data.star", "_classes.mrcs"  # of RELION
_CS_DATA, _CS_IMAGES = "_particles.cs", "_class_averages.mrc"  # of cryoSPARC

Place = tuple[str, int]  # an image: its file, and which one it is there, from 0


def class_table(path: str) -> str:
    """The table of classes: of a folder the one that `classify` writes, of RELION's model the particles beside it.

    Parameters
    ----------
    path : str
        A folder, or a file.

    Returns
    -------
    str
        Any other file as it is.

    Raises
    ------
    UdlError
        Where there is no such table.
    """
    for ending in _MODELS:
        if path.endswith(ending):
            table = path[: -len(ending)] + _DATA
            if not os.path.isfile(table):
                raise UdlError(message("model_without_data", path=path, table=table))
            return table
    if not os.path.isdir(path):
        return path
    table = os.path.join(path, TABLE)
    if not os.path.isfile(table):
        raise UdlError(message("not_a_class_run", folder=path))
    return table


def average_places(table: str, numbers: Sequence[int]) -> dict[int, Place]:
    """Where the averages of classes lie: those of `classify`, RELION, Xmipp's CL2D or cryoSPARC, beside their table.

    Parameters
    ----------
    table : str
        Of :func:`class_table`.
    numbers : sequence of int
        Of the classes.

    Returns
    -------
    dict of int to (str, int)
        By class number, of those that have one: the file, and the image in it from 0.

    Raises
    ------
    UdlError
        Where a file that should hold them cannot be read.
    """
    told = _told(table)
    if told:
        return {number: told[number] for number in numbers if number in told}
    for ending, images in ((_DATA, _IMAGES), (_CS_DATA, _CS_IMAGES)):
        stack = table[: -len(ending)] + images
        if table.endswith(ending) and os.path.isfile(stack):
            count = StackReader(stack).count
            return {number: (stack, number - 1) for number in numbers if 0 < number <= count}
    return _in_blocks(table, numbers) if table.lower().endswith(".xmd") else {}


def _told(table: str) -> dict[int, Place]:
    """What the run of this program that wrote the table says of its averages; empty where none did."""
    summary, stack = (os.path.join(os.path.dirname(table), name) for name in JUDGED)
    if not os.path.isfile(stack):
        return {}
    try:
        with open(summary, encoding="utf-8") as file:
            told = json.load(file)
        if "left_out" in told and os.path.basename(table) == RUN_DATA:
            return {}  # a selection numbers its classes anew for RELION
        return {int(one["class"]): (stack, int(one["image"]) - 1) for one in told["classes"] if one["image"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _in_blocks(path: str, numbers: Sequence[int]) -> dict[int, Place]:
    """The averages that Xmipp's file of classes names in its block of classes."""
    block = block_of_classes(read_tables(path))
    if block is None:
        return {}
    stacks, stack, item, _ = locate(path, block.texts("image"), raise_issue)
    places = zip(block.numbers("ref").astype(int).tolist(), stack.tolist(), item.tolist())
    found = {number: (stacks[place].path, row) for number, place, row in places}
    return {number: found[number] for number in numbers if number in found}


def read_averages(places: dict[int, Place]) -> dict[int, np.ndarray]:
    """The averages of classes.

    Parameters
    ----------
    places : dict of int to (str, int)
        Of :func:`average_places`.

    Returns
    -------
    dict of int to (D, D) float32 array
        By class number.

    Raises
    ------
    UdlError
        Where one cannot be read.
    """
    found: dict[int, np.ndarray] = {}
    for stack in dict.fromkeys(stack for stack, _ in places.values()):
        own = {number: item for number, (file, item) in places.items() if file == stack}
        images = StackReader(stack).read(np.array(list(own.values())))
        found.update(zip(own, images))
    return found


def same_particles(sources: Sequence[ParticleSource]) -> list[np.ndarray]:
    """By what the particles of several tables are known again, whatever they are called there.

    The same image of the same file is the same particle. Where all tables are cryoSPARC's, the same ``uid`` is, unless
    no two tables have one in common: cryoSPARC keeps it when it writes particles anew, to another file.

    Parameters
    ----------
    sources : sequence of ParticleSource
        Of N_k particles each.

    Returns
    -------
    list of (N_k,) int64 array
        Numbers from 0, equal where particles are the same.
    """
    ids = _uids(sources)
    if ids is not None:
        numbers = _numbered(ids)
        if len(np.unique(np.concatenate(numbers))) < sum(map(len, numbers)):
            return numbers
    files: dict[str, int] = {}
    items = 1 + max(int(source.item.max(initial=0)) for source in sources)
    keys = []
    for source in sources:
        own = [files.setdefault(os.path.realpath(stack), len(files)) for stack in source.stack_names]
        keys.append(place_numbers(np.array(own, np.int64)[source.stack], source.item, items))
    return _numbered(keys)


def _uids(sources: Sequence[ParticleSource]) -> list[np.ndarray] | None:
    """The uid (N_k,) of all particles; None where a table has none, or the same twice."""
    found = []
    for source in sources:
        names = source.cs.dtype.names if source.cs is not None and len(source.cs) == len(source) else None
        if source.cs is None or not names or "uid" not in names:
            return None
        own = source.cs["uid"].astype(np.uint64)
        if len(np.unique(own)) < len(own):
            return None
        found.append(own)
    return found


def _numbered(keys: list[np.ndarray]) -> list[np.ndarray]:
    """Keys (N_k,) as numbers from 0, without gaps."""
    numbers = np.unique(np.concatenate(keys), return_inverse=True)[1]
    return np.split(numbers, np.cumsum([len(own) for own in keys])[:-1])
