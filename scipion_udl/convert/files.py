"""Particle files (MRC stack, STAR, XMD) -> Scipion items: images, alignment, CTF, microscope, coordinates.

The files are read by :mod:`scipion_udl.io`, the poses become Transforms by :mod:`scipion_udl.convert.particles`.
"""

from __future__ import annotations

import bz2
import gzip
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np
from pwem.objects import Acquisition, Coordinate, CTFModel, Particle, Transform
from pyworkflow.object import Boolean, Float, Integer

from scipion_udl.convert.scipion_sign import transform_matrices
from scipion_udl.io import dialects
from scipion_udl.io.defocus import phase_flips
from scipion_udl.io.particles import ParticleSource
from scipion_udl.io.source import table_of
from scipion_udl.io.stacks import StackReader, StackWriter
from scipion_udl.io.tables import Table

# Sets what one kind of column says on the item of a row.
Filler = Callable[[Particle, int], None]

_PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
_CHUNK = 256

# quantity: label of RELION, label of Xmipp
_CTF = {
    "defocusU": ("rlnDefocusU", "ctfDefocusU"),
    "defocusV": ("rlnDefocusV", "ctfDefocusV"),
    "defocusAngle": ("rlnDefocusAngle", "ctfDefocusAngle"),
}
_MICROSCOPE = {
    "voltage": ("rlnVoltage", "ctfVoltage"),
    "sphericalAberration": ("rlnSphericalAberration", "ctfSphericalAberration"),
    "amplitudeContrast": ("rlnAmplitudeContrast", "ctfQ0"),
}
_PLACE = (("rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName"), ("xcoor", "ycoor", "micrograph"))


