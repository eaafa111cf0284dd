"""An average in every in-plane orientation, so that particles can stay as they are.

Turning one average into a few hundred orientations costs the same for any number of particles; turning every particle
costs an interpolation each. What is left between a particle's angle and the nearest orientation is solved for, to first
order, with the slope of the orientation (refinement/refiner.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, partial

import torch
import torch.nn.functional as functional

from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import bicubic_response, soft_disc, to_images, transform

OVERSAMPLING = 6  # of the spectrum that orientations are read from, by zero padding of the masked average
STEP = 64  # orientations or images at a time


def orientation_count(k_max: int) -> int:
    """Orientations over 180 degrees for a band of ``k_max`` Fourier pixels: half a step moves no coefficient of it by
    more than a third of its wavelength over 2 pi at the rim of the particle.

    Parameters
    ----------
    k_max : int
        Fourier pixels.

    Returns
    -------
    int
        How many, 64 at least.
    """
    return max(64, round(4.5 * k_max))


class Orientations:
    """An image (band) rotated by minus the pose angle of particles, for ``count`` angles over 180 degrees.

    The orientations of the other half circle are the complex conjugates. Each is made when it is first asked for: a few
    particles need few of them. All are times the weight of the half plane, so that a plain sum is an inner product.
    Angles count in degrees, ``step`` apart.
    """

    def __init__(self, band: Band, image: torch.Tensor, count: int | None = None) -> None:
        self.count = count or orientation_count(band.k_max)
        self.step = 180.0 / self.count
        self._images = _Rotations(band, self.count, partial(_fine_spectrum, band, image))
        self._slopes = _Rotations(band, self.count, partial(_fine_slope, band, image))

    def at(self, place: torch.Tensor) -> torch.Tensor:
        """The orientations ``place`` (n,), (n, band) complex.

        Parameters
        ----------
        place : (n,) int tensor
            Which orientations.

        Returns
        -------
        (n, 2 k_max + 1, k_max + 1) complex tensor
            Their bands.
        """
        return self._images.at(place)

    def slopes_at(self, place: torch.Tensor) -> torch.Tensor:
        """The change of the orientations ``place`` (n,) per degree of the pose angle, (n, band).

        Parameters
        ----------
        place : (n,) int tensor
            Which orientations.

        Returns
        -------
        (n, 2 k_max + 1, k_max + 1) complex tensor
            Their slopes, per degree.
        """
        return self._slopes.at(place)

    @property
    def images(self) -> torch.Tensor:
        """All orientations (count, band)."""
        return self._images.all()

    @property
    def slopes(self) -> torch.Tensor:
        """The change of all of them per degree of the pose angle (count, band)."""
        return self._slopes.all()

    def nearest(self, angle: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(index of the nearest orientation (n,), whether the particle is to be rotated by 180 degrees first (n,)) of
        pose angles (n,) in degrees.

        Parameters
        ----------
        angle : (n,) tensor
            Pose angles, degrees.

        Returns
        -------
        tuple of (n,) tensors
            The index of the nearest orientation, and whether a rotation by 180 degrees comes first.
        """
        place = torch.round(angle / self.step).long() % (2 * self.count)
        return place % self.count, place >= self.count


