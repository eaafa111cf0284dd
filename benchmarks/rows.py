"""The rows of results.csv as numbers, and the words for views and methods that tables and pictures share."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.methods import METHODS

INFORMED = "informed"  # knows what no program can know, too, and stands in a table of its own
ORACLE, FINAL, NETWORK, MODEL, TRAIN = "oracle", "own", "own-network", "own-model", "own-train"
PEERS = ("classic", "polar", "relion", "aspire")
ENOUGH = 512  # particles: smaller sets are reported, and judged by nothing
_TEXTS = {
    "case", "list", "view", "kind", "method", "snr", "warnings", "error", "version", "commit", "python", "machine",
    "date", "signal_found", "searched",
}  # fmt: skip


def label(method: str) -> str:
    """A method in words."""
    return "scipion-udl, training alone" if method == TRAIN else METHODS[method].label


@dataclass
class Row:
    """One line of results.csv; ``row["mean_sym"]`` is a number, or None where the file has nothing."""

    texts: dict[str, str]

    def __getitem__(self, column: str) -> object:
        text = self.texts.get(column, "")
        if column in _TEXTS:
            return text
        return float(text) if text not in ("", "nan") else None


class Rows:
    """All rows that did not fail. Raises ValueError where the file has none."""

    def __init__(self, path: Path) -> None:
        with path.open(newline="") as file:
            self.all = [Row(texts) for texts in csv.DictReader(file) if not texts["error"]]
        if not self.all:
            raise ValueError(f"{path} has no results: run benchmarks.alignment first")

    def of(self, name: str) -> list[Row]:
        """The rows of a named list of cases."""
        return [row for row in self.all if row["list"] == name]

    def find(self, case: str, method: str) -> Row | None:
        """The row of a case and method."""
        return next((row for row in self.all if row["case"] == case and row["method"] == method), None)

    def cases(self, name: str, fits: Callable[[Row], bool] = lambda row: True) -> list[str]:
        """The names of a list's cases, in the order they came, whose rows fit."""
        return list(dict.fromkeys(row["case"] for row in self.of(name) if fits(row)))

    def methods(self, name: str) -> list[str]:
        """The methods that have rows in a list, in the order of METHODS, but for INFORMED."""
        there = {row["method"] for row in self.of(name)} - {INFORMED}
        return [method for method in (*METHODS, TRAIN) if method in there]

    def first(self, case: str) -> Row:
        """Any row of a case, for what all of its rows share."""
        return next(row for row in self.all if row["case"] == case)

    def best_peer(self, case: str, column: str = "mean_sym") -> Row | None:
        """The row of the peer that has the smallest value in a column."""
        rows = [row for row in (self.find(case, peer) for peer in PEERS) if row and row[column] is not None]
        return min(rows, key=lambda row: row[column], default=None)
