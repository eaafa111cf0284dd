"""Whole numbers in MRC files whose mode says one thing and whose writer meant another: are they signed?

Mode 0 holds signed bytes and mode 1 signed 16-bit numbers, by the format of 2014 and by every program that goes by it.
Earlier programs (SerialEM, IMOD, EMAN) wrote bytes from 0 to 255 in mode 0, and cameras counts up to 65535 in mode 1.
Read as signed, all that is above the middle becomes negative and the image is torn. Three things tell: IMOD's stamp in
the header, the smallest and largest value in the header, and, where both are silent, the first image itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scipion_udl.messages import Message, message

BYTES, SHORTS = 0, 1  # modes
_IMOD_STAMP = 1146047817  # "IMOD" as a number; then comes a word of flags, whose first bit says that bytes are signed
_STAMP = slice(152, 156)
_FLAGS = slice(156, 160)
_TORN = 1.5  # the total variation of an image that was read wrongly, in that of the right one; of 0 to 255 it is 3 to 6
_HALF = {BYTES: 2**7, SHORTS: 2**15}
_UNSIGNED = {BYTES: np.uint8, SHORTS: np.uint16}
_WORDS = {BYTES: "bytes from 0 to 255", SHORTS: "16-bit numbers from 0 to 65535"}


def meant(
    mode: int, header: bytes, dtype: np.dtype, low: float, high: float, first_image: Callable[[], np.ndarray | None]
) -> tuple[np.dtype, str | None]:
    """How the whole numbers of an MRC file are to be read: signed, as its mode says, or unsigned.

    Parameters
    ----------
    mode : int
    header : bytes
        The first of the file.
    dtype : dtype
        What the mode says, in the file's byte order.
    low, high : float
        Smallest and largest value by the header.
    first_image : callable
        Gives the first image (rows, columns) in ``dtype``, None where there is none.

    Returns
    -------
    dtype : dtype
        To read by.
    reason : str or None
        What tells that they are unsigned; None where they are not.
    """
    if mode not in _HALF:
        return dtype, None
    reason = _reason(mode, header, dtype, low, high, first_image)
    return (dtype, None) if reason is None else (_unsigned(mode, dtype), reason)


def _reason(
    mode: int, header: bytes, dtype: np.dtype, low: float, high: float, first_image: Callable[[], np.ndarray | None]
) -> str | None:
    half = _HALF[mode]
    if -half <= low < 0 and low <= high < half:
        return None  # whatever a stamp says that was left from another file
    if 0 <= low < high and half <= high < 2 * half:
        return f"the largest value in its header is {high:g}"
    if mode == BYTES:
        for order in "<>":  # the mode's own order is not told by a byte
            stamp, flags = (int(np.frombuffer(header[part], f"{order}i4")[0]) for part in (_STAMP, _FLAGS))
            if stamp == _IMOD_STAMP:
                return None if flags & 1 else "IMOD's stamp in its header says so"
    if 0 <= low < high < half:
        return None  # the same either way
    return _by_the_image(mode, dtype, first_image())


def _unsigned(mode: int, dtype: np.dtype) -> np.dtype:
    """The unsigned numbers of a mode, in the byte order of ``dtype``."""
    return np.dtype(f"{dtype.str[0]}{np.dtype(_UNSIGNED[mode]).str[1:]}")


def _by_the_image(mode: int, dtype: np.dtype, image: np.ndarray | None) -> str | None:
    """Neighbouring pixels differ little: where the sign is wrong they jump over the whole range."""
    if image is None:
        return None
    both = (image, image.view(_unsigned(mode, dtype)))
    signed, unsigned = (np.abs(np.diff(one.astype(np.float64), axis=1)).mean() for one in both)
    return "its images are torn otherwise" if signed > _TORN * unsigned else None


def unsigned_warning(path: str, more: int, mode: int, reason: str) -> Message:
    """The warning of stacks that hold unsigned numbers where their mode means signed ones.

    Parameters
    ----------
    path : str
        The first of them.
    more : int
        How many others.
    mode : int
    reason : str
        What tells it, of the first.

    Returns
    -------
    Message
    """
    others = f" and {more} more" if more else ""
    return message("unsigned_values", path=path, others=others, kind=_WORDS[mode], mode=mode, reason=reason)
