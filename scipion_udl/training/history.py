"""The course of a training, epoch by epoch: training.csv."""

from __future__ import annotations

import csv


def write_history(path: str, history: list[dict]) -> None:
    """Write training.csv: one row an epoch, with all columns that occur.

    Parameters
    ----------
    path : str
        The file.
    history : list of dict
        The figures of each epoch, by column; floats are written with six digits.
    """
    columns = ["epoch", "stage"]
    columns = list(dict.fromkeys([*columns, *(key for row in history for key in row)]))
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in history)


def read_history(path: str) -> list[dict] | None:
    """The rows of a training.csv.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    list of dict, or None
        The figures of each epoch, numbers as float, without empty ones; None where there is no such file or it cannot
        be read.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{k: v if k == "stage" else float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    except (OSError, ValueError):
        return None
