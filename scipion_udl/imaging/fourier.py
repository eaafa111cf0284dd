"""Fourier coefficients of small images: cropping, grids and discs, moving an image.

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

TOGETHER = 1 << 16  # pixels transformed at a time: their fine copies stay in the processor's cache


def to_fourier(images: torch.Tensor) -> torch.Tensor:
    """Half-plane coefficients (..., D, D//2 + 1), complex, of images (..., D, D).

    Parameters
    ----------
    images : (..., D, D) tensor
        Images, their origin at pixel D//2.

    Returns
    -------
    (..., D, D//2 + 1) complex tensor
        Their coefficients.
    """
    return torch.fft.rfft2(torch.fft.ifftshift(images, dim=(-2, -1)), norm="ortho")


def to_images(coefficients: torch.Tensor, box: int) -> torch.Tensor:
    """Images (..., box, box) of half-plane coefficients (..., box, box//2 + 1); undoes :func:`to_fourier`.

    Parameters
    ----------
    coefficients : (..., box, box//2 + 1) complex tensor
        Half-plane coefficients.
    box : int
        Side of the box, pixels.

    Returns
    -------
    (..., box, box) tensor
        The images.
    """
    return torch.fft.fftshift(torch.fft.irfft2(coefficients, s=(box, box), norm="ortho"), dim=(-2, -1))


def resize(coefficients: torch.Tensor, box: int, new_box: int) -> torch.Tensor:
    """Coefficients of a box brought to a smaller (cropped) or larger (zero padded) one, values unchanged.

    (..., box, box//2 + 1) -> (..., new_box, new_box//2 + 1). The Nyquist frequency of the smaller even box is dropped:
    it has no partner, and a shifted image would not stay real.

    Parameters
    ----------
    coefficients : (..., box, box//2 + 1) complex tensor
        Half-plane coefficients.
    box : int
        Side of the box, pixels.
    new_box : int
        Side of the new box, pixels.

    Returns
    -------
    (..., new_box, new_box//2 + 1) complex tensor
        Those of the new box.
    """
    if box == new_box:
        return coefficients
    k = (min(box, new_box) - 1) // 2
    out = coefficients.new_zeros(*coefficients.shape[:-2], new_box, new_box // 2 + 1)
    out[..., : k + 1, : k + 1] = coefficients[..., : k + 1, : k + 1]
    out[..., -k:, : k + 1] = coefficients[..., -k:, : k + 1]
    return out


def mirrored(coefficients: torch.Tensor) -> torch.Tensor:
    """Half-plane coefficients (..., D, D//2 + 1) of images mirrored about the column of the origin: x becomes -x.

    Parameters
    ----------
    coefficients : (..., D, D//2 + 1) tensor
        Half-plane coefficients, or real values in their place.

    Returns
    -------
    (..., D, D//2 + 1) tensor
        Those of the mirrored images.
    """
    flipped = coefficients.flip(-2).roll(1, -2)
    return flipped.conj() if flipped.is_complex() else flipped


@lru_cache(maxsize=8)
def _distances(box: int, device: torch.device) -> torch.Tensor:
    # coordinate_grid is made on the host and copied: once for a device, not for every batch
    return coordinate_grid((box, box), center=(box // 2, box // 2), norm=True, device=device)


def distances(box: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """The distance of every pixel from the origin, pixel box//2, in pixels: (box, box), float32, not to be changed.

    Parameters
    ----------
    box : int
        Side of the box, pixels.
    device : torch.device or str, optional
        Where the result lies.

    Returns
    -------
    (box, box) float32 tensor
        Pixels.
    """
    return _distances(box, torch.device(device))


def soft_disc(box: int, radius: float, edge: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """A disc (box, box) about pixel box//2: 1 inside, falling as a raised cosine to 0 over ``edge`` pixels about
    ``radius``, which is where it is 0.5.

    Parameters
    ----------
    box : int
        Side of the box, pixels.
    radius : float
        Pixels.
    edge : float
        Width of the edge, pixels.
    device : torch.device or str, optional
        Where the result lies.

    Returns
    -------
    (box, box) float32 tensor
        From 0 to 1.
    """
    # torch_grid_utils.circle has another edge, outside of the radius and in steps of whole pixels: up to 0.5 away.
    return _falling(distances(box, device), radius, edge)


def _falling(distance: torch.Tensor, radius: float, edge: float) -> torch.Tensor:
    """1 within ``radius``, falling as a raised cosine to 0 over ``edge`` about it; as many as distances."""
    return 0.5 + 0.5 * torch.cos(math.pi * ((distance - radius + edge / 2) / edge).clamp(0, 1))


def soft_band(box: int, radius: float, edge: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """A band (box, box) along x through pixel box//2: 1 inside, falling as :func:`soft_disc` does.

    Parameters
    ----------
    box : int
        Side of the box, pixels.
    radius : float
        Half the width of the band, pixels.
    edge : float
        Width of either edge, pixels.
    device : torch.device or str, optional
        Where the result lies.

    Returns
    -------
    (box, box) float32 tensor
        From 0 to 1.
    """
    off = (torch.arange(box, device=device, dtype=torch.float32) - box // 2).abs()
    return _falling(off, radius, edge)[:, None].expand(box, box).contiguous()


def radii(box: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """The distance from the origin, in Fourier pixels, of every half-plane coefficient, (box, box//2 + 1).

    Parameters
    ----------
    box : int
        Side of the box, pixels.
    device : torch.device or str, optional
        Where the result lies.

    Returns
    -------
    (box, box//2 + 1) float32 tensor
        Fourier pixels.
    """
    return fftfreq_grid((box, box), rfft=True, spacing=1 / box, norm=True, device=torch.device(device))


def bicubic_response(frequency: torch.Tensor) -> torch.Tensor:
    """By how much bicubic interpolation (``grid_sample``) changes waves of ``frequency`` cycles per sample, same shape.

    The Fourier transform of its kernel (cubic convolution of Keys 1981, with the parameter -0.75 that torch takes).
    Dividing by it beforehand gives waves their height back, to 5e-4 on the mean over all places between samples; what
    aliases stays (root mean square 2e-2 of a wave of 1/8 cycle per sample, 1.3e-2 of 1/16).

    Parameters
    ----------
    frequency : tensor of any shape
        Cycles per sample.

    Returns
    -------
    tensor of that shape
        The factor, 1 at frequency 0.
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
    """Images (N, box, box) of particles with a pose applied: rotated by ``angle``, then moved by ``shift``.

    coefficients: (N, box, box//2 + 1) or (1, ...) for one image in many poses; angle: (N,) degrees; shift: (N, 2) x, y
    in pixels, or None. The pose is that of poses.py: p_aligned = R(angle) p + t. The image is sampled twice as
    finely by zero padding and read with cubic interpolation; outside of the box it is 0.

    Parameters
    ----------
    coefficients : (N or 1, box, box//2 + 1) complex tensor
        Of each particle, or of one for all poses.
    box : int
        Side of the box, pixels.
    angle : (N,) tensor
        Degrees, clockwise with row 0 on top.
    shift : (N, 2) tensor, optional
        x and y, pixels; none where it is left out.

    Returns
    -------
    (N, box, box) tensor
        The images.
    """
    fine = 2 * box
    step = max(1, TOGETHER // box**2)
    if len(angle) > step and len(coefficients) == len(angle):
        cut = [slice(start, start + step) for start in range(0, len(angle), step)]
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
    grid = _grid(theta, box)
    return functional.grid_sample(
        sampled[:, None].expand(len(angle), -1, -1, -1), grid, mode="bicubic", align_corners=False
    )[:, 0]


def _grid(theta: torch.Tensor, box: int) -> torch.Tensor:
    """Where the pixels of an image (box, box) are read, (n, box, box, 2): as ``affine_grid`` has it for theta (n, 2,
    3), in a third of the time."""
    axis = (2 * torch.arange(box, device=theta.device, dtype=theta.dtype) + 1) / box - 1
    by_row = axis[:, None] * theta[:, None, :, 1] + theta[:, None, :, 2]
    return axis[:, None] * theta[:, None, None, :, 0] + by_row[:, :, None]
