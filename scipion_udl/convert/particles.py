"""Scipion's sets <-> the engine's tables; the signs of their poses stand in scipion_sign.py.

Results find their items by the item's id, which travels through the engine as text in a column of its own.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Tuple

import numpy as np
from pwem.constants import ALIGN_NONE
from pwem.emlib.image import ImageHandler
from pwem.objects import Particle, SetOfParticles, Transform
from pyworkflow.object import Boolean, Float

from scipion_udl.convert.particle_input import Particles, info_of, parts
from scipion_udl.convert.scipion_sign import poses_of_matrices, transform_matrices
from scipion_udl.convert.set_images import image_of_item, is_mrc, plain_name
from scipion_udl.convert.set_rows import ID, Column, append_items, check_there, copy_items, read_columns
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_relion
from scipion_udl.io import dialects
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import Table, number_texts, quote, read_tables, write_tables
from scipion_udl.io.truth import truth_table
from scipion_udl.messages import Message, message

logger = logging.getLogger(__name__)

ITEM_ID = "udlItemId"
CLASS = "rlnClassNumber"
# What a set knows, under Scipion's label and RELION's.
_CTF = {
    "_ctfModel._defocusU": "rlnDefocusU",
    "_ctfModel._defocusV": "rlnDefocusV",
    "_ctfModel._defocusAngle": "rlnDefocusAngle",
    "_ctfModel._phaseShift": "rlnPhaseShift",
}
# With what is written where the set does not know its microscope: RELION refuses a table without. The alignment uses
# them where particles have a CTF.
_MICROSCOPE = {
    "_acquisition._voltage": ("rlnVoltage", 300.0),
    "_acquisition._sphericalAberration": ("rlnSphericalAberration", 2.7),
    "_acquisition._amplitudeContrast": ("rlnAmplitudeContrast", 0.1),
}
_IMAGE = ("_index", "_filename")
_MATRIX, _ASTIGMATISM = "_transform._matrix", "_ctfModel._defocusAngle"
_SCORE, _AMBIGUOUS, _OUTLIER = "_udlScore", "_udlAmbiguous", "_udlOutlier"
QUALITY = "_udlQuality"
Location = Tuple[int, str]  # of an image: which one (from 1) of a file
_NOT_RIGID = 1e-3  # by how much a matrix may differ from a rotation
_PLACE = ("_coordinate._x", "_coordinate._y", "_coordinate._micName")


# -- to the engine -----------------------------------------------------------------------------------------------------


def write_particles(
    particles: Particles,
    star: str,
    stack: str,
    start: bool = False,
    ids: Sequence[int] | None = None,
    absolute: bool = False,
    quality: bool = False,
    converted: dict[Location, Location] | None = None,
) -> int:
    """Write the enabled items of a set, or of classes, as a STAR of RELION 3.1 form, and return their number.

    Ids come along, and of classes their numbers. star: path to write; images are named as in the set, so
    that a project can be moved with its runs, or by absolute path where that is asked for. stack: path of an MRC stack,
    written only where the images are of a format that the engine does not read. start: write the alignment that the
    items carry, too; ids: of the items to write, None for all; quality: write the quality that `classify` gave to
    items, too, where all of them have one; converted: where images of such a format lie that were converted for other
    tables, to which those of this one are added. Raises UdlError where no item is enabled, a particle is in two
    classes, or one has no alignment to start from, or a mirrored one.
    """
    more = (*((_MATRIX,) if start else ()), *((QUALITY,) if quality else ()))
    columns = _read(particles, (*_IMAGE, *_MICROSCOPE, *_CTF, *more), ids)
    groups: dict[tuple, int] = {}
    microscopes = zip(*(columns[label] for label in _MICROSCOPE))
    table: dict[str, Sequence[str]] = {
        "rlnImageName": _image_names(columns, stack, absolute, {} if converted is None else converted),
        "rlnOpticsGroup": [str(groups.setdefault(group, len(groups) + 1)) for group in microscopes],
        ITEM_ID: [str(item_id) for item_id in columns[ID]],
    }
    if CLASS in columns:
        table[CLASS] = [str(number) for number in columns[CLASS]]
    lacking = columns["_ctfModel._defocusU"].count(None)
    if 0 < lacking < len(columns[ID]):
        logger.warning("%d of %d particles have no CTF: they are aligned without", lacking, len(columns[ID]))
    if lacking < len(columns[ID]):
        table.update({name: [f"{value or 0.0:.6f}" for value in columns[label]] for label, name in _CTF.items()})
    info = info_of(particles)
    if start:
        table.update(_start_columns(columns, info.getSamplingRate()))
    if quality and None not in columns[QUALITY]:
        table[dialects.QUALITY_LABEL] = [f"{value:.4f}" for value in columns[QUALITY]]
    write_tables(star, [_optics_table(info, groups), Table("particles", table)])
    return len(columns[ID])


def has_quality(particles: Particles) -> bool:
    """Whether `classify` gave a quality to all enabled items of a set, or of classes."""
    return all(None not in read_columns(part.items, (QUALITY,))[QUALITY] for part in parts(particles))


def _read(particles: Particles, labels: Sequence[str], ids: Sequence[int] | None = None) -> dict[str, list]:
    """The columns of the enabled items of a set or of classes (those with ``ids``, None for all); of classes also their
    numbers, under ``CLASS``."""
    check_there(particles)
    columns: dict[str, list] = {label: [] for label in (ID, *labels)}
    numbers: list[int] = []
    for part in parts(particles):
        found = read_columns(part.items, labels, ids)
        for label, values in found.items():
            columns[label] += values
        if part.number is not None:
            numbers += [part.number] * len(found[ID])
    if not columns[ID]:
        raise UdlError(message("input_set_empty"))
    if numbers:
        _check_classes(columns[ID], numbers)
        columns[CLASS] = numbers
    if "_filename" in columns and "_index" in columns:
        _check_once(columns)
    return columns


def _check_once(columns: dict[str, list]) -> None:
    """Raise UdlError, which names ids, where two items have one image, as in a set that was joined of sets that share
    particles."""
    seen: dict[tuple[int, str], int] = {}
    again = []
    for item_id, number, file in zip(columns[ID], columns["_index"], columns["_filename"]):
        image = number or 1, plain_name(file)
        if seen.setdefault(image, item_id) != item_id:
            again.append((item_id, *image))
    if again:
        item_id, index, name = again[0]
        first = seen[index, name]
        more = f", and so have {len(again) - 1} others" if len(again) > 1 else ""
        raise UdlError(message("input_set_same_image", first=first, item_id=item_id, index=index, name=name, more=more))


def _check_classes(ids: Sequence[int], numbers: Sequence[int]) -> None:
    class_of: dict[int, int] = {}
    for item_id, number in zip(ids, numbers):
        if class_of.setdefault(item_id, number) != number:
            raise UdlError(
                message("item_in_two_classes", item_id=item_id, class_number=class_of[item_id], other_class=number)
            )


def _image_names(
    columns: dict[str, list], stack: str, absolute: bool, converted: dict[Location, Location]
) -> list[str]:
    """The images as N@FILE; those of other formats are converted into ``stack``, but for what was ``converted``."""
    index, files = columns["_index"], columns["_filename"]
    if not all(map(is_mrc, set(files))):
        logger.info("The images are no MRC files: they are converted to %s", stack)
        handler, images = ImageHandler(), list(zip(index, files))
        for number, location in enumerate((one for one in images if one not in converted), 1):
            handler.convert(location, (number, stack))
            converted[location] = number, stack
        index, files = map(list, zip(*(converted[one] for one in images)))
    path_of = {name: os.path.abspath(plain_name(name)) if absolute else plain_name(name) for name in set(files)}
    return [quote(f"{number or 1:06d}@{path_of[name]}") for number, name in zip(index, files)]


def _start_columns(columns: dict[str, list], pixel_size: float) -> dict[str, Sequence[str]]:
    """The alignment that items carry, in the columns of RELION 3.1."""
    poses = _poses_of_texts(columns)
    mirrored = np.flatnonzero(poses.mirror)
    if len(mirrored):
        raise UdlError(message("input_set_mirrored", mirrored=len(mirrored), item=columns[ID][mirrored[0]]))
    psi, origin = to_relion(poses)
    return {
        "rlnAnglePsi": number_texts(psi),
        "rlnOriginXAngst": number_texts(origin[:, 0] * pixel_size),
        "rlnOriginYAngst": number_texts(origin[:, 1] * pixel_size),
    }


def _poses_of_texts(columns: dict[str, list]) -> Poses:
    """The poses of matrices as Scipion stores them. Raises UdlError where an item has none, or one that is no rotation
    and shift within the plane: a direction of projection, say, in a set that is said to be aligned in 2D."""
    texts = columns[_MATRIX]
    if None in texts:
        raise UdlError(_no_alignment(columns[ID][texts.index(None)]))
    matrices = np.array(json.loads(f"[{','.join(texts)}]"), np.float64).reshape(-1, 4, 4)
    rotation = matrices[:, :3, :3].copy()
    rotation[:, 2, 2] = np.abs(rotation[:, 2, 2])  # a mirror image has either sign here
    upright = np.abs(rotation[:, 2] - (0, 0, 1)).max(-1)
    rigid = np.abs(rotation.transpose(0, 2, 1) @ rotation - np.eye(3)).max((-1, -2))
    wrong = np.flatnonzero(~(np.isfinite(matrices).all((-1, -2)) & (np.maximum(upright, rigid) < _NOT_RIGID)))
    if len(wrong):
        raise UdlError(message("input_set_not_in_plane", count=len(wrong), item=columns[ID][wrong[0]]))
    return poses_of_matrices(matrices)


def write_alignment(particles: SetOfParticles, star: str, stack: str, xmd: str) -> int:
    """Write the enabled items of a set with 2D alignment for the engine to evaluate, and return their number.

    star, stack: as :func:`write_particles` writes them; xmd: path of a table with the poses, mirrored ones too.
    Raises UdlError where no item is enabled, or one of these has no alignment.
    """
    count = write_particles(particles, star, stack)
    columns = read_columns(particles, (_MATRIX, _SCORE, _AMBIGUOUS, _OUTLIER))
    score, ambiguous, outlier = (
        np.array([value or 0.0 for value in columns[label]]) for label in (_SCORE, _AMBIGUOUS, _OUTLIER)
    )
    write_aligned(open_particles(star), _poses_of_texts(columns), score, ambiguous, xmd=xmd, outlier=outlier)
    return count


def export_particles(
    particles: Particles, folder: str, star: bool = True, xmd: bool = True
) -> tuple[int, list[Message]]:
    """Write the enabled items of a set, or of classes, with their 2D alignment as aligned.star and aligned.xmd.

    folder: for these files and, where the images are of a format that RELION does not read, for an MRC stack of them.
    star, xmd: which to write. CTF, microscope, coordinates, classes and scores come along. Returns the number of items
    and warnings. Raises UdlError where no item is enabled, one has no alignment, or only the STAR is asked for and
    some are mirrored.
    """
    paths = {name: os.path.join(folder, f"aligned.{name}") for name, asked in (("star", star), ("xmd", xmd)) if asked}
    plain = os.path.join(folder, "particles.star")
    count = write_particles(particles, plain, os.path.join(folder, "particles.mrcs"), absolute=True)
    columns = _read(particles, (_MATRIX, _SCORE, _AMBIGUOUS, _OUTLIER, *_PLACE))
    poses, warnings = _poses_of_texts(columns), []
    if star and xmd and poses.mirror.any():
        del paths["star"]
        warnings = [message("export_cannot_mirror", count=int(poses.mirror.sum()))]
    _add_places(plain, columns)
    score, *flags = (np.array([value or 0 for value in columns[label]]) for label in (_SCORE, _AMBIGUOUS, _OUTLIER))
    wanted = (paths.get("star"), paths.get("xmd"))
    write_aligned(open_particles(plain), poses, score, flags[0] != 0, *wanted, outlier=flags[1] != 0)
    for path in paths.values():
        _finish_export(path, columns)
    os.remove(plain)
    return count, warnings


def _add_places(star: str, columns: dict[str, list]) -> None:
    """Add where the particles were picked to their table, in the columns of RELION, where all of them tell."""
    places = [columns[label] for label in _PLACE]
    if any(None in values for values in places):
        return
    tables = read_tables(star)
    table, _ = dialects.find_particles(star, tables)
    for label, values in zip(("rlnCoordinateX", "rlnCoordinateY"), places):
        table.set(label, [f"{value:.6f}" for value in values])
    table.set("rlnMicrographName", [quote(name) for name in places[2]])
    write_tables(star, tables)


def _finish_export(path: str, columns: dict[str, list]) -> None:
    """Take scores and flags out of a table where the set has none, and give an XMD the set's ids and its classes."""
    tables = read_tables(path)
    table, form = dialects.find_particles(path, tables)
    labels = {
        dialects.SCORE_LABEL[form]: _SCORE,
        dialects.AMBIGUOUS_LABEL: _AMBIGUOUS,
        dialects.OUTLIER_LABEL: _OUTLIER,
    }
    table.drop([label for label, own in labels.items() if set(columns[own]) == {None}])
    if form == dialects.XMIPP:
        table.set("itemId", [str(item_id) for item_id in columns[ID]])
        if CLASS in columns:
            table.set(dialects.CLASS_LABEL[form], [str(number) for number in columns[CLASS]])
    write_tables(path, tables, xmipp=form == dialects.XMIPP)


