"""Tables of some of a set's particles: their rows as they came, and what was found of each in columns of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.io import dialects
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.cryosparc.write import save_cs
from scipion_udl.io.source import Source, table_of
from scipion_udl.io.star.columns import Decimals
from scipion_udl.io.tables import Table, number_texts, quoted, share_texts, write_tables
from scipion_udl.messages import Message, message

NAME = "coordinates.star"
_MICROGRAPH = {dialects.XMIPP: "micrograph"}  # RELION's label is rlnMicrographName
_PLACE = {dialects.XMIPP: ("xcoor", "ycoor")}
_RELION_MICROGRAPH, _RELION_PLACE = "rlnMicrographName", ("rlnCoordinateX", "rlnCoordinateY")


def write_selected(source: Source, path: str, shares: Mapping[str, np.ndarray]) -> list[Message]:
    """Write particles as a table of the program that the ending of its name tells.

    A table of the input's own form has the input's rows as they were, and the new columns; of another form it has
    names, poses, classes and defocus.

    Parameters
    ----------
    source : Source
        N particles of a table with classes.
    path : str
        Ending in .star, .xmd or .cs.
    shares : dict of str to (N,) array
        Numbers from 0 to 1, or whole numbers, by the label of their column; a .cs has none of them.

    Returns
    -------
    list of Message
        Warnings.

    Raises
    ------
    UdlError
        Where the form cannot hold the particles, as RELION's cannot hold mirrored ones; or the file cannot be written.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending == ".cs" and source.cs is not None:
        save_cs(path, source.cs)
        return []
    own = ".xmd" if source.form == dialects.XMIPP else ".star"
    if ending != own or source.cs is not None:
        poses = source.poses() or Poses.identity(len(source))
        star, xmd, cs = (path if ending == kind else None for kind in (".star", ".xmd", ".cs"))
        told = write_aligned(
            source,
            poses,
            _numbers(source, dialects.SCORE_LABEL[source.form]),
            _numbers(source, dialects.AMBIGUOUS_LABEL),
            star,
            xmd,
            cs=cs,
            number=source.classes(),
            outlier=_numbers(source, dialects.OUTLIER_LABEL),
            shares=_certain(source, shares),
        )
        return [one for one in told if one.code != "old_poses_left_out"]
    tables = [table.copy() for table in source.tables]
    particles = tables[source.tables.index(table_of(source))]
    names = source.lasting_names()
    if names != source.names:
        particles.set(dialects.IMAGE_LABEL[source.form], quoted(names))
    for label, values in shares.items():
        particles.set(label, share_texts(values))
    write_tables(path, tables, xmipp=source.form == dialects.XMIPP)
    return []


def _numbers(source: Source, label: str) -> np.ndarray | None:
    """A column of the input's table; None where it has none, or not for each particle."""
    table = source.table
    if table is None or label not in table:
        return None
    values = table.known(label)
    return values if np.isfinite(values).all() else None


def _certain(source: Source, shares: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The shares, and the probability of the class where the table has it."""
    table, label = source.table, dialects.CERTAINTY_LABEL
    if table is None or label not in table or label in shares:
        return shares
    return {**shares, label: table.numbers(label)}


def micrographs(source: Source) -> np.ndarray | None:
    """The micrograph that each particle was picked from.

    Parameters
    ----------
    source : Source
        N particles.

    Returns
    -------
    (N,) str array or None
        Names; None where the table gives none.
    """
    label = _MICROGRAPH.get(source.form, _RELION_MICROGRAPH)
    if source.table is None or label not in source.table:
        return None
    return np.array(source.table.texts(label), object)


def centres(source: Source) -> tuple[np.ndarray, Message | None] | None:
    """Where the centres of particles lie in their micrographs: their coordinates less their shifts.

    Parameters
    ----------
    source : Source
        N particles with poses.

    Returns
    -------
    (N, 2) float64 array
        x and y in pixels of the micrographs.
    Message or None
        A warning, where the pixel size of the micrographs had to be taken for that of the particles.
    None
        In place of both, where the table gives no coordinates.
    """
    labels, table = _PLACE.get(source.form, _RELION_PLACE), source.table
    if table is None or any(label not in table for label in labels):
        return None
    places = np.stack([table.numbers(label) for label in labels], 1)
    poses = source.poses()
    if poses is None:
        return places, None
    # The pose takes the particle's centre to the origin: p with A p + t = 0.
    matrices = to_matrices(poses)
    off = -np.linalg.solve(matrices[:, :2, :2], matrices[:, :2, 2:])[:, :, 0]
    size = dialects.micrograph_pixel_size(table, dialects.optics_table(source.tables))
    told = None if size else message("micrograph_pixel_size_unknown", path=source.path, size=source.pixel_size)
    return places + off * (source.pixel_size / (size or source.pixel_size)), told


def write_coordinates(source: Source, path: str, places: np.ndarray, shares: Mapping[str, np.ndarray]) -> None:
    """Write where particles lie, as RELION takes coordinates to extract particles from.

    Parameters
    ----------
    source : Source
        N particles, whose table names their micrographs.
    path : str
        The STAR.
    places : (N, 2) array
        Of :func:`centres`.
    shares : dict of str to (N,) float array
        Numbers from 0 to 1, by the label of their column.

    Raises
    ------
    UdlError
        Where the file cannot be written.
    """
    names = micrographs(source)
    assert names is not None
    columns = {
        _RELION_MICROGRAPH: quoted(list(names)),
        _RELION_PLACE[0]: number_texts(places[:, 0]),
        _RELION_PLACE[1]: number_texts(places[:, 1]),
        dialects.CLASS_LABEL[dialects.RELION31]: Decimals(source.classes()),
        **{label: share_texts(values) for label, values in shares.items()},
    }
    write_tables(path, [Table("coordinates", columns)])
