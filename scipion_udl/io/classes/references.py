"""Class averages that somebody gives as references: of a stack, or of a table of any program."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from scipion_udl.errors import UdlError, raise_issue
from scipion_udl.io.image_names import locate
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import Table, read_tables
from scipion_udl.messages import message

LABEL = "rlnReferenceImage"  # in RELION's models, and in averages.star
SIZES = ("rlnPixelSize", "rlnImagePixelSize")
OPTIMISER, MODEL = "_optimiser.star", "_model.star"


@dataclass(frozen=True)
class References:
    """images: (K, D, D) float32; pixel_size: angstrom, None where nobody tells it; path: of the file; files: all that
    were read."""

    images: np.ndarray
    pixel_size: float | None
    path: str
    files: tuple[str, ...]


def read_references(path: str) -> References:
    """Read class averages.

    Parameters
    ----------
    path : str
        A stack (.mrcs, .mrc), a table that names an image of each class (RELION's run_it025_model.star or
        _optimiser.star, averages.star, .xmd, .cs, or any STAR of images), or the folder of `classify`.

    Returns
    -------
    References
        In the order of the file.

    Raises
    ------
    UdlError
        Where the file is missing or damaged, names no image, or its images have several sizes.
    """
    if os.path.isdir(path):
        path = os.path.join(path, "averages.mrcs")
    if path.endswith(OPTIMISER):
        path = path[: -len(OPTIMISER)] + MODEL
    if path.lower().endswith(".star") and os.path.isfile(path):
        tables = read_tables(path)
        named = next((table for table in tables if LABEL in table), None)
        if named is not None:
            return _of_model(path, named, tables)
    source = open_particles(path)
    images = source.read(np.arange(len(source)))
    return References(images, source.pixel_size if source.pixel_size_known else None, path, tuple(source.files()))


def _of_model(path: str, named: Table, tables: list[Table]) -> References:
    """Those of a table with a column of reference images."""
    stacks, stack, item, _ = locate(path, named.texts(LABEL), raise_issue)
    shapes = {reader.shape for reader in stacks}
    if len(shapes) > 1 or any(rows != columns for rows, columns in shapes):
        raise UdlError(message("references_of_sizes", path=path))
    images = np.empty((len(item), *stacks[0].shape), np.float32)
    for number, reader in enumerate(stacks):
        own = np.flatnonzero(stack == number)
        images[own] = reader.read(item[own])
    told = [float(table.numbers(label)[0]) for table in tables for label in SIZES if label in table]
    size = next((one for one in told if one > 0), stacks[0].pixel_size)
    return References(images, size, path, (path, *(reader.path for reader in stacks)))
