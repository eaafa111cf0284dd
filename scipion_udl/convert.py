"""Scipion's sets <-> the engine's tables. The one place that knows Scipion's signs.

A Scipion Transform holds the pose of :mod:`scipion_udl.alignment.geometry` as its matrix, which is to be applied to the
particle. Results find their items by the item's id, which travels through the engine as text in a column of its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

import numpy as np
from pwem.emlib.image import ImageHandler
from pwem.objects import Particle, SetOfParticles, Transform
from pyworkflow.object import Boolean, Float

from scipion_udl.alignment.geometry import Poses, from_matrices, to_matrices
from scipion_udl.errors import UdlError
from scipion_udl.io import forms
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import Table, quote, read_tables, write_tables
from scipion_udl.io.truth import truth_table

logger = logging.getLogger(__name__)

ITEM_ID = "udlItemId"
# What the engine reads; anything else is converted first.
MRC_ENDINGS = (".mrc", ".mrcs", ".map", ".st")
CTF_LABELS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnPhaseShift")
# Written where the set does not know its microscope: RELION refuses a table without. The alignment
# uses them where particles have a CTF.
MICROSCOPE = {"rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1}


# -- poses -------------------------------------------------------------------------------------------------------------


def transform_matrices(poses: Poses) -> np.ndarray:
    """What the Scipion Transforms of poses (N,) hold: 4 x 4 matrices to apply, shift in pixels, float64 (N, 4, 4)."""
    whole = np.tile(np.eye(4), (len(poses), 1, 1))
    matrices = to_matrices(poses)
    whole[:, :2, :2], whole[:, :2, 3] = matrices[:, :2, :2], matrices[:, :2, 2]
    return whole


def poses_of(particles: SetOfParticles) -> Poses:
    """The poses that the items of a set with 2D alignment hold, in its order."""
    return _poses_of_matrices([item.getTransform().getMatrix() for item in particles.iterItems()])


def _poses_of_matrices(matrices_of_items: list[np.ndarray]) -> Poses:
    whole = np.array(matrices_of_items).reshape(-1, 4, 4)
    matrices = np.tile(np.eye(3), (len(whole), 1, 1))
    matrices[:, :2, :2], matrices[:, :2, 2] = whole[:, :2, :2], whole[:, :2, 3]
    return from_matrices(matrices)


# -- to the engine -----------------------------------------------------------------------------------------------------


def write_particles(particles: SetOfParticles, star: str, stack: str) -> int:
    """Write the enabled items of a set as a STAR of RELION 3.1 form, with their ids, and return their number.

    star: path to write; images are named by absolute path. stack: path of an MRC stack, written only where the set's
    images are of a format that the engine does not read. Raises UdlError where no item is enabled.
    """
    converter = None if _are_mrc(particles) else _Converter(stack)
    groups: dict[tuple, int] = {}
    columns: dict[str, list[str]] = {"rlnImageName": [], "rlnOpticsGroup": [], ITEM_ID: []}
    ctf: dict[str, list[str]] = {label: [] for label in CTF_LABELS}
    for item in particles.iterItems():
        if not item.isEnabled():
            continue
        columns["rlnImageName"].append(quote(converter(item) if converter else image_name(item)))
        columns["rlnOpticsGroup"].append(str(groups.setdefault(_microscope(item), len(groups) + 1)))
        columns[ITEM_ID].append(str(item.getObjId()))
        _add_ctf(ctf, item)
    if not groups:
        raise UdlError("The input set has no enabled particles: enable some, or choose another set")
    if len(ctf["rlnDefocusU"]) == len(columns[ITEM_ID]):
        columns.update(ctf)
    write_tables(star, [_optics_table(particles, groups), Table("particles", columns)])
    return len(columns[ITEM_ID])


def write_alignment(particles: SetOfParticles, star: str, stack: str, xmd: str) -> int:
    """Write the enabled items of a set with 2D alignment for the engine to evaluate, and return their number.

    star, stack: as :func:`write_particles` writes them; xmd: path of a table with the poses, mirrored ones too.
    Raises UdlError where no item is enabled, or one of these has no alignment.
    """
    count = write_particles(particles, star, stack)
    matrices, score = [], []
    for item in particles.iterItems():
        if item.isEnabled():
            matrices.append(_matrix(item))
            score.append(item._udlScore.get(0.0) if hasattr(item, "_udlScore") else 0.0)
    poses = _poses_of_matrices(matrices)
    write_aligned(open_particles(star), poses, np.array(score), np.zeros(count, bool), xmd=xmd)
    return count


def write_truth(particles: SetOfParticles, truth: SetOfParticles, star: str, path: str) -> int:
    """Write the alignment of ``truth`` as the true poses of ``particles``, and return how many have one.

    Items of the two sets belong together where they are the same image of the same file. star: the table that
    :func:`write_particles` wrote of ``particles``; path: of the truth.star to write. Raises UdlError where the sets
    share no image.
    """
    table, _ = forms.find_particles(star, read_tables(star))
    name_of = dict(zip(table.numbers(ITEM_ID).astype(np.int64).tolist(), table.texts("rlnImageName")))
    image_of = {_image(item): item.getObjId() for item in particles.iterItems() if item.getObjId() in name_of}
    names, matrices = [], []
    for item in truth.iterItems():
        item_id = image_of.get(_image(item))
        if item_id is not None:
            names.append(name_of[item_id])
            matrices.append(_matrix(item))
    if not names:
        raise UdlError(
            "The two sets have no image in common: choose as truth another alignment of the very particles that are "
            "evaluated"
        )
    write_tables(path, [truth_table(names, _poses_of_matrices(matrices))])
    return len(names)


def _matrix(item: Particle) -> np.ndarray:
    """The 4 x 4 matrix that an item's alignment applies to it."""
    if not item.hasTransform():
        raise UdlError(f"The particle with id {item.getObjId()} has no alignment: leave it out, or align the set anew")
    return item.getTransform().getMatrix()


