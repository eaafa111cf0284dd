"""The band of Fourier coefficients that alignment works in, and correlations over a square of shifts made of it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional

from scipion_udl.imaging.fourier import to_fourier, to_images


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
        """The band of half-plane coefficients (..., box, box//2 + 1).

        Parameters
        ----------
        coefficients : (..., box, box//2 + 1) tensor
            Half-plane coefficients.

        Returns
        -------
        (..., 2 k_max + 1, k_max + 1) tensor
            Those in the band, 0 outside of its disc.
        """
        k = self.k_max
        return torch.cat([coefficients[..., -k:, : k + 1], coefficients[..., : k + 1, : k + 1]], -2) * self.disc

    def half_plane(self, band: torch.Tensor) -> torch.Tensor:
        """Half-plane coefficients (..., box, box//2 + 1) of a band, zero outside of it.

        Parameters
        ----------
        band : (..., 2 k_max + 1, k_max + 1) complex tensor
            Coefficients of the band.

        Returns
        -------
        (..., box, box//2 + 1) complex tensor
            Half-plane coefficients.
        """
        k = self.k_max
        out = band.new_zeros(*band.shape[:-2], self.box, self.box // 2 + 1)
        out[..., -k:, : k + 1] = band[..., :k, :]
        out[..., : k + 1, : k + 1] = band[..., k:, :]
        return out

    def of_images(self, images: torch.Tensor) -> torch.Tensor:
        """The band of images (..., box, box).

        Parameters
        ----------
        images : (..., box, box) tensor
            Images.

        Returns
        -------
        (..., 2 k_max + 1, k_max + 1) complex tensor
            Their band.
        """
        return self.crop(to_fourier(images))

    def images(self, band: torch.Tensor) -> torch.Tensor:
        """Images (..., box, box) of a band.

        Parameters
        ----------
        band : (..., 2 k_max + 1, k_max + 1) complex tensor
            Coefficients of the band.

        Returns
        -------
        (..., box, box) tensor
            The images.
        """
        return to_images(self.half_plane(band), self.box)

    def masked(self, band: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The band of the image after multiplication with a mask (box, box).

        A band knows no mean, so the mean outside of the mask is taken off first: the mask would show as a disc else.

        Parameters
        ----------
        band : (..., 2 k_max + 1, k_max + 1) complex tensor
            Coefficients of the band.
        mask : (box, box) tensor
            From 0 to 1.

        Returns
        -------
        (..., 2 k_max + 1, k_max + 1) complex tensor
            The band of the masked images.
        """
        images, outside = self.images(band), 1 - mask
        level = (images * outside).sum((-2, -1), keepdim=True) / outside.sum().clamp(min=1e-6)
        return self.of_images((images - level) * mask)

    def shifted(self, band: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """The band of images moved by ``shift`` (..., 2), x and y in pixels (+x to the right, +y down).

        Parameters
        ----------
        band : (..., 2 k_max + 1, k_max + 1) complex tensor
            Coefficients of the band.
        shift : (..., 2) tensor
            x and y, pixels.

        Returns
        -------
        (..., 2 k_max + 1, k_max + 1) complex tensor
            The band of the shifted images.
        """
        wave = -2 * math.pi / self.box
        one = torch.ones((), device=band.device)
        rows = torch.polar(one, shift[..., 1, None] * (wave * self.ky))
        columns = torch.polar(one, shift[..., 0, None] * (wave * self.kx))
        return band * rows[..., :, None] * columns[..., None, :]

    def dot(self, a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """The real inner product of two bands over one half plane, weighted; (...,).

        Parameters
        ----------
        a, b : (..., 2 k_max + 1, k_max + 1) complex tensors
            Two bands.
        weight : tensor, optional
            Further weights of the coefficients, 1 where it is left out.

        Returns
        -------
        (...) tensor
            The inner products.
        """
        w = self.weight if weight is None else self.weight * weight
        return ((a.real * b.real + a.imag * b.imag) * w).sum((-2, -1))

    def ring_sums(self, values: torch.Tensor) -> torch.Tensor:
        """Sums of real values (2 k_max + 1, k_max + 1) over rings one Fourier pixel wide, (k_max + 1,), float64.

        Parameters
        ----------
        values : (2 k_max + 1, k_max + 1) tensor
            Real values.

        Returns
        -------
        (k_max + 1,) float64 tensor
            The sum of each ring.
        """
        sums = torch.zeros(self.k_max + 2, dtype=torch.float64, device=values.device)
        return sums.index_add_(0, self.ring.flatten(), (values * self.weight).double().flatten())[:-1]

    def ring_totals(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over rings of each of real values (n, 2 k_max + 1, k_max + 1), (n, k_max + 1), in float32.

        Parameters
        ----------
        values : (n, 2 k_max + 1, k_max + 1) tensor
            Real values.

        Returns
        -------
        (n, k_max + 1) float32 tensor
            The sum of each ring.
        """
        return values.flatten(1) @ self._of_ring

    def ring_means(self, values: torch.Tensor) -> torch.Tensor:
        """Means over rings of each of real values (n, 2 k_max + 1, k_max + 1), (n, k_max + 1), in float32.

        Parameters
        ----------
        values : (n, 2 k_max + 1, k_max + 1) tensor
            Real values.

        Returns
        -------
        (n, k_max + 1) float32 tensor
            The mean of each ring.
        """
        return self.ring_totals(values) / self.ring_count

    def taken_from(self, other: Band, image: torch.Tensor) -> torch.Tensor:
        """An image (..., band) of another band, cut off or filled up with 0. Coefficients keep their values.

        Parameters
        ----------
        other : Band
            A band of this box, or of the same field in a box of other pixels.
        image : complex tensor
            Coefficients of that band.

        Returns
        -------
        (..., 2 k_max + 1, k_max + 1) complex tensor
            Those of this one.
        """
        k = min(self.k_max, other.k_max)
        out = image.new_zeros(*image.shape[:-2], *self.disc.shape)
        rows = slice(other.k_max - k, other.k_max + k + 1)
        out[..., self.k_max - k : self.k_max + k + 1, : k + 1] = image[..., rows, : k + 1]
        return out * self.disc

    def spread(self, per_ring: torch.Tensor) -> torch.Tensor:
        """Values per ring (k_max + 1,) laid out over the band (2 k_max + 1, k_max + 1); float32, 0 outside the disc.

        Parameters
        ----------
        per_ring : (k_max + 1,) tensor
            A value for each ring.

        Returns
        -------
        (2 k_max + 1, k_max + 1) float32 tensor
            The value of its ring for each coefficient.
        """
        padded = functional.pad(per_ring.float(), (0, 1))
        return padded[self.ring] * self.disc


class ShiftMaps:
    """Correlations over a square of shifts, without a Fourier transform of the whole box.

    band: the Band; search_range: the farthest shift looked at, pixels; step: pixels between two shifts; along: the
    farthest along x, where that is less. The maps are
    (..., S, S) with rows for y, columns for x; ``shifts`` (S,) are the values along either axis.
    """

    def __init__(self, band: Band, search_range: float, step: float = 1.0, along: float | None = None) -> None:
        self.box = band.box
        count = math.ceil(search_range / step)
        self.shifts = torch.arange(-count, count + 1, device=band.device, dtype=torch.float32) * step
        rotation = 2 * math.pi / band.box
        self._rows = torch.polar(torch.ones(1, device=band.device), rotation * self.shifts[:, None] * band.ky)
        columns = rotation * band.kx[:, None] * self.shifts
        # (2 (k_max + 1), S): makes of the real and imaginary parts of coefficients the real part of their waves' sum.
        self._real_columns = torch.stack([columns.cos(), -columns.sin()], 1).flatten(0, 1)
        square = self.shifts[:, None] ** 2 + self.shifts[None] ** 2
        self.inside = square <= search_range**2
        if along is not None:
            self.inside = self.inside & (self.shifts.abs() <= max(along, step / 2))
        # Log prior of the shifts (S, S): a Gaussian whose second standard deviation is the farthest of them.
        self.prior = (-square / (2 * (float(self.shifts[-1]) / 2) ** 2)).masked_fill(~self.inside, -torch.inf)
        self._weight = band.weight

    def correlate(self, band: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """<shifted by t, reference> over one half plane for every t, (..., S, S).

        Parameters
        ----------
        band : (..., 2 k_max + 1, k_max + 1) complex tensor
            Coefficients of the band.
        reference : complex tensor
            Of the same band.

        Returns
        -------
        (..., S, S) tensor
            The correlation at every shift, rows for y, columns for x.
        """
        return self.of_products(band.conj() * (reference * self._weight))

    def of_products(self, products: torch.Tensor) -> torch.Tensor:
        """The same for products conj(band) * reference, weighted, (..., 2 k_max + 1, k_max + 1).

        Parameters
        ----------
        products : (..., 2 k_max + 1, k_max + 1) complex tensor
            Products.

        Returns
        -------
        (..., S, S) tensor
            The correlation at every shift.
        """
        # Of the sum over columns the real part alone is asked for: one product of real matrices.
        rows = torch.view_as_real(self._rows @ products)
        return rows.flatten(-2) @ self._real_columns

    def blur(self, weights: torch.Tensor) -> torch.Tensor:
        """The factor that makes of a band the mean of its shifted copies with these weights (..., S, S).

        Parameters
        ----------
        weights : (..., S, S) tensor
            Weights of the shifts.

        Returns
        -------
        (..., 2 k_max + 1, k_max + 1) complex tensor
            The factor of each coefficient.
        """
        # The weights are real: one product of real matrices sums over columns.
        columns = (weights.to(self._real_columns.dtype) @ self._real_columns.T).unflatten(-1, (-1, 2))
        return self._rows.conj().T @ torch.view_as_complex(columns)


def peaks(
    maps: ShiftMaps, correlation: torch.Tensor, inside: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(shift (..., 2) x and y, value (...)) of the highest points of maps (..., S, S), with a parabola through each.
    inside: (..., S, S), where they may lie; None: within the reach of the maps.

    Parameters
    ----------
    maps : ShiftMaps
        What made the maps.
    correlation : (..., S, S) tensor
        The maps.
    inside : (..., S, S) bool tensor, optional
        Where peaks may lie; within the reach where it is left out.

    Returns
    -------
    tuple of tensors
        Shifts (..., 2), x and y in pixels, and the values there (...).
    """
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
