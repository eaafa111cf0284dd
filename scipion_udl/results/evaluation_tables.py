"""What `evaluate` prints and writes as text: figures of merit as tables for the screen, as CSV with their meaning."""

from __future__ import annotations

import numpy as np

from scipion_udl.io.output.data_files import write_csv
from scipion_udl.validation.correntropy import UNRELATED
from scipion_udl.validation.pose_errors import periods
from scipion_udl.validation.reference_match import ReferenceMatch

_STATISTICS = (("mean", "mean"), ("median", "median"), ("90th percentile", "p90"), ("signed mean", "signed"))
_COLUMNS = {"": "full circle", "_180": "modulo 180", "_symmetry": "modulo {:g}"}
_WHOLE_CIRCLE = ", full circle"


def rotation_table(result: dict[str, float], symmetry: int | None, prefix: str = "") -> list[str]:
    """Rotation errors, one column a period, and shift errors, as lines.

    Parameters
    ----------
    result : dict of str to float
        Figures by name.
    symmetry : int or None
        How many times the view looks the same in a rotation; None where nobody says it.
    prefix : str, optional
        Of their names in ``result``.

    Returns
    -------
    list of str
        Lines.
    """
    r, endings = result, periods(symmetry)
    lines = [f"{'':32}" + "".join(f"{_COLUMNS[ending].format(p):>14}" for ending, p in endings.items())]
    for name, key in _STATISTICS:
        values = (f"{r[f'{prefix}rotation_{key}{ending}']:>10.2f} deg" for ending in endings)
        lines.append(f"{f'rotation error, {name}':32}" + "".join(values))
    within = (f"{100 * r[f'{prefix}within_5{ending}']:>12.1f} %" for ending in endings)
    lines.append(f"{'within 5 degrees':32}" + "".join(within))
    if f"{prefix}right_way_round" in r:
        lines.append(f"{'right way round':32}{100 * r[f'{prefix}right_way_round']:>12.1f} %")
    for name, key in (("RMS", "shift_rms"), ("median", "shift_median")):
        pixels, angstrom = r[f"{prefix}{key}"], r[f"{prefix}{key}_angstrom"]
        lines.append(f"{f'shift error, {name}':32}{pixels:>11.2f} px{angstrom:>12.2f} A")
    return [*lines, "(shift errors are those of what is the right way round)"]


def truth_table(result: dict[str, float], symmetry: int | None, aligned: str, truth: str) -> str:
    """The figures of :func:`pose_errors.compare` and :func:`pose_errors.bias` as a table for the screen.

    Parameters
    ----------
    result : dict of str to float
        Figures by name.
    symmetry : int or None
        How many times the view looks the same in a rotation; None where nobody says it.
    aligned, truth : str
        The files that were compared.

    Returns
    -------
    str
        Several lines.
    """
    r = result
    return "\n".join(
        [
            f"{r['particles']} particles of {aligned} against {truth}",
            "",
            *rotation_table(r, symmetry),
            f"{'taken out, common to all':32}{r['common_turn']:>10.2f} deg, shift {r['common_shift_x']:.2f}, "
            f"{r['common_shift_y']:.2f} px",
        ]
    )


def pairs_table(result: dict[str, float], symmetry: int | None) -> str:
    """The figures of :func:`pose_errors.compare_pairs` as a table for the screen.

    Parameters
    ----------
    result : dict of str to float
        Figures by name.
    symmetry : int or None
        How many times the view looks the same in a rotation; None where nobody says it.

    Returns
    -------
    str
        Several lines.
    """
    return "\n".join(
        [
            "",
            f"{result['pairs']} pairs: how each particle lies to the next one of the table",
            "",
            *rotation_table(result, symmetry, "pair_"),
            f"{'bias, taken out':32}{result['pair_bias']:>10.2f} deg",
        ]
    )


def reference_table(result: dict[str, float], image: str, unit: str, match: ReferenceMatch) -> str:
    """The figures of a comparison with a reference as lines for the screen.

    Parameters
    ----------
    result : dict of str to float
        Figures by name.
    image : str
        The reference.
    unit : str
        Of the resolution.
    match : ReferenceMatch
        How the average was laid on it.

    Returns
    -------
    str
        Several lines.
    """
    resolution = result["resolution_frc_0.5"]
    falls = f"{resolution:.3g} {unit}" if np.isfinite(resolution) else "nowhere above it"
    if match.reaches_end:
        falls = f"{resolution:.3g} {unit} or finer (the curve stays above 0.5)"
    lines = [
        "",
        f"the average against {image}",
        "",
        f"{'correlation (masked)':32}{result['correlation']:>10.4f}",
        f"{'correntropy (masked)':32}{result['correntropy']:>10.4f}",
        f"{'FRC falls to 0.5 at':32}{falls:>13}",
        f"{'average rotated by':32}{result['turn']:>10.2f} deg, shifted by "
        f"{result['shift_x']:.2f}, {result['shift_y']:.2f} px onto the reference",
    ]
    if match.correlation < 0:
        lines.append("The contrast of the reference is the opposite of the particles': the correlation is negative.")
    return "\n".join(lines)


