"""Numbers and texts as the pages of the report show them."""

from __future__ import annotations

import html


def safe(value: object) -> str:
    """Any value as text that is safe in a page."""
    return html.escape(str(value), quote=True)


def section(title: str, lead: str, body: str) -> str:
    """A section of the page: body is HTML, title and lead are any text."""
    return f'<section>\n<h2>{safe(title)}</h2>\n<p class="lead">{safe(lead)}</p>\n{body}\n</section>\n'


def thousands(value: int) -> str:
    """An integer with thin spaces between thousands, as in 12 345."""
    return f"{int(value):,}".replace(",", "\u2009")


def percent(part: int, whole: int) -> str:
    """A share in percent: 1.2 %."""
    return f"{100 * part / max(whole, 1):.1f}\u202f%"


def duration(seconds: float) -> str:
    """A time as 42 s, 3 min 05 s or 2 h 10 min."""
    total = round(float(seconds))
    if total < 60:
        return f"{float(seconds):.0f} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


def small_units(time: str) -> str:
    """A time with its units in small letters."""
    return " ".join(f"<small>{word}</small>" if word.isalpha() else word for word in time.split())