def write_truth(particles: SetOfParticles, truth: SetOfParticles, star: str, path: str) -> int:
    """Write the alignment of ``truth`` as the true poses of ``particles``, and return how many have one.

    Items of the two sets belong together where they are the same image of the same file. star: the table that
    :func:`write_particles` wrote of ``particles``; path: of the truth.star to write. Raises UdlError where the sets
    share no image.
    """
    table, _ = dialects.find_particles(star, read_tables(star))
    name_of = dict(zip(table.numbers(ITEM_ID).astype(np.int64).tolist(), table.texts("rlnImageName")))
    image_of = {image_of_item(item): item.getObjId() for item in particles.iterItems() if item.getObjId() in name_of}
    names, matrices = [], []
    for item in truth.iterItems():
        item_id = image_of.get(image_of_item(item))
        if item_id is not None:
            names.append(name_of[item_id])
            matrices.append(_matrix(item))
    if not names:
        raise UdlError(message("sets_without_common_image"))
    write_tables(path, [truth_table(names, poses_of_matrices(matrices))])
    return len(names)


def _matrix(item: Particle) -> np.ndarray:
    """The 4 x 4 matrix that an item's alignment applies to it."""
    if not item.hasTransform():
        raise UdlError(_no_alignment(item.getObjId()))
    return item.getTransform().getMatrix()


