"""The rows of a noise_picks.csv as a table of a page: a line a set and program, in the order they were measured."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.noise_windows.picks import CTF, STACK, WHITE

HEAD = ["windows", "fit of the picks", "program", "classes", "flagged", "claims", "like the template", "CPU"]
WORDS = {WHITE: "white noise", CTF: "noise behind a CTF", STACK: "real ice"}


def text(rows: Iterable[dict]) -> str:
    """The table; nothing where there are no rows."""
    lines = [_line(row) for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (HEAD, ["---"] * len(HEAD), *lines)) if lines else ""


def _line(row: dict) -> list[str]:
    off = "" if str(row["centred"]) == "1" else ", off centre"
    what = f"{row['count']} of {row['among']} of {WORDS[row['kind']]}, {row['box']} px{off}, {row['shows']}"
    flagged = f"{float(row['flagged']):.0%}" if row["flagged"] not in ("", None) else "never"
    claims = f"{row['claims']} (to {float(row['claimed']):.1f} Å)" if row["claimed"] not in ("", None) else "none"
    cpu = f"{float(row['cpu_s']):.0f} s" if row.get("cpu_s") not in ("", None) else ""
    like = f"{float(row['template']):.2f}"
    return [what, f"{float(row['score']):.1f} σ", row["program"], str(row["classes"]), flagged, claims, like, cpu]
