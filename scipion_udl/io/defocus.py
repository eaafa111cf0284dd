"""The contrast transfer of particles, as their table gives it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scipion_udl.io import forms
from scipion_udl.io.particles import ParticleSource

# label in RELION, label in Xmipp, value in all particles where the table has neither (None: no CTF without it)
_LABELS = {
    "defocus_u": ("rlnDefocusU", "ctfDefocusU", None),
    "defocus_v": ("rlnDefocusV", "ctfDefocusV", None),
    "angle": ("rlnDefocusAngle", "ctfDefocusAngle", 0.0),
    "phase_shift": ("rlnPhaseShift", "ctfVPPphaseshift", 0.0),
    "b_factor": ("rlnCtfBfactor", "ctfBfactor", 0.0),
    "voltage": ("rlnVoltage", "ctfVoltage", None),
    "cs": ("rlnSphericalAberration", "ctfSphericalAberration", None),
    "amplitude_contrast": ("rlnAmplitudeContrast", "ctfQ0", None),
}
_FLIPPED, _PREMULTIPLIED = "rlnCtfDataArePhaseFlipped", "rlnCtfDataAreCtfPremultiplied"


@dataclass
class Defocus:
    """What N particles' contrast transfer functions are made of, float64 (N,) each.

    defocus_u, defocus_v: angstrom of underfocus, the larger and the smaller as a rule; angle: degrees from x to the
    direction of defocus_u; phase_shift: degrees of a phase plate; b_factor: angstrom^2, the envelope exp(-B f^2 / 4);
    voltage: kV; cs: mm; amplitude_contrast: fraction; flipped: whether the images' phases were flipped already, None
    where the table does not say, or not the same of all; premultiplied: whether (some) images were multiplied by their
    transfer already.
    """

    defocus_u: np.ndarray
    defocus_v: np.ndarray
    angle: np.ndarray
    phase_shift: np.ndarray
    b_factor: np.ndarray
    voltage: np.ndarray
    cs: np.ndarray
    amplitude_contrast: np.ndarray
    flipped: bool | None = None
    premultiplied: bool = False


def read_defocus(source: ParticleSource) -> Defocus | None:
    """The contrast transfer that the table of ``source`` gives; None without a defocus for every particle or without
    the microscope's voltage, spherical aberration and amplitude contrast. Raises UdlError where a value is no number.
    """
    if source.table is None:
        return None
    values = {name: _column(source, *labels) for name, labels in _LABELS.items()}
    if any(value is None for value in values.values()):
        return None
    if not (values["defocus_u"] + values["defocus_v"] != 0).all() or not (values["voltage"] > 0).all():
        return None
    flipped, premultiplied = (_column(source, label, label, None) for label in (_FLIPPED, _PREMULTIPLIED))
    said = set() if flipped is None else set((flipped != 0).tolist())
    return Defocus(
        **values,
        flipped=said.pop() if len(said) == 1 else None,
        premultiplied=premultiplied is not None and bool((premultiplied != 0).any()),
    )


def _column(source: ParticleSource, relion: str, xmipp: str, default: float | None) -> np.ndarray | None:
    """A column (N,), of the particles or of their optics groups."""
    n = len(source)
    label = xmipp if source.form == forms.XMIPP else relion
    if label in source.table:
        return source.table.numbers(label)
    optics = forms.optics_table(source.tables)
    if optics is not None and label in optics:
        return optics.numbers(label)[forms.optics_rows(source.table, optics)]
    return None if default is None else np.full(n, default)
