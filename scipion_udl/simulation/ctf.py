"""The contrast transfer function of simulated particles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scipion_udl.imaging.defocus import Defocus


@dataclass
class CtfSettings:
    """How the microscope changes the particles.

    defocus: lowest and highest, in micrometers of underfocus, drawn uniformly for each particle; voltage: kV; cs: mm;
    amplitude_contrast: fraction; b_factor: angstrom^2, the envelope exp(-B f^2 / 4); signed: keep the sign of the CTF
    (False: its absolute value, as after phase flipping).
    """

    defocus: tuple[float, float] = (0.5, 2.0)
    voltage: float = 300.0
    cs: float = 2.7
    amplitude_contrast: float = 0.07
    b_factor: float = 50.0
    signed: bool = False


def simulated_ctf(
    settings: CtfSettings,
    defocus: np.ndarray,
    box: int,
    pixel_size: float,
    defocus_v: np.ndarray | None = None,
    angle: np.ndarray | None = None,
) -> np.ndarray:
    """The CTF of each particle with its envelope.

    It is positive at the lowest frequencies, so that particles stay as bright or dark as the template is.

    Parameters
    ----------
    settings : CtfSettings
    defocus : (N,) array
        Micrometers of underfocus.
    box : int
        Pixels.
    pixel_size : float
        Angstrom.
    defocus_v : (N,) array, optional
        Micrometers, of an astigmatic beam, across the direction of ``defocus``; by default it is round.
    angle : (N,) array, optional
        Degrees from x to the direction of ``defocus``.

    Returns
    -------
    (N, box, box // 2 + 1) float32 array
        As rfft2 has it.
    """
    from scipion_udl.imaging.ctf import evaluate_ctf

    defocus = np.asarray(defocus, np.float64) * 1e4

    def all_of(value: float) -> np.ndarray:
        return np.full(len(defocus), value)

    values = evaluate_ctf(
        Defocus(
            defocus_u=defocus,
            defocus_v=defocus if defocus_v is None else np.asarray(defocus_v, np.float64) * 1e4,
            angle=all_of(0.0) if angle is None else np.asarray(angle, np.float64),
            phase_shift=all_of(0.0),
            b_factor=all_of(settings.b_factor),
            voltage=all_of(settings.voltage),
            cs=all_of(settings.cs),
            amplitude_contrast=all_of(settings.amplitude_contrast),
        ),
        box,
        pixel_size,
    ).numpy()
    return values if settings.signed else np.abs(values)
