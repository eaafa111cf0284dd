"""The shift between two images of which each shows only a part of the other: correlation over what both show.

A plain correlation of windowed images prefers no shift at all, because there the windows overlap most. Here the
correlation coefficient is taken over the common part alone, for all shifts at once by FFT (after Padfield, IEEE Trans.
Image Process. 21 (2012) 2706).
"""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len

from scipion_udl.imaging.fourier import soft_disc

EDGE = 0.06  # of the disc, parts of the box


class OverlapCorrelation:
    """Correlation coefficients of two images within a soft disc each, for all shifts up to ``search_range`` pixels.

    box: pixels; search_range: length of the farthest shift; radius: of the disc about pixel box//2, pixels.
    """

    def __init__(self, box: int, search_range: float, radius: float, device: torch.device | str = "cpu") -> None:
        self.mask = soft_disc(box, radius, max(2.0, EDGE * box), device)
        self.steps = math.ceil(search_range)
        self._size = next_fast_len(box + self.steps + 1, real=True)  # so that no shift comes in again behind
        self._window = self._spectrum(self.mask)
        axis = torch.arange(-self.steps, self.steps + 1, device=device)
        self._inside = axis[:, None] ** 2 + axis[None] ** 2 <= search_range**2
        self._common = self._sums(self._window, self._window).clamp(min=1e-3)

    def maps(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """(N, S, S) in [-1, 1]: the correlation of ``first`` with ``second`` moved by t, images (N, box, box); rows are
        t_y, columns t_x from -steps to steps; -1 where t is longer than the reach.

        Parameters
        ----------
        first, second : (N, box, box) tensors
            Pairs of images.

        Returns
        -------
        (N, S, S) tensor
            From -1 to 1, rows for y, columns for x.
        """
        first, second = self._normal(first), self._normal(second)
        a, aa, b, bb = (self._spectrum(image * self.mask) for image in (first, first**2, second, second**2))
        sum_a, sum_b = self._sums(a, self._window), self._sums(self._window, b)
        product = self._sums(a, b) - sum_a * sum_b / self._common
        power_a = self._sums(aa, self._window) - sum_a**2 / self._common
        power_b = self._sums(self._window, bb) - sum_b**2 / self._common
        # a part of the disc that is flat has no correlation; rounding must not make one
        least = 1e-3 * self._common
        correlation = product / (power_a.clamp(min=least) * power_b.clamp(min=least)).sqrt()
        return correlation.clamp(-1, 1).masked_fill(~self._inside, -1.0)

    def best(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(shift (N, 2) x, y in pixels that brings ``second`` onto ``first``, correlation there (N,)): the highest
        whole-pixel shift, and the top of the parabolas through it and its neighbours.

        Parameters
        ----------
        first, second : (N, box, box) tensors
            Pairs of images.

        Returns
        -------
        tuple of tensors
            Shifts (N, 2), x and y in pixels, and correlations (N,).
        """
        maps = self.maps(first, second)
        side = maps.shape[-1]
        peak = maps.flatten(1).argmax(1)
        y, x = peak // side, peak % side
        shift = torch.stack([_top(maps, y, x, 0, 1), _top(maps, y, x, 1, 0)], -1)
        whole = torch.stack([x, y], -1) - self.steps
        return whole + shift, maps[torch.arange(len(maps)), y, x]

    def _normal(self, images: torch.Tensor) -> torch.Tensor:
        weight = self.mask / self.mask.sum()
        images = images - (images * weight).sum((-2, -1), keepdim=True)
        return images / (images.square() * weight).sum((-2, -1), keepdim=True).sqrt().clamp(min=1e-12)

    def _spectrum(self, images: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft2(images, s=(self._size, self._size))

    def _sums(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Sums over p of a(p) b(p - t), (..., S, S), of two spectra."""
        sums = torch.fft.irfft2(a * b.conj(), s=(self._size, self._size))
        sums = sums.roll((self.steps, self.steps), (-2, -1))
        return sums[..., : 2 * self.steps + 1, : 2 * self.steps + 1]


def _top(maps: torch.Tensor, y: torch.Tensor, x: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """Where the parabola through a peak and its neighbours along one axis has its top, (N,) in [-0.5, 0.5]."""
    side, rows = maps.shape[-1], torch.arange(len(maps))
    edge = (y - dy < 0) | (x - dx < 0) | (y + dy >= side) | (x + dx >= side)
    before = maps[rows, (y - dy).clamp(min=0), (x - dx).clamp(min=0)]
    after = maps[rows, (y + dy).clamp(max=side - 1), (x + dx).clamp(max=side - 1)]
    edge |= (before <= -1) | (after <= -1)
    bend = before - 2 * maps[rows, y, x] + after
    offset = (before - after) / (2 * bend.clamp(max=-1e-9))
    return torch.where(edge, torch.zeros_like(offset), offset.clamp(-0.5, 0.5))