def consistency_table(result: dict[str, float], count: int, unit: str, reaches_end: bool) -> str:
    """The figures of what parts of a set agree on, as lines for the screen.

    Parameters
    ----------
    result : dict of str to float
        Figures by name.
    count : int
        Particles of the set.
    unit : str
        Of the resolution.
    reaches_end : bool
        Whether the FRC never falls so low.

    Returns
    -------
    str
        Several lines.
    """
    lines = ["", f"self-consistency: averages of parts of the {count} particles, by the poses given", ""]
    for number in (2, 4):
        if f"correntropy_{number}" in result:
            value = result[f"correntropy_{number}"]
            lines.append(f"{f'correntropy of {number} averages':32}{value:>10.4f}")
    if "pair_correntropy" in result:
        lines.append(f"{'correntropy with the next':32}{result['pair_correntropy']:>10.4f}   (single particles)")
    if len(lines) > 3:
        lines.append(f"(1 where images are equal, {UNRELATED:.3f} where they have nothing in common)")
    if "half_frc_0.143" in result:
        falls = result["half_frc_0.143"]
        text = f"{falls:.3g} {unit}" if np.isfinite(falls) else "nowhere above it"
        lines.append(f"{'FRC of 2 averages is 0.143 at':32}{text:>13}{' or finer' if reaches_end else ''}")
        lines.append(
            "(No resolution is claimed by it: parts that were aligned to a common reference, or to each other, agree\n"
            " on its noise, too, and look better than they are. `align` claims one, by halves it keeps apart.)"
        )
    return "\n".join(lines)


_MEANING = {
    "particles": ("", "particles compared"),
    "right_way_round": ("", "share of the particles that are less than 90 degrees off"),
    "common_turn": ("deg", "rotation common to all particles, taken out"),
    "common_shift_x": ("px", "shift in x common to all particles, taken out"),
    "common_shift_y": ("px", "shift in y common to all particles, taken out"),
    "pairs": ("", "pairs of a particle and the next one of the table"),
    "pair_bias": ("deg", "constant that the rotations of all pairs are off by, taken out"),
    "pair_correntropy": ("", "mean correntropy of an aligned particle and the next one of the table"),
    "correlation": ("", "correlation of average and reference within a soft circle"),
    "correntropy": ("", "correntropy of average and reference within a soft circle"),
    "resolution_frc_0.5": ("A", "where the FRC of average and reference falls to 0.5"),
    "turn": ("deg", "rotation that brings the average onto the reference"),
    "shift_x": ("px", "shift in x that brings the average onto the reference"),
    "shift_y": ("px", "shift in y that brings the average onto the reference"),
    "correntropy_2": ("", "correntropy of the averages of 2 parts"),
    "correntropy_4": ("", "correntropy of the averages of 4 parts, mean over all pairs"),
    "half_frc_0.143": ("A", "where the FRC of the averages of 2 parts falls to 0.143; not a claim of resolution"),
}
_ROTATION = {
    "rotation_mean": ("deg", "mean absolute rotation error"),
    "rotation_median": ("deg", "median absolute rotation error"),
    "rotation_p90": ("deg", "90th percentile of the absolute rotation error"),
    "rotation_signed": ("deg", "signed mean of the rotation errors below 90 degrees"),
    "within_5": ("", "share of the particles that are within 5 degrees"),
}
_SHIFT = {
    "shift_rms": ("px", "RMS length of the shift error of those the right way round"),
    "shift_median": ("px", "median length of the shift error of those the right way round"),
    "shift_rms_angstrom": ("A", "RMS length of the shift error of those the right way round"),
    "shift_median_angstrom": ("A", "median length of the shift error of those the right way round"),
}


def meaning(figure: str, symmetry: int | None = None) -> tuple[str, str]:
    """What a figure of merit means.

    Parameters
    ----------
    figure : str
        Its name.
    symmetry : int, optional
        How many times the view looks the same in a rotation; None where nobody says it.

    Returns
    -------
    str
        Its unit.
    str
        Its meaning.
    """
    if figure in _MEANING:
        return _MEANING[figure]
    name = figure[len("pair_") :] if figure.startswith("pair_") else figure
    of = "pairs: " if name != figure else ""
    if name in _SHIFT:
        unit, text = _SHIFT[name]
        return unit, of + text
    ending = max((ending for ending in periods(symmetry) if name.endswith(ending)), key=len)
    unit, text = _ROTATION[name[: len(name) - len(ending)]]
    return unit, of + text + (f" modulo {periods(symmetry)[ending]:g} degrees" if ending else _WHOLE_CIRCLE)


def write_figures(path: str, result: dict[str, float], symmetry: int | None = None, unit: str = "A") -> None:
    """Write evaluation.csv: figure, value, unit, meaning.

    Parameters
    ----------
    path : str
        The file.
    result : dict of str to float
        Figures by name.
    symmetry : int, optional
        How many times the view looks the same in a rotation; None where nobody says it.
    unit : str, optional
        Of what is in angstrom where the pixel size is known.
    """
    meanings = {key: meaning(key, symmetry) for key in result}
    rows = (
        [key, f"{value:.6g}", unit if meanings[key][0] == "A" else meanings[key][0], meanings[key][1]]
        for key, value in result.items()
    )
    write_csv(path, ["figure", "value", "unit", "meaning"], rows)
