"""cryoSPARC's particle files (.cs): arrays with named fields, read. This folder and aligned_cs.py alone know them.

Fields are named as cryosparc-tools documents them: ``uid``, ``blob/path``, ``blob/idx`` (from 0), ``blob/shape``,
``blob/psize_A``, ``ctf/...`` (angstrom, radians), ``alignments2D/...``. Read, a file becomes the two tables that RELION
3.1 has, by the rules of pyem's csparc2star.py (D. Asarnow, doi:10.5281/zenodo.3576630):

    rlnImageName = (blob/idx + 1) @ blob/path        rlnClassNumber = alignments2D/class + 1
    rlnAnglePsi  = alignments2D/pose in degrees      rlnOriginX, Y = alignments2D/shift, pixels (times psize_A: Angst)

So in cryoSPARC, as in RELION, a particle is shifted first and rotated afterwards, and its 2D alignment has no mirror.
The shift counts pixels of ``alignments2D/psize_A``, which is larger than ``blob/psize_A`` where classification worked
on smaller images; csparc2star leaves that to its option --boxsize, here it is taken into account.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.io.cryosparc.passthrough import Completed, completed
from scipion_udl.io.cryosparc.rows import CsFile, is_whole
from scipion_udl.io.star.columns import Decimals
from scipion_udl.io.star.growing import Growing
from scipion_udl.io.tables import Table, number_texts, quote
from scipion_udl.messages import Message, message

ALIGNMENT = "alignments2D/"  # before the names of all fields of a 2D alignment
_TOGETHER = 1 << 14  # rows that are texts at one time
# label in RELION, field, what makes the one of the other
_OPTICS = {
    "rlnVoltage": "ctf/accel_kv",
    "rlnSphericalAberration": "ctf/cs_mm",
    "rlnAmplitudeContrast": "ctf/amp_contrast",
}
_COLUMNS = {
    "rlnDefocusU": ("ctf/df1_A", 1.0),
    "rlnDefocusV": ("ctf/df2_A", 1.0),
    "rlnDefocusAngle": ("ctf/df_angle_rad", 180 / np.pi),
    "rlnPhaseShift": ("ctf/phase_shift_rad", 180 / np.pi),
    "rlnCtfBfactor": ("ctf/bfactor", 1.0),
}
# All that a set is read by: its tables and its data sign.
_READ = frozenset(
    (
        *("blob/path", "blob/idx", "blob/shape", "blob/psize_A", "blob/sign"),
        *("ctf/exp_group_id", "location/micrograph_path"),
        *(f"{ALIGNMENT}{name}" for name in ("class", "pose", "shift", "psize_A")),
        *_OPTICS.values(),
        *(field for field, _ in _COLUMNS.values()),
    )
)


def read_array(path: str, lean: bool = False) -> Completed:
    """Read a .cs file, with the fields that lack in it and that the files beside it have, by ``uid``.

    Parameters
    ----------
    path : str
    lean : bool, optional
        Only the fields that :func:`relion_tables` and :func:`signs` use.

    Returns
    -------
    Completed

    Raises
    ------
    UdlError
        Where the file cannot be read, is cut, is of the compressed form, or lists no particle images.
    """
    file = CsFile.open(path)
    if not file.count:
        raise UdlError(message("cs_without_rows", path=path))
    found = completed(file, _READ if lean else None)
    kinds = found.dtypes()
    missing = [name for name in ("blob/path", "blob/idx") if name not in kinds]
    if missing:
        raise UdlError(message("cs_without_images", path=path, field=missing[0]))
    texts = kinds["blob/path"].kind in "SU" and not kinds["blob/path"].shape
    if not texts or not is_whole(kinds["blob/idx"]):
        raise UdlError(message("cs_images_unreadable", path=path))
    nowhere = np.flatnonzero(found.lacking.get("blob/path", np.zeros(0, bool)))
    if len(nowhere):
        raise UdlError(
            message(
                "cs_images_not_named",
                path=path,
                count=len(nowhere),
                total=len(found),
                row=nowhere[0] + 1,
                uid=found.column("uid")[nowhere[0]],
            )
        )
    return found


def signs(found: Completed) -> np.ndarray | None:
    """The data sign of each particle.

    Parameters
    ----------
    found : Completed
        N rows.

    Returns
    -------
    (N,) float32 array or None
        -1 where blob/sign says that the grey values count inverted, else 1; None where no particle has -1.
    """
    kind = found.dtypes().get("blob/sign")
    if kind is None or kind.shape or kind.kind not in "fi":
        return None
    inverted = found.column("blob/sign") < 0
    return np.where(inverted, np.float32(-1), np.float32(1)) if inverted.any() else None


def sign_warning(path: str, sign: np.ndarray) -> Message:
    """The warning of particles whose grey values count inverted.

    Parameters
    ----------
    path : str
        Of the file.
    sign : (N,) array
        -1 for some particles, 1 for the others.

    Returns
    -------
    Message
    """
    count = int((sign < 0).sum())
    share = "all its particles" if count == len(sign) else f"{count} of {len(sign)} particles"
    if count < len(sign):
        return message("data_signs_mixed", path=path, share=share)
    return message("data_sign_negative", path=path, share=share)


def relion_tables(found: Completed) -> list[Table]:
    """The tables of RELION 3.1 that say the same as the rows of a .cs file.

    Parameters
    ----------
    found : Completed

    Returns
    -------
    list of Table
        Optics and particles.

    Raises
    ------
    UdlError
        Where a field has another shape or type than it should, with the reason.
    """
    try:
        return _tables(found)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise UdlError(message("cs_field_odd", path=found.path, reason=" ".join(str(error).split()))) from None


def _tables(found: Completed) -> list[Table]:
    columns: dict[str, Growing] = {}
    groups: dict[tuple, int] = {}
    labels: list[str] = []
    for first, rows in found.pieces(_TOGETHER):
        count = len(rows["blob/path"])  # a piece that is read from the file ends with fewer
        lacking = {name: values[first : first + count] for name, values in found.lacking.items()}
        shared = _optics_texts(rows)
        labels = list(shared)
        own = rows["ctf/exp_group_id"].tolist() if "ctf/exp_group_id" in rows else [0] * count
        keys = list(zip(own, *shared.values()))
        texts = _texts_by_label(rows, lacking)
        texts["rlnOpticsGroup"] = [str(groups.setdefault(key, len(groups) + 1)) for key in keys]
        for label, values in texts.items():
            columns.setdefault(label, Growing()).add(values)
    particles = Table("particles", path=found.path)
    for label in list(columns):  # one after the other: as a whole, each would be there twice
        particles.columns[label] = columns.pop(label).column()
    numbers = [str(number) for number in groups.values()]
    optics = Table("optics", {"rlnOpticsGroupName": [f"opticsGroup{k}" for k in numbers], "rlnOpticsGroup": numbers})
    for place, label in enumerate(labels, 1):
        optics.set(label, [key[place] for key in groups])
    return [optics, particles]


def _texts_by_label(rows: dict[str, np.ndarray], lacking: dict[str, np.ndarray]) -> dict[str, Sequence[str]]:
    """The columns of some particles, but that of their optics group; rows: their fields, lacking: as of Completed."""
    texts: dict[str, Sequence[str]] = {"rlnImageName": _image_names(rows)}
    if "location/micrograph_path" in rows:
        texts["rlnMicrographName"] = _names_or_none(rows["location/micrograph_path"])
    for label, (field, factor) in _COLUMNS.items():
        if field in rows:
            texts[label] = _numbers(rows[field], factor)
    if f"{ALIGNMENT}class" in rows:
        classes = rows[f"{ALIGNMENT}class"]
        plain = classes.dtype.kind in "iu" and classes.dtype.itemsize <= 4
        classes = (classes if plain else np.array([int(k) for k in classes])).astype(np.int64) + 1
        classes[lacking.get(f"{ALIGNMENT}class", np.zeros(len(classes), bool))] = -999
        texts["rlnClassNumber"] = Decimals(classes)
    if f"{ALIGNMENT}pose" in rows:
        texts["rlnAnglePsi"] = _numbers(rows[f"{ALIGNMENT}pose"], 180 / np.pi)
    size = next((rows[name] for name in (f"{ALIGNMENT}psize_A", "blob/psize_A") if name in rows), None)
    if f"{ALIGNMENT}shift" in rows and size is not None:
        shift, size = rows[f"{ALIGNMENT}shift"], size.astype(np.float64)
        texts["rlnOriginXAngst"] = _numbers(shift[:, 0], size)
        texts["rlnOriginYAngst"] = _numbers(shift[:, 1], size)
    return texts


def _optics_texts(rows: dict[str, np.ndarray]) -> dict[str, Sequence[str]]:
    """What the optics table says of each of some particles: microscope, pixel size and box; those in which one of these
    or the exposure group differs are of different groups."""
    texts: dict[str, Sequence[str]] = {
        label: _numbers(rows[field]) for label, field in _OPTICS.items() if field in rows
    }
    if "blob/psize_A" in rows:
        texts["rlnImagePixelSize"] = _numbers(rows["blob/psize_A"])
    if "blob/shape" in rows:
        texts["rlnImageSize"] = [str(int(size)) for size in rows["blob/shape"][:, 0]]
    return texts


def _numbers(values: np.ndarray, factor: float | np.ndarray = 1.0) -> Sequence[str]:
    """Numbers (n,) as tables have them, times a factor or (n,) factors."""
    return number_texts(values.astype(np.float64) * factor)


def _image_names(rows: dict[str, np.ndarray]) -> list[str]:
    files = _texts(rows["blob/path"])
    return [quote(_image_name(k, file)) for k, file in zip(rows["blob/idx"].tolist(), files)]


def _names_or_none(column: np.ndarray) -> list[str]:
    return [quote(text or "None") for text in _texts(column)]


def _texts(column: np.ndarray) -> list[str]:
    """Texts of a column of bytes or text; the > before paths of exported files means: from the folder of this file."""
    texts = [t.decode("utf-8", "surrogateescape") if isinstance(t, bytes) else t for t in column.tolist()]
    return [text.lstrip(">") for text in texts]


def _image_name(index: int, file: str) -> str:
    # cryoSPARC's stacks end in .mrc: tell RELION and Xmipp that they are stacks
    return f"{int(index) + 1:06d}@{file}" + ("" if file.lower().endswith(".mrcs") else ":mrcs")
