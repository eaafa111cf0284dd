"""Values given as text, on the command line or in a form: text in, a value or one sentence on what is wrong with it.

A kind of value is called with the text; :class:`Number` and :class:`Whole` know their range and unit, too, which forms
show and check. They raise :class:`BadValue`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipion_udl.constants import AUTO_CLASSES, LEAST_VOLTAGE, MOST_ABERRATION, MOST_DEFOCUS, MOST_VOLTAGE

_LONGEST = 10**6  # range of numbers
_MOST = 10**9  # particles, pixels, channels: beyond this nothing is counted, and 64 bits overflow in products


class BadValue(ValueError):
    """One sentence on what is wrong with a value: "'x' is not a number"."""


@dataclass(frozen=True)
class _Range:
    """Numbers from ``least`` to ``most``."""

    least: float
    most: float

    def holds(self, value: float) -> bool:
        """Whether a number is in the range.

        Parameters
        ----------
        value : float
            The number.

        Returns
        -------
        bool
            False for NaN, too.
        """
        return self.least <= value <= self.most


@dataclass(frozen=True)
class Number(_Range):
    """A number from ``least`` (0 or more; ``above``: but not that one itself) to ``most``.

    unit: of the number, as messages have it; finite: whether infinity is refused; automatic: whether -1 means that the
    program chooses, as in RELION and Scipion.
    """

    least: float = 0.0
    most: float = math.inf
    above: bool = False
    unit: str = ""
    finite: bool = True
    automatic: bool = False

    def __call__(self, text: str) -> float | None:
        """The number that a text says; None for -1 where that is automatic. Raises BadValue."""
        if self.automatic and text.strip() in ("-1", "-1.0"):
            return None
        try:
            value = float(text)
        except ValueError:
            raise BadValue(f"'{text}' is not a number") from None
        above = self.above or self.least > 0
        limit = f"{'above' if above else 'at least'} 0"
        if math.isnan(value) or (self.finite and math.isinf(value)):
            raise BadValue(f"'{text}' must be a {'finite ' if self.finite else ''}number {limit}")
        if value < 0 or (above and value == 0):
            raise BadValue(f"'{text}' must be {limit}")
        if not self.least <= value <= self.most:
            raise BadValue(f"'{text}' must be from {self.least:g} to {self.most:g} {self.unit}".rstrip())
        return value

    @property
    def has_end(self) -> bool:
        """Whether the range ends somewhere."""
        return self.most != math.inf

    def holds(self, value: float) -> bool:
        return super().holds(value) and not (self.above and value == self.least)


@dataclass(frozen=True)
class Whole(_Range):
    """A whole number from ``least`` to ``most``, which is told where it is no mere safeguard. unit: of it."""

    least: int = 1
    most: int = _MOST
    unit: str = ""

    def __call__(self, text: str) -> int:
        """The number that a text says. Raises BadValue."""
        try:
            value = int(text)
        except ValueError:
            raise BadValue(f"'{text}' is not a whole number") from None
        if self.has_end and not self.holds(value):
            raise BadValue(f"'{text}' must be from {self.least} to {self.most}")
        if value < self.least:
            raise BadValue(f"'{text}' must be {self.least} or more")
        if value > self.most:
            raise BadValue(f"'{text}' must be at most {self.most}")
        return value

    @property
    def has_end(self) -> bool:
        """Whether the range ends somewhere, beside the safeguard."""
        return self.most != _MOST


@dataclass(frozen=True)
class WholeNumbers:
    """Whole numbers from ``least`` on, with commas, and ranges with a hyphen: 2,3,5-12."""

    least: int = 1

    def __call__(self, text: str) -> tuple[int, ...]:
        """The numbers that a text says, ascending, each once. Raises BadValue."""
        found: set[int] = set()
        one = Whole(self.least)
        for part in text.split(","):
            first, hyphen, last = part.strip().partition("-")
            begin = one(first)
            end = one(last) if hyphen else begin
            if end < begin:
                raise BadValue(f"'{part.strip()}' ends before it begins")
            if end - begin > _LONGEST:
                raise BadValue(f"'{part.strip()}' is too long a range")
            found.update(range(begin, end + 1))
        return tuple(sorted(found))


NUMBER = Number()
POSITIVE = Number(above=True)
POSITIVE_OR_INFINITE = Number(above=True, finite=False)
SHARE = Number(most=1.0)
PIXELS, PIXELS_ABOVE_0 = Number(unit="px"), Number(above=True, unit="px")
ANGSTROM, ANGSTROM_ABOVE_0 = Number(unit="A"), Number(above=True, unit="A")
ANGSTROM_OR_AUTOMATIC = Number(above=True, unit="A", automatic=True)
PIXEL_SIZE = Number(above=True, unit="A/px")
DEGREES = Number(unit="degrees")
# Of a microscope. Volts, and angstrom of defocus, are slips.
KILOVOLTS = Number(least=LEAST_VOLTAGE, most=MOST_VOLTAGE, unit="kV")
ABERRATION = Number(most=MOST_ABERRATION, unit="mm")
DEFOCUS = Number(above=True, most=MOST_DEFOCUS / 1e4, unit="micrometers")
B_FACTOR = Number(unit="A^2")

COUNT = Whole()


@dataclass(frozen=True)
class _WholeOrAuto(Whole):
    """A whole number, or the word auto, for which ``auto`` stands."""

    auto: int = -1

    def __call__(self, text: str) -> int:
        return self.auto if text.strip().lower() == "auto" else super().__call__(text)


COUNT_OR_AUTO = _WholeOrAuto(auto=AUTO_CLASSES)
MOST_OR_AUTO = _WholeOrAuto()
BOX = Whole(unit="px")
SEED = Whole(least=0, most=2**32 - 1)


def ssnr(text: str) -> tuple[float, float]:
    """A resolution and a factor, both above 0.

    Parameters
    ----------
    text : str
        A:FACTOR, as in 10:4.

    Returns
    -------
    (float, float)
        Angstrom, and the factor.

    Raises
    ------
    BadValue
        Where the text is not that.
    """
    resolution, colon, factor = text.partition(":")
    if not colon:
        raise BadValue(f"'{text}' must be a resolution in angstrom and a factor, such as 10:4")
    return _positive(resolution), _positive(factor)


def numbered(text: str) -> tuple[int, float]:
    """A whole number from 0 and a pixel size above 0.

    Parameters
    ----------
    text : str
        N:A, as in 1:2.08.

    Returns
    -------
    (int, float)
        The number, and angstrom.

    Raises
    ------
    BadValue
        Where the text is not that.
    """
    number, colon, value = text.partition(":")
    if not colon:
        raise BadValue(f"'{text}' must be a number and its pixel size in angstrom, such as 1:2.08")
    return Whole(least=0)(number), _positive(value)


def _positive(text: str) -> float:
    value = POSITIVE(text)
    assert value is not None
    return value


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 1.

    Parameters
    ----------
    text : str
        The numbers with commas between them.

    Returns
    -------
    tuple of int
        As they stand there.

    Raises
    ------
    BadValue
        Where the text is not that.
    """
    return tuple(COUNT(part) for part in text.split(","))
