"""Noise that is stronger at low frequencies than white noise is: a changed spectral signal-to-noise ratio (SSNR)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from scipion_udl.errors import UdlError
from scipion_udl.messages import message

MOST = 1e12  # a factor beyond it leaves no white noise beside it in float32


@dataclass(frozen=True)
class SsnrChange:
    """White noise with more of it below a frequency radius, as the ice and the carbon of real images give.

    resolution: angstrom; below the radius 1 / resolution (coarser than that) the power of the noise is ``factor``
    times that of the white noise, so the SSNR there is the white noise's divided by ``factor``; from the radius on it
    is as before. A factor of 4 is the white noise and independent noise of three times its power, of these
    frequencies alone. Below 1 it takes noise away. What an SNR says of the particles stays said of the white noise.
    """

    resolution: float
    factor: float

    def check(self, box: int, pixel_size: float) -> None:
        """Refuse a change that makes no sense in images of this size.

        Parameters
        ----------
        box : int
            Pixels.
        pixel_size : float
            Angstrom.

        Raises
        ------
        UdlError
            For a resolution or factor that is not above 0, a factor out of reach of float32, and a resolution outside
            of what the box and its pixels hold.
        """
        if not (self.resolution > 0 and self.factor > 0):
            raise UdlError(message("ssnr_not_positive", value=self))
        if not 1 / MOST <= self.factor <= MOST:
            raise UdlError(message("ssnr_factor", value=self, least=1 / MOST, most=MOST))
        finest, coarsest = 2 * pixel_size, box * pixel_size
        if not finest < self.resolution < coarsest:
            raise UdlError(
                message("ssnr_resolution", value=self, box=box, pixel_size=pixel_size, coarsest=coarsest, finest=finest)
            )

    def __str__(self) -> str:
        return f"{self.resolution:g}:{self.factor:g}"

    def apply(self, white: np.ndarray, pixel_size: float) -> np.ndarray:
        """White noise with this change.

        Parameters
        ----------
        white : (..., box, box) float32 array
        pixel_size : float
            Angstrom.

        Returns
        -------
        (..., box, box) float32 array
        """
        box = white.shape[-1]
        frequency = np.hypot(fft.fftfreq(box)[:, None], fft.rfftfreq(box)[None]) / pixel_size
        gain = np.where(frequency < 1 / self.resolution, np.sqrt(self.factor), 1.0).astype(np.float32)
        return fft.irfft2(fft.rfft2(white) * gain, s=white.shape[-2:])
