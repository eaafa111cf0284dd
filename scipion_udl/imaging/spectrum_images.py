"""Log spectra as images: what the paper's pair networks see of a particle. Blind to its shift; they rotate with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional

from scipion_udl.imaging.fourier import distances, resize, soft_disc, to_images
from scipion_udl.imaging.polar_spectra import less_background, log_amplitude

SCALINGS = ("rings", "published")
OVERSAMPLING = 2  # of the spectra that are rotated: what is between their samples is known then


@dataclass(frozen=True)
class SpectrumImageSettings:
    """How spectra are sampled.

    box: the particles are Fourier cropped to this box first (pixels); size: side of the spectrum, which is its inner
    part, Fourier pixels; r_max: what lies farther out is 0; mask: radius of the disc about the particle as a part of
    the box. scaling: "rings", the logarithm of 1 + the amplitude in units of the noise, less its mean over each ring,
    so that what does not turn is gone; "published": image scaled to 0 to 1, log(1 + amplitude), scaled to 0 to 1, no
    mask. Either leaves out what would tell a network by how much a spectrum was rotated, which nothing in the particle
    says: the corners of the square, and the edge of the box.
    """

    box: int = 64
    size: int = 32
    r_max: int = 15
    mask: float = 0.42
    scaling: str = "rings"

    @classmethod
    def published(cls, size: int = 128) -> SpectrumImageSettings:
        """As Chen, Feng, Shen (J. Struct. Biol. 215, 2023, 107940) have it.

        Parameters
        ----------
        size : int, optional
            Side of the spectrum, Fourier pixels.

        Returns
        -------
        SpectrumImageSettings
            The settings.
        """
        return cls(box=size, size=size, r_max=size // 2 - 1, scaling="published")

    def of(self, coefficients: torch.Tensor, box: int) -> torch.Tensor:
        """Spectra (N, 1, size, size), float32, of whitened coefficients (N, box, box//2 + 1) of a box.

        Parameters
        ----------
        coefficients : (N, box, box//2 + 1) complex tensor
            Of whitened particles.
        box : int
            Side of the box, pixels.

        Returns
        -------
        (N, 1, size, size) float32 tensor
            The spectra.
        """
        return self.rotated(self.fine(coefficients, box))

    def fine(self, coefficients: torch.Tensor, box: int) -> torch.Tensor:
        """The same, sampled OVERSAMPLING times as finely, (N, F, F), the origin at pixel F//2, so that they can be
        rotated.

        Parameters
        ----------
        coefficients : (N, box, box//2 + 1) complex tensor
            Of whitened particles.
        box : int
            Side of the box, pixels.

        Returns
        -------
        (N, F, F) tensor
            The fine spectra.
        """
        if self.scaling == "published":
            return self._published(coefficients, box)
        inner = slice(self.box - self.size, self.box + self.size)
        amplitude = log_amplitude(coefficients, box, self.box, self.mask)[:, inner, inner]
        return _less_ring_means(amplitude, OVERSAMPLING * self.r_max)

    def _published(self, coefficients: torch.Tensor, box: int) -> torch.Tensor:
        images = _to_unit(to_images(resize(coefficients, box, self.box), self.box))
        fine, device = OVERSAMPLING * self.box, images.device
        # A level that ends with the box gives a cross, which turns with the spectrum, too.
        images = less_background(images, soft_disc(self.box, self.mask * self.box, 0.08 * self.box, device))
        amplitude = torch.log1p(torch.fft.fft2(images, s=(fine, fine)).abs())
        # So does the square that a smaller box has filled.
        reach = OVERSAMPLING * min(self.r_max, box // 2 - 1)
        disc = soft_disc(fine, reach - OVERSAMPLING, 2.0 * OVERSAMPLING, device)
        return _to_unit(torch.fft.fftshift(amplitude, dim=(-2, -1))) * disc

    def inside(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """1 where a spectrum holds something, 0 elsewhere, (size, size).

        Parameters
        ----------
        device : torch.device or str, optional
            Where the result lies.

        Returns
        -------
        (size, size) float32 tensor
            0 or 1.
        """
        radius = distances(self.size, device)
        innermost = 0 if self.scaling == "published" else 2
        return ((radius <= self.r_max) & (radius >= innermost)).float()

    def rotated(self, fine: torch.Tensor, angle: torch.Tensor | None = None) -> torch.Tensor:
        """Spectra (N, 1, size, size) of fine ones (N, F, F), as if each particle had been rotated by the pose angle
        (N,), degrees (None: 0).

        Parameters
        ----------
        fine : (N, F, F) tensor
            Fine spectra, of :meth:`fine`.
        angle : (N,) tensor, optional
            Pose angles, degrees.

        Returns
        -------
        (N, 1, size, size) tensor
            The spectra.
        """
        count, length = len(fine), fine.shape[-1]
        radians = torch.deg2rad(torch.zeros(count, device=fine.device) if angle is None else angle.float())
        cos, sin, zero = torch.cos(radians), torch.sin(radians), torch.zeros_like(radians)
        back = torch.stack([torch.stack([cos, sin, zero], -1), torch.stack([-sin, cos, zero], -1)], -2)
        # grid_sample counts from -1 to 1 over the outer edges of the pixels; the origins are pixels size//2 and F//2.
        axis = (torch.arange(self.size, device=fine.device) - self.size // 2) * (OVERSAMPLING * 2.0 / length)
        points = torch.stack([axis.expand(self.size, -1), axis[:, None].expand(-1, self.size)], -1)
        grid = torch.einsum("nij,yxj->nyxi", back[:, :, :2], points) + 1.0 / length
        return functional.grid_sample(fine[:, None], grid, mode="bicubic", align_corners=False)


def _to_unit(images: torch.Tensor) -> torch.Tensor:
    """Images (N, F, F) scaled to 0 to 1, each by its own extremes."""
    low, high = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-12)


def _less_ring_means(images: torch.Tensor, reach: int) -> torch.Tensor:
    """Images (N, F, F) less the mean over each ring, 0 beyond ``reach`` pixels and in the innermost."""
    ring = distances(images.shape[-1], images.device).round().long().clamp(max=reach + 1)
    count = torch.bincount(ring.flatten(), minlength=reach + 2).float()
    flat = images.flatten(1)
    sums = torch.zeros(len(images), reach + 2, device=images.device).index_add_(1, ring.flatten(), flat)
    inside = (ring <= reach) & (ring >= 2 * OVERSAMPLING)
    return (images - (sums / count.clamp(min=1))[:, ring]) * inside
