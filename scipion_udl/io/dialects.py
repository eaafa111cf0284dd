"""What the columns of particle tables mean: RELION 3.0, RELION 3.1 and later, Xmipp. The one place that knows labels.

Poses are translated by :mod:`scipion_udl.imaging.poses` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, from_relion, from_xmipp
from scipion_udl.io.star.columns import each_of
from scipion_udl.io.tables import Table
from scipion_udl.messages import Message, message

RELION30, RELION31, XMIPP = "relion30", "relion31", "xmipp"
IMAGE_LABEL = {RELION30: "rlnImageName", RELION31: "rlnImageName", XMIPP: "image"}
SCORE_LABEL = {RELION30: "rlnParticleFigureOfMerit", RELION31: "rlnParticleFigureOfMerit", XMIPP: "maxCC"}
CLASS_LABEL = {RELION30: "rlnClassNumber", RELION31: "rlnClassNumber", XMIPP: "ref"}
NO_CLASS = 0  # the number of those that the table gives no class: programs count classes from 1
LARGEST_CLASS = 2**53  # beyond it not every whole number is one of float64
AMBIGUOUS_LABEL = "udlAmbiguous"
OUTLIER_LABEL = "udlOutlier"
CORRENTROPY_LABEL = "udlCorrentropy"
FLAGGED_LABEL = "udlFlagged"
QUALITY_LABEL, CERTAINTY_LABEL = "udlQuality", "udlClassProbability"
CONSENSUS_LABEL, CONSENSUS_SHARE_LABEL = "udlConsensusClass", "udlConsensusShare"

# Everything in either program's tables that says how an image lies: new poses beside an old tilt are a wrong 3D pose.
# Priors and flip ratios of helical segments say how the tube lies in the image as it was cut out: no pose, they stay.
_POSE_LABEL = re.compile(
    r"rlnAngle(Rot|Tilt|Psi)(?!\w*(Prior|Flip)).*|rlnOrigin[XYZ](Angst|Prior|$).*|rlnIsFlip"
    r"|angle(Rot|Tilt|Psi)2?|shift[XYZ]2?|flip|transformMatrix"
)
# What else is asked of a set that is looked through, and not to be written: images and names, scale, kind, CTF, class.
_FACT_LABEL = re.compile(
    r"\w*Name|image|rln(Image|Detector|Micrograph|)PixelSize|rlnMagnification|rlnImage(Size|Dimensionality)"
    r"|samplingRate|enabled|rlnOpticsGroup|rlnTomo\w+|rlnCtf(Image|Bfactor|DataAre\w+)|rlnDefocus(U|V|Angle)"
    r"|rln(PhaseShift|Voltage|SphericalAberration|AmplitudeContrast)|ctf\w+|rlnClassNumber|ref"
)
# Columns that mean the same in both programs, unit and sign included.
RELION_TO_XMIPP = {
    "rlnDefocusU": "ctfDefocusU",
    "rlnDefocusV": "ctfDefocusV",
    "rlnDefocusAngle": "ctfDefocusAngle",
    "rlnPhaseShift": "ctfVPPphaseshift",
    "rlnCtfBfactor": "ctfBfactor",
    "rlnMicrographName": "micrograph",
    "rlnClassNumber": "ref",
}
XMIPP_TO_RELION = {
    **{xmipp: relion for relion, xmipp in RELION_TO_XMIPP.items()},
    "xcoor": "rlnCoordinateX",
    "ycoor": "rlnCoordinateY",
}
_SAME_SIZE = 1e-3
_FLIPPED = "rlnCtfDataArePhaseFlipped"


def find_particles(path: str, tables: Sequence[Table]) -> tuple[Table, str]:
    """The table of a file that lists the images, and its form.

    Parameters
    ----------
    path : str
        Of the file, for messages.
    tables : sequence of Table
        All of it.

    Returns
    -------
    particles : Table
    form : str
        RELION30, RELION31 or XMIPP.

    Raises
    ------
    UdlError
        Where no table lists images, several do (they are named), or the one that does is empty.
    """
    lists = [table for table in tables if "rlnImageName" in table or "image" in table]
    if not lists:
        raise UdlError(message("table_without_images", path=path))
    named = [table for table in lists if table.name == "particles"] or lists
    if len(named) > 1:
        names = ", ".join(f"data_{table.name}" for table in named[:4])
        raise UdlError(message("table_with_several_lists", path=path, count=len(named), names=names))
    particles = named[0]
    if not len(particles):
        raise UdlError(message("image_table_empty", path=path, name=particles.name))
    if "rlnImageName" not in particles:
        return particles, XMIPP
    return particles, RELION31 if optics_table(tables) is not None else RELION30


def optics_table(tables: Sequence[Table]) -> Table | None:
    """The optics table of RELION 3.1 and later.

    Parameters
    ----------
    tables : sequence of Table
        All of a file.

    Returns
    -------
    Table or None
        None without.
    """
    return next((table for table in tables if table.name == "optics" and "rlnOpticsGroup" in table), None)


def name_optics_groups(optics: Table) -> None:
    """Give the groups of an optics table that is made here names that tell sets apart.

    RELION joins sets by the names of their groups, and where two groups have one name the first one's pixel size and
    microscope count for both: so all that the table says of a group stands in its name.

    Parameters
    ----------
    optics : Table
        Changed in place.
    """
    parts = [
        (label, unit)
        for label, unit in (
            ("rlnImagePixelSize", "A"),
            ("rlnImageSize", "px"),
            ("rlnVoltage", "kV"),
            ("rlnSphericalAberration", "mm"),
            ("rlnAmplitudeContrast", ""),
        )
        if label in optics
    ]
    names = []
    for row, number in enumerate(optics.texts("rlnOpticsGroup")):
        words = [f"{_rounded(optics.texts(label)[row])}{unit}" for label, unit in parts]
        if _FLIPPED in optics:
            words.append("flipped" if optics.numbers(_FLIPPED)[row] else "unflipped")
        names.append("_".join([f"opticsGroup{number}", *words]))
    columns = {"rlnOpticsGroupName": names, **{k: v for k, v in optics.columns.items() if k != "rlnOpticsGroupName"}}
    optics.columns = columns


def _rounded(text: str) -> str:
    return f"{float(text):.6g}"


def pose_labels(table: Table) -> list[str]:
    """The labels of a table that hold a pose of any form.

    Parameters
    ----------
    table : Table

    Returns
    -------
    list of str
    """
    return [label for label in table.columns if _POSE_LABEL.fullmatch(label)]


def tells_facts(label: str) -> bool:
    """Whether a column tells something that is asked of a set which is looked through alone.

    All others, such as coordinates and figures of merit, matter only where tables are written.

    Parameters
    ----------
    label : str

    Returns
    -------
    bool
    """
    return bool(_FACT_LABEL.fullmatch(label) or _POSE_LABEL.fullmatch(label))


def optics_rows(particles: Table, optics: Table) -> np.ndarray:
    """The row of the optics table for each particle.

    Parameters
    ----------
    particles : Table
        N rows.
    optics : Table

    Returns
    -------
    (N,) int64 array
        From 0.

    Raises
    ------
    UdlError
        For a group that is not there; names it and the particle's row (from 1).
    """
    groups = optics.texts("rlnOpticsGroup")
    if "rlnOpticsGroup" not in particles and len(groups) == 1:
        return np.zeros(len(particles), np.int64)
    row_of = {_plain_number(group): row for row, group in enumerate(groups)}
    wanted = particles.texts("rlnOpticsGroup")
    rows = each_of(wanted, lambda group: row_of.get(_plain_number(group), -1), np.int64)
    if len(rows) and rows.min() < 0:
        row = int(np.flatnonzero(rows < 0)[0])
        raise UdlError(message("optics_group_missing", path=particles.path, row=row + 1, group=wanted[row]))
    return rows


def _plain_number(text: str) -> str:
    return text.lstrip("0") or "0"


def table_pixel_size(
    particles: Table, optics: Table | None, form: str, warnings: list[Message] | None = None
) -> float | None:
    """The pixel size that a table gives.

    Of RELION's labels for it the first counts that a particle has a value above 0 for, in its optics group or its row:
    rlnImagePixelSize, rlnPixelSize, rlnDetectorPixelSize with rlnMagnification. Particles without any are taken to have
    the size of the others.

    Parameters
    ----------
    particles : Table
    optics : Table or None
    form : str
    warnings : list of Message, optional
        Told of particles without a size.

    Returns
    -------
    float or None
        Angstrom; None without.

    Raises
    ------
    UdlError
        Where particles differ in it or in their image size: one alignment needs one scale.
    """
    if form == XMIPP:
        sizes = particles.known("samplingRate") if "samplingRate" in particles else None
        return _one_size(particles, sizes, warnings)
    rows = None
    if form == RELION31 and optics is not None:
        rows = optics_rows(particles, optics)
        _check_one_image_size(particles, optics, rows)
    sizes = np.full(len(particles), np.nan)
    for find in (_sizes_of("rlnImagePixelSize"), _sizes_of("rlnPixelSize"), _detector_sizes):
        for table, place in ((optics, rows), (particles, slice(None))):
            found = None if table is None or place is None else find(table)
            if found is not None:
                sizes = np.where(sizes > 0, sizes, found[place])
    return _one_size(particles, sizes, warnings)


def micrograph_pixel_size(particles: Table, optics: Table | None) -> float | None:
    """The pixel size of the micrographs (rlnMicrographPixelSize): that of the particles unless they were binned.

    Parameters
    ----------
    particles : Table
    optics : Table or None

    Returns
    -------
    float or None
        Angstrom; None where the table does not give one that is the same for all.
    """
    for table in (optics, particles):
        if table is not None and "rlnMicrographPixelSize" in table:
            sizes = np.unique(table.known("rlnMicrographPixelSize"))
            return float(sizes[0]) if len(sizes) == 1 and sizes[0] > 0 else None
    return None


def _check_one_image_size(particles: Table, optics: Table, rows: np.ndarray) -> None:
    if "rlnImageSize" in optics:
        sizes = optics.known("rlnImageSize")[np.unique(rows)]
        if len(np.unique(sizes[sizes > 0])) > 1:
            raise UdlError(message("image_sizes_mixed", path=particles.path))


def _sizes_of(label: str) -> Callable[[Table], np.ndarray | None]:
    return lambda table: table.known(label) if label in table else None


def _detector_sizes(table: Table) -> np.ndarray | None:
    """Micrometers on the detector as angstrom in the specimen; NaN where either lacks."""
    if "rlnDetectorPixelSize" not in table or "rlnMagnification" not in table:
        return None
    detector, magnification = table.known("rlnDetectorPixelSize"), table.known("rlnMagnification")
    return detector * 1e4 / np.where(magnification > 0, magnification, np.nan)


def _one_size(particles: Table, sizes: np.ndarray | None, warnings: list[Message] | None) -> float | None:
    """The one size of all rows, of those that have one; sizes: angstrom (N,), NaN or not above 0 where unknown."""
    if sizes is None or not (sizes > 0).any():
        return None
    known = sizes > 0
    low, high = float(sizes[known].min()), float(sizes[known].max())
    if high - low > _SAME_SIZE * high:
        raise UdlError(message("pixel_sizes_mixed", path=particles.path, low=low, high=high))
    size = round(float(sizes[known][0]), 6)
    if not known.all() and warnings is not None:
        warnings.append(
            message(
                "pixel_size_lacking",
                path=particles.path,
                count=(~known).sum(),
                total=len(known),
                row=np.flatnonzero(~known)[0] + 1,
                size=size,
            )
        )
    return size


def same_size(one: float, other: float) -> bool:
    """Whether two pixel sizes are one and the same, but for how they were rounded.

    Parameters
    ----------
    one, other : float
        Angstrom.

    Returns
    -------
    bool
    """
    return abs(one - other) <= _SAME_SIZE * max(one, other)


def has_3d_angles(table: Table) -> bool:
    """Whether a table gives a rot or tilt other than 0: its poses are projection directions, not a 2D alignment.

    Parameters
    ----------
    table : Table

    Returns
    -------
    bool
    """
    labels = ("rlnAngleRot", "rlnAngleTilt", "angleRot", "angleTilt")
    return any(np.any(np.nan_to_num(table.known(label)) != 0) for label in labels if label in table)


def table_poses(table: Table, form: str, pixel_size: float | None) -> Poses | None:
    """The in-plane poses that a table carries.

    rlnIsFlip is not read: RELION leaves such an image as it is.

    Parameters
    ----------
    table : Table
        N rows.
    form : str
    pixel_size : float or None
        Angstrom, turns rlnOriginXAngst into pixels; None where nobody knows it.

    Returns
    -------
    Poses or None
        N; None without such columns, or where they hold placeholders alone. A row with a placeholder for its angle or
        shift has pose 0 (:func:`without_pose` tells which).

    Raises
    ------
    UdlError
        Where a value is no number, or shifts are in angstrom and nobody knows the pixel size.
    """
    columns = _pose_columns(table, form)
    if columns is None:
        return None
    lacking = np.isnan(columns).any(0)
    if lacking.all():
        return None
    psi, x, y, flip = np.where(lacking, 0.0, columns)
    if form == XMIPP:
        return from_xmipp(psi, np.stack([x, y], -1), flip != 0)
    angstrom = "rlnOriginXAngst" in table or "rlnOriginYAngst" in table
    if angstrom and pixel_size is None:
        raise UdlError(message("shifts_without_pixel_size", path=table.path))
    return from_relion(psi, np.stack([x, y], -1) / (pixel_size if angstrom and pixel_size else 1.0))


def without_pose(table: Table, form: str) -> np.ndarray:
    """The rows that carry no pose, for a placeholder stands in its place, in a table that has poses.

    Parameters
    ----------
    table : Table
    form : str

    Returns
    -------
    int array
        Rows, from 0.
    """
    lacking = np.zeros(len(table), bool)
    for label in _labels_in_use(table, form):
        if label in table:  # one column of numbers at a time: of millions of rows each is as large as the text
            lacking |= np.isnan(table.known(label))
    return np.flatnonzero(lacking)


def _labels_in_use(table: Table, form: str) -> list[str]:
    """The labels of angle, shift x, shift y, and of Xmipp mirror, that count; a table need not have them."""
    if form == XMIPP:
        return ["anglePsi", "shiftX", "shiftY", "flip"]
    unit = "Angst" if "rlnOriginXAngst" in table or "rlnOriginYAngst" in table else ""
    return ["rlnAnglePsi", f"rlnOriginX{unit}", f"rlnOriginY{unit}"]


def _pose_columns(table: Table, form: str) -> np.ndarray | None:
    """Angle, shift x, shift y and mirror as the table has them, (4, N), NaN for placeholders; None where all lack."""
    labels = _labels_in_use(table, form)
    if not any(label in table for label in labels):
        return None
    columns = np.zeros((4, len(table)))
    for row, label in enumerate(labels):
        if label in table:
            columns[row] = table.known(label)
    return columns


def class_numbers(table: Table, form: str, path: str) -> np.ndarray:
    """The class number of each row.

    Parameters
    ----------
    table : Table
        N rows.
    form : str
    path : str
        Of the table, for messages.

    Returns
    -------
    (N,) int64 array
        NO_CLASS where a placeholder stands for it.

    Raises
    ------
    UdlError
        Where the table has none, one that is not whole, or one beyond LARGEST_CLASS; gives its row (from 1).
    """
    label = CLASS_LABEL[form]
    values = table.known(label) if label in table else np.full(len(table), np.nan)
    if np.isnan(values).all():
        raise UdlError(message("no_class_numbers", path=path, label=label))
    values = np.where(np.isnan(values), NO_CLASS, values)
    broken = np.flatnonzero(values != np.round(values))
    if len(broken):
        raise UdlError(message("class_number_broken", path=path, row=broken[0] + 1, value=values[broken[0]]))
    large = np.flatnonzero(np.abs(values) > LARGEST_CLASS)
    if len(large):
        raise UdlError(
            message("class_number_too_large", path=path, row=large[0] + 1, value=table.texts(label)[large[0]])
        )
    return values.astype(np.int64)


def told_classes(table: Table, form: str) -> np.ndarray:
    """The class numbers that a table gives its particles, each once.

    Parameters
    ----------
    table : Table
    form : str

    Returns
    -------
    float64 array
        Sorted; empty where it gives none.
    """
    values = np.unique(table.known(CLASS_LABEL[form])) if CLASS_LABEL[form] in table else np.empty(0)
    return values[~np.isnan(values)]


def without_class(table: Table, form: str) -> np.ndarray:
    """The rows with a placeholder in place of a class number, in a table that gives some a class.

    Parameters
    ----------
    table : Table
    form : str

    Returns
    -------
    int array
        Rows, from 0.
    """
    label = CLASS_LABEL[form]
    unknown = np.isnan(table.known(label)) if label in table else np.zeros(0, bool)
    return np.zeros(0, np.int64) if unknown.all() else np.flatnonzero(unknown)
