"""aligned.cs and class_averages.cs: an alignment as cryoSPARC's particle file, and its table of class averages.

Fields and conventions are those of :mod:`scipion_udl.io.cryosparc.read`. It has all fields of the input .cs but its
alignments2D, and a new alignments2D; for other inputs the fields that name the images and give their CTF. pose = angle
in radians, shift = R^T t in pixels of the particles (which ``alignments2D/psize_A`` says): csparc2star makes our
aligned.star of it. Where blob/psize_A is 0 or another than the one in use, it is set to that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.imaging.defocus import Defocus
from scipion_udl.imaging.poses import Poses, to_relion
from scipion_udl.io.cryosparc.read import ALIGNMENT
from scipion_udl.io.cryosparc.rows import joined
from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.output import durable
from scipion_udl.io.rotated_columns import rotate_fields
from scipion_udl.io.source import Source
from scipion_udl.messages import Message, message


def write_aligned_cs(
    source: Source,
    poses: Poses,
    score: np.ndarray,
    path: str,
    aligned_stack: str | None = None,
    number: np.ndarray | None = None,
    certainty: np.ndarray | None = None,
) -> list[Message]:
    """Write an alignment as cryoSPARC's particle file.

    Parameters
    ----------
    source : Source
        N particles.
    poses : Poses
        N, to apply, in the source's order.
    score : (N,) float array
        alignments2D/cross_cor.
    path : str
    aligned_stack : str, optional
        Path of the aligned images, which are named, with pose 0, where some are mirrored; what has a direction (the
        axis of astigmatism) is rotated along.
    number : (N,) int array, optional
        Classes, from 1; those of the input where they are left out. cryoSPARC counts from 0.
    certainty : (N,) float array, optional
        alignments2D/class_posterior; 1 where it is left out.

    Returns
    -------
    list of Message
        Warnings.

    Raises
    ------
    UdlError
        For mirrored poses without ``aligned_stack``, and where the file cannot be written.
    """
    applied = poses
    if poses.mirror.any():
        if aligned_stack is None:
            raise UdlError(message("cs_cannot_mirror"))
        poses = Poses.identity(len(poses))
    else:
        aligned_stack = None
    fields, warnings = _input_fields(source), []
    if aligned_stack is not None:
        fields["blob/path"] = np.array([aligned_stack.encode("utf-8", "surrogateescape")] * len(source))
        fields["blob/idx"] = np.arange(len(source), dtype=np.uint32)
        warnings += rotate_fields(fields, applied)
        if "blob/sign" in fields:  # was applied to them
            fields["blob/sign"] = np.ones_like(fields["blob/sign"])
    fields.update(_alignment_fields(source, poses, score))
    if number is not None:
        fields[f"{ALIGNMENT}class"] = (np.asarray(number) - 1).astype(np.uint32)
    if certainty is not None:
        fields[f"{ALIGNMENT}class_posterior"] = np.asarray(certainty, np.float32)
    save_cs(path, joined(fields))
    return warnings


def write_class_averages(path: str, stack: str, classes: Sequence[dict], box: int, pixel_size: float) -> None:
    """Write the table of class averages as cryoSPARC's 2D classification has it.

    Who reads one of its jobs finds a class by ``blob/idx``, which is ``alignments2D/class`` of its particles, and how
    far it goes by ``blob/res_A``.

    Parameters
    ----------
    path : str
        The table, a .cs.
    stack : str
        Where the averages will lie, one image a class; named as it is.
    classes : sequence of dict
        In the order of the images; "resolution" (A, or None where none is claimed) and "crossing" (A, where the FRC of
        its halves falls to 0.143, or None) of each.
    box : int
        Pixels.
    pixel_size : float
        Angstrom.

    Raises
    ------
    UdlError
        Where it cannot be written.
    """
    n = len(classes)
    finest = [one["resolution"] or one.get("crossing") or box * pixel_size for one in classes]
    fields = {
        "uid": np.array([_uid(f"{number}@{stack}") for number in range(1, n + 1)], np.uint64),
        "blob/path": np.array([stack.encode("utf-8", "surrogateescape")] * n),
        "blob/idx": np.arange(n, dtype=np.uint32),
        "blob/shape": np.full((n, 2), box, np.uint32),
        "blob/psize_A": np.full(n, pixel_size, np.float32),
        "blob/res_A": np.array(finest, np.float32),
    }
    save_cs(path, joined(fields))


def _alignment_fields(source: Source, poses: Poses, score: np.ndarray) -> dict[str, np.ndarray]:
    """alignments2D of unmirrored poses; what only cryoSPARC's own algorithm knows is 0, shares and weights are 1."""
    n = len(source)
    angle, shift = to_relion(poses)
    fields = {
        "split": np.zeros(n, np.uint32),
        "shift": shift.astype(np.float32),
        "pose": np.radians(angle).astype(np.float32),
        "psize_A": np.full(n, source.pixel_size, np.float32),
        "cross_cor": np.asarray(score, np.float32),
        "class": _classes(source),
    }
    unknown = ("error", "error_min", "resid_pow", "slice_pow", "image_pow", "alpha_min")
    fields.update({name: np.zeros(n, np.float32) for name in unknown})
    whole = ("alpha", "weight", "pose_ess", "shift_ess", "class_posterior", "class_ess")
    fields.update({name: np.ones(n, np.float32) for name in whole})
    return {f"{ALIGNMENT}{name}": values for name, values in fields.items()}