def _image(item: Particle) -> tuple[int, str]:
    """What tells the image of an item from all others, whichever set it is in."""
    index, name = item.getLocation()
    return index or 1, os.path.realpath(plain_name(name))


def _are_mrc(particles: SetOfParticles) -> bool:
    return all(_is_mrc(name) for name in particles.getFiles())


def _is_mrc(name: str) -> bool:
    return plain_name(name).lower().endswith(MRC_ENDINGS)


def plain_name(name: str) -> str:
    """An image's file name without what tells Xmipp the kind of file."""
    for suffix in (":mrcs", ":mrc"):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def image_name(item: Particle) -> str:
    """The image of an item as N@FILE, by absolute path."""
    index, name = item.getLocation()
    return f"{index or 1:06d}@{os.path.abspath(plain_name(name))}"


def engine_image(item: Particle, converted: str) -> str:
    """A single image as the engine is told it: N@FILE, or, of a format that it does not read, the path ``converted``.

    :func:`convert_image` writes that file.
    """
    return image_name(item) if _is_mrc(item.getFileName()) else os.path.abspath(converted)


def convert_image(item: Particle, converted: str) -> None:
    """Write a single image to the path of an MRC file, where the engine does not read the one that it is in."""
    if not _is_mrc(item.getFileName()):
        ImageHandler().convert(item, converted)


class _Converter:
    """Writes images of other formats into one MRC stack, and gives their names there."""

    def __init__(self, stack: str) -> None:
        self._stack, self._count, self._handler = stack, 0, ImageHandler()
        logger.info("The images are no MRC files: they are converted to %s", stack)

    def __call__(self, item: Particle) -> str:
        self._count += 1
        self._handler.convert(item, (self._count, self._stack))
        return f"{self._count:06d}@{os.path.abspath(self._stack)}"


def _microscope(item: Particle) -> tuple:
    acquisition = item.getAcquisition()
    if acquisition is None:
        return (None, None, None)
    return (acquisition.getVoltage(), acquisition.getSphericalAberration(), acquisition.getAmplitudeContrast())


