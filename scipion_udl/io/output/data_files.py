"""Files of figures, with commas or as JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence


def write_json(path: str, content: dict) -> None:
    """A dict as indented JSON."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(content, file, indent=1)


def write_csv(path: str, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """A table with commas: a row of titles, then ``rows`` of texts or numbers."""
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
