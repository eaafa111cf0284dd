"""An average against a known image: brought onto it in the plane, then correlation and Fourier ring correlation.

numpy and scipy only. Images are (D, D), row 0 on top, origin at pixel D//2, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from scipion_udl.constants import EVALUATED
from scipion_udl.imaging.poses import Poses, to_matrices

COARSE_BOX = 64
COARSE_STEP = 3.0  # degrees
RADIUS = EVALUATED / 2  # of the circle within which images are compared, share of the box
EDGE = 0.06  # over which it falls off, half to either side
TRUE_THRESHOLD = 0.5  # against an image without noise this is what 0.143 is between two halves: sqrt(2 f / (1 + f))


@dataclass
class ReferenceMatch:
    """An average laid on a reference.

    average, reference: (D, D) float64 as compared (average rotated and shifted, both masked); pose: the one pose that
    was applied to the average; correlation: within the mask, -1 to 1; frequency: (F,) 1/A; frc: (F,);
    resolution: A, where the FRC falls to 0.5, NaN where it never is above; reaches_end: the FRC stays above 0.5 up to
    the finest ring.
    """

    average: np.ndarray
    reference: np.ndarray
    pose: Poses
    correlation: float
    frequency: np.ndarray
    frc: np.ndarray
    resolution: float
    reaches_end: bool


def transform(image: np.ndarray, pose: Poses) -> np.ndarray:
    """An image moved by a pose, with cubic splines.

    Parameters
    ----------
    image : (D, D) array
        One image.
    pose : Poses
        One, to apply; shift in pixels.

    Returns
    -------
    (D, D) float64 array
        What comes from outside of the image is its mean.
    """
    matrix = np.linalg.inv(to_matrices(pose)[0])
    rows_first = matrix[1::-1, 1::-1]
    centre = np.array([side // 2 for side in image.shape])
    offset = matrix[1::-1, 2] + centre - rows_first @ centre
    return ndimage.affine_transform(
        np.asarray(image, np.float64), rows_first, offset, order=3, cval=float(image.mean())
    )


def soft_circle(box: int, radius: float = RADIUS, edge: float = EDGE) -> np.ndarray:
    """A mask with a soft edge about the origin.

    Parameters
    ----------
    box : int
        Pixels.
    radius : float, optional
        Share of the box; there the mask is 1/2.
    edge : float, optional
        Over which it falls from 1 to 0, half to either side, share of the box.

    Returns
    -------
    (box, box) float64 array
        From 1 well within to 0 from ``radius + edge / 2`` on.
    """
    y, x = np.indices((box, box)) - box // 2
    distance = np.hypot(x, y) / box
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - radius + edge / 2) / edge, 0, 1))


def match_reference(
    average: np.ndarray, reference: np.ndarray, pixel_size: float, radius: float = RADIUS
) -> ReferenceMatch:
    """Bring an average onto a reference by a rotation and a shift, and compare them within a soft circle.

    The whole circle and all shifts are searched in a small box, then the best place is refined at full size. A
    reference of opposite contrast is matched all the same; its correlation is negative.

    Parameters
    ----------
    average, reference : (D, D) arrays
        The images.
    pixel_size : float
        A.
    radius : float, optional
        Of the circle, share of the box.

    Returns
    -------
    ReferenceMatch
        The pose of the average, both images as compared, their correlation and FRC.
    """
    mask = soft_circle(len(average), radius)
    target = _normalised(reference, mask)
    start, sign = _coarse(average, reference, radius)

    def loss(values: np.ndarray) -> float:
        return -sign * float((_normalised(transform(average, _pose(values)), mask) * target).sum())

    # The simplex starts as wide as the coarse grid is: degrees, pixels, pixels.
    width = np.diag([COARSE_STEP, *[max(1.0, len(average) / COARSE_BOX)] * 2])
    simplex = np.vstack([start, start + width])
    options = {"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-8}
    best = optimize.minimize(loss, start, method="Nelder-Mead", options=options)
    pose = _pose(best.x)
    moved = _normalised(transform(average, pose), mask)
    frequency, frc = ring_correlation(moved, sign * target, pixel_size)
    resolution, reaches_end = crossing(frequency, frc, TRUE_THRESHOLD)
    return ReferenceMatch(moved, target, pose, -sign * float(best.fun), frequency, frc, resolution, reaches_end)


def pose_onto(image: np.ndarray, reference: np.ndarray, radius: float = RADIUS) -> Poses:
    """The pose that brings an image onto a reference, as far as the search in a small box finds it: for the eye.

    Parameters
    ----------
    image, reference : (D, D) arrays
        The images.
    radius : float, optional
        Of the circle within which they are compared, share of the box.

    Returns
    -------
    Poses
        One, to apply to the image: to 3 degrees, and a 64th of the box.
    """
    return _pose(_coarse(image, reference, radius)[0])


def _pose(values: np.ndarray) -> Poses:
    return Poses(values[:1], values[None, 1:])


def _normalised(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image under the mask, without its mean there, of norm 1 (0 for a constant image)."""
    image = (image - (image * mask).sum() / mask.sum()) * mask
    norm = np.linalg.norm(image)
    return image / norm if norm > 0 else image


