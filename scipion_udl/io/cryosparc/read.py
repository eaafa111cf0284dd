"""cryoSPARC's particle files (.cs): arrays with named fields, read. This folder and aligned_cs.py alone know them.

Fields are named as cryosparc-tools documents them: ``uid``, ``blob/path``, ``blob/idx`` (from 0), ``blob/shape``,
``blob/psize_A``, ``ctf/...`` (angstrom, radians), ``alignments2D/...``. Read, a file becomes the two tables that RELION
3.1 has, by the rules of pyem's csparc2star.py (D. Asarnow, doi:10.5281/zenodo.3576630):

    rlnImageName = (blob/idx + 1) @ blob/path        rlnClassNumber = alignments2D/class + 1
    rlnAnglePsi  = alignments2D/pose in degrees      rlnOriginX, Y = alignments2D/shift, pixels (times psize_A: Angst)

So in cryoSPARC, as in RELION, a particle is shifted first and turned afterwards, and its 2D alignment has no mirror.
The shift counts pixels of ``alignments2D/psize_A``, which is larger than ``blob/psize_A`` where classification worked
on smaller images; csparc2star leaves that to its option --boxsize, here it is taken into account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.io.cryosparc.passthrough import Completed, completed
from scipion_udl.io.cryosparc.rows import CsFile, is_whole
from scipion_udl.io.tables import Table, number_texts, quote
from scipion_udl.io.texts import column_of

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


def read_array(path: str) -> Completed:
    """The rows of a .cs file with the fields that lack in it and that the files beside it have, by ``uid``.

    Raises UdlError where the file cannot be read, is cut, is of the compressed form, or lists no particle images.
    """
    file = CsFile.open(path)
    if not file.count:
        raise UdlError(f"{path} lists no images: it has no rows")
    rows = file.rows()
    found = completed(path, rows) if file.has_ids() else Completed(path, rows)
    array = found.rows
    missing = [name for name in ("blob/path", "blob/idx") if name not in array.dtype.names]
    if missing:
        raise UdlError(
            f"{path} has no field {missing[0]}, so it names no images, and no passthrough file beside it has those of "
            "its particles; give the file that names them"
        )
    texts = array["blob/path"].dtype.kind in "SU" and array["blob/path"].ndim == 1
    if not texts or not is_whole(array.dtype["blob/idx"]):
        raise UdlError(f"{path}: blob/path holds no texts or blob/idx no whole numbers, so it names no images")
    nowhere = np.flatnonzero(found.lacking.get("blob/path", np.zeros(len(array), bool)))
    if len(nowhere):
        raise UdlError(
            f"{path}: no file beside it names the images of {len(nowhere)} of its {len(array)} particles (the first: "
            f"row {nowhere[0] + 1}, uid {array['uid'][nowhere[0]]}): give the passthrough file of all of them, or take "
            "these particles out"
        )
    return found


def signs(array: np.ndarray) -> np.ndarray | None:
    """The data sign of each particle, float32 (N,): -1 where blob/sign says that the grey values count inverted, else
    1; None where no particle has -1."""
    values = array["blob/sign"] if "blob/sign" in array.dtype.names else np.empty(0)
    if values.shape != (len(array),) or values.dtype.kind not in "fi":
        return None
    inverted = values < 0
    return np.where(inverted, np.float32(-1), np.float32(1)) if inverted.any() else None


def sign_warning(path: str, sign: np.ndarray) -> str:
    """The sentence on particles whose grey values count inverted, in a file of which some do."""
    count = int((sign < 0).sum())
    share = "all its particles" if count == len(sign) else f"{count} of {len(sign)} particles"
    mixed = ""
    if count < len(sign):
        mixed = (
            " A STAR or XMD cannot say so: RELION and Xmipp would average images of both signs; --write-stack writes "
            "all with one."
        )
    return (
        f"{path} gives {share} the data sign -1 (blob/sign): their grey values are inverted when they are read, as "
        f"cryoSPARC does.{mixed}"
    )


def relion_tables(found: Completed) -> list[Table]:
    """The optics and particles tables of RELION 3.1 that say the same as the rows of a .cs file.

    Raises UdlError where a field has another shape or type than it should.
    """
    try:
        return _tables(found)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise UdlError(f"{found.path}: a field is not as cryoSPARC writes it: {' '.join(str(error).split())}") from None


def _tables(found: Completed) -> list[Table]:
    array, names = found.rows, found.rows.dtype.names
    particles = Table("particles", {}, found.path)
    particles.set("rlnImageName", _column(array, _image_names))
    if "location/micrograph_path" in names:
        particles.set("rlnMicrographName", _column(array["location/micrograph_path"], _names_or_none))
    for label, (field, factor) in _COLUMNS.items():
        if field in names:
            particles.set(label, _numbers(array[field], factor))
    if f"{ALIGNMENT}class" in names:
        classes = array[f"{ALIGNMENT}class"]
        plain = classes.dtype.kind in "iu" and classes.dtype.itemsize <= 4
        classes = (classes if plain else np.array([int(k) for k in classes])).astype(np.int64) + 1
        classes[found.lacking.get(f"{ALIGNMENT}class", np.zeros(len(array), bool))] = -999
        particles.set("rlnClassNumber", _column(classes, lambda piece: map(str, piece.tolist())))
    _set_poses(particles, array)
    return [_set_optics(particles, array), particles]


def _column(values: np.ndarray, texts: Callable[[np.ndarray], Iterable[str]]) -> Sequence[str]:
    """The texts of N rows, made a piece of them at a time: a list of all takes ten times as much as their bytes."""
    return column_of(text for k in range(0, len(values), _TOGETHER) for text in texts(values[k : k + _TOGETHER]))


def _numbers(values: np.ndarray, factor: float | np.ndarray = 1.0) -> Sequence[str]:
    """Numbers (N,) as tables have them, times a factor or (N,) factors."""
    return _column(values.astype(np.float64) * factor, number_texts)


def _image_names(rows: np.ndarray) -> list[str]:
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


def _set_poses(particles: Table, array: np.ndarray) -> None:
    names = array.dtype.names
    if f"{ALIGNMENT}pose" in names:
        particles.set("rlnAnglePsi", _numbers(array[f"{ALIGNMENT}pose"], 180 / np.pi))
    size = next((array[name] for name in (f"{ALIGNMENT}psize_A", "blob/psize_A") if name in names), None)
    if f"{ALIGNMENT}shift" in names and size is not None:
        shift, size = array[f"{ALIGNMENT}shift"], size.astype(np.float64)
        particles.set("rlnOriginXAngst", _numbers(shift[:, 0], size))
        particles.set("rlnOriginYAngst", _numbers(shift[:, 1], size))


def _set_optics(particles: Table, array: np.ndarray) -> Table:
    """The optics table, one group for each set of microscope, pixel size and exposure group; its column is set."""
    names, n = array.dtype.names, len(array)
    given = {label: field for label, field in _OPTICS.items() if field in names}
    columns = {label: _numbers(array[field]) for label, field in given.items()}
    if "blob/psize_A" in names:
        columns["rlnImagePixelSize"] = _numbers(array["blob/psize_A"])
    if "blob/shape" in names:
        columns["rlnImageSize"] = _column(array["blob/shape"][:, 0], lambda piece: [str(int(size)) for size in piece])
    own = array["ctf/exp_group_id"].tolist() if "ctf/exp_group_id" in names else [0] * n
    groups: dict[tuple, int] = {}
    rows = [groups.setdefault(key, len(groups) + 1) for key in zip(own, *columns.values())]
    particles.set("rlnOpticsGroup", column_of(map(str, rows)))
    numbers = [str(number) for number in groups.values()]
    optics = Table("optics", {"rlnOpticsGroupName": [f"opticsGroup{k}" for k in numbers], "rlnOpticsGroup": numbers})
    for place, label in enumerate(columns, 1):
        optics.set(label, [key[place] for key in groups])
    return optics