def _no_alignment(item_id: int) -> str:
    return message("item_without_alignment", item_id=item_id)


def _optics_table(particles: SetOfParticles, groups: dict[tuple, int]) -> Table:
    columns: dict[str, list[str]] = {
        "rlnOpticsGroup": [str(number) for number in groups.values()],
    }
    for k, (label, default) in enumerate(_MICROSCOPE.values()):
        if any(group[k] is None for group in groups):
            logger.warning("The particles do not tell %s: %g is written for programs that ask for it", label, default)
        columns[label] = [f"{default if group[k] is None else group[k]:.6f}" for group in groups]
    columns["rlnImagePixelSize"] = [f"{particles.getSamplingRate():.6f}"] * len(groups)
    columns["rlnImageSize"] = [str(particles.getXDim())] * len(groups)
    columns["rlnImageDimensionality"] = ["2"] * len(groups)
    columns["rlnCtfDataArePhaseFlipped"] = [str(int(bool(particles.isPhaseFlipped())))] * len(groups)
    table = Table("optics", columns)
    dialects.name_optics_groups(table)
    return table


# -- from the engine ---------------------------------------------------------------------------------------------------


@dataclass
class Results:
    """What the engine found: poses (N,), score (N,), ambiguous and outlier (N,) bool, with their items' ids (N,).

    quality: (N,) of the particles, 0 to 1; None where the engine tells none.
    """

    ids: np.ndarray
    poses: Poses
    score: np.ndarray
    ambiguous: np.ndarray
    outlier: np.ndarray
    quality: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: np.ndarray | slice) -> Results:
        """The results of a slice, an index array or a mask."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {name: None if value is None else value[index] for name, value in values.items()}
        return Results(**chosen)

    @classmethod
    def joined(cls, parts: Sequence[Results]) -> Results:
        """Those of several parts, one after the other."""
        shift, mirror = (np.concatenate([getattr(part.poses, name) for part in parts]) for name in ("shift", "mirror"))
        poses = Poses(np.concatenate([part.poses.angle for part in parts]), shift, mirror)
        names = ("ids", "score", "ambiguous", "outlier")
        return cls(poses=poses, **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def columns(self) -> list[Column]:
        """What is new of the items in a set."""
        return [
            _matrix_column(self.poses),
            Column(_SCORE, self.score.tolist(), Float),
            Column(_AMBIGUOUS, self.ambiguous.astype(int).tolist(), Boolean),
            Column(_OUTLIER, self.outlier.astype(int).tolist(), Boolean),
        ]


def _matrix_column(poses: Poses) -> Column:
    return Column(_MATRIX, [json.dumps(matrix) for matrix in transform_matrices(poses).tolist()], Transform)


def read_ids(star: str) -> np.ndarray:
    """The ids, int64 (N,), of the items that a table from :func:`write_particles` lists."""
    table, _ = dialects.find_particles(star, read_tables(star))
    return table.numbers(ITEM_ID).astype(np.int64)


def read_results(path: str, particles: str | None = None) -> Results:
    """Read the engine's aligned.star or aligned.xmd.

    particles: the table that the engine was given, which tells whose images the XMD names: it has no ids. Raises
    UdlError where the file has not what a result must have.
    """
    return results_of(path, read_tables(path), particles)


def results_of(path: str, tables: Sequence[Table], particles: str | None = None) -> Results:
    """As :func:`read_results`, of a file's tables that have been read."""
    table, form = dialects.find_particles(path, tables)
    pixel_size = dialects.table_pixel_size(table, dialects.optics_table(tables), form)
    poses = dialects.table_poses(table, form, pixel_size)
    if poses is None:
        raise UdlError(message("no_alignment_in_file", path=path))
    ids = table.numbers(ITEM_ID).astype(np.int64) if ITEM_ID in table else _ids_of_images(table, form, particles)
    ambiguous, outlier = (
        table.numbers(label) != 0 if label in table else np.zeros(len(table), bool)
        for label in (dialects.AMBIGUOUS_LABEL, dialects.OUTLIER_LABEL)
    )
    quality = table.numbers(dialects.QUALITY_LABEL) if dialects.QUALITY_LABEL in table else None
    return Results(ids, poses, table.numbers(dialects.SCORE_LABEL[form]), ambiguous, outlier, quality)


