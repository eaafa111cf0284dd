"""The CTF of particles, as their table gives it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scipion_udl.constants import LEAST_VOLTAGE, MOST_ABERRATION, MOST_DEFOCUS, MOST_VOLTAGE
from scipion_udl.errors import UdlError
from scipion_udl.imaging.defocus import Defocus
from scipion_udl.io import dialects
from scipion_udl.io.source import Source
from scipion_udl.messages import Message, message

# label in RELION, label in Xmipp, smallest and largest value that a microscope has, name in messages with its unit
_LABELS = {
    "defocus_u": ("rlnDefocusU", "ctfDefocusU", -MOST_DEFOCUS, MOST_DEFOCUS, "a defocus of {:g} A"),
    "defocus_v": ("rlnDefocusV", "ctfDefocusV", -MOST_DEFOCUS, MOST_DEFOCUS, "a defocus of {:g} A"),
    "angle": ("rlnDefocusAngle", "ctfDefocusAngle", -1e5, 1e5, "an astigmatism axis at {:g} degrees"),
    "phase_shift": ("rlnPhaseShift", "ctfVPPphaseshift", -1e5, 1e5, "a phase shift of {:g} degrees"),
    "b_factor": ("rlnCtfBfactor", "ctfBfactor", -1e4, 1e4, "a B-factor of {:g} A^2"),
    "voltage": ("rlnVoltage", "ctfVoltage", LEAST_VOLTAGE, MOST_VOLTAGE, "a voltage of {:g} kV"),
    "cs": (
        *("rlnSphericalAberration", "ctfSphericalAberration", 0.0, MOST_ABERRATION),
        "a spherical aberration of {:g} mm",
    ),
    "amplitude_contrast": ("rlnAmplitudeContrast", "ctfQ0", 0.0, 1.0, "an amplitude contrast of {:g}"),
}
_ZERO = ("angle", "phase_shift", "b_factor")  # 0 where they are not given
_MICROSCOPE = {
    "voltage": ("voltage", "--voltage", " kV"),
    "cs": ("spherical aberration", "--cs", " mm"),
    "amplitude_contrast": ("amplitude contrast", "--amplitude-contrast", ""),
}
_STAND_IN = {"voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1}  # of rows whose CTF is not used
_SAMPLE = 32  # particles that stand for all where a mean CTF will do, at most
_LEAST = 1.0  # angstrom: nothing is that near to focus, but 0, 1 and -1 stand for no estimate
_FLIPPED, _PREMULTIPLIED = "rlnCtfDataArePhaseFlipped", "rlnCtfDataAreCtfPremultiplied"
# All columns that may tell of it, in RELION and in Xmipp.
CTF_LABELS = (*(label for labels in _LABELS.values() for label in labels[:2]), _FLIPPED, _PREMULTIPLIED)


def read_defocus(
    source: Source,
    warn: Callable[[Message], None] = lambda sentence: None,
) -> Defocus | None:
    """The CTF parameters that a particle table gives.

    Voltage, spherical aberration and amplitude contrast come from ``source.optics`` for particles whose table lacks
    them. A row without a defocus, with 0 or a placeholder for it, is not ``known``: it takes nothing from the others.
    As RELION reads its tables: no rlnDefocusV means no astigmatism, no rlnCtfDataArePhaseFlipped in optics group or row
    means not flipped.

    Parameters
    ----------
    source : Source
        N particles.
    warn : callable, optional
        Told a Message of what lacks.

    Returns
    -------
    Defocus or None
        Of N particles; None without a defocus, or where the microscope is known of no particle.

    Raises
    ------
    UdlError
        Where a value is no number, or one that no microscope has; names row, value and column.
    """
    if source.table is None:
        return None
    columns = {name: _column(source, name) for name in _LABELS}
    if columns["defocus_u"] is None:
        return None
    if columns["defocus_v"] is None:
        columns["defocus_v"] = columns["defocus_u"]
    n, values, filled = len(source), {}, []
    for name, column in columns.items():
        # What all particles share takes the memory of one: millions of them have eight such columns.
        values[name] = np.broadcast_to(0.0 if name in _ZERO else np.nan, n) if column is None else column
        if name in _MICROSCOPE:
            given = getattr(source.optics, name)
            values[name], count = _filled(name, values[name], given)
            if count:
                word, option, unit = _MICROSCOPE[name]
                filled.append(f"{word} {given:g}{unit} ({option}, {count} of {n} particles)")
    in_focus = (abs(values["defocus_u"]) <= _LEAST) | (abs(values["defocus_v"]) <= _LEAST)
    defocused = np.isfinite(values["defocus_u"] + values["defocus_v"]) & ~in_focus
    lacking = [name for name in _MICROSCOPE if np.isnan(values[name][defocused]).any()]
    known = defocused & np.logical_and.reduce([np.isfinite(values[name]) for name in _MICROSCOPE])
    _tell(source, defocused, known, lacking, warn)
    if not known.any():
        return None
    for name in values:
        own = known & np.isfinite(values[name])
        if not own.all():
            values[name] = np.where(own, values[name], _STAND_IN.get(name, 0.0))
    flipped, said, premultiplied = _applied(source)
    told = message("microscope_of_options", filled=", ".join(filled)) if filled else None
    return Defocus(**values, known=known, flipped=flipped, said=said, premultiplied=premultiplied, filled=told)


def _applied(source: Source) -> tuple[np.ndarray | None, bool, np.ndarray]:
    """Which images' phases were flipped, whether the table says it, and which were multiplied by their CTF."""
    flipped, premultiplied = phase_flips(source), _flags(source, _PREMULTIPLIED)
    said, none = flipped is not None, np.zeros(len(source), bool)
    if not said and source.form != dialects.XMIPP:
        flipped = none
    return flipped, said, none.copy() if premultiplied is None else premultiplied


