"""Pixel size, microscope and optics groups in the tables that are written: what is in use is what stands there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from scipion_udl.io import dialects
from scipion_udl.io.source import Optics, Source
from scipion_udl.io.star.columns import each_of, repeated
from scipion_udl.io.star.growing import column_of
from scipion_udl.io.tables import Table, number, quoted
from scipion_udl.messages import Message, message


class Quantity(NamedTuple):
    """A value of the microscope: its label in RELION and in Xmipp, its name in messages, its unit there, the usual
    value, and the option that gives it."""

    relion: str
    xmipp: str
    words: str
    unit: str
    usual: float
    option: str


MICROSCOPE = {
    "voltage": Quantity("rlnVoltage", "ctfVoltage", "voltage", " kV", 300.0, "--voltage"),
    "cs": Quantity("rlnSphericalAberration", "ctfSphericalAberration", "spherical aberration", " mm", 2.7, "--cs"),
    "amplitude_contrast": Quantity(
        "rlnAmplitudeContrast", "ctfQ0", "amplitude contrast", "", 0.1, "--amplitude-contrast"
    ),
}
_SIZES = ("rlnImagePixelSize", "rlnPixelSize")
# What a value of the microscope may be: programs write 0, -1 and -999 for what they do not know.
_POSSIBLE: dict[str, Callable[[float], bool]] = {
    "voltage": lambda value: value > 0,
    "cs": lambda value: value > -1,
    "amplitude_contrast": lambda value: 0 <= value <= 1,
}


def set_pixel_size(
    table: Table, labels: Sequence[str], source: Source, warnings: list[Message], rows: np.ndarray | None = None
) -> None:
    """Put the pixel size that is in use into columns that say another.

    That is: 0, -1, no number, a second value beside the first. What agrees stays character for character.

    Parameters
    ----------
    table : Table
        Changed in place.
    labels : sequence of str
        The columns; those that the table lacks are passed over.
    source : Source
        Gives the pixel size, in angstrom.
    warnings : list of Message
        Told of each column that is rewritten.
    rows : int array, optional
        Rows (from 0) that particles are of, all by default; of the others only values that are no size are replaced.
    """
    for label in labels:
        if label not in table:
            continue
        used = np.ones(len(table), bool) if rows is None else np.isin(np.arange(len(table)), rows)
        wrong = each_of(table.texts(label), lambda text: not number(text) > 0, bool)
        wrong |= used & each_of(table.texts(label), lambda text: not _same(number(text), source), bool)
        if not wrong.any():
            continue
        first = table.texts(label)[int(wrong.argmax())]
        text = f"{source.pixel_size:.6f}"
        table.set(label, column_of(text if bad else old for bad, old in zip(wrong, table.columns[label])))
        warnings.append(
            message(
                "pixel_size_rewritten",
                path=source.path,
                before=first or "nothing",
                column=label,
                pixel_size=source.pixel_size,
            )
        )


def _same(size: float, source: Source) -> bool:
    return dialects.same_size(size, source.pixel_size)


def set_pixel_size_30(particles: Table, source: Source, warnings: list[Message]) -> None:
    """Put the pixel size into a 3.0 table, as RELION 3.0 says it: magnification and detector pixel, in micrometers.

    Parameters
    ----------
    particles : Table
        Changed in place.
    source : Source
        Gives the pixel size, in angstrom; where it is not known, nothing is made up.
    warnings : list of Message
        Told of values that are rewritten.
    """
    set_pixel_size(particles, _SIZES, source, warnings)
    if not source.pixel_size_known:
        return
    labels = ("rlnMagnification", "rlnDetectorPixelSize")
    if all(label in particles for label in labels):
        magnification, detector = (each_of(particles.texts(label), number) for label in labels)
        sizes = np.where(magnification > 0, detector * 1e4 / np.where(magnification > 0, magnification, 1.0), 0.0)
        if all(_same(size, source) for size in np.unique(sizes)):
            return
        warnings.append(
            message("pixel_size_of_detector", path=source.path, size=sizes[0], pixel_size=source.pixel_size)
        )
    elif any(label in particles for label in _SIZES):
        return
    particles.set("rlnMagnification", "10000.000000")
    particles.set("rlnDetectorPixelSize", f"{source.pixel_size:.6f}")


def complete_optics(table: Table, particles: Table, source: Source, warnings: list[Message]) -> None:
    """Complete an optics table: what RELION needs and it lacks, and what is in use.

    The latter goes where it says another pixel or image size or a placeholder; the rest stays.

    Parameters
    ----------
    table : Table
        The optics table, changed in place.
    particles : Table
        The rows that are of its groups; another pixel size in them is replaced, too.
    source : Source
        Gives pixel size, box and what the user says of the microscope.
    warnings : list of Message
        Told of what is rewritten, and of usual values that were assumed.
    """
    rows = np.unique(dialects.optics_rows(particles, table))
    for each, used in ((table, rows), (particles, None)):
        set_pixel_size(each, _SIZES, source, warnings, used)
    if "rlnImageSize" in table:
        sizes = list(table.columns["rlnImageSize"])
        for row in rows:
            if number(table.texts("rlnImageSize")[row]) != source.box:
                sizes[row] = str(source.box)
        table.set("rlnImageSize", sizes)
    given = {
        "rlnImagePixelSize": f"{source.pixel_size:.6f}",
        "rlnImageSize": str(source.box),
        "rlnImageDimensionality": "2",
    }
    for label, text in given.items():
        if label not in table:
            table.set(label, text)
    assumed = [key for key in MICROSCOPE if _complete_microscope(table, particles, key, source.optics)]
    _warn_of_defaults(assumed, source.optics, warnings)


def fill_microscope(particles: Table, form: str, optics: Optics) -> None:
    """Fill in what the user said of the microscope where particles have a defocus and lack it.

    Their CTF was computed with it. This concerns particles whose own rows tell it (XMD, STAR 3.0, some of 3.1).

    Parameters
    ----------
    particles : Table
        Changed in place.
    form : str
        Of the table, as in io/dialects.py.
    optics : Optics
        What the user said.
    """
    xmipp = form == dialects.XMIPP
    if ("ctfDefocusU" if xmipp else "rlnDefocusU") not in particles:
        return
    for key, quantity in MICROSCOPE.items():
        label, given = quantity.xmipp if xmipp else quantity.relion, getattr(optics, key)
        if given is None or (form == dialects.RELION31 and label not in particles):  # then optics groups tell it
            continue
        texts = particles.texts(label) if label in particles else repeated("", len(particles))
        lacks = each_of(texts, partial(_lacks, key), bool)
        if lacks.any():
            particles.set(label, column_of(f"{given:.6f}" if lack else text for lack, text in zip(lacks, texts)))


def _lacks(key: str, text: str) -> bool:
    """Whether a text says nothing that a value of the microscope may be."""
    return not _POSSIBLE[key](number(text))


def _complete_microscope(table: Table, particles: Table, key: str, optics: Optics) -> bool:
    """Fill in a value of the microscope for the groups that have none: the particles' own, where their table has it,
    the user's, or the usual one. Returns whether one was filled in that the input does not have."""
    label = MICROSCOPE[key].relion
    numbers = [number(text) for text in table.texts(label)] if label in table else [np.nan] * len(table)
    lacking = [row for row, value in enumerate(numbers) if not _POSSIBLE[key](value)]
    if not lacking:
        return False
    texts = list(table.columns.get(label, [""] * len(table)))
    group_of = dialects.optics_rows(particles, table)
    own = particles.texts(label) if label in particles else None
    assumed = False
    for row in lacking:
        mine = [own[k] for k in np.flatnonzero(group_of == row)] if own is not None else []
        known = next((text for text in mine if _POSSIBLE[key](number(text))), None)
        texts[row] = known or f"{_value(optics, key):.6f}"
        assumed = assumed or known is None
    table.set(label, texts)
    return assumed