def _ids_of_images(table: Table, form: str, particles: str | None) -> np.ndarray:
    """The ids of the items whose images a table names."""
    if particles is None:
        raise UdlError(message("result_without_items", path=table.path))
    given, _ = dialects.find_particles(particles, read_tables(particles))
    id_of = dict(zip(given.texts("rlnImageName"), given.numbers(ITEM_ID).astype(np.int64).tolist()))
    try:
        return np.array([id_of[name] for name in table.texts(dialects.IMAGE_LABEL[form])], np.int64)
    except KeyError as error:
        raise UdlError(message("result_unknown_image", path=table.path, image=error, table=particles)) from None


def check_complete(particles: Particles, results: Results) -> None:
    """Raise UdlError where an enabled item has no result."""
    found = set(results.ids.tolist())
    for part in parts(particles):
        for item_id in read_columns(part.items, ())[ID]:
            if item_id not in found:
                raise UdlError(message("result_lacks_item", item_id=item_id))


def add_results(particles: Particles, output: SetOfParticles, results: Results) -> None:
    """Fill ``output`` with the items of ``particles`` that have results: pose, score and flags, found by their ids.

    The set's own properties must have been copied before.
    """
    output.setAlignment2D()
    copy_items([part.items for part in parts(particles)], output, results.ids, results.columns())


