"""Images as a page shows them: grey values, low-pass, length of a scale bar, circle. Runs on Python 3.8, too."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

EYE_CYCLES = 12.0  # low-pass of single particles, cycles per box side: keeps their shape, drops most of the noise


def to_grey(image: np.ndarray) -> np.ndarray:
    """An image as grey values, from its 0.3 to its 99.7 percentile.

    Parameters
    ----------
    image : (D, D) array
        The image.

    Returns
    -------
    (D, D) uint8 array
        A constant image is mid grey.
    """
    low, high = np.percentile(image, [0.3, 99.7])
    if not high > low:
        return np.full(image.shape, 128, np.uint8)
    return (np.clip((image - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)


def to_png(image: np.ndarray, smallest: int = 0, largest: int = 4096) -> str:
    """An image as a data: URI of a grey PNG.

    Parameters
    ----------
    image : (D, D) array
        Of any dtype.
    smallest, largest : int, optional
        It is resized so that its side lies between them, pixels.

    Returns
    -------
    str
        The URI.
    """
    picture = Image.fromarray(to_grey(np.asarray(image, np.float64)))
    side = min(max(picture.width, smallest), largest)
    if side != picture.width:
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=4)  # a tenth of the time of 9, and 3% larger
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def to_circle(box: int, radius: float) -> str:
    """A circle about the origin (pixel box//2) to lie on an image, whatever the size it is shown in.

    Parameters
    ----------
    box : int
        Pixels of the image's side.
    radius : float
        Pixels.

    Returns
    -------
    str
        An <svg> element.
    """
    centre = box // 2 + 0.5  # a pixel is as wide as its number to the next
    return (
        f'<svg class="circle" viewBox="0 0 {box} {box}" aria-hidden="true"><circle cx="{centre:g}" cy="{centre:g}" '
        f'r="{radius:.3f}"/></svg>'
    )


def lowpass(image: np.ndarray, cycles: float) -> np.ndarray:
    """A copy of an image for the eye: Gaussian low-pass.

    Parameters
    ----------
    image : (D, D) array
        The image.
    cycles : float
        Per box side, where the amplitude is half.

    Returns
    -------
    (D, D) array
        The copy.
    """
    y, x = np.meshgrid(np.fft.fftfreq(len(image)), np.fft.rfftfreq(len(image)), indexing="ij")
    radius = np.hypot(x, y) * len(image)
    return np.fft.irfft2(np.fft.rfft2(image) * np.exp(-np.log(2) * (radius / cycles) ** 2), image.shape)


def for_the_eye(image: np.ndarray, side: int = 64) -> np.ndarray:
    """A small copy of an image for the eye, low-passed to ``EYE_CYCLES``.

    Parameters
    ----------
    image : (D, D) array
        The image.
    side : int, optional
        Pixels of the copy, at most; what it cannot hold is beyond the low-pass.

    Returns
    -------
    (d, d) float32 array
        The copy, d = min(D, side), its origin at d//2.
    """
    image = lowpass(np.asarray(image, np.float64), EYE_CYCLES)
    box = len(image)
    if box > side:
        spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))
        first = box // 2 - side // 2
        spectrum = spectrum[first : first + side, first : first + side] * (side / box) ** 2
        image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectrum)).real)
    return image.astype(np.float32)


def nice_length(longest: float) -> float:
    """The largest of 1, 2, 5 x 10^k that is not longer than a length.

    Parameters
    ----------
    longest : float
        The length, above 0.

    Returns
    -------
    float
        In the same unit.
    """
    power = 10.0 ** np.floor(np.log10(longest))
    return float(power * max(m for m in (1, 2, 5) if m * power <= longest * (1 + 1e-9)))


# Drawings on given axes.
