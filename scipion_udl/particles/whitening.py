"""The filter that makes the noise of particles white, in their working box."""

from __future__ import annotations

import copy

import numpy as np
import torch

from scipion_udl.imaging.fourier import radii, resize, to_fourier


class Whitening:
    """Images of one box as coefficients of a working box in which the noise is white.

    noise: power per ring (source_box//2 + 1,) of what is to be made white; box: of the working box, pixels.
    """

    def __init__(self, noise: torch.Tensor, source_box: int, box: int, device: torch.device) -> None:
        self.source_box, self.box, self.device = source_box, box, device
        ring = radii(source_box, device).round().long().clamp(max=source_box // 2)
        self._filter = resize(_whitening(noise)[ring], source_box, box)

    def to_box(self, box: int) -> Whitening:
        """The same filter for a smaller working box.

        Parameters
        ----------
        box : int
            Of the other, pixels.

        Returns
        -------
        Whitening
            Of the same images.
        """
        other = copy.copy(self)
        other.box, other._filter = box, resize(self._filter, self.box, box)
        return other

    def without_rings(self, ring: int) -> Whitening:
        """The same filter that leaves nothing of the coarsest rings.

        Parameters
        ----------
        ring : int
            Fourier pixels: half of this one is left, all of those beyond and nothing of those within.

        Returns
        -------
        Whitening
            Of the same images.
        """
        other = copy.copy(self)
        radius = radii(self.source_box, self.device)
        edge = resize((0.5 + 0.5 * (radius - ring)).clamp(0, 1), self.source_box, self.box)
        other._filter = self._filter * edge
        return other

    def rings(self) -> torch.Tensor:
        """The filter by ring.

        Returns
        -------
        (box//2 + 1,) float32 tensor
            What coefficients of each Fourier ring of the working box are multiplied by, from ring 0.
        """
        return self._filter[0]

    def of_normal(self, images: torch.Tensor) -> torch.Tensor:
        """Coefficients of normalised images.

        Parameters
        ----------
        images : (n, D, D) float32 tensor
            Their background is 0 and its noise of deviation 1.

        Returns
        -------
        (n, box, box//2 + 1) complex tensor
            Of the working box, the noise white.
        """
        return resize(to_fourier(images), self.source_box, self.box) * self._filter

    def of(self, images: torch.Tensor, mean: np.ndarray, std: np.ndarray) -> torch.Tensor:
        """Coefficients of images with a background of their own: of averages, say.

        Parameters
        ----------
        images : (n, D, D) tensor
            Grey levels.
        mean, std : (n,) arrays
            Of the backgrounds, grey levels.

        Returns
        -------
        (n, box, box//2 + 1) complex tensor
            As of :meth:`of_normal`.
        """
        return self.of_normal((images - self._column(mean)) / self._column(std))

    def _column(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)[:, None, None]


def _whitening(noise: torch.Tensor) -> torch.Tensor:
    """The filter per ring that makes the noise white: 1 / sqrt of its smoothed power, at most 100 times its least."""
    # The mean and a ramp were taken off where the noise is measured: what rings 0 and 1 hold is too little.
    first = torch.maximum(noise[1:2], noise[2:3] * (noise[2:3] / noise[3:4].clamp(min=1e-12)).clamp(1, 2))
    padded = torch.cat([first, first, first, noise[2:], noise[-1:]])
    smooth = padded.unfold(0, 3, 1).mean(-1)
    floor = 1e-4 * smooth.max()
    return smooth.clamp(min=float(floor) or 1e-12).rsqrt()