def append_results(particles: SetOfParticles, output: SetOfParticles, results: Results) -> None:
    """Append those items of ``particles`` that have results to a set that :func:`add_results` has begun."""
    append_items(particles, output, results.ids.tolist(), results.columns())


def add_poses(particles: SetOfParticles, output: SetOfParticles, ids: Sequence[int], poses: Poses) -> None:
    """Fill ``output`` with the enabled items of ``particles`` that ``ids`` (N,) names, with their ``poses`` (N,).

    The set's own properties must have been copied before.
    """
    output.setAlignment2D()
    copy_items([particles], output, ids, [_matrix_column(poses)])


def add_aligned_images(particles: Particles, output: SetOfParticles, results: Results, stack: str, star: str) -> None:
    """Fill ``output`` with the items of ``particles`` that have results, naming their already transformed images.

    They carry no alignment, for it has been applied, and the axis of astigmatism was rotated along. stack: the engine's
    aligned.mrcs, whose images are in the order of the table ``star`` that it was given. The set's own properties must
    have been copied before.
    """
    image_of = {item_id: k + 1 for k, item_id in enumerate(read_ids(star).tolist())}
    output.setAlignment(ALIGN_NONE)
    columns = [
        Column("_index", [image_of[item_id] for item_id in results.ids.tolist()]),
        Column("_filename", [stack] * len(results)),
        *(column for column in results.columns() if column.label != _MATRIX),
        *_rotated_astigmatism(particles, results),
    ]
    copy_items([part.items for part in parts(particles)], output, results.ids, columns, without=["_transform"])


def _rotated_astigmatism(particles: Particles, results: Results) -> list[Column]:
    """The axis of each particle's astigmatism once its image is rotated, where particles have a CTF.

    Its angle counts from x towards y, as that of a pose does; a mirror image has it the other way round.
    """
    columns = _read(particles, (_ASTIGMATISM,))
    if None in columns[_ASTIGMATISM]:
        return []
    angle_of = dict(zip(columns[ID], columns[_ASTIGMATISM]))
    angle = np.array([angle_of[item_id] for item_id in results.ids.tolist()]) + results.poses.angle
    angle = np.where(results.poses.mirror, -angle, angle) % 180.0
    return [Column(_ASTIGMATISM, angle.tolist())]
