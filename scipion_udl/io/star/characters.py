"""Texts as arrays of their bytes: cut out of a block, put in a row, made of numbers; no object for any of them.

Texts of an array are bytes of one width, dtype S, filled up with zeros; as characters they are uint8 (N, width).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

TOGETHER = 1 << 14  # texts that are taken at one time
LARGEST = 10**15  # below it whole numbers, and those of as many digits with a point in them, are exact as float64
_GROUP = 1000
_GROUPS = np.array([list(f"{k:03d}".encode()) for k in range(_GROUP)], np.uint8)  # the digits of 0 to 999
_ZERO = ord("0")
_MOST_DIGITS = 15  # that are exact in float64
_WIDE = 256  # bytes of a text from which a table of what is kept of each length is too large


def pieces(count: int) -> Iterator[slice]:
    """The rows of a column, so many at a time that their texts may be objects.

    Parameters
    ----------
    count : int
        Of all rows.

    Yields
    ------
    slice
    """
    for start in range(0, count, TOGETHER):
        yield slice(start, min(start + TOGETHER, count))


def characters(texts: np.ndarray) -> np.ndarray:
    """The bytes of texts.

    Parameters
    ----------
    texts : (N,) array
        Of dtype S.

    Returns
    -------
    (N, width) uint8 array
        Zeros behind each text; the memory of ``texts`` where that is in one piece.
    """
    return np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), texts.itemsize)


def lengths(texts: np.ndarray) -> np.ndarray:
    """How many bytes texts have.

    Parameters
    ----------
    texts : (N,) array
        Of dtype S.

    Returns
    -------
    (N,) int64 array
    """
    each = characters(texts)
    found = np.full(len(each), each.shape[1])
    for place in range(each.shape[1] - 1, -1, -1):
        behind = each[:, place] == 0
        if not behind.any():
            break
        found -= behind
    return found


def cut(block: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Texts out of a block of bytes.

    Parameters
    ----------
    block : (M,) uint8 array
    starts, lengths : (N,) int arrays
        Where each text begins, and its bytes.

    Returns
    -------
    (N,) array
        Of dtype S.
    """
    width = max(int(lengths.max(initial=1)), 1)
    if len(starts) and int(starts.max()) + width > len(block):
        block = np.concatenate([block, np.zeros(width, np.uint8)])
    if not len(starts):
        return np.zeros(0, f"S{width}")
    found = np.ndarray((len(block) - width + 1,), f"S{width}", np.ascontiguousarray(block), strides=(1,))[starts]
    if int(lengths.min()) < width:
        each = characters(found)
        if width < _WIDE:
            each &= _first(width)[lengths]
        else:
            each[np.arange(width) >= lengths[:, None]] = 0
    return found


def _first(width: int) -> np.ndarray:
    """Masks (width + 1, width) uint8: the k-th keeps the first k of so many characters."""
    return np.tri(width + 1, width, -1, np.uint8) * np.uint8(255)


def packed(parts: np.ndarray) -> np.ndarray:
    """Texts without the zeros between their parts.

    Parameters
    ----------
    parts : (N, M) uint8 array
        Characters, with zeros anywhere.

    Returns
    -------
    (N,) array
        Of dtype S.
    """
    there = parts != 0
    count = np.zeros(len(there), np.int64)
    for column in there.T:  # rows are short: many sums of few are slow
        count += column
    return cut(parts[there], np.cumsum(count) - count, count)


def digits(numbers: np.ndarray, least: int = 1) -> np.ndarray:
    """The digits of whole numbers.

    Parameters
    ----------
    numbers : (N,) int array
        From 0.
    least : int, optional
        How many digits each has at least, zeros before them.

    Returns
    -------
    (N, width) uint8 array
        Characters, zeros (no digits) before the first.
    """
    groups: list[np.ndarray] = []
    left = numbers
    while not groups or left.any() or 3 * len(groups) < least:
        rest = left
        left = rest // _GROUP
        groups.append(_GROUPS[rest - left * _GROUP])
    found = np.concatenate(groups[::-1], 1)
    width = found.shape[1]
    count = np.full(len(found), least)
    for place in range(least, width):
        count += numbers >= 10**place
    found[:] &= _first(width)[count][:, ::-1]
    return found


