"""An image as the template frames it: in its own grey scale, with a scale bar or a circle where these are asked for."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from scipion_udl.report import pictures
from scipion_udl.report.data import PageData


def frame(
    image: np.ndarray, alt: str, data: PageData | None = None, largest: int = 160, circle: str = ""
) -> dict[str, object]:
    """An image for the template's macro of that name.

    Parameters
    ----------
    image : (D, D) array
        The image.
    alt : str
        What it shows, for those who cannot see it.
    data : PageData, optional
        Given, the image is a large one with, where the pixel size is known, a scale bar of a quarter of its width.
    largest : int, optional
        Pixels a side of a small one, at most.
    circle : str, optional
        See :func:`pictures.to_circle`.

    Returns
    -------
    dict
        uri, alt, circle, bar.
    """
    scale = None
    if data is not None and data.pixel_size_known:
        width = image.shape[-1] * data.pixel_size
        length = pictures.nice_length(width / 3.5)
        scale = {"length": length, "percent": 100 * length / width}
    uri = pictures.to_png(image, *((0, largest) if data is None else (480, 1024)))
    return {"uri": uri, "alt": alt, "circle": Markup(circle), "bar": scale}