def _coarse(average: np.ndarray, reference: np.ndarray, radius: float) -> tuple[np.ndarray, float]:
    """The best (angle, shift x, shift y) of a search over the circle in a small box, and the sign of the match."""
    small, large = _shrunk(average), _shrunk(reference)
    box = len(small)
    mask = soft_circle(box, radius)
    target = np.conj(np.fft.rfft2(_normalised(large, mask)))
    reach = np.fft.fftfreq(box, 1 / box)
    near = np.hypot(*np.meshgrid(reach, reach)) <= box / 4
    best, place, sign = -np.inf, np.zeros(3), 1.0
    for angle in np.arange(0, 360, COARSE_STEP):
        rotated = _normalised(transform(small, Poses(np.array([angle]))), mask)
        # The peak of this correlation lies at the shift that the reference has against the rotated average.
        correlation = np.fft.irfft2(np.conj(np.fft.rfft2(rotated) * target), (box, box)) * near
        peak = int(np.argmax(np.abs(correlation)))
        if abs(correlation.flat[peak]) > best:
            y, x = np.unravel_index(peak, correlation.shape)
            best, sign = float(abs(correlation.flat[peak])), float(np.sign(correlation.flat[peak]))
            place = np.array([angle, reach[x] * len(average) / box, reach[y] * len(average) / box])
    return place, sign or 1.0


def _shrunk(image: np.ndarray) -> np.ndarray:
    """The image in a box of at most COARSE_BOX pixels, by cutting its Fourier transform (even boxes)."""
    box = len(image)
    if box <= COARSE_BOX:
        return image
    start = box // 2 - COARSE_BOX // 2
    cut = slice(start, start + COARSE_BOX)
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))[cut, cut]
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectrum)).real) * (COARSE_BOX / box) ** 2


def ring_correlation(first: np.ndarray, second: np.ndarray, pixel_size: float) -> tuple[np.ndarray, np.ndarray]:
    """FRC of two images, in rings one Fourier pixel wide.

    Parameters
    ----------
    first, second : (D, D) arrays
        The images.
    pixel_size : float
        A.

    Returns
    -------
    frequency : (D // 2 + 1,) array
        1/A.
    frc : (D // 2 + 1,) array
        From -1 to 1.
    """
    box = len(first)
    f, g = np.fft.fft2(first), np.fft.fft2(second)
    y, x = np.meshgrid(*[np.fft.fftfreq(box, 1 / box)] * 2, indexing="ij")
    ring = np.rint(np.hypot(x, y)).astype(np.int64).ravel()
    rings = box // 2 + 1

    def ring_sum(values: np.ndarray) -> np.ndarray:
        return np.bincount(ring, values.ravel(), minlength=rings)[:rings]

    power = np.sqrt(ring_sum(np.abs(f) ** 2) * ring_sum(np.abs(g) ** 2))
    frc = np.divide(ring_sum((f * np.conj(g)).real), power, out=np.zeros(rings), where=power > 0)
    return np.arange(rings) / (box * pixel_size), frc


def crossing(frequency: np.ndarray, frc: np.ndarray, threshold: float) -> tuple[float, bool]:
    """Where an FRC first falls to a threshold. The ring of frequency 0 is left out.

    Parameters
    ----------
    frequency : (F,) array
        1/A.
    frc : (F,) array
        The curve.
    threshold : float
        The value.

    Returns
    -------
    resolution : float
        A; NaN where the curve is below the threshold from the start.
    reaches_end : bool
        Whether it never falls to the threshold, and the finest ring is given.
    """
    frequency, frc = frequency[1:], frc[1:]
    below = np.flatnonzero(frc < threshold)
    if not len(below):
        return float(1 / frequency[-1]), True
    k = int(below[0])
    if k == 0:
        return float("nan"), False
    share = (frc[k - 1] - threshold) / (frc[k - 1] - frc[k])
    return float(1 / (frequency[k - 1] + share * (frequency[k] - frequency[k - 1]))), False