def bring_stacks(source: ParticleSource, folder: str, copy: bool) -> dict[str, str]:
    """Put the stacks that a source names into ``folder``, as links or copies; real path -> path in there.

    All are named .mrcs, or Scipion takes them for volumes. Packed stacks are unpacked, and those of the other byte
    order, whose headers Scipion does not read, are written anew as float32; so are those with images whose data sign is
    -1, which no set can say of its items, in their sign, and unsigned numbers that other programs take for signed ones.
    Letters that the image library of Scipion cannot have in a name become underscores.
    """
    brought: dict[str, str] = {}
    for path in dict.fromkeys(path for path, _ in source.locations()):
        stem, ending = os.path.splitext(os.path.basename(path))
        opener = _PACKED.get(ending.lower())
        stem = os.path.splitext(stem)[0] if opener else stem
        stem = re.sub("[%@:]", "_", stem)  # a format, and what stands before and behind a name
        target = os.path.join(folder, f"{stem}.mrcs")
        if target in brought.values():
            target = os.path.join(folder, f"{stem}_{len(brought) + 1}.mrcs")
        if os.path.lexists(target):
            os.remove(target)
        if opener:
            with opener(path, "rb") as packed, open(target, "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        elif copy:
            shutil.copyfile(path, target)
        else:
            os.symlink(path, target)
        inverted = _inverted(source, path)
        if len(inverted) or _is_big_endian(target) or StackReader(target).unsigned:
            _write_anew(target, inverted)
        brought[path] = target
    return brought


def _is_big_endian(path: str) -> bool:
    with open(path, "rb") as file:
        file.seek(212)
        return file.read(1) == b"\x11"


def _inverted(source: ParticleSource, path: str) -> np.ndarray:
    """The items (from 0) of the stack ``path`` whose data sign is -1."""
    if source.sign is None:
        return np.zeros(0, np.int64)
    number = next(k for k, reader in enumerate(source.stacks) if os.path.realpath(reader.path) == path)
    return source.item[(source.stack == number) & (source.sign < 0)]


def _write_anew(path: str, inverted: np.ndarray) -> None:
    reader = StackReader(path)
    sign = np.ones(reader.count, np.float32)
    sign[inverted] = -1
    temporary = f"{path}.native.mrcs"
    with StackWriter(temporary, reader.count, reader.shape, reader.pixel_size or 1.0) as writer:
        for first in range(0, reader.count, _CHUNK):
            items = np.arange(first, min(first + _CHUNK, reader.count))
            writer.write(reader.read(items) * sign[items, None, None])
    os.replace(temporary, path)


def is_phase_flipped(source: ParticleSource) -> bool:
    """Whether the table says that the phases of all particles are flipped already."""
    flips = phase_flips(source)
    return flips is not None and bool(flips.all())


def differs_in_phase_flips(source: ParticleSource) -> bool:
    """Whether the table says that the phases of some particles are flipped already and those of others are not, which a
    set cannot hold: it has one answer for all."""
    flips = phase_flips(source)
    return flips is not None and 0 < int(flips.sum()) < len(flips)


def classes_of(source: ParticleSource) -> np.ndarray:
    """The numbers of the classes that the table gives its particles, each once; none where it gives none."""
    return np.empty(0) if source.table is None else dialects.told_classes(source.table, source.form)


def has_ctf(source: ParticleSource) -> bool:
    """Whether the table gives a defocus for its particles."""
    return _column(source, _CTF["defocusU"]) is not None


def iter_particles(
    source: ParticleSource, stacks: dict[str, str], acquisition: Acquisition, alignment: bool
) -> Iterator[Particle]:
    """The items of a set out of a source, in its order, with the microscope, CTF, coordinates, classes, half sets and
    scores it gives.

    stacks: real path -> path in the project, from :func:`bring_stacks`; acquisition: used for what the table does not
    say; alignment: whether the poses come along.
    """
    fill = [_locations(source, stacks), _microscopes(source, acquisition), _enabled(source), _places(source)]
    fill += [_classes(source), _subsets(source)]
    fill += [_defocus(source), _alignment(source) if alignment else None]
    fillers = [filler for filler in fill if filler is not None]
    for row in range(len(source)):
        particle = Particle()
        particle.setSamplingRate(source.pixel_size)
        for filler in fillers:
            filler(particle, row)
        yield particle


def _column(source: ParticleSource, labels: tuple[str, str]) -> np.ndarray | None:
    """A column of numbers (N,), out of the particles' table or, by optics group, out of the optics table; NaN where a
    placeholder stands for a value, None where all of them are."""
    if source.table is None:
        return None
    label = labels[source.form == dialects.XMIPP]
    optics = dialects.optics_table(source.tables)
    values = None
    if label in source.table:
        values = source.table.known(label)
    elif optics is not None and label in optics:
        values = optics.known(label)[dialects.optics_rows(source.table, optics)]
    return None if values is None or np.isnan(values).all() else values


def _locations(source: ParticleSource, stacks: dict[str, str]) -> Filler:
    locations = source.locations()

    def fill(particle: Particle, row: int) -> None:
        path, item = locations[row]
        particle.setLocation(item + 1, stacks[path])

    return fill


def _microscopes(source: ParticleSource, given: Acquisition) -> Filler:
    columns = {name: _column(source, labels) for name, labels in _MICROSCOPE.items()}
    known = {name: column for name, column in columns.items() if column is not None}
    made: dict[tuple, Acquisition] = {}

    def fill(particle: Particle, row: int) -> None:
        values = tuple(None if np.isnan(column[row]) else column[row] for column in known.values())
        if values not in made:
            made[values] = given.clone()
            for name, value in zip(known, values):
                if value is not None:
                    getattr(made[values], f"_{name}").set(float(value))
        particle.setAcquisition(made[values])

    return fill


def _enabled(source: ParticleSource) -> Filler | None:
    if source.table is None or "enabled" not in source.table:
        return None
    flags = ~(source.table.known("enabled") <= 0)
    return lambda particle, row: particle.setEnabled(bool(flags[row]))


def _classes(source: ParticleSource) -> Filler | None:
    if not len(classes_of(source)):
        return None
    numbers = source.classes()
    return lambda particle, row: particle.setClassId(int(numbers[row]))


def _subsets(source: ParticleSource) -> Filler | None:
    label = "rlnRandomSubset"
    if source.table is None or label not in source.table:
        return None
    halves = np.nan_to_num(source.table.known(label)).astype(int)

    def fill(particle: Particle, row: int) -> None:
        particle._rlnRandomSubset = Integer(int(halves[row]))  # the name that the RELION plugin gives it

    return fill


def _places(source: ParticleSource) -> Filler | None:
    table: Table | None = source.table
    labels = _PLACE[source.form == dialects.XMIPP]
    if table is None or any(label not in table for label in labels):
        return None
    x, y, names = np.nan_to_num(table.known(labels[0])), np.nan_to_num(table.known(labels[1])), table.texts(labels[2])
    number = {name: k + 1 for k, name in enumerate(dict.fromkeys(names))}

    def fill(particle: Particle, row: int) -> None:
        place = Coordinate()
        place.setPosition(round(x[row]), round(y[row]))
        place.setMicId(number[names[row]])
        place.setMicName(names[row])
        particle.setCoordinate(place)
        particle.setMicId(number[names[row]])

    return fill


def _defocus(source: ParticleSource) -> Filler | None:
    u, v, angle = (_column(source, labels) for labels in _CTF.values())
    if u is None:
        return None
    v, angle = (u if v is None else v), (np.zeros_like(u) if angle is None else angle)
    lacking = np.isnan(u) | np.isnan(v)  # 0 is a defocus that nobody takes for one
    u, v, angle = (np.where(lacking, 0.0, np.nan_to_num(values)) for values in (u, v, angle))
    label = "rlnPhaseShift"
    table = table_of(source)
    phase = np.nan_to_num(table.known(label)) if label in table else None

    def fill(particle: Particle, row: int) -> None:
        ctf = CTFModel()
        ctf.setStandardDefocus(float(u[row]), float(v[row]), float(angle[row]))
        if phase is not None:
            ctf.setPhaseShift(float(phase[row]))
        particle.setCTF(ctf)

    return fill


def _alignment(source: ParticleSource) -> Filler | None:
    poses = source.poses()
    if poses is None:
        return None
    matrices = transform_matrices(poses)
    table, label, flag = table_of(source), dialects.SCORE_LABEL[source.form], dialects.AMBIGUOUS_LABEL
    score = table.known(label) if label in table else None
    ambiguous = np.nan_to_num(table.known(flag)) != 0 if flag in table else None

    def fill(particle: Particle, row: int) -> None:
        particle.setTransform(Transform(matrix=matrices[row]))
        if score is not None:
            particle._udlScore = Float(None if np.isnan(score[row]) else float(score[row]))
        if ambiguous is not None:
            particle._udlAmbiguous = Boolean(bool(ambiguous[row]))

    return fill