def sampled_defocus(source: Source, rows: np.ndarray | None = None) -> Defocus | None:
    """The defocus of at most 32 particles, where a sample will do.

    Parameters
    ----------
    source : Source
    rows : int array, optional
        The first of these (from 0) are taken; by default they are spread over the table.

    Returns
    -------
    Defocus or None
        None where the table does not give it, or gives what is no defocus (which who uses it for more than this will
        tell).
    """
    if rows is None:
        rows = np.linspace(0, len(source) - 1, min(_SAMPLE, len(source))).round().astype(int)
    try:
        return read_defocus(source.subset(rows[:_SAMPLE]))
    except UdlError:
        return None


def phase_flips(source: Source) -> np.ndarray | None:
    """Which images' phases were flipped, as the table says of their optics group or row.

    Parameters
    ----------
    source : Source
        N particles.

    Returns
    -------
    (N,) bool array or None
        None where the table does not say it.
    """
    return None if source.table is None else _flags(source, _FLIPPED)


def _filled(name: str, values: np.ndarray, given: float | None) -> tuple[np.ndarray, int]:
    """A column of the microscope with what was given in place of what lacks, and for how many; a voltage of 0, or
    anything below 0, lacks."""
    lacks = ~(values > 0) if name == "voltage" else ~(values >= 0)
    if not lacks.any():
        return values, 0
    if given is None:
        return np.where(lacks, np.nan, values), 0
    return np.where(lacks, given, values), int(lacks.sum())


def _tell(
    source: Source,
    defocused: np.ndarray,
    known: np.ndarray,
    lacking: list[str],
    warn: Callable[[Message], None],
) -> None:
    """Warn of what takes the CTF from some particles, or from all."""
    n = len(source)
    what, options = _listed([_MICROSCOPE[name][0] for name in lacking]), [_MICROSCOPE[name][1] for name in lacking]
    if not defocused.any():
        warn(message("defocus_without_value", path=source.path))
    elif not known.any():
        warn(message("defocus_without_microscope", path=source.path, lacking=what, options=options))
    else:
        for rows, code, lack in (
            (~defocused, "defocus_lacking_in_rows", "defocus"),
            (defocused & ~known, "microscope_lacking_in_rows", what),
        ):
            if rows.any():
                first = int(np.flatnonzero(rows)[0])
                warn(
                    message(
                        code,
                        path=source.path,
                        lacking=lack,
                        count=rows.sum(),
                        total=n,
                        item=source.numbers[first],
                        name=source.names[first],
                        options=options,
                    )
                )


def _listed(words: list[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def _flags(source: Source, label: str) -> np.ndarray | None:
    """A yes or no for each particle (N,) bool, None where the table says it of none."""
    values = _values(source, label)
    if values is None or np.isnan(values).all():
        return None
    return np.nan_to_num(values) != 0


def _column(source: Source, name: str) -> np.ndarray | None:
    """A column (N,), NaN where a value is not known. Raises UdlError for one that no microscope has."""
    relion, xmipp, low, high, words = _LABELS[name]
    label = xmipp if source.form == dialects.XMIPP else relion
    values = _values(source, label)
    if values is None:
        return None
    # Below 0, and 0 kV, stand for what is not known (see _filled).
    wrong = np.flatnonzero((values > high) | ((values < low) & ((values > 0) | (low < 0))))
    if len(wrong):
        row = int(wrong[0])
        span = f"from {max(low, 0):g} to {high:g}" if low >= 0 else f"of at most {high:g}"
        raise UdlError(
            message(
                "defocus_out_of_range",
                path=source.path,
                row=row + 1,
                value=words.format(values[row]),
                label=label,
                span=span,
            )
        )
    return np.where(np.isnan(values), 0.0, values) if name in _ZERO and np.isnan(values).any() else values


def _values(source: Source, label: str) -> np.ndarray | None:
    """Numbers (N,) of the particles or of their optics groups, NaN where not known; None without such a column."""
    if source.table is None:
        return None
    if label in source.table:
        known = source.table.known(label)
        return np.broadcast_to(known[0], len(source)) if (known == known[0]).all() else known
    optics = dialects.optics_table(source.tables)
    if optics is not None and label in optics:
        known, rows = optics.known(label), dialects.optics_rows(source.table, optics)
        return np.broadcast_to(known[0], len(source)) if len(known) == 1 else known[rows]
    return None
