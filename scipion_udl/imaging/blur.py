"""Images smoothed by a Gaussian."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional


def gaussian_blur(image: torch.Tensor, sigma: float, beyond: str = "zero") -> torch.Tensor:
    """An image smoothed by a Gaussian that is cut at three standard deviations, in the precision of the image.

    Parameters
    ----------
    image : (D, D) tensor
        The image.
    sigma : float
        Standard deviation of the Gaussian, pixels.
    beyond : str, optional
        What lies outside of the image: "zero", or its nearest pixel ("nearest").

    Returns
    -------
    (D, D) tensor
        The smoothed image.
    """
    reach = math.ceil(3 * sigma)
    window = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device) / sigma) ** 2)
    window = (window / window.sum()).to(image.dtype)
    values, pad = image[None, None], reach
    if beyond == "nearest":
        values, pad = functional.pad(values, (reach,) * 4, mode="replicate"), 0
    values = functional.conv2d(values, window[None, None, :, None], padding=(pad, 0))
    return functional.conv2d(values, window[None, None, None, :], padding=(0, pad))[0, 0]
