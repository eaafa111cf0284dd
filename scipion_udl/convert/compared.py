"""Several classifications in Scipion's sets, written to be compared, and the first of them as far as they agree."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from pwem.emlib.image import ImageHandler
from pwem.objects import Class2D, SetOfClasses2D
from pyworkflow.object import Float

from scipion_udl.convert.classes import add_parts
from scipion_udl.convert.particle_input import class_parts, info_of
from scipion_udl.convert.particles import CLASS, ITEM_ID, Location, write_particles
from scipion_udl.convert.set_images import plain_name
from scipion_udl.convert.set_rows import Column
from scipion_udl.io import dialects
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import read_tables

COMES_AGAIN, SHARE = "_udlComesAgain", "_udlConsensusShare"
# The stack of averages has an image for each number up to the highest, as RELION's has: of a set whose classes are
# numbered without regard to that, such as one that was joined of many, it would be mostly empty.
_HIGHEST_SHOWN = 1000


def write_classification(classes: SetOfClasses2D, stem: str, converted: dict[Location, Location]) -> tuple[str, int]:
    """Write the enabled particles of classes as a table, with the averages beside it, as RELION names the two.

    stem: of the names of all files; converted: see :func:`scipion_udl.convert.particles.write_particles`, so that the
    same image has one name in the tables of all sets. Returns the table and the number of particles. Raises UdlError as
    that function does.
    """
    table = f"{stem}_data.star"
    count = write_particles(classes, table, f"{stem}.mrcs", converted=converted)
    _write_averages(classes, f"{stem}_classes.mrcs")
    return table, count


def _write_averages(classes: SetOfClasses2D, path: str) -> None:
    """Write what represents the classes, image n that of class n; nothing where some have none that is there."""
    shown = {part.number: part.items.getRepresentative() for part in class_parts(classes)}
    there = all(one is not None and os.path.isfile(plain_name(one.getFileName() or "")) for one in shown.values())
    if not there or max(shown) > _HIGHEST_SHOWN:
        return
    images = {number: np.squeeze(ImageHandler().read(one).getData()) for number, one in shown.items()}
    shapes = {image.shape for image in images.values()}
    if len(shapes) > 1:
        return
    stack = np.zeros((max(images), *shapes.pop()), np.float32)
    for number, image in images.items():
        stack[number - 1] = image
    write_stack(path, stack, info_of(classes).getSamplingRate())


def read_agreed(path: str, least: float) -> tuple[np.ndarray, np.ndarray]:
    """The ids, int64 (N,), of the particles whose class most of the runs agree on, and the share of these runs (N,).

    Those that the others put into another class than the first run are none of them: they are not in register with it.
    path: of the engine's compare.star; least: the share of the runs that must agree.
    """
    table, _ = dialects.find_particles(path, read_tables(path))
    share = table.numbers(dialects.CONSENSUS_SHARE_LABEL)
    agreed = table.numbers(dialects.CONSENSUS_LABEL) == table.numbers(CLASS)
    agreed &= share >= least
    return table.numbers(ITEM_ID).astype(np.int64)[agreed], share[agreed]


def add_agreed_classes(
    classes: SetOfClasses2D,
    output: SetOfClasses2D,
    ids: np.ndarray,
    share: np.ndarray,
    comes_again: Mapping[int, float],
) -> None:
    """Fill an empty set with the classes that have items among ``ids`` (N,), as they are there, with these alone.

    share (N,): of the runs that agree on each; comes_again: number of a class -> which share of its particles come
    together again, None where that is not known.
    """

    def describe_class(new: Class2D, number: int) -> None:
        setattr(new, COMES_AGAIN, Float(comes_again.get(number)))

    add_parts(classes, output, ids, Column(SHARE, share.tolist(), Float), describe_class)
