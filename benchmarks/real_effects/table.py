"""The rows of a realistic.csv as a table of a page: a line a set and program, in the order they were measured."""

from __future__ import annotations

from collections.abc import Iterable

_FIRST, _LAST = ["set", "effect", "program"], ["junk caught", "good outliers", "claimed", "true"]
HEADS = {
    "classify": [*_FIRST, "spread", "of clean", "classes", "largest", "lost", *_LAST, "CPU"],
    "align": [*_FIRST, "within 5°", "median error", *_LAST, "mixed", "CPU"],
}


def text(rows: Iterable[dict]) -> str:
    """One table for `classify` and one for `align`, of those that have rows; "of clean" is the spread against that of
    the same program on the same set without effects."""
    rows = list(rows)
    parts = []
    for task, head in HEADS.items():
        own = [row for row in rows if row["task"] == task]
        clean = {_without_effect(row): row.get("spread") for row in own if row["effect"] == "clean"}
        lines = [_classify(row, clean) if task == "classify" else _align(row) for row in own]
        if lines:
            parts.append("\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *lines)))
    return "\n\n".join(parts)


def _without_effect(row: dict) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("shows", "box", "particles", "snr", "seed", "program"))


def _set(row: dict) -> str:
    return f"{row['particles']} of {row['shows']}, {row['box']} px, SNR {row['snr']}, seed {row['seed']}"


def _classify(row: dict, clean: dict) -> list[str]:
    base = clean.get(_without_effect(row))
    ratio = float(row["spread"]) / float(base) if _there(base) and _there(row.get("spread")) and float(base) else None
    asked = f"{row['classes']} of {row['classes_asked']}" if _there(row.get("classes")) else ""
    claims = f" ({row['claims']})" if _there(row.get("claimed")) else ""
    return [
        _set(row), row["effect"], row["program"], _number(row, "spread", "{:.1f}°"),
        "" if ratio is None else f"{ratio:.2f}", asked, _number(row, "largest", "{:.0%}"),
        _number(row, "lost", "{:.1%}"), _number(row, "caught", "{:.0%}"), _number(row, "good_outliers", "{:.1%}"),
        _number(row, "claimed", "{:.1f} Å") + claims, _number(row, "true", "{:.1f} Å"),
        _number(row, "cpu_s", "{:.0f} s"),
    ]  # fmt: skip


def _align(row: dict) -> list[str]:
    mixed = {"1": "yes", "0": "no"}.get(str(row.get("mixed", "")), "")
    return [
        _set(row), row["effect"], row["program"], _number(row, "within_5", "{:.1%}"),
        _number(row, "median_error", "{:.2f}°"), _number(row, "caught", "{:.0%}"),
        _number(row, "good_outliers", "{:.1%}"), _number(row, "claimed", "{:.1f} Å"), _number(row, "true", "{:.1f} Å"),
        mixed, _number(row, "cpu_s", "{:.0f} s"),
    ]  # fmt: skip


def _there(value: object) -> bool:
    return value not in (None, "", "None")


def _number(row: dict, name: str, form: str) -> str:
    return form.format(float(row[name])) if _there(row.get(name)) else ""