def _optics_table(particles: SetOfParticles, groups: dict[tuple, int]) -> Table:
    columns: dict[str, list[str]] = {
        "rlnOpticsGroup": [str(number) for number in groups.values()],
        "rlnOpticsGroupName": [f"opticsGroup{number}" for number in groups.values()],
    }
    for k, (label, default) in enumerate(MICROSCOPE.items()):
        if any(group[k] is None for group in groups):
            logger.warning("The particles do not tell %s: %g is written for programs that ask for it", label, default)
        columns[label] = [f"{default if group[k] is None else group[k]:.6f}" for group in groups]
    columns["rlnImagePixelSize"] = [f"{particles.getSamplingRate():.6f}"] * len(groups)
    columns["rlnImageSize"] = [str(particles.getXDim())] * len(groups)
    columns["rlnImageDimensionality"] = ["2"] * len(groups)
    columns["rlnCtfDataArePhaseFlipped"] = [str(int(bool(particles.isPhaseFlipped())))] * len(groups)
    return Table("optics", columns)


def _add_ctf(columns: dict[str, list[str]], item: Particle) -> None:
    ctf = item.getCTF()
    if ctf is not None:
        values = (ctf.getDefocusU(), ctf.getDefocusV(), ctf.getDefocusAngle(), ctf.getPhaseShift())
        for label, value in zip(CTF_LABELS, values):
            columns[label].append(f"{value or 0.0:.6f}")


# -- from the engine ---------------------------------------------------------------------------------------------------


@dataclass
class Results:
    """What the engine found: poses (N,), score (N,) and ambiguous (N,) bool, with the ids (N,) of their items."""

    ids: np.ndarray
    poses: Poses
    score: np.ndarray
    ambiguous: np.ndarray


def read_ids(star: str) -> np.ndarray:
    """The ids, int64 (N,), of the items that a table from :func:`write_particles` lists."""
    table, _ = forms.find_particles(star, read_tables(star))
    return table.numbers(ITEM_ID).astype(np.int64)


def read_results(star: str) -> Results:
    """Read the engine's aligned.star. Raises UdlError where it has not what a result must have."""
    tables = read_tables(star)
    table, form = forms.find_particles(star, tables)
    pixel_size = forms.table_pixel_size(table, forms.optics_table(tables), form)
    poses = forms.table_poses(table, form, pixel_size)
    if poses is None:
        raise UdlError(f"{star} holds no alignment")
    ids = table.numbers(ITEM_ID).astype(np.int64)
    score = table.numbers(forms.SCORE_LABEL[form])
    ambiguous = table.numbers(forms.AMBIGUOUS_LABEL) != 0
    return Results(ids, poses, score, ambiguous)


def add_results(particles: SetOfParticles, output: SetOfParticles, results: Results) -> None:
    """Fill ``output`` with the enabled items of ``particles``, each with its pose, score and flag, found by its id.

    The set's own properties must have been copied before. Raises UdlError where an item has no result.
    """

    def more(item: Particle, row: int) -> None:
        item._udlScore = Float(results.score[row])
        item._udlAmbiguous = Boolean(bool(results.ambiguous[row]))

    add_poses(particles, output, results.ids, results.poses, more)


def add_poses(
    particles: SetOfParticles,
    output: SetOfParticles,
    ids: Sequence[int],
    poses: Poses,
    more: Callable[[Particle, int], None] | None = None,
) -> None:
    """Fill ``output`` with the enabled items of ``particles`` as a set with 2D alignment.

    ids, poses (N,): which item has which pose; more: called with each item and the row of its pose, to say more of it.
    The set's own properties must have been copied before. Raises UdlError where an item has no pose.
    """
    row_of = {int(item_id): row for row, item_id in enumerate(ids)}
    matrices = transform_matrices(poses)

    def update(item: Particle, _row: object) -> None:
        row = row_of.get(item.getObjId())
        if row is None:
            raise UdlError(f"The engine gave no pose for the particle with id {item.getObjId()}: run it again")
        item.setTransform(Transform(matrix=matrices[row]))
        if more:
            more(item, row)

    output.setAlignment2D()
    output.copyItems(particles, updateItemCallback=update, doClone=False)
