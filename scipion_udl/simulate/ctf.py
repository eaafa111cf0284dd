"""The contrast transfer function of simulated particles, through torch-ctf."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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


def transfer(settings: CtfSettings, defocus: np.ndarray, box: int, pixel_size: float) -> np.ndarray:
    """The CTF with its envelope for rfft2 of (box, box) images, float32 (N, box, box//2 + 1).

    defocus: (N,) micrometers; pixel_size: angstrom. Its sign is positive at the lowest frequencies, so that particles
    stay as bright or dark as the template is.
    """
    import torch
    from torch_ctf import calculate_ctf_2d

    values = calculate_ctf_2d(
        defocus=torch.as_tensor(np.asarray(defocus, np.float64), dtype=torch.float32),
        astigmatism=0.0,
        astigmatism_angle=0.0,
        voltage=settings.voltage,
        spherical_aberration=settings.cs,
        amplitude_contrast=settings.amplitude_contrast,
        phase_shift=0.0,
        pixel_size=pixel_size,
        image_shape=(box, box),
        rfft=True,
        fftshift=False,
    ).numpy()
    if values[0, 0, 0] < 0:
        values = -values
    if not settings.signed:
        values = np.abs(values)
    frequency2 = (np.fft.fftfreq(box)[:, None] ** 2 + np.fft.rfftfreq(box)[None] ** 2) / pixel_size**2
    return (values * np.exp(-0.25 * settings.b_factor * frequency2)).astype(np.float32)