class _Rotations:
    """What a fine spectrum becomes when rotated by each of ``count`` angles over 180 degrees, weighted; made when asked
    for. spectrum: makes the fine spectrum."""

    def __init__(self, band: Band, count: int, spectrum: Callable[[], torch.Tensor]) -> None:
        self.band, self._make = band, spectrum
        self._made = torch.zeros(count, dtype=torch.bool, device=band.device)
        self._complete = False

    def at(self, place: torch.Tensor) -> torch.Tensor:
        """Those of ``place`` (n,), (n, band)."""
        if not self._complete:
            self._fill(place[~self._made[place]].unique())
        return self._all[place]

    def all(self) -> torch.Tensor:
        """All of them (count, band)."""
        if not self._complete:
            self._fill((~self._made).nonzero()[:, 0])
        return self._all

    def _fill(self, missing: torch.Tensor) -> None:
        if len(missing):
            angles = missing.double() * (180.0 / len(self._made))
            self._all[missing] = _rotated(self.band, self._spectrum, angles) * self.band.weight
            self._made[missing] = True
        self._complete = bool(self._made.all())
        if self._complete:
            self.__dict__.pop("_spectrum", None)  # it is larger than an orientation by far

    @cached_property
    def _all(self) -> torch.Tensor:
        return torch.empty(len(self._made), *self.band.disc.shape, dtype=torch.complex64, device=self.band.device)

    @cached_property
    def _spectrum(self) -> torch.Tensor:
        return self._make()


class AngleBins:
    """Sums of particles by orientation: rotated and added up once all are in.

    band; count: orientations over 180 degrees. Particles of the other half circle come as complex conjugates.
    """

    def __init__(self, band: Band, count: int) -> None:
        self.band, self.count, self.step = band, count, 180.0 / count
        self._sums = torch.empty(count, *band.disc.shape, dtype=torch.complex64, device=band.device)
        self.filled = torch.zeros(count, dtype=torch.bool, device=band.device)

    def add(self, place: torch.Tensor, particles: torch.Tensor) -> None:
        """Add particles (n, band), centred, not rotated, to the bins ``place`` (n,).

        Parameters
        ----------
        place : (n,) int tensor
            The bin of each particle.
        particles : (n, 2 k_max + 1, k_max + 1) complex tensor
            Their bands.
        """
        self._sums[place[~self.filled[place]]] = 0  # memory that no particle comes to is never touched
        self.filled[place] = True
        self._sums.index_add_(0, place, particles)

    def total(self) -> torch.Tensor:
        """The sum of all particles, each rotated by the angle of its bin (band).

        Returns
        -------
        (2 k_max + 1, k_max + 1) complex tensor
            The band of the sum.
        """
        band = self.band
        total = torch.zeros_like(self._sums[0])
        if not self.filled.any():  # a fold of a handful of particles may be empty
            return total
        for part in self.filled.nonzero()[:, 0].split(STEP):
            rotated = transform(self._on_nothing(self._sums[part]), band.box, part * self.step)
            total += band.of_images(rotated.sum(0))
        return total

    def _on_nothing(self, bands: torch.Tensor) -> torch.Tensor:
        """Half planes of bands (n, band) with the mean at which the corners are 0: those of the box that come in when
        it is rotated are."""
        band = self.band
        coefficients = band.half_plane(bands)
        outside = _outside(band)
        level = 2 * band.dot(bands, band.of_images(outside)) / outside.sum()
        coefficients[:, 0, 0] = -level * band.box
        return coefficients


