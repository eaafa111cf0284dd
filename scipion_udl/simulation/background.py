"""What lies beneath and on top of particles: the structure of the ice, ramps, hot pixels."""

from __future__ import annotations

import numpy as np
from scipy import fft

# The height of hot pixels in noise deviations, and the share of them that is dark.
_HEIGHT, _DARK = (8.0, 30.0), 0.2


def structure(random: np.random.Generator, ctf: np.ndarray, side: int) -> np.ndarray:
    """White noise that has passed a CTF, float64 (side, side), of mean 0 and expected variance 1.

    ctf: (side, side // 2 + 1), as rfft2 has it. Its power spectrum is the square of the CTF: it has the CTF's zeros.
    """
    white = fft.rfft2(random.standard_normal((side, side)))
    return fft.irfft2(white * (ctf / np.sqrt(mean_power(ctf, side))), s=(side, side))


def mean_power(ctf: np.ndarray, side: int) -> float:
    """The mean square of a CTF (side, side // 2 + 1) over the whole plane: what it leaves of the variance of white
    noise."""
    weight = np.full(ctf.shape[1], 2.0)
    weight[0] = 1.0
    if side % 2 == 0:
        weight[-1] = 1.0
    return float((ctf.astype(np.float64) ** 2 @ weight).sum() / side**2)


def ramp(random: np.random.Generator, height: float, box: int) -> np.ndarray:
    """A plane through 0 at the box's origin, float64 (box, box), of any direction.

    height: the root mean square, over many, of its rise from the centre to the edge (box / 2 pixels) along its slope.
    """
    slope = random.standard_normal(2) * height / np.sqrt(2) / (box / 2)
    axis = np.arange(box) - box // 2
    return slope[0] * axis[None] + slope[1] * axis[:, None]


def hot_pixels(random: np.random.Generator, mean: float, box: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (2, n) of hot pixels, n by the Poisson distribution about ``mean``, and their heights (n,) in
    noise deviations: 8 to 30, one in five dark."""
    n = min(int(random.poisson(mean)), box * box)
    places = random.choice(box * box, n, replace=False)
    height = _HEIGHT[0] + random.random(n) * (_HEIGHT[1] - _HEIGHT[0])
    return np.stack([places // box, places % box]), np.where(random.random(n) < _DARK, -height, height)