def decimal_characters(numbers: np.ndarray, decimals: int) -> np.ndarray:
    """Whole numbers of steps as decimal numbers.

    Parameters
    ----------
    numbers : (N,) int array
        How many of the last decimal each is.
    decimals : int
        Behind the point; 0 for none and no point.

    Returns
    -------
    (N, width) uint8 array
        Characters, with zeros before and between.
    """
    minus = np.where(numbers < 0, np.uint8(ord("-")), np.uint8(0))[:, None]
    found = digits(np.abs(numbers), decimals + 1)
    if not decimals:
        return np.concatenate([minus, found], 1)
    point = np.full((len(found), 1), ord("."), np.uint8)
    return np.concatenate([minus, found[:, :-decimals], point, found[:, -decimals:]], 1)


def parsed_decimals(texts: np.ndarray, decimals: int) -> np.ndarray | None:
    """Texts of :func:`decimal_characters` as the numbers that they were made of.

    Parameters
    ----------
    texts : (N,) array
        Of dtype S.
    decimals : int

    Returns
    -------
    (N,) int32 or int64 array or None
        None where a number would be written in another way than one of the texts: with zeros before it, a plus, a minus
        before 0, another number of decimals, or more digits than float64 holds.
    """
    each, size = characters(texts), lengths(texts)
    row = np.arange(len(each))
    minus = each[:, 0] == ord("-")
    point = 1 if decimals else 0
    whole = size - decimals - point - minus  # digits before the point
    most = each.shape[1]
    if not len(each) or int(whole.min()) < 1 or int((whole + decimals).max()) > _MOST_DIGITS or most > _WIDE:
        return None
    leading = each[row, minus.astype(np.int64)] == _ZERO
    if (leading & (whole > 1)).any() or (point and (each[row, size - decimals - 1] != ord(".")).any()):
        return None
    numbers, count = np.zeros(len(each), np.int64), np.zeros(len(each), np.int64)
    for place in range(most):
        digit = each[:, place] - np.uint8(_ZERO)  # above 9 for all that is none
        is_digit = digit < 10
        numbers = np.where(is_digit, numbers * 10 + digit, numbers)
        count += is_digit
    if (count != whole + decimals).any() or (minus & (numbers == 0)).any():
        return None
    small = int(numbers.max()) <= np.iinfo(np.int32).max
    return np.where(minus, -numbers, numbers).astype(np.int32 if small else np.int64)


def steps(values: np.ndarray, decimals: int, rounded: bool = False) -> np.ndarray | None:
    """Numbers as whole numbers of their last decimal, rounded as a format with so many decimals rounds.

    Parameters
    ----------
    values : (N,) array
    decimals : int
    rounded : bool, optional
        To round them by numpy first; then there is no minus before a 0.

    Returns
    -------
    (N,) int32 or int64 array or None
        None where one is not finite, too large, or a negative number that becomes 0, which a format gives a minus.
    """
    most = max(float(values.max(initial=0)), -float(values.min(initial=0))) * 10.0**decimals
    if not most < LARGEST:
        return None
    found = np.empty(len(values), np.int32 if most < np.iinfo(np.int32).max else np.int64)
    for piece in pieces(len(values)):
        some = _rounded(values[piece], decimals) if rounded else values[piece].astype(np.float64)
        scaled = some * 10.0**decimals
        whole = np.rint(scaled)
        between = np.flatnonzero(np.abs(scaled - np.floor(scaled) - 0.5) < 1e-3)  # for the product itself was rounded
        whole[between] = [float(f"{value:.{decimals}f}".replace(".", "")) for value in some[between].tolist()]
        if (np.signbit(some) & (whole == 0)).any():
            return None
        found[piece] = whole
    return found


def _rounded(values: np.ndarray, decimals: int) -> np.ndarray:
    return np.round(values, decimals).astype(np.float64) + 0.0


def encoded(texts: Sequence[str]) -> np.ndarray:
    """Texts as bytes.

    Parameters
    ----------
    texts : sequence of str

    Returns
    -------
    (N,) array
        Of dtype S: UTF-8, and other bytes as they were in their file.
    """
    try:
        return np.array(texts, np.bytes_)  # of ASCII alone
    except UnicodeEncodeError:
        return np.array([text.encode("utf-8", "surrogateescape") for text in texts], np.bytes_)


def decoded(values: np.ndarray) -> list[str]:
    """Texts of :func:`encoded` as they were.

    Parameters
    ----------
    values : (N,) array
        Of dtype S.

    Returns
    -------
    list of str
    """
    try:
        return values.astype(np.str_).tolist()
    except UnicodeDecodeError:
        return [value.decode("utf-8", "surrogateescape") for value in values.tolist()]
