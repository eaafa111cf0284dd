"""The order of the gallery."""

from __future__ import annotations


class ByNumber:
    """Scripts go by the number that their names begin with."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, name: str) -> str:
        """What to sort a script by."""
        return name
