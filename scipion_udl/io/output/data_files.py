"""Files of figures, with commas or as JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence


def write_json(path: str, content: dict) -> None:
    """Write a dict as indented JSON.

    Parameters
    ----------
    path : str
    content : dict
    """
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(content, file, indent=1)


def write_csv(path: str, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a table with commas.

    Parameters
    ----------
    path : str
    header : sequence of str
        The titles, which are the first row.
    rows : iterable of sequences
        Of texts or numbers.
    """
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
