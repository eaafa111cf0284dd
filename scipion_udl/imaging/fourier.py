"""Fourier coefficients of small images: cropping, the band that alignment works in, moving an image, comparing two.

Coefficients are those of ``rfft2`` with ``norm="ortho"`` of an image whose origin is pixel box//2, so white noise of
variance 1 has coefficients of variance 1 in any box. Half planes: the last axis holds 0 <= kx, the one before it all
ky. Everything takes free leading batch dimensions and stays on the device of its input.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as functional
from torch_grid_utils import coordinate_grid, fftfreq_grid

TOGETHER = 16  # images transformed at a time: their fine copies stay in the processor's cache


def to_fourier(images: torch.Tensor) -> torch.Tensor:
    """Half-plane coefficients (..., D, D//2 + 1), complex, of images (..., D, D)."""
    return torch.fft.rfft2(torch.fft.ifftshift(images, dim=(-2, -1)), norm="ortho")


def to_images(coefficients: torch.Tensor, box: int) -> torch.Tensor:
    """Images (..., box, box) of half-plane coefficients (..., box, box//2 + 1); undoes :func:`to_fourier`."""
    return torch.fft.fftshift(torch.fft.irfft2(coefficients, s=(box, box), norm="ortho"), dim=(-2, -1))


def resize(coefficients: torch.Tensor, box: int, new_box: int) -> torch.Tensor:
    """Coefficients of a box brought to a smaller (cropped) or larger (zero padded) one, values unchanged.

    (..., box, box//2 + 1) -> (..., new_box, new_box//2 + 1). The Nyquist frequency of the smaller even box is dropped:
    it has no partner, and a shifted image would not stay real.
    """
    if box == new_box:
        return coefficients
    k = (min(box, new_box) - 1) // 2
    out = coefficients.new_zeros(*coefficients.shape[:-2], new_box, new_box // 2 + 1)
    out[..., : k + 1, : k + 1] = coefficients[..., : k + 1, : k + 1]
    out[..., -k:, : k + 1] = coefficients[..., -k:, : k + 1]
    return out


def mirrored(coefficients: torch.Tensor) -> torch.Tensor:
    """Half-plane coefficients (..., D, D//2 + 1) of images mirrored about the column of the origin: x becomes -x."""
    flipped = coefficients.flip(-2).roll(1, -2)
    return flipped.conj() if flipped.is_complex() else flipped


@lru_cache(maxsize=8)
def _distances(box: int, device: torch.device) -> torch.Tensor:
    # coordinate_grid is made on the host and copied: once for a device, not for every batch
    return coordinate_grid((box, box), center=(box // 2, box // 2), norm=True, device=device)


def distances(box: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """The distance of every pixel from the origin, pixel box//2, in pixels: (box, box), float32, not to be changed."""
    return _distances(box, torch.device(device))


def soft_disc(box: int, radius: float, edge: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """A disc (box, box) about pixel box//2: 1 inside, falling as a raised cosine to 0 over ``edge`` pixels about
    ``radius``, which is where it is 0.5."""
    # torch_grid_utils.circle has another edge, outside of the radius and in steps of whole pixels: up to 0.5 away.
    return 0.5 + 0.5 * torch.cos(math.pi * ((distances(box, device) - radius + edge / 2) / edge).clamp(0, 1))


def radii(box: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """The distance from the origin, in Fourier pixels, of every half-plane coefficient, (box, box//2 + 1)."""
    return fftfreq_grid((box, box), rfft=True, spacing=1 / box, norm=True, device=torch.device(device))


def bicubic_response(frequency: torch.Tensor) -> torch.Tensor:
    """By how much bicubic interpolation (``grid_sample``) changes waves of ``frequency`` cycles per sample, same shape.

    The Fourier transform of its kernel (cubic convolution of Keys 1981, with the parameter -0.75 that torch takes).
    Dividing by it beforehand gives waves their height back, to 5e-4 on the mean over all places between samples; what
    aliases stays (root mean square 2e-2 of a wave of 1/8 cycle per sample, 1.3e-2 of 1/16).
    """
    a, points = -0.75, 512
    t = (torch.arange(2 * points, dtype=torch.float64, device=frequency.device) + 0.5) / points
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    kernel = torch.where(t < 1, near, far) * (2 / points)
    waves = torch.cos(2 * math.pi * frequency.double()[..., None] * t)
    return (waves @ kernel).to(frequency.dtype)


@lru_cache(maxsize=8)
def _sharpening(box: int, fine: int, device: torch.device) -> torch.Tensor:
    """What coefficients of a box that is sampled with ``fine`` points (an even number) are multiplied with before the
    inverse transform: bicubic interpolation is undone, and the origin moved to the middle."""
    ky = bicubic_response(torch.fft.fftfreq(box, 1 / box, device=device) / fine)
    kx = bicubic_response(torch.arange(box // 2 + 1, device=device) / fine)
    sign = 1 - 2 * ((torch.arange(box, device=device)[:, None] + torch.arange(box // 2 + 1, device=device)) % 2)
    if box % 2:  # rows of negative frequencies count from the end
        sign[(box + 1) // 2 :] *= -1
    return sign / (ky[:, None] * kx[None])


def transform(
    coefficients: torch.Tensor, box: int, angle: torch.Tensor, shift: torch.Tensor | None = None
) -> torch.Tensor:
    """Images (N, box, box) of particles with a pose applied: turned by ``angle``, then moved by ``shift``.

    coefficients: (N, box, box//2 + 1) or (1, ...) for one image in many poses; angle: (N,) degrees; shift: (N, 2) x, y
    in pixels, or None. The pose is that of poses.py: p_aligned = R(angle) p + t. The image is sampled twice as
    finely by zero padding and read with cubic interpolation; outside of the box it is 0.
    """
    fine = 2 * box
    if len(angle) > TOGETHER and len(coefficients) == len(angle):
        parts = range(0, len(angle), TOGETHER)
        cut = [slice(start, start + TOGETHER) for start in parts]
        return torch.cat([transform(coefficients[c], box, angle[c], None if shift is None else shift[c]) for c in cut])
    coefficients = coefficients * (2 * _sharpening(box, fine, coefficients.device))
    sampled = torch.fft.irfft2(resize(coefficients, box, fine), s=(fine, fine), norm="ortho")
    radians = torch.deg2rad(angle)
    cos, sin = torch.cos(radians), torch.sin(radians)
    back = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
    # affine_grid and grid_sample count from -1 to 1 over the outer edges of the pixels, of the result and of the fine
    # image; the origins are pixel box//2 and pixel box.
    origin = (box - 1) / 2 - box // 2
    moved = torch.full_like(back[..., 0], origin) if shift is None else origin - shift.to(back.dtype)
    offset = torch.einsum("nij,nj->ni", back, moved) * (2 / box) + 1 / fine
    theta = torch.cat([back, offset[..., None]], -1).to(sampled.dtype)
    grid = functional.affine_grid(theta, [len(angle), 1, box, box], align_corners=False)
    return functional.grid_sample(
        sampled[:, None].expand(len(angle), -1, -1, -1), grid, mode="bicubic", align_corners=False
    )[:, 0]


class Band:
    """The Fourier coefficients of a box up to a radius: what alignment computes with.

    box: pixels; k_max: Fourier pixels, below box/2. Coefficients in the band are (..., 2 k_max + 1, k_max + 1) with ky
    from -k_max to k_max; outside of the disc, and at the origin, they are 0. ``weight`` counts a half plane once.
    """

    def __init__(self, box: int, k_max: int, device: torch.device | str = "cpu") -> None:
        self.box, self.k_max, self.device = box, min(k_max, (box - 1) // 2), torch.device(device)
        self.ky = torch.arange(-self.k_max, self.k_max + 1, device=device, dtype=torch.float32)
        self.kx = torch.arange(self.k_max + 1, device=device, dtype=torch.float32)
        self.radius = (self.ky[:, None] ** 2 + self.kx[None] ** 2).sqrt()
        self.disc = ((self.radius <= self.k_max) & (self.radius >= 1)).float()
        self.weight = self.disc.clone()
        self.weight[:, 0] *= 0.5  # both halves of the column kx = 0 are in the band
        self.ring = self.radius.round().long().clamp(max=self.k_max + 1)
        rings = torch.arange(self.k_max + 1, device=device)
        self._of_ring = (self.ring.flatten()[:, None] == rings).float() * self.weight.flatten()[:, None]
        self.ring_count = self._of_ring.sum(0).clamp(min=0.5)  # coefficients of a half plane in every ring

    def crop(self, coefficients: torch.Tensor) -> torch.Tensor:
        """The band of half-plane coefficients (..., box, box//2 + 1)."""
        k = self.k_max
        return torch.cat([coefficients[..., -k:, : k + 1], coefficients[..., : k + 1, : k + 1]], -2) * self.disc

    def half_plane(self, band: torch.Tensor) -> torch.Tensor:
        """Half-plane coefficients (..., box, box//2 + 1) of a band, zero outside of it."""
        k = self.k_max
        out = band.new_zeros(*band.shape[:-2], self.box, self.box // 2 + 1)
        out[..., -k:, : k + 1] = band[..., :k, :]
        out[..., : k + 1, : k + 1] = band[..., k:, :]
        return out

    def of_images(self, images: torch.Tensor) -> torch.Tensor:
        """The band of images (..., box, box)."""
        return self.crop(to_fourier(images))

    def images(self, band: torch.Tensor) -> torch.Tensor:
        """Images (..., box, box) of a band."""
        return to_images(self.half_plane(band), self.box)

    def masked(self, band: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The band of the image after multiplication with a mask (box, box).

        A band knows no mean, so the mean outside of the mask is taken off first: the mask would show as a disc else.
        """
        images, outside = self.images(band), 1 - mask
        level = (images * outside).sum((-2, -1), keepdim=True) / outside.sum().clamp(min=1e-6)
        return self.of_images((images - level) * mask)

    def shifted(self, band: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """The band of images moved by ``shift`` (..., 2), x and y in pixels (+x to the right, +y down)."""
        wave = -2 * math.pi / self.box
        one = torch.ones((), device=band.device)
        rows = torch.polar(one, shift[..., 1, None] * (wave * self.ky))
        columns = torch.polar(one, shift[..., 0, None] * (wave * self.kx))
        return band * rows[..., :, None] * columns[..., None, :]

    def dot(self, a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """The real inner product of two bands over one half plane, weighted; (...,)."""
        w = self.weight if weight is None else self.weight * weight
        return ((a.real * b.real + a.imag * b.imag) * w).sum((-2, -1))

    def ring_sums(self, values: torch.Tensor) -> torch.Tensor:
        """Sums of real values (2 k_max + 1, k_max + 1) over rings one Fourier pixel wide, (k_max + 1,), float64."""
        sums = torch.zeros(self.k_max + 2, dtype=torch.float64, device=values.device)
        return sums.index_add_(0, self.ring.flatten(), (values * self.weight).double().flatten())[:-1]

    def ring_totals(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over rings of each of real values (n, 2 k_max + 1, k_max + 1), (n, k_max + 1), in float32."""
        return values.flatten(1) @ self._of_ring

    def ring_means(self, values: torch.Tensor) -> torch.Tensor:
        """Means over rings of each of real values (n, 2 k_max + 1, k_max + 1), (n, k_max + 1), in float32."""
        return self.ring_totals(values) / self.ring_count

    def taken_from(self, other: Band, image: torch.Tensor) -> torch.Tensor:
        """An image (..., band) of another band of this box, cut off or filled up with 0."""
        return self.crop(other.half_plane(image))

    def spread(self, per_ring: torch.Tensor) -> torch.Tensor:
        """Values per ring (k_max + 1,) laid out over the band (2 k_max + 1, k_max + 1); float32, 0 outside the disc."""
        padded = functional.pad(per_ring.float(), (0, 1))
        return padded[self.ring] * self.disc


class ShiftMaps:
    """Correlations over a square of shifts, without a Fourier transform of the whole box.

    band: the Band; reach: the farthest shift looked at, pixels; step: pixels between two shifts. The maps are
    (..., S, S) with rows for y, columns for x; ``shifts`` (S,) are the values along either axis.
    """

    def __init__(self, band: Band, reach: float, step: float = 1.0) -> None:
        self.box = band.box
        count = math.ceil(reach / step)
        self.shifts = torch.arange(-count, count + 1, device=band.device, dtype=torch.float32) * step
        turn = 2 * math.pi / band.box
        self._rows = torch.polar(torch.ones(1, device=band.device), turn * self.shifts[:, None] * band.ky)
        self._columns = torch.polar(torch.ones(1, device=band.device), turn * band.kx[:, None] * self.shifts)
        square = self.shifts[:, None] ** 2 + self.shifts[None] ** 2
        self.inside = square <= reach**2
        # Log prior of the shifts (S, S): a Gaussian whose second standard deviation is the farthest of them.
        self.prior = (-square / (2 * (float(self.shifts[-1]) / 2) ** 2)).masked_fill(~self.inside, -torch.inf)
        self._weight = band.weight

    def correlate(self, band: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """<shifted by t, reference> over one half plane for every t, (..., S, S)."""
        return self.of_products(band.conj() * (reference * self._weight))

    def of_products(self, products: torch.Tensor) -> torch.Tensor:
        """The same for products conj(band) * reference, weighted, (..., 2 k_max + 1, k_max + 1)."""
        return ((self._rows @ products) @ self._columns).real

    def blur(self, weights: torch.Tensor) -> torch.Tensor:
        """The factor that makes of a band the mean of its shifted copies with these weights (..., S, S)."""
        weights = weights.to(self._rows.dtype)
        return (self._rows.conj().T @ weights) @ self._columns.conj().T


def peaks(
    maps: ShiftMaps, correlation: torch.Tensor, inside: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(shift (..., 2) x and y, value (...)) of the highest points of maps (..., S, S), with a parabola through each.
    inside: (..., S, S), where they may lie; None: within the reach of the maps."""
    size = len(maps.shifts)
    inside = maps.inside if inside is None else inside
    values, place = correlation.masked_fill(~inside, -torch.inf).flatten(-2).max(-1)
    row, column = (place // size).clamp(1, size - 2), (place % size).clamp(1, size - 2)
    flat = correlation.flatten(-2)

    def at(dy: int, dx: int) -> torch.Tensor:
        return flat.gather(-1, ((row + dy) * size + column + dx).unsqueeze(-1))[..., 0]

    centre = at(0, 0)

    def offset(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        bend = (before - 2 * centre + after).clamp(max=-1e-12)
        return (0.5 * (before - after) / bend).clamp(-0.5, 0.5)

    step = maps.shifts[1] - maps.shifts[0]
    x = maps.shifts[column] + step * offset(at(0, -1), at(0, 1))
    y = maps.shifts[row] + step * offset(at(-1, 0), at(1, 0))
    return torch.stack([x, y], -1), values
