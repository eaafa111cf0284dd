"""Values given as text, on the command line or in a form: text in, a value or one sentence on what is wrong with it.

argparse prints the message of an ArgumentTypeError behind the option's name.
"""

from __future__ import annotations

import argparse
import math

from scipion_udl.constants import LEAST_VOLTAGE, MOST_ABERRATION, MOST_DEFOCUS, MOST_VOLTAGE

_MOST = 10**9  # particles, pixels, channels: beyond this nothing is counted, and 64 bits overflow in products


def _number(text: str, at_least: float, above: bool, finite: bool = True) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    limit = f"{'above' if above else 'at least'} {at_least:g}"
    if math.isnan(value) or (finite and math.isinf(value)):
        raise argparse.ArgumentTypeError(f"'{text}' must be a {'finite ' if finite else ''}number {limit}")
    if value < at_least or (above and value == at_least):
        raise argparse.ArgumentTypeError(f"'{text}' must be {limit}")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    return _number(text, 0.0, above=True)


def positive_or_inf(text: str) -> float:
    """A number above 0, or inf."""
    return _number(text, 0.0, above=True, finite=False)


def length_or_automatic(text: str) -> float | None:
    """A number above 0; None for -1, which leaves it to the program, as in RELION and Scipion."""
    return None if text.strip() in ("-1", "-1.0") else positive(text)


def not_negative(text: str) -> float:
    """A number from 0."""
    return _number(text, 0.0, above=False)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text, 0.0, above=False)
    if value > 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be from 0 to 1")
    return value


def voltage(text: str) -> float:
    """Kilovolts that a microscope may have: volts are a slip."""
    return _within(positive(text), text, LEAST_VOLTAGE, MOST_VOLTAGE, "kV")


def aberration(text: str) -> float:
    """A spherical aberration in millimeters, from 0."""
    return _within(not_negative(text), text, 0.0, MOST_ABERRATION, "mm")


def defocus(text: str) -> float:
    """Micrometers of underfocus, above 0: angstrom are a slip."""
    return _within(positive(text), text, 0.0, MOST_DEFOCUS / 1e4, "micrometers")


def _within(value: float, text: str, least: float, most: float, unit: str) -> float:
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"'{text}' must be from {least:g} to {most:g} {unit}")
    return value


def ssnr(text: str) -> tuple[float, float]:
    """A resolution and a factor, both above 0: A:FACTOR."""
    resolution, colon, factor = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"'{text}' must be a resolution in angstrom and a factor, such as 10:4")
    return positive(resolution), positive(factor)


def numbered(text: str) -> tuple[int, float]:
    """A whole number from 0 and a pixel size above 0: N:A."""
    number, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"'{text}' must be a number and its pixel size in angstrom, such as 1:2.08")
    return _whole(number, 0), positive(value)


def seed(text: str) -> int:
    """A whole number from 0 to 2**32 - 1."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"'{text}' must be from 0 to {2**32 - 1}")
    return value


def positive_int(text: str) -> int:
    """A whole number from 1."""
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"'{text}' must be {least} or more")
    if value > _MOST:
        raise argparse.ArgumentTypeError(f"'{text}' must be at most {_MOST}")
    return value


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 with commas between them."""
    return tuple(positive_int(part) for part in text.split(","))
