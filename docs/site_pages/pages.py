"""Pages that are made anew whenever the site is built."""

from __future__ import annotations

from pathlib import Path


def save(path: Path, text: str) -> None:
    """Write a page, where it is not so already: Sphinx reads again what is newer."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
