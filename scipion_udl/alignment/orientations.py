"""An average in every in-plane orientation, so that particles can stay as they are.

Turning one average into a few hundred orientations costs the same for any number of particles; turning every particle
costs an interpolation each. What is left between a particle's angle and the nearest orientation is solved for, to first
order, with the slope of the orientation (refinement.py).
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
import torch.nn.functional as functional

from scipion_udl.alignment.fourier import Band, bicubic_response, soft_disc, to_images, transform

OVERSAMPLING = 6  # of the spectrum that orientations are read from, by zero padding of the masked average
STEP = 64  # orientations or images at a time


def orientation_count(k_max: int) -> int:
    """Orientations over 180 degrees for a band of ``k_max`` Fourier pixels: half a step moves no coefficient of it by
    more than a third of its wavelength over 2 pi at the rim of the particle."""
    return max(64, round(4.5 * k_max))


class Orientations:
    """An image (band) turned by minus the pose angle of particles, for ``count`` angles over 180 degrees.

    The orientations of the other half circle are the complex conjugates. images: (count, band) complex, times the
    weight of the half plane, so that a plain sum is an inner product; slopes: (count, band), their change per degree of
    the pose angle. Angles count in degrees, ``step`` apart.
    """

    def __init__(self, band: Band, image: torch.Tensor, count: int | None = None) -> None:
        self.band, self._image = band, image
        self.count = count or orientation_count(band.k_max)
        self.step = 180.0 / self.count
        self._angles = torch.arange(self.count, device=band.device, dtype=torch.float64) * self.step

    @cached_property
    def images(self) -> torch.Tensor:
        """The orientations (count, band)."""
        return _turned(self.band, _fine_spectrum(self.band, self._image), self._angles) * self.band.weight

    @cached_property
    def slopes(self) -> torch.Tensor:
        """Their change per degree (count, band)."""
        return _turned(self.band, _fine_slope(self.band, self._image), self._angles) * self.band.weight

    def nearest(self, angle: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(index of the nearest orientation (n,), whether the particle is to be turned by 180 degrees first (n,)) of
        pose angles (n,) in degrees."""
        place = torch.round(angle / self.step).long() % (2 * self.count)
        return place % self.count, place >= self.count


class AngleBins:
    """Sums of particles by orientation: turned and added up once all are in.

    band; count: orientations over 180 degrees. Particles of the other half circle come as complex conjugates.
    """

    def __init__(self, band: Band, count: int) -> None:
        self.band, self.count, self.step = band, count, 180.0 / count
        self.sums = torch.zeros(count, *band.disc.shape, dtype=torch.complex64, device=band.device)
        self.filled = torch.zeros(count, dtype=torch.bool, device=band.device)

    def add(self, place: torch.Tensor, particles: torch.Tensor) -> None:
        """Add particles (n, band), centred, not turned, to the bins ``place`` (n,)."""
        self.sums.index_add_(0, place, particles)
        self.filled[place] = True

    def total(self) -> torch.Tensor:
        """The sum of all particles, each turned by the angle of its bin (band)."""
        band = self.band
        total = torch.zeros_like(self.sums[0])
        if not self.filled.any():  # a fold of a handful of particles may be empty
            return total
        for part in self.filled.nonzero()[:, 0].split(STEP):
            turned = transform(self._on_nothing(self.sums[part]), band.box, part * self.step)
            total += band.of_images(turned.sum(0))
        return total

    def _on_nothing(self, bands: torch.Tensor) -> torch.Tensor:
        """Half planes of bands (n, band) with the mean at which the corners are 0: those of the box that come in when
        it is turned are."""
        band = self.band
        coefficients = band.half_plane(bands)
        outside = _outside(band)
        level = 2 * band.dot(bands, band.of_images(outside)) / outside.sum()
        coefficients[:, 0, 0] = -level * band.box
        return coefficients


