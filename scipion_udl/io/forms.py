"""What the columns of particle tables mean: RELION 3.0, RELION 3.1 and later, Xmipp. The one place that knows labels.

Poses are translated by :mod:`scipion_udl.alignment.geometry` alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from scipion_udl.alignment.geometry import Poses, from_relion, from_xmipp
from scipion_udl.errors import UdlError
from scipion_udl.io.tables import Table

RELION30, RELION31, XMIPP = "relion30", "relion31", "xmipp"
IMAGE_LABEL = {RELION30: "rlnImageName", RELION31: "rlnImageName", XMIPP: "image"}
SCORE_LABEL = {RELION30: "rlnParticleFigureOfMerit", RELION31: "rlnParticleFigureOfMerit", XMIPP: "maxCC"}
CLASS_LABEL = {RELION30: "rlnClassNumber", RELION31: "rlnClassNumber", XMIPP: "ref"}
LARGEST_CLASS = 2**53  # beyond it not every whole number is one of float64
AMBIGUOUS_LABEL = "udlAmbiguous"
OUTLIER_LABEL = "udlOutlier"
CORRENTROPY_LABEL = "udlCorrentropy"
FLAGGED_LABEL = "udlFlagged"

# Everything in either program's tables that says how an image lies: new poses beside an old tilt are a wrong 3D pose.
_POSE_LABEL = re.compile(
    r"rln(Angle(Rot|Tilt|Psi)|Origin[XYZ](Angst|Prior|$)).*|rlnIsFlip|rln\w*Prior(Angst)?"
    r"|angle(Rot|Tilt|Psi)2?|shift[XYZ]2?|flip|transformMatrix"
)
# Columns that mean the same in both programs, unit and sign included.
RELION_TO_XMIPP = {
    "rlnDefocusU": "ctfDefocusU",
    "rlnDefocusV": "ctfDefocusV",
    "rlnDefocusAngle": "ctfDefocusAngle",
    "rlnMicrographName": "micrograph",
    "rlnClassNumber": "ref",
}
XMIPP_TO_RELION = {
    **{xmipp: relion for relion, xmipp in RELION_TO_XMIPP.items()},
    "xcoor": "rlnCoordinateX",
    "ycoor": "rlnCoordinateY",
}
_SAME_SIZE = 1e-3


def find_particles(path: str, tables: Sequence[Table]) -> tuple[Table, str]:
    """The table that lists the images, and its form. Raises UdlError where there is none, several, or an empty one."""
    lists = [table for table in tables if "rlnImageName" in table or "image" in table]
    if not lists:
        raise UdlError(f"{path} lists no images: no table has a column _rlnImageName (STAR) or _image (XMD)")
    named = [table for table in lists if table.name == "particles"] or lists
    if len(named) > 1:
        names = ", ".join(f"data_{table.name}" for table in named[:4])
        raise UdlError(f"{path} lists images in {len(named)} tables ({names}...); keep one of them")
    particles = named[0]
    if not len(particles):
        raise UdlError(f"{path} lists no images: its table data_{particles.name} is empty")
    if "rlnImageName" not in particles:
        return particles, XMIPP
    return particles, RELION31 if optics_table(tables) is not None else RELION30


def optics_table(tables: Sequence[Table]) -> Table | None:
    """The optics table of RELION 3.1 and later, None without."""
    return next((table for table in tables if table.name == "optics" and "rlnOpticsGroup" in table), None)


def pose_labels(table: Table) -> list[str]:
    """The labels of a table that hold a pose of any form."""
    return [label for label in table.columns if _POSE_LABEL.fullmatch(label)]


def optics_rows(particles: Table, optics: Table) -> np.ndarray:
    """The row of the optics table for each particle, int (N,). Raises UdlError for a group that is not there."""
    groups = optics.texts("rlnOpticsGroup")
    if "rlnOpticsGroup" not in particles and len(groups) == 1:
        return np.zeros(len(particles), np.int64)
    row_of = {_plain_number(group): row for row, group in enumerate(groups)}
    wanted = particles.texts("rlnOpticsGroup")
    known = {group: row_of.get(_plain_number(group)) for group in set(wanted)}
    for row, group in enumerate(wanted):
        if known[group] is None:
            raise UdlError(f"{particles.path}: row {row + 1} is of optics group {group}, which data_optics lacks")
    return np.array([known[group] for group in wanted], np.int64)


def _plain_number(text: str) -> str:
    return text.lstrip("0") or "0"


def table_pixel_size(particles: Table, optics: Table | None, form: str) -> float | None:
    """The pixel size in angstrom that a table gives, None without.

    Raises UdlError where particles differ in it or in their image size: one alignment needs one scale.
    """
    if form == XMIPP:
        return _one_size(particles.path, particles.numbers("samplingRate")) if "samplingRate" in particles else None
    if form == RELION31 and optics is not None:
        used = np.unique(optics_rows(particles, optics))
        if "rlnImageSize" in optics and len(set(optics.numbers("rlnImageSize")[used])) > 1:
            raise UdlError(f"{particles.path}: optics groups have different image sizes; align each group on its own")
        if "rlnImagePixelSize" in optics:
            return _one_size(particles.path, optics.numbers("rlnImagePixelSize")[used])
    for label in ("rlnImagePixelSize", "rlnPixelSize"):
        if label in particles:
            return _one_size(particles.path, particles.numbers(label))
    if "rlnDetectorPixelSize" in particles and "rlnMagnification" in particles:
        detector, magnification = particles.numbers("rlnDetectorPixelSize"), particles.numbers("rlnMagnification")
        if (magnification <= 0).any():
            row = np.flatnonzero(magnification <= 0)[0] + 1
            raise UdlError(f"{particles.path}: row {row} has no magnification above 0 in _rlnMagnification")
        # micrometers on the detector to angstrom in the specimen
        return _one_size(particles.path, detector * 1e4 / magnification)
    return None


def _one_size(path: str, sizes: np.ndarray) -> float | None:
    low, high = float(sizes.min()), float(sizes.max())
    if high <= 0:
        return None
    if low <= 0 or high - low > _SAME_SIZE * high:
        raise UdlError(
            f"{path}: the particles have different pixel sizes ({low:g} and {high:g} A); "
            "align those of each pixel size (optics group) on their own"
        )
    return round(float(sizes[0]), 6)


def has_3d_angles(table: Table) -> bool:
    """Whether a table gives a rot or tilt other than 0: its poses are projection directions, not a 2D alignment."""
    labels = ("rlnAngleRot", "rlnAngleTilt", "angleRot", "angleTilt")
    return any(np.any(table.numbers(label) != 0) for label in labels if label in table)


def table_poses(table: Table, form: str, pixel_size: float) -> Poses | None:
    """The in-plane poses that a table carries, None without; pixel_size (angstrom) turns rlnOriginXAngst into pixels.

    rlnIsFlip is not read: RELION leaves such an image as it is. Raises UdlError where a value is no number.
    """
    n = len(table)
    if form == XMIPP:
        if not any(label in table for label in ("anglePsi", "shiftX", "shiftY", "flip")):
            return None
        psi, x, y, flip = (_numbers_or_zero(table, k, n) for k in ("anglePsi", "shiftX", "shiftY", "flip"))
        return from_xmipp(psi, np.stack([x, y], -1), flip != 0)
    angstrom = "rlnOriginXAngst" in table or "rlnOriginYAngst" in table
    x_label, y_label = ("rlnOriginXAngst", "rlnOriginYAngst") if angstrom else ("rlnOriginX", "rlnOriginY")
    if not any(label in table for label in ("rlnAnglePsi", x_label, y_label)):
        return None
    psi, x, y = (_numbers_or_zero(table, label, n) for label in ("rlnAnglePsi", x_label, y_label))
    return from_relion(psi, np.stack([x, y], -1) / (pixel_size if angstrom else 1.0))


def class_numbers(table: Table, form: str, path: str) -> np.ndarray:
    """The class number of each row, int64 (N,). Raises UdlError where the table has none, one that is not whole, or one
    beyond LARGEST_CLASS."""
    label = CLASS_LABEL[form]
    if label not in table:
        raise UdlError(
            f"{path} has no class number per particle (column _{label}): give the table of a 2D classification, or "
            "leave --by-class out."
        )
    values = table.numbers(label)
    broken = np.flatnonzero(values != np.round(values))
    if len(broken):
        raise UdlError(f"{path}: row {broken[0] + 1} has the class {values[broken[0]]:g}, which is no whole number.")
    large = np.flatnonzero(np.abs(values) > LARGEST_CLASS)
    if len(large):
        raise UdlError(
            f"{path}: row {large[0] + 1} has the class {table.texts(label)[large[0]]}, too large to be told from its "
            "neighbours: number the classes from 1."
        )
    return values.astype(np.int64)


def _numbers_or_zero(table: Table, label: str, n: int) -> np.ndarray:
    return table.numbers(label) if label in table else np.zeros(n)
