"""Templates: a noise-free image that can be looked at in any pose. Here, images from a file; formulas in phantoms.py.

A template has ``box`` (pixels), ``image()`` -> float32 (box, box), the image itself, and ``sample(poses)`` -> float32
(N, box, box), the particles that the poses take to it: particle(p) = template(M R p + t), for p in pixels from the
origin at box//2. Poses are those of :mod:`scipion_udl.imaging.poses`, so they are the truth of these particles.
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.messages import message

# The edge of the round window, in parts of the box.
_EDGE = 0.04
# How much finer than its pixels a template is sampled before splines read between the samples.
_OVERSAMPLING = 4


def grid(box: int) -> np.ndarray:
    """Pixel coordinates from the origin at box//2.

    Parameters
    ----------
    box : int
        Pixels.

    Returns
    -------
    (2, box, box) float64 array
        x and y.
    """
    axis = np.arange(box) - box // 2
    return np.stack(np.meshgrid(axis, axis, indexing="xy")).astype(np.float64)


def fourier_resize(image: np.ndarray, box: int) -> np.ndarray:
    """An image or map on other pixels of the same field of view, by cropping or padding its Fourier transform.

    The origin stays the origin (D//2 becomes box//2), grey values keep their scale.

    Parameters
    ----------
    image : (D, D) or (D, D, D) array
    box : int
        Pixels of a side.

    Returns
    -------
    float64 array of ``box`` a side
        float32 for float32.
    """
    image = np.asarray(image)
    image = image if image.dtype == np.float32 else image.astype(np.float64)
    old, axes = image.shape[0], image.ndim
    spectrum = fft.fftshift(fft.fftn(fft.ifftshift(image)))
    small = min(old, box)
    out = np.zeros((box,) * axes, spectrum.dtype)
    a, b = old // 2 - small // 2, box // 2 - small // 2
    out[(slice(b, b + small),) * axes] = spectrum[(slice(a, a + small),) * axes]
    # On an even grid the lowest row and column stand for both signs of the Nyquist frequency.
    if small % 2 == 0 and old != box:
        for axis in range(axes):
            np.moveaxis(out, axis, 0)[b] = 0
    return fft.fftshift(fft.ifftn(fft.ifftshift(out)).real) * image.dtype.type((box / old) ** axes)


class ImageTemplate:
    """A template read between its pixels.

    image: (D, D), any scale; box: pixels of the particles (the field of view stays, so pixels grow or shrink).
    The mean of its border is taken away, corners outside the inscribed circle are faded out (a square that turns would
    tell its angle), and frequencies beyond the circle that every orientation can hold are left out, so that each
    particle is a band-limited image. Between the pixels, cubic splines on a four times oversampled (zero-padded
    spectrum) copy are read: against the exact Fourier sum the error is below 1e-3 of the image's deviation for
    white noise, the hardest image there is, and below 1e-4 for class averages (tests/simulation/test_templates.py).
    Raises UdlError for a constant image or a box below 8.
    """

    def __init__(self, image: np.ndarray, box: int) -> None:
        if box < 8:
            raise UdlError(message("simulated_box_too_small", box=box))
        image = np.asarray(image, np.float64)
        border = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
        image = image - border.mean()
        if image.std() <= 1e-12 * (np.abs(border).max() + 1e-300):
            raise UdlError(message("template_constant"))
        self.box = int(box)
        self._image = _round_band(round_window(fourier_resize(image, box)))
        # A margin lets the splines run out into nothing instead of coming in again on the other side.
        self._margin = 4
        padded = np.pad(self._image, self._margin)
        self._fine_box = _OVERSAMPLING * len(padded)
        self._spline = ndimage.spline_filter(fourier_resize(padded, self._fine_box), order=3)

    def image(self) -> np.ndarray:
        """The template itself.

        Returns
        -------
        (box, box) float32 array
        """
        return self._image.astype(np.float32)

    def sample(self, poses: Poses) -> np.ndarray:
        """The particles that poses take to the template.

        Parameters
        ----------
        poses : Poses
            N.

        Returns
        -------
        (N, box, box) float32 array
        """
        points = grid(self.box).reshape(2, -1)
        out = np.empty((len(poses), self.box, self.box), np.float32)
        for particle, matrix in zip(out, to_matrices(poses)):
            x, y = matrix[:2, :2] @ points + matrix[:2, 2:]
            where = np.stack([y, x]) * _OVERSAMPLING + self._fine_box // 2
            values = ndimage.map_coordinates(self._spline, where, order=3, prefilter=False, mode="constant")
            particle[:] = values.reshape(particle.shape)
        return out


def round_window(image: np.ndarray) -> np.ndarray:
    """An image, or map, with a soft circular, or spherical, edge just inside its box.

    Parameters
    ----------
    image : (D, D) or (D, D, D) array

    Returns
    -------
    array of that shape and type
    """
    box = len(image)
    axis = np.arange(box) - box // 2
    radius = np.sqrt(sum(part**2 for part in np.meshgrid(*[axis] * image.ndim, sparse=True)))
    outer = (box - 1) // 2
    inner = outer - max(2.0, _EDGE * box)
    ramp = np.clip((outer - radius) / (outer - inner), 0, 1)
    return image * (0.5 - 0.5 * np.cos(np.pi * ramp)).astype(image.dtype)


def _round_band(image: np.ndarray) -> np.ndarray:
    """The image without the frequencies beyond 0.5 per pixel in any direction."""
    box = len(image)
    frequency = np.hypot(fft.fftfreq(box)[:, None], fft.rfftfreq(box)[None])
    return fft.irfft2(fft.rfft2(image) * (frequency < 0.5), s=image.shape)
