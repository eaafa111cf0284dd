"""What lies beneath and on top of particles: the structure of the ice, ramps, hot pixels."""

from __future__ import annotations

import numpy as np
from scipy import fft

# The height of hot pixels in noise deviations, and the share of them that is dark.
_HEIGHT, _DARK = (8.0, 30.0), 0.2


def structure(random: np.random.Generator, ctf: np.ndarray, side: int) -> np.ndarray:
    """White noise that has passed a CTF.

    Its power spectrum is the square of the CTF: it has the CTF's zeros.

    Parameters
    ----------
    random : Generator
    ctf : (side, side // 2 + 1) array
        As rfft2 has it.
    side : int
        Pixels.

    Returns
    -------
    (side, side) float64 array
        Of mean 0 and expected variance 1.
    """
    white = fft.rfft2(random.standard_normal((side, side)))
    return fft.irfft2(white * (ctf / np.sqrt(mean_power(ctf, side))), s=(side, side))


def mean_power(ctf: np.ndarray, side: int) -> float:
    """The mean square of a CTF over the whole plane: what it leaves of the variance of white noise.

    Parameters
    ----------
    ctf : (side, side // 2 + 1) array
        As rfft2 has it.
    side : int
        Pixels.

    Returns
    -------
    float
    """
    weight = np.full(ctf.shape[1], 2.0)
    weight[0] = 1.0
    if side % 2 == 0:
        weight[-1] = 1.0
    return float((ctf.astype(np.float64) ** 2 @ weight).sum() / side**2)


def ramp(random: np.random.Generator, height: float, box: int) -> np.ndarray:
    """A plane through 0 at the box's origin, of any direction.

    Parameters
    ----------
    random : Generator
    height : float
        The root mean square, over many, of its rise from the centre to the edge (box / 2 pixels) along its slope.
    box : int
        Pixels.

    Returns
    -------
    (box, box) float64 array
        In the unit of ``height``.
    """
    slope = random.standard_normal(2) * height / np.sqrt(2) / (box / 2)
    axis = np.arange(box) - box // 2
    return slope[0] * axis[None] + slope[1] * axis[:, None]


def hot_pixels(random: np.random.Generator, mean: float, box: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and heights of hot pixels, their number drawn from the Poisson distribution.

    Parameters
    ----------
    random : Generator
    mean : float
        Of their number.
    box : int
        Pixels.

    Returns
    -------
    places : (2, n) int array
        Rows and columns.
    heights : (n,) float64 array
        In noise deviations: 8 to 30, one in five dark (negative).
    """
    n = min(int(random.poisson(mean)), box * box)
    places = random.choice(box * box, n, replace=False)
    height = _HEIGHT[0] + random.random(n) * (_HEIGHT[1] - _HEIGHT[0])
    return np.stack([places // box, places % box]), np.where(random.random(n) < _DARK, -height, height)