def rotated_band(band: Band, image: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """An image (band), well inside its box, with poses of ``angles`` (n,) degrees applied, (n, band).

    Parameters
    ----------
    band : Band
        That of the image.
    image : (2 k_max + 1, k_max + 1) complex tensor
        Its coefficients.
    angles : (n,) tensor
        Degrees, clockwise with row 0 on top.

    Returns
    -------
    (n, 2 k_max + 1, k_max + 1) complex tensor
        The rotated images.
    """
    return _rotated(band, _fine_spectrum(band, image), -angles)


def _fine_spectrum(band: Band, image: torch.Tensor) -> torch.Tensor:
    """The spectrum of an image, sampled OVERSAMPLING times as finely, (2, rows, columns): real and imaginary part, the
    origin at the middle, cut to the band and a margin for the interpolation."""
    return _fine(band, _pixels(band, image)[None])[0]


def _fine_slope(band: Band, image: torch.Tensor) -> torch.Tensor:
    """How that spectrum changes per degree of the pose angle: k_x dF/dk_y - k_y dF/dk_x, with dF/dk_x the spectrum of
    the image times -2 pi i x / box."""
    by_x, by_y = _fine(band, _times_position(band, image))
    reach = by_x.shape[-1] // 2
    k = torch.arange(-reach, reach + 1, device=band.device) / OVERSAMPLING
    real, imaginary = (k[None, :] * by_y - k[:, None] * by_x) * _per_degree(band)
    return torch.stack([imaginary, -real])  # times -i


def _slope(band: Band, image: torch.Tensor) -> torch.Tensor:
    """The same at the coefficients of the band (band)."""
    by_x, by_y = band.of_images(_times_position(band, image))
    return -1j * (band.kx[None, :] * by_y - band.ky[:, None] * by_x) * _per_degree(band)


def _times_position(band: Band, image: torch.Tensor) -> torch.Tensor:
    """The image of a band times x and times y, pixels from the origin, (2, box, box)."""
    axis = torch.arange(band.box, device=band.device) - band.box // 2
    pixels = _pixels(band, image)
    return torch.stack([pixels * axis[None, :], pixels * axis[:, None]])


def _per_degree(band: Band) -> float:
    return 2 * math.pi / band.box * math.pi / 180


def _pixels(band: Band, image: torch.Tensor) -> torch.Tensor:
    """The image (box, box) of a band with a background of 0: a band knows no mean, and padding would make an edge."""
    box = band.box
    pixels = to_images(band.half_plane(image), box)
    outside = _outside(band)
    return pixels - (pixels * outside).sum() / outside.sum()


def _outside(band: Band) -> torch.Tensor:
    return 1 - soft_disc(band.box, 0.47 * band.box, 2.0, band.device)


def _fine(band: Band, pixels: torch.Tensor) -> torch.Tensor:
    """Fine spectra (n, 2, rows, columns) of images (n, box, box); what is nothing is not transformed: rows of the
    padding, columns beyond the band."""
    box, fine = band.box, OVERSAMPLING * band.box
    response = bicubic_response((torch.arange(box, device=band.device) - box // 2) / fine)
    reach = min(OVERSAMPLING * band.k_max + 4, fine // 2 - 1)
    rows = torch.fft.rfft(_origin_first(pixels / (response[:, None] * response), fine, -1), dim=-1)[..., : reach + 1]
    columns = torch.fft.fft(_origin_first(rows, fine, -2), dim=-2) / box
    right = torch.cat([columns[:, -reach:], columns[:, : reach + 1]], 1)
    left = right[..., 1:].flip(1, 2).conj()  # the images are real
    return torch.view_as_real(torch.cat([left, right], 2)).permute(0, 3, 1, 2).contiguous()


def _origin_first(values: torch.Tensor, fine: int, dim: int) -> torch.Tensor:
    """Values padded with 0 to ``fine`` along a dimension, their origin moved from the middle to the beginning."""
    count = values.shape[dim]
    before, after = values.split([count // 2, count - count // 2], dim)
    shape = list(values.shape)
    shape[dim] = fine - count
    return torch.cat([after, values.new_zeros(shape), before], dim)


def _rotated(band: Band, spectrum: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """The band of the image rotated by -angles (n,), degrees, read from its fine spectrum: F(R(angle) k)."""
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

    Entry j, k is the inner product of the image's changes per pixel in x, per pixel in y and per degree of rotation,
    over the half plane.

    Parameters
    ----------
    band : Band
        That of the image.
    image : (2 k_max + 1, k_max + 1) complex tensor
        Its coefficients.

    Returns
    -------
    (k_max + 1, 3, 3) float32 tensor
        A matrix for each ring.
    """
    moved = [-1j * (2 * math.pi / band.box) * k * image for k in (band.kx[None, :], band.ky[:, None])]
    tangents = [*moved, -_slope(band, image)]
    rows = [band.ring_sums(a.real * b.real + a.imag * b.imag) for a in tangents for b in tangents]
    return torch.stack(rows, -1).view(-1, 3, 3).float()
