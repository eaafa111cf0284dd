"""Numbers and texts as the pages of the report show them."""

from __future__ import annotations


def thousands(value: int) -> str:
    """An integer with thin spaces between thousands.

    Parameters
    ----------
    value : int
        The number.

    Returns
    -------
    str
        As in 12 345.
    """
    return f"{int(value):,}".replace(",", "\u2009")


def percent(part: int, whole: int) -> str:
    """A share in percent.

    Parameters
    ----------
    part, whole : int
        How many of how many.

    Returns
    -------
    str
        As in 1.2 %.
    """
    return f"{100 * part / max(whole, 1):.1f}\u202f%"


def duration(seconds: float) -> str:
    """A time for people.

    Parameters
    ----------
    seconds : float
        The time.

    Returns
    -------
    str
        As in 42 s, 3 min 05 s or 2 h 10 min.
    """
    total = round(float(seconds))
    if total < 60:
        return f"{float(seconds):.0f} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


def by_unit(time: str) -> list[tuple[str, str]]:
    """The numbers of a time, each with the unit behind it.

    Parameters
    ----------
    time : str
        As :func:`duration` gives it.

    Returns
    -------
    list of (str, str)
        As in [("3", "min"), ("05", "s")].
    """
    words = time.split()
    return list(zip(words[::2], words[1::2]))
