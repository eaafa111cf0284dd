"""Polar log spectra: what the networks see of a particle. Blind to its shift; turning the particle shifts them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional

from scipion_udl.imaging.fourier import resize, soft_disc, to_images


@dataclass(frozen=True)
class SpectraSettings:
    """How polar spectra are sampled.

    box: the particles are Fourier cropped to this box first (pixels); r_min, r_max: the band, Fourier pixels, one
    radius each; angles: directions over 180 degrees; mask: radius of the disc about the particle as a part of the box.
    """

    box: int = 64
    r_min: int = 2
    r_max: int = 20
    angles: int = 128
    mask: float = 0.42

    @property
    def radii(self) -> int:
        """Number of radii."""
        return self.r_max - self.r_min + 1

    @classmethod
    def for_box(cls, box: int) -> SpectraSettings:
        """Settings for particles in a working box of ``box`` pixels: 64 px, or less for smaller particles.

        Parameters
        ----------
        box : int
            Side of the box, pixels.

        Returns
        -------
        SpectraSettings
            The settings.
        """
        small = min(64, box - box % 2)
        return cls(box=small, r_max=max(cls.r_min, min(20, round(0.3 * small))))

    def of(self, coefficients: torch.Tensor, box: int) -> torch.Tensor:
        """See :func:`polar_log_spectra`.

        Parameters
        ----------
        coefficients : (N, box, box//2 + 1) complex tensor
            Of whitened particles.
        box : int
            Side of the box, pixels.

        Returns
        -------
        (N, radii, angles) float32 tensor
            The polar spectra.
        """
        return polar_log_spectra(coefficients, box, self)


def polar_log_spectra(coefficients: torch.Tensor, box: int, settings: SpectraSettings) -> torch.Tensor:
    """Polar log spectra (N, radii, angles), float32, of whitened coefficients (N, box, box//2 + 1).

    Bin a of the last axis is the direction a * 180 / angles degrees from +x towards +y. The logarithm is that of 1 +
    the amplitude in units of the noise; its mean over the directions is taken off per radius, so that what is left does
    not know the particle's contrast transfer function but through its signal. After Chen, Feng, Shen 2023 (log
    amplitude), sampled on a polar grid with the spectrum oversampled twice by zero padding.

    Parameters
    ----------
    coefficients : (N, box, box//2 + 1) complex tensor
        Of whitened particles.
    box : int
        Side of the box, pixels.
    settings : SpectraSettings
        How they are sampled.

    Returns
    -------
    (N, radii, angles) float32 tensor
        The polar spectra.
    """
    amplitude = log_amplitude(coefficients, box, settings.box, settings.mask)
    grid = _polar_grid(settings, amplitude.device).expand(len(amplitude), -1, -1, -1)
    polar = functional.grid_sample(amplitude[:, None], grid, mode="bicubic", align_corners=False)[:, 0]
    return polar - polar.mean(-1, keepdim=True)


def log_amplitude(coefficients: torch.Tensor, box: int, small: int, mask: float) -> torch.Tensor:
    """log(1 + amplitude in units of the noise), (N, 2 small, 2 small), of whitened coefficients (N, box, box//2 + 1).

    The particles are brought to the box ``small`` and masked with a disc of radius ``mask``, a part of it; the spectrum
    is oversampled twice, its origin at pixel ``small``.

    Parameters
    ----------
    coefficients : (N, box, box//2 + 1) complex tensor
        Of whitened particles.
    box : int
        Side of the box, pixels.
    small : int
        Side of the smaller box, pixels.
    mask : float
        Radius of the disc as a part of the box.

    Returns
    -------
    (N, 2 small, 2 small) tensor
        The origin at pixel ``small``.
    """
    images = to_images(resize(coefficients, box, small), small)
    disc = soft_disc(small, mask * small, 0.08 * small, images.device)
    images = less_background(images, disc) * disc
    padded = 2 * small
    amplitude = torch.fft.fft2(images, s=(padded, padded)).abs() / (small * disc.pow(2).mean().sqrt())
    return torch.fft.fftshift(torch.log1p(amplitude), dim=(-2, -1))


def less_background(images: torch.Tensor, disc: torch.Tensor) -> torch.Tensor:
    """Images (N, D, D) less the mean of each outside of the disc (D, D).

    Parameters
    ----------
    images : (N, D, D) tensor
        Images.
    disc : (D, D) tensor
        1 within the particle, 0 outside.

    Returns
    -------
    (N, D, D) tensor
        The same, with a mean of 0 outside of the disc.
    """
    outside = 1 - disc
    return images - (images * outside).sum((-2, -1), keepdim=True) / outside.sum()


def _polar_grid(settings: SpectraSettings, device: torch.device) -> torch.Tensor:
    """Where the polar samples lie in the padded spectrum, in grid_sample's coordinates, (1, radii, angles, 2)."""
    padded = 2 * settings.box
    radius = 2.0 * torch.arange(settings.r_min, settings.r_max + 1, device=device)[:, None]
    theta = torch.arange(settings.angles, device=device)[None] * (math.pi / settings.angles)
    xy = torch.stack([radius * theta.cos(), radius * theta.sin()], -1)
    return ((xy + 0.5) * (2 / padded))[None]
