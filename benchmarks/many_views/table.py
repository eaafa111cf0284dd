"""The rows of a views.csv as the tables of docs/numbers.md.

python -m benchmarks.many_views.table OUT/views.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

HEAD = ["set", "SNR", "particles", "program", "spread", "classes", "CPU", "memory", "claimed", "true"]
HEAD += ["one hand", "purity", "noise flagged", "others flagged", "shift", "angle"]


def text(path: Path) -> str:
    """All rows as one table; what a program has no figure of is left empty."""
    with path.open(newline="") as file:
        lines = [line_of(row) for row in csv.DictReader(file)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (HEAD, ["---"] * len(HEAD), *lines))


def line_of(row: dict[str, str]) -> list[str]:
    """The cells of a row."""
    which, _, snr = row["set"].partition(":")
    counted, asked = row["counted"], row["classes_asked"]
    claims = f" ({row['claims']})" if row["resolution_claimed"] else ""
    claimed = "none" if row["claims"] == "0" else _number(row["resolution_claimed"], "{:.1f} Å") + claims
    return [
        which, snr, row["particles"], row["program"], _number(row["median"], "{:.1f}°"),
        f"{counted} of {asked}" if counted else "", _number(row["cpu_s"], "{:.0f} s"),
        _number(row["memory_mb"], "{:.0f} MB"), claimed, _number(row["resolution_true"], "{:.1f} Å"),
        _number(row.get("one_hand"), "{:.1%}"),
        _number(row["purity"], "{:.3f}"), _number(row["noise_flagged"], "{:.1%}"), _number(row["flagged"], "{:.1%}"),
        _number(row["shift_error"], "{:.2f} px"), _number(row["angle_error"], "{:.1f}°"),
    ]  # fmt: skip


def _number(value: str | None, form: str) -> str:
    return form.format(float(value)) if value else ""


def main() -> None:
    """Print the table."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(text(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