def _input_fields(source: Source) -> dict[str, np.ndarray]:
    names = source.lasting_names()
    if source.cs is not None:
        return _own_fields(source, names)
    n = len(source)
    numbers, files = zip(*(name.rpartition("@")[::2] for name in names))
    files = [file[: -len(":mrcs")] if file.endswith(":mrcs") else file for file in files]
    fields = {
        "uid": np.array([_uid(name) for name in source.names], np.uint64),
        "blob/path": np.array([file.encode("utf-8", "surrogateescape") for file in files]),
        "blob/idx": np.array([int(number or 1) - 1 for number in numbers], np.uint32),
        "blob/shape": np.full((n, 2), source.box, np.uint32),
        "blob/psize_A": np.full(n, source.pixel_size, np.float32),
    }
    defocus = read_defocus(source)
    return fields if defocus is None else {**fields, **_ctf_fields(defocus)}


def _own_fields(source: Source, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The fields of the .cs that was read, but its 2D alignment; paths and pixel size are those that are in use."""
    rows = source.cs
    assert rows is not None and rows.dtype.names is not None  # it is asked of a cryoSPARC file alone
    fields = {name: rows[name] for name in rows.dtype.names if not name.startswith(ALIGNMENT)}
    if names != source.names:
        files = [name.partition("@")[2] for name in names]
        files = [file[: -len(":mrcs")] if file.endswith(":mrcs") else file for file in files]
        fields["blob/path"] = np.array([file.encode("utf-8", "surrogateescape") for file in files])
    sizes = fields.get("blob/psize_A", np.zeros(len(source), np.float32))
    if not np.allclose(sizes, source.pixel_size, rtol=1e-3, atol=0):
        fields["blob/psize_A"] = np.full(len(source), source.pixel_size, np.float32)
    return fields


def _uid(name: str) -> int:
    """A number of 64 bits for an image name, as cryoSPARC has one for every particle."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def _ctf_fields(defocus: Defocus) -> dict[str, np.ndarray]:
    fields = {
        "ctf/accel_kv": defocus.voltage,
        "ctf/cs_mm": defocus.cs,
        "ctf/amp_contrast": defocus.amplitude_contrast,
        "ctf/df1_A": defocus.defocus_u,
        "ctf/df2_A": defocus.defocus_v,
        "ctf/df_angle_rad": np.radians(defocus.angle),
        "ctf/phase_shift_rad": np.radians(defocus.phase_shift),
        "ctf/bfactor": defocus.b_factor,
    }
    return {
        "ctf/exp_group_id": np.zeros(len(defocus.voltage), np.uint32),
        **{name: np.asarray(values, np.float32) for name, values in fields.items()},
    }


def _classes(source: Source) -> np.ndarray:
    """Class numbers from 0, as cryoSPARC counts; 0 where the input has none."""
    table = source.table
    label = None if table is None else next((k for k in ("rlnClassNumber", "ref") if k in table), None)
    numbers = np.ones(len(source)) if table is None or label is None else np.nan_to_num(table.known(label))
    return np.clip(numbers - 1, 0, 2**31).astype(np.uint32)


def save_cs(path: str, rows: np.ndarray) -> None:
    """Write rows as a cryoSPARC file, whole or not at all.

    Parameters
    ----------
    path : str
        The file, which is replaced where it is there.
    rows : (N,) structured array
        Without Python objects.

    Raises
    ------
    UdlError
        Where it cannot be written.
    """
    temporary = f"{path}.part"
    try:
        with open(durable.new(temporary), "wb") as file:  # given a name, numpy would put .npy behind it
            np.save(file, rows, allow_pickle=False)
        durable.replace(temporary, path)
    except OSError as error:
        raise UdlError(message("cannot_be_written", path=path, reason=error.strerror or error)) from None
