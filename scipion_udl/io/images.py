"""One image given on a command line: ``FILE`` or ``N@FILE``, an MRC file or a picture (png, tif, jpg)."""

from __future__ import annotations

import numpy as np

from scipion_udl.errors import UdlError, no_file
from scipion_udl.io.stacks import StackReader
from scipion_udl.messages import message

_PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
# The weights of red, green and blue in brightness (ITU-R 601).
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def file_of(spec: str | None) -> str | None:
    """The file of an image that is given as ``FILE`` or ``N@FILE``.

    Parameters
    ----------
    spec : str or None

    Returns
    -------
    str or None
        None for none.
    """
    if not spec:
        return None
    number, at, path = spec.partition("@")
    return (path if at and number.isdigit() else spec).split(":mrc")[0]


def read_image(spec: str) -> tuple[np.ndarray, float | None]:
    """Read one image, ``FILE`` or ``N@FILE``, and its pixel size.

    Parameters
    ----------
    spec : str
        ``N@FILE`` takes the N-th image of a stack (from 1). Colour pictures become grey.

    Returns
    -------
    image : (D, D) float32 array
    pixel_size : float or None
        Angstrom; None where the file does not say.

    Raises
    ------
    UdlError
        Where the file is missing, is no such image, is not square, or is a stack and no N says which image of it.
    """
    number, at, path = spec.partition("@")
    if not at or not number.isdigit():
        number, path = "", spec
    if no_file(path):
        raise UdlError(message("image_not_there", what=no_file(path)))
    if path.lower().endswith(_PICTURES):
        image, pixel_size = read_picture(path), None
    else:
        image, pixel_size = _read_mrc(path, number)
    if image.shape[0] != image.shape[1]:
        raise UdlError(message("image_not_square", path=path, width=image.shape[1], height=image.shape[0]))
    return image, pixel_size


def _read_mrc(path: str, number: str) -> tuple[np.ndarray, float | None]:
    reader = StackReader(path.split(":mrc")[0])
    if not number and reader.count > 1:
        raise UdlError(message("image_of_stack", path=path, count=reader.count))
    return reader.read(np.array([int(number or 1) - 1]))[0], reader.pixel_size


def read_picture(path: str) -> np.ndarray:
    """Read a picture of any shape as grey values, on the file's own scale.

    Parameters
    ----------
    path : str
        png, jpg, tif or bmp.

    Returns
    -------
    (rows, columns) float32 array

    Raises
    ------
    UdlError
        Where it cannot be read, with the reason, or holds values that are no numbers.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if picture.mode in ("P", "RGBA", "LA", "CMYK", "YCbCr"):
                picture = picture.convert("RGB")
            image = np.asarray(picture, np.float32)
    # a torn png is a SyntaxError to PIL, and a header that claims a picture beyond measure a "bomb"
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UdlError(message("picture_unreadable", path=path, reason=error)) from None
    image = image @ _GREY if image.ndim == 3 else image
    if not np.isfinite(image).all():
        raise UdlError(message("image_not_finite", path=path))
    return np.ascontiguousarray(image)
