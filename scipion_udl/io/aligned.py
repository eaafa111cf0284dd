"""The tables that carry an alignment to other programs: aligned.star, aligned.xmd and aligned.cs.

All columns of the input come back as they were, but old poses: those are taken out, and the user is told. The STAR has
the input's form, 3.1 for stacks and XMD; ``source.optics`` is used where the input does not say. Images are named by
``source.lasting_names()``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_relion, to_xmipp
from scipion_udl.io import dialects
from scipion_udl.io.aligned_optics import (
    MICROSCOPE,
    complete_optics,
    fill_microscope,
    new_star,
    set_pixel_size,
    set_pixel_size_30,
)
from scipion_udl.io.cryosparc.write import write_aligned_cs
from scipion_udl.io.rotated_columns import rotate_columns
from scipion_udl.io.source import table_of
from scipion_udl.io.star.columns import Decimals, ImageNames, chosen
from scipion_udl.io.tables import Table, number_texts, quoted, share_texts, write_tables
from scipion_udl.messages import Message, message

if TYPE_CHECKING:
    from scipion_udl.io.source import Source


_FOUND = (dialects.OUTLIER_LABEL, dialects.CORRENTROPY_LABEL, dialects.QUALITY_LABEL, dialects.CERTAINTY_LABEL)


@dataclass
class _Results:
    """The new columns, still as numbers."""

    poses: Poses
    score: np.ndarray | None
    ambiguous: np.ndarray | None
    correntropy: np.ndarray | None = None
    outlier: np.ndarray | None = None
    number: np.ndarray | None = None
    flagged: np.ndarray | None = None
    shares: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.score = None if self.score is None else np.asarray(self.score, np.float64)
        self.ambiguous = None if self.ambiguous is None else np.asarray(self.ambiguous, bool)
        self.correntropy = None if self.correntropy is None else np.asarray(self.correntropy, np.float64)
        self.outlier = None if self.outlier is None else np.asarray(self.outlier, bool)

    def check(self, count: int) -> None:
        """Raises ValueError where they are not of so many particles, or no finite numbers."""
        told = (self.score, self.correntropy, self.ambiguous, self.outlier)
        _check(count, self.poses, [values for values in told if values is not None])


def write_aligned(
    source: Source,
    poses: Poses,
    score: np.ndarray | None,
    ambiguous: np.ndarray | None,
    star: str | None = None,
    xmd: str | None = None,
    aligned_stack: str | None = None,
    correntropy: np.ndarray | None = None,
    outlier: np.ndarray | None = None,
    cs: str | None = None,
    number: np.ndarray | None = None,
    flagged: np.ndarray | None = None,
    shares: Mapping[str, np.ndarray] | None = None,
) -> list[Message]:
    """Write aligned.star, aligned.xmd and aligned.cs, each where its path is given.

    Parameters
    ----------
    source : Source
        N particles.
    poses : Poses
        N, to apply to the particles, in the source's order.
    score : (N,) float array or None
        Higher is better. None where nobody knows it: STAR and XMD then have no such column, a CS has 0.
    ambiguous : (N,) bool array or None, likewise
    star, xmd, cs : str, optional
        Paths of the three tables.
    aligned_stack : str, optional
        Path of the already aligned images (N, same order): with mirrored poses, which 2D alignments of RELION and
        cryoSPARC cannot express, STAR and CS name those, with pose 0; what has a direction is rotated along.
    correntropy, outlier, number, flagged : (N,) float, bool, int and bool arrays, optional
        Columns of their own. number: the class, from 1; flagged: whether that class is no view.
    shares : dict of str to (N,) array, optional
        Numbers from 0 to 1, or whole numbers, by the label of their column.

    Returns
    -------
    list of Message

    Raises
    ------
    UdlError
        For mirrored poses in a STAR or CS without ``aligned_stack`` (says to write it too, or to use aligned.xmd), and
        where a file cannot be written.
    ValueError
        Where lengths differ or numbers are not finite.
    """
    results = _Results(poses, score, ambiguous, correntropy, outlier, number, flagged, shares or {})
    results.check(len(source))
    warnings = _old_pose_warning(source)
    if star is not None:
        write_tables(star, _star_tables(source, results, aligned_stack, warnings))
    if xmd is not None:
        write_tables(xmd, _xmd_tables(source, results, warnings), xmipp=True)
    if cs is not None:
        score = np.zeros(len(source)) if results.score is None else results.score
        certainty = results.shares.get(dialects.CERTAINTY_LABEL)
        warnings += write_aligned_cs(source, poses, score, cs, aligned_stack, number, certainty)
    return list(dict.fromkeys(warnings))


def names_note(source: Source) -> Message | None:
    """A note where tables that are written name images in another way than the input does.

    Parameters
    ----------
    source : Source

    Returns
    -------
    Message or None
        Names the first name that changes; None where none does, or where the reader has told already.
    """
    names = source.lasting_names()
    if names == source.names:
        return None
    changed = next((old for old, new in zip(source.names, names) if old != new), None)
    if changed is None or os.path.isabs(changed.partition("@")[2]):  # of these the reader has told
        return None
    return message("names_made_absolute", path=source.path, changed=changed)


def write_authors_xmd(source: Source, poses: Poses, correntropy: np.ndarray, path: str) -> None:
    """Write the XMD that the program of the method's authors writes.

    It has nothing but _image, _shiftX, _shiftY, _anglePsi, _flip and _maxCC. Two things are put right: image numbers
    start at 1, and the shifts are there.

    Parameters
    ----------
    source : Source
        N particles.
    poses : Poses
        N, to apply, in the source's order.
    correntropy : (N,) float array
        Of each particle with the average, their maxCC.
    path : str

    Raises
    ------
    UdlError
        Where the file cannot be written.
    ValueError
        Where lengths differ or numbers are not finite.
    """
    _check(len(source), poses, [np.asarray(correntropy, np.float64)])
    psi, shift, flip = to_xmipp(poses)
    columns = {
        "image": quoted(source.lasting_names()),
        "shiftX": number_texts(shift[:, 0]),
        "shiftY": number_texts(shift[:, 1]),
        "anglePsi": number_texts(psi),
        "flip": _flags(flip),
        "maxCC": number_texts(correntropy),
    }
    write_tables(path, [Table("noname", columns)], xmipp=True)


def _check(n: int, poses: Poses, scores: list[np.ndarray]) -> None:
    if len(poses) != n or any(len(values) != n for values in scores):
        raise ValueError(f"{n} particles, {len(poses)} poses, {', '.join(str(len(v)) for v in scores)} scores")
    if not all(np.isfinite(values).all() for values in (poses.angle, poses.shift, *scores)):
        raise ValueError("poses and scores must be finite numbers")


def _old_pose_warning(source: Source) -> list[Message]:
    old = dialects.pose_labels(source.table) if source.table is not None else []
    if not old:
        return []
    return [message("old_poses_left_out", path=source.path, columns=", ".join(old))]


def _star_tables(source: Source, results: _Results, aligned_stack: str | None, warnings: list[Message]) -> list[Table]:
    mirrored = bool(results.poses.mirror.any())
    if mirrored and aligned_stack is None:
        raise UdlError(message("star_cannot_mirror"))
    if source.form in (dialects.RELION30, dialects.RELION31):
        tables = [table.copy() for table in source.tables]
        particles = tables[source.tables.index(table_of(source))]
        _set_names(particles, "rlnImageName", source)
    else:
        tables = new_star(source, warnings)
        particles = tables[1]
    optics_table = dialects.optics_table(tables) if source.form != dialects.RELION30 else None
    if source.form in (dialects.RELION30, dialects.RELION31):
        fill_microscope(particles, source.form, source.optics)
    if source.form == dialects.RELION30:
        set_pixel_size_30(particles, source, warnings)
    elif source.form == dialects.RELION31 and optics_table is not None:
        complete_optics(optics_table, particles, source, warnings)
    if source.cs is not None and optics_table is not None:
        dialects.name_optics_groups(optics_table)  # made here, not the user's
    particles.drop(dialects.pose_labels(particles))
    poses = results.poses
    if aligned_stack is not None and mirrored:
        particles.set("rlnImageName", quoted(_numbered(aligned_stack, len(source))))
        warnings += rotate_columns(particles, optics_table, poses)
        poses = Poses.identity(len(source))
        warnings.append(message("stack_of_mirrored"))
    psi, origin = to_relion(poses)
    unit, scale = ("", 1.0) if source.form == dialects.RELION30 else ("Angst", source.pixel_size)
    if "rlnDefocusU" in particles and "rlnPhaseShift" not in particles:
        particles.set("rlnPhaseShift", "0.000000")  # no phase plate; without it cryodrgn makes NaN of every CTF
    label = dialects.CLASS_LABEL[dialects.RELION31]
    if label not in particles:
        particles.set(label, "1")  # as RELION's tables of one class have it; some readers count by it
    # Rot and tilt are 0 in RELION's own tables of 2D alignments, and many readers ask for them.
    particles.set("rlnAngleRot", "0.000000")
    particles.set("rlnAngleTilt", "0.000000")
    particles.set("rlnAnglePsi", number_texts(psi))
    particles.set(f"rlnOriginX{unit}", number_texts(origin[:, 0] * scale))
    particles.set(f"rlnOriginY{unit}", number_texts(origin[:, 1] * scale))
    _add_score(particles, source.form or dialects.RELION31, results)
    return tables


def _set_names(table: Table, label: str, source: Source) -> None:
    names = source.lasting_names()
    if names != source.names:
        table.set(label, quoted(names))


def _add_score(table: Table, form: str, results: _Results) -> None:
    score, ambiguous = dialects.SCORE_LABEL[form], dialects.AMBIGUOUS_LABEL
    if results.score is not None:
        table.set(score, number_texts(results.score))
    if results.ambiguous is not None:
        table.set(ambiguous, _flags(results.ambiguous))
    unknown = [name for name, values in ((score, results.score), (ambiguous, results.ambiguous)) if values is None]
    table.drop((*unknown, *_FOUND))  # by an earlier alignment: not of these poses
    if results.outlier is not None:
        table.set(dialects.OUTLIER_LABEL, _flags(results.outlier))
    if results.number is not None:
        table.set(dialects.CLASS_LABEL[form], Decimals(np.asarray(results.number).astype(np.int64)))
    if results.flagged is not None:
        table.set(dialects.FLAGGED_LABEL, _flags(results.flagged))
    for label, values in results.shares.items():
        table.set(label, share_texts(values))
    if results.correntropy is not None:
        table.set(dialects.CORRENTROPY_LABEL, number_texts(results.correntropy))


def _flags(values: np.ndarray) -> Sequence[str]:
    return chosen(("0", "1"), np.asarray(values, bool))


def _numbered(stack: str, count: int) -> ImageNames:
    """The names of the images of a stack, in its order."""
    return ImageNames(np.arange(1, count + 1), [(6, stack)], np.zeros(count, np.uint8))


def _xmd_tables(source: Source, results: _Results, warnings: list[Message]) -> list[Table]:
    if source.form == dialects.XMIPP:
        tables = [table.copy() for table in source.tables]
        particles = tables[source.tables.index(table_of(source))]
        particles.drop(dialects.pose_labels(particles))
        _set_names(particles, "image", source)
    else:
        particles = _new_xmd(source)
        tables = [particles]
    fill_microscope(particles, dialects.XMIPP, source.optics)
    set_pixel_size(particles, ["samplingRate"], source, warnings)
    if "samplingRate" not in particles:
        particles.set("samplingRate", f"{source.pixel_size:.6f}")
    psi, shift, flip = to_xmipp(results.poses)
    particles.set("anglePsi", number_texts(psi))
    particles.set("shiftX", number_texts(shift[:, 0]))
    particles.set("shiftY", number_texts(shift[:, 1]))
    particles.set("flip", _flags(flip))
    _add_score(particles, dialects.XMIPP, results)
    return tables


def _new_xmd(source: Source) -> Table:
    """Names, and the defocus and microscope columns of a STAR where it has them, under Xmipp's labels."""
    n = len(source)
    particles = Table("noname", {"itemId": Decimals(np.arange(1, n + 1))})
    particles.set("enabled", "1")
    particles.set("image", quoted(source.lasting_names()))
    if source.table is None:
        return particles
    for relion, xmipp in dialects.RELION_TO_XMIPP.items():
        if relion in source.table:
            particles.set(xmipp, source.table.columns[relion])
    optics = dialects.optics_table(source.tables)
    rows = np.zeros(0, int) if optics is None else dialects.optics_rows(source.table, optics)
    for label, xmipp, *_ in MICROSCOPE.values():
        if optics is not None and label in optics:
            particles.set(xmipp, chosen(optics.columns[label], rows))
        elif label in source.table:
            particles.set(xmipp, source.table.columns[label])
    return particles
