"""The contrast transfer function of every particle, on the coefficients that alignment works with (through torch-ctf).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from scipion_udl.io.defocus import Defocus

MODES = ("flipped", "signed", "none")


class ContrastTransfer:
    """Contrast transfer functions of N particles.

    defocus: what they are made of; field: side of the box, angstrom; mode: "flipped" (phases were flipped, their
    transfer is the absolute value), "signed", or "none" (every transfer is 1: the particles are taken as they are).
    """

    def __init__(self, defocus: Defocus, field: float, mode: str = "flipped") -> None:
        if mode not in MODES:
            raise ValueError(f"{mode} is none of {', '.join(MODES)}")
        self.defocus, self.field, self.mode = defocus, field, mode

    def evaluate(self, indices: np.ndarray, box: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """The transfer (n, box, box//2 + 1), float32, of particles ``indices`` for half-plane coefficients.

        Its sign is positive at the lowest frequencies, so that particles stay as bright or dark as they are.
        """
        if self.mode == "none":
            return torch.ones(len(indices), box, box // 2 + 1, device=device)
        values = contrast_transfer(_rows(self.defocus, indices), box, self.field / box, device)
        return values.abs() if self.mode == "flipped" else values

    def with_mode(self, mode: str) -> ContrastTransfer:
        """The same particles, their images taken another way."""
        return ContrastTransfer(self.defocus, self.field, mode)


def contrast_transfer(
    defocus: Defocus, box: int, pixel_size: float, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """The signed transfer with its envelope, (N, box, box//2 + 1) float32, positive at the lowest frequencies.

    pixel_size: angstrom. The phase is that of the weak-phase approximation with amplitude contrast as RELION and
    CTFFIND write it; the defocus angle counts from x towards y (down), in degrees.
    """
    from torch_ctf import calculate_ctf_2d

    def column(values: np.ndarray, scale: float = 1.0) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.float64) * scale, dtype=torch.float32, device=device)

    def common(values: np.ndarray) -> float | torch.Tensor:
        same = len(values) == 0 or (values == values[0]).all()
        return float(values[0]) if same and len(values) else column(values)

    mean, half = (defocus.defocus_u + defocus.defocus_v) / 2, (defocus.defocus_u - defocus.defocus_v) / 2
    round_beam = not half.any()
    values = calculate_ctf_2d(
        defocus=column(mean, 1e-4),
        astigmatism=0.0 if round_beam else column(half, 1e-4),
        astigmatism_angle=0.0 if round_beam else column(defocus.angle),
        voltage=common(defocus.voltage),
        spherical_aberration=common(defocus.cs),
        amplitude_contrast=common(defocus.amplitude_contrast),
        phase_shift=common(defocus.phase_shift),
        pixel_size=pixel_size,
        image_shape=(box, box),
        rfft=True,
        fftshift=False,
    )
    values = torch.where(values[:, :1, :1] < 0, -values, values)
    if defocus.b_factor.any():
        ky = torch.fft.fftfreq(box, pixel_size, device=device)
        kx = torch.fft.rfftfreq(box, pixel_size, device=device)
        square = ky[:, None] ** 2 + kx[None] ** 2
        values = values * torch.exp(-0.25 * column(defocus.b_factor)[:, None, None] * square)
    return values


def _rows(defocus: Defocus, indices: np.ndarray) -> Defocus:
    names = [name for name, value in vars(defocus).items() if isinstance(value, np.ndarray)]
    return replace(defocus, **{name: getattr(defocus, name)[indices] for name in names})