def _value(optics: Optics, key: str) -> float:
    value = getattr(optics, key)
    return MICROSCOPE[key].usual if value is None else float(value)


def _warn_of_defaults(keys: list[str], optics: Optics, warnings: list[Message]) -> None:
    unknown = [MICROSCOPE[key] for key in keys if getattr(optics, key) is None]
    if unknown:
        values = ", ".join(f"{quantity.words} {quantity.usual:g}{quantity.unit}" for quantity in unknown)
        options = [quantity.option for quantity in unknown]
        warnings.append(message("microscope_assumed", values=values, options=options))


def new_star(source: Source, warnings: list[Message]) -> list[Table]:
    """Optics and particles of 3.1 form for a bare stack or an XMD, whose defocus comes along.

    Parameters
    ----------
    source : Source
    warnings : list of Message
        Told of usual values that were assumed.

    Returns
    -------
    list of Table
        The optics table and the particles.
    """
    particles = Table("particles", {"rlnImageName": quoted(source.lasting_names())})
    table = source.table if source.table is not None else Table()
    for xmipp, relion in dialects.XMIPP_TO_RELION.items():
        if xmipp in table:
            particles.set(relion, table.columns[xmipp])
    known = [quantity for quantity in MICROSCOPE.values() if quantity.xmipp in table]
    # One optics group for each set of microscope values that occurs.
    per_particle = zip(*(table.texts(quantity.xmipp) for quantity in known)) if known else [()] * len(source)
    groups: dict[tuple[str, ...], int] = {}
    particles.set(
        "rlnOpticsGroup", column_of(str(groups.setdefault(values, len(groups) + 1)) for values in per_particle)
    )
    columns = {"rlnOpticsGroup": [str(number) for number in groups.values()]}
    for place, quantity in enumerate(known):
        columns[quantity.relion] = [values[place] for values in groups]
    made = Table("optics", columns)
    complete_optics(made, particles, source, warnings)
    dialects.name_optics_groups(made)
    return [made, particles]
