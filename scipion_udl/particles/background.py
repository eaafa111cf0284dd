"""The background of a particle image: a plane, its noise, and pixels that no electron made.

Extraction programs normalise particles, and not all do it well: a gradient of the ice stays as a ramp, hot pixels and
the traces of X-rays stick out by many deviations, neighbours lie in the background. So every image is brought to the
same here, whatever comes in: a plane is fitted to the blocks outside of the particle's disc, robustly, so that a
neighbour in some of them does not tilt it; the noise is the deviation within such blocks; single pixels that stick out
of their surroundings are replaced by the median of these.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as functional

from scipion_udl.constants import MEDIAN_DEVIATION
from scipion_udl.imaging.fourier import soft_disc

BLOCKS = 16  # along a side: large enough that noise averages out, small against a neighbour
FITS = 4  # reweighted least squares: by then the weights of Tukey's biweight stand still
TUKEY = 4.685  # deviations beyond which a block counts for nothing: 95 % efficient where all is Gaussian
STEEP = 0.2  # deviations of the noise from centre to edge, from which a ramp changes what is aligned and sorted
STICKS_OUT = 7.0  # deviations: of 100 000 images of 128 px not one pixel of Gaussian noise does
AROUND = 2  # pixels to either side that a pixel is compared with
TOGETHER = 3  # of the eight pixels about it that stick out, too: then it is a structure
MANY = 0.01  # of an image's pixels: where more stick out they are part of the picture
LEAST_BESIDE = 0.2  # of a block beside the particle, for it to count
LOUD = 4.0  # times the median variance, above which something sticks out of a block
CONSTANT = 0.05  # of the whole image's deviation: a background with less was masked away


@dataclass
class Levels:
    """What the backgrounds of n images are. mean: at the image's origin (pixel D//2); slope: (n, 2), rise per pixel
    towards +x and +y; std: deviation of the noise; flat: constant images, bool; peak: the largest value, its sign left
    out. All (n,), in grey levels of the image."""

    mean: torch.Tensor
    slope: torch.Tensor
    std: torch.Tensor
    flat: torch.Tensor
    peak: torch.Tensor

    def numpy(self) -> list[np.ndarray]:
        """The same as arrays.

        Returns
        -------
        list of (n,) or (n, 2) arrays
            mean, slope, std, flat and peak, in this order; float64, but for ``flat``, which is bool.
        """
        values = [getattr(self, one.name).cpu().numpy() for one in fields(self)]
        return [value if value.dtype == bool else value.astype(np.float64) for value in values]


class Background:
    """Measures backgrounds of images of one box, and takes them off.

    box: pixels; radius: of the disc about the particle, pixels; device.
    """

    def __init__(self, box: int, radius: float, device: torch.device | str = "cpu") -> None:
        self.box = box
        self.disc = soft_disc(box, max(min(radius, box / 2 - 2), 1.0), max(2.0, 0.04 * box), device)
        self.outside = 1 - self.disc
        self._side = max(2, box // BLOCKS)
        share = self._pooled(self.outside[None])[0]
        self._beside = share > LEAST_BESIDE
        self._share = share[self._beside]
        # What the means of blocks take off the mean squares within them, as if each were of so many pixels.
        own = self._pooled(self.outside.square()[None])[0][self._beside] / self._share**2 / self._side**2
        self._free = (self._share * (1 - own)).sum()
        self._axis = torch.arange(box, device=device, dtype=torch.float32) - box // 2
        grid = torch.meshgrid(self._axis, self._axis, indexing="ij")
        y, x = (self._pooled(v[None])[0][self._beside] / (box / 2) for v in grid)
        self._plane = torch.stack([torch.ones_like(x), x, y], -1).double()

    def measure(self, images: torch.Tensor) -> Levels:
        """The backgrounds of images.

        Parameters
        ----------
        images : (n, D, D) float32 tensor
            Of the box.

        Returns
        -------
        Levels
            Of n images, in grey levels of theirs.
        """
        # Squares of very large or tiny values leave single precision. A unit that is a power of two changes nothing.
        peak = images.abs().amax((-2, -1))
        exponent = torch.frexp(peak).exponent.clamp(-120, 120)
        unit = torch.ldexp(torch.ones_like(peak), exponent)
        images = images / unit[:, None, None]
        whole = images.std((-2, -1))
        flat = whole <= 1e-6 * (peak / unit)
        # Far from 0 the squares lose their last digits: the middle is taken off first.
        level = images.mean((-2, -1))
        centred = images - level[:, None, None]
        beside = centred * self.outside
        means, squares = (self._pooled(v)[:, self._beside] for v in (beside, beside * centred))
        means = means / self._share
        plane = self._fitted(means)
        mean, slope = plane[:, 0] + level, plane[:, 1:] / (self.box / 2)
        std = self._deviation(means, squares, slope)
        std = torch.where(std < CONSTANT * whole, whole, std)
        slope = torch.where(flat[:, None], 0.0, slope * unit[:, None])
        return Levels(mean * unit, slope, torch.where(flat, 1.0, std * unit), flat, peak)

    def _deviation(self, means: torch.Tensor, squares: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """Deviation of the noise (n,) within the blocks beside the particle: what is wider than a block, neighbours
        above all, does not count, nor do blocks in which something sticks out."""
        within = (squares - means.square() * self._share).clamp(min=0)
        middle = (within / self._share).median(-1, keepdim=True).values
        kept = (within <= LOUD * middle * self._share).float()
        total = (within * kept).sum(-1) / (kept * self._share).sum(-1).clamp(min=1e-12) * self._share.sum()
        ramp = slope.square().sum(-1) * ((self._side**2 - 1) / 12)
        return (total / self._free - ramp).clamp(min=0).sqrt()

    def _pooled(self, images: torch.Tensor) -> torch.Tensor:
        """Means (n, blocks) of images (n, D, D) over all blocks."""
        return functional.avg_pool2d(images[:, None], self._side).flatten(1)

    def levelled(
        self,
        images: torch.Tensor,
        mean: torch.Tensor,
        slope: torch.Tensor,
        std: torch.Tensor,
        hot: np.ndarray | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images less their planes, in units of their noise, pixels that stick out replaced.

        Parameters
        ----------
        images : (n, D, D) float32 tensor
            Of the box.
        mean : (n,) tensor
            Of the background at the origin, as of :class:`Levels`.
        slope : (n, 2) tensor
            Rise of the background per pixel towards +x and +y.
        std : (n,) tensor
            Deviation of the noise.
        hot : (n,) array, optional
            How many pixels of each stick out, where that is known: images without any are not looked through.

        Returns
        -------
        images : (n, D, D) float32 tensor
            Their background is 0, its noise of deviation 1.
        count : (n,) int64 tensor
            How many pixels of each were replaced.
        """
        images = (images - self._ramps(mean, slope)).div_(std[:, None, None])
        if hot is None:
            return repaired(images)
        which, count = torch.from_numpy(np.flatnonzero(hot)).to(images.device), torch.zeros_like(std, dtype=torch.int64)
        if len(which):
            images[which], count[which] = repaired(images[which])
        return images, count

    def _ramps(self, mean: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        x, y = slope[:, :1] * self._axis, slope[:, 1:] * self._axis
        return (mean[:, None] + y)[:, :, None] + x[:, None, :]

    def _fitted(self, means: torch.Tensor) -> torch.Tensor:
        """Planes (n, 3) through block means (n, blocks): height at the origin, rise to the edge in x and y."""
        # In double precision, so that an image comes out the same, to the last digit, whatever images are beside it.
        plane, means, share = self._plane, means.double(), self._share.double()
        weight = share.expand_as(means)
        for _ in range(FITS):
            normal = torch.einsum("nb,bi,bj->nij", weight, plane, plane)
            slight = 1e-6 * normal.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None, None]
            normal = normal + slight * torch.eye(3, dtype=torch.float64, device=means.device)
            found = torch.linalg.solve(normal, (weight * means) @ plane)
            left = (means - found @ plane.T).abs()
            scale = MEDIAN_DEVIATION * left.median(-1, keepdim=True).values
            weight = (1 - (left / (TUKEY * scale).clamp(min=1e-30)).clamp(max=1).square()).square()
            weight = weight.clamp(min=1e-3) * share
        return found.float()