def turned_band(band: Band, image: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """An image (band), well inside its box, with poses of ``angles`` (n,) degrees applied, (n, band)."""
    return _turned(band, _fine_spectrum(band, image), -angles)


def _fine_spectrum(band: Band, image: torch.Tensor) -> torch.Tensor:
    """The spectrum of an image, sampled OVERSAMPLING times as finely, (2, rows, columns): real and imaginary part, the
    origin at the middle, cut to the band and a margin for the interpolation."""
    return _fine(band, _pixels(band, image))


def _fine_slope(band: Band, image: torch.Tensor) -> torch.Tensor:
    """How that spectrum changes per degree of the pose angle: k_x dF/dk_y - k_y dF/dk_x, with dF/dk_x the spectrum of
    the image times -2 pi i x / box."""
    pixels = _pixels(band, image)
    axis = torch.arange(band.box, device=band.device) - band.box // 2
    by_x, by_y = (_fine(band, pixels * a) for a in (axis[None, :], axis[:, None]))
    reach = by_x.shape[-1] // 2
    k = torch.arange(-reach, reach + 1, device=band.device) / OVERSAMPLING
    per_degree = 2 * math.pi / band.box * math.pi / 180
    real, imaginary = (k[None, :] * by_y - k[:, None] * by_x) * per_degree
    return torch.stack([imaginary, -real])  # times -i


def _pixels(band: Band, image: torch.Tensor) -> torch.Tensor:
    """The image (box, box) of a band with a background of 0: a band knows no mean, and padding would make an edge."""
    box = band.box
    pixels = to_images(band.half_plane(image), box)
    outside = _outside(band)
    return pixels - (pixels * outside).sum() / outside.sum()


def _outside(band: Band) -> torch.Tensor:
    return 1 - soft_disc(band.box, 0.47 * band.box, 2.0, band.device)


def _fine(band: Band, pixels: torch.Tensor) -> torch.Tensor:
    box, fine = band.box, OVERSAMPLING * band.box
    axis = torch.arange(box, device=band.device) - box // 2
    response = bicubic_response(axis / fine)
    left = fine // 2 - box // 2
    padded = functional.pad(pixels / (response[:, None] * response[None]), (left, fine - box - left) * 2)
    spectrum = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(padded))) / box
    reach = min(OVERSAMPLING * band.k_max + 4, fine // 2 - 1)
    middle = slice(fine // 2 - reach, fine // 2 + reach + 1)
    return torch.view_as_real(spectrum[middle, middle]).permute(2, 0, 1).contiguous()


def _turned(band: Band, spectrum: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """The band of the image turned by -angles (n,), degrees, read from its fine spectrum: F(R(angle) k)."""
    size = spectrum.shape[-1]
    radians = torch.deg2rad(angles.double()).float()
    out = torch.empty(len(angles), *band.disc.shape, dtype=torch.complex64, device=band.device)
    kx, ky = band.kx[None, None, :], band.ky[None, :, None]
    for start in range(0, len(angles), STEP):
        cos, sin = (f(radians[start : start + STEP])[:, None, None] for f in (torch.cos, torch.sin))
        x, y = cos * kx - sin * ky, sin * kx + cos * ky
        grid = torch.stack([x, y], -1) * (2.0 * OVERSAMPLING / (size - 1))
        read = functional.grid_sample(
            spectrum[None].expand(len(grid), -1, -1, -1), grid, mode="bicubic", align_corners=True
        )
        out[start : start + STEP] = torch.complex(read[:, 0], read[:, 1]) * band.disc
    return out


def ring_normals(band: Band, image: torch.Tensor) -> torch.Tensor:
    """What a small move of an image (band) costs, per ring: (k_max + 1, 3, 3) float32.

    Entry j, k is the inner product of the image's changes per pixel in x, per pixel in y and per degree of turn, over
    the half plane.
    """
    moved = [-1j * (2 * math.pi / band.box) * k * image for k in (band.kx[None, :], band.ky[:, None])]
    still = torch.zeros(1, device=band.device)
    tangents = [*moved, -_turned(band, _fine_slope(band, image), still)[0]]
    rows = [band.ring_sums(a.real * b.real + a.imag * b.imag) for a in tangents for b in tangents]
    return torch.stack(rows, -1).view(-1, 3, 3).float()