def repaired(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in which pixels that stick out of their surroundings have the median of these.

    By more than STICKS_OUT deviations, that is. What is bright together with its neighbours stays: it is a structure.

    Parameters
    ----------
    images : (n, D, D) float32 tensor
        In units of their noise about 0.

    Returns
    -------
    images : (n, D, D) float32 tensor
        The repaired ones.
    count : (n,) int64 tensor
        How many pixels of each were replaced.
    """
    count = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    high = images.abs() > STICKS_OUT
    high &= (high.sum((-2, -1)) <= max(1, MANY * images[0].numel()))[:, None, None] if len(images) else high
    if not bool(high.any()):
        return images, count
    box, own = images.shape[-1], high.nonzero()
    reach = torch.arange(-AROUND, AROUND + 1, device=images.device)
    rows = (own[:, 1, None, None] + reach[:, None]).clamp(0, box - 1).expand(-1, len(reach), len(reach))
    columns = (own[:, 2, None, None] + reach).clamp(0, box - 1).expand(-1, len(reach), len(reach))
    around = images[own[:, 0, None, None], rows, columns].flatten(1)
    value, middle = images[high], around.median(1).values
    # Two thirds of the deviation where it is noise, more on a structure.
    spread = (around - middle[:, None]).abs().median(1).values
    hot = (value - middle).abs() > STICKS_OUT * spread.clamp(min=1.0)
    beside = around.view(-1, *2 * [len(reach)])[:, AROUND - 1 : AROUND + 2, AROUND - 1 : AROUND + 2].flatten(1)
    of_one_sign = (beside * value.sign()[:, None] > STICKS_OUT / 2).sum(1) - 1
    hot &= of_one_sign < TOGETHER
    images = images.clone()
    images[tuple(own[hot].T)] = middle[hot]
    return images, count.index_add_(0, own[hot][:, 0], torch.ones_like(own[hot][:, 0]))


def steepness(slope: np.ndarray, std: np.ndarray, box: int) -> np.ndarray:
    """How far each ramp rises from the centre to the edge of the box, in deviations of its noise.

    Parameters
    ----------
    slope : (N, 2) array
        Grey levels per pixel towards +x and +y.
    std : (N,) array
        Deviation of the noise, grey levels.
    box : int
        Pixels.

    Returns
    -------
    (N,) array
        Deviations.
    """
    return np.hypot(slope[:, 0], slope[:, 1]) * (box / 2) / np.maximum(std, 1e-300)


@dataclass
class Uneven:
    """How many of ``count`` images have a ramp that matters, and the steepest; how many have pixels that stick out, and
    how many pixels these are."""

    count: int = 0
    ramps: int = 0
    steepest: float = 0.0
    images: int = 0
    pixels: int = 0

    def add(self, steep: np.ndarray, hot: np.ndarray) -> None:
        """Take in n images.

        Parameters
        ----------
        steep : (n,) array
            What :func:`steepness` gives.
        hot : (n,) int array
            Pixels of each that were replaced.
        """
        if not len(steep):
            return
        self.count += len(steep)
        self.ramps += int((steep > STEEP).sum())
        self.steepest = max(self.steepest, float(steep.max()))
        self.images += int((hot > 0).sum())
        self.pixels += int(hot.sum())

    def words(self) -> str | None:
        """What is said of ramps and hot pixels that mattered and were taken off.

        Returns
        -------
        str or None
            None where none did.
        """
        said = []
        if self.ramps:
            said.append(
                f"{self.ramps} of {self.count} images have a ramp in their background (from centre to edge more than "
                f"{STEEP:g} deviations of their noise, {self.steepest:.2g} at most)"
            )
        if self.images:
            said.append(f"{self.images} of {self.count} images have pixels that stick out, {self.pixels} in all")
        return f"{'; '.join(said)}: taken off" if said else None


def background_words(steep: np.ndarray, hot: np.ndarray) -> str | None:
    """:meth:`Uneven.words` of N images.

    Parameters
    ----------
    steep : (N,) array
        What :func:`steepness` gives.
    hot : (N,) int array
        Pixels of each that were replaced.

    Returns
    -------
    str or None
        None where nothing mattered.
    """
    uneven = Uneven()
    uneven.add(steep, hot)
    return uneven.words()
