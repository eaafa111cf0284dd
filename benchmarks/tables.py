"""results.csv -> docs/benchmarks.md, docs/benchmarks_all.md and the pictures in docs/images.

    python -m benchmarks.tables OUT [--docs docs]

Every table and picture is made of OUT/results.csv (the set-aside phantoms included, where they have rows) and of
OUT/confidence/confidence.csv, if it is there.
"""

from __future__ import annotations

import argparse
import ast
import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import confidence, thresholds
from benchmarks.methods import METHODS
from benchmarks.pictures import save_all
from benchmarks.rows import ENOUGH, FINAL, INFORMED, NETWORK, ORACLE, Row, Rows, label
from benchmarks.thresholds import Check

_INTRO = """# Benchmarks

How far from the truth are the poses that `scipion-udl` finds, how long does it take, and how do the programs compare
that are in use already? Here are the last results, good and bad. How they are made, and how you run the same on
particles of yours, is told in [benchmarks/README.md](../benchmarks/README.md).

All particles are simulated, because only then the truth is known: 128 px, rotated by any angle, up to 10 px off centre
in x and y, each with a defocus of its own, phase-flipped, in white noise. The SNR is the variance of the particle
over that of the noise, over the whole box: 0.1 is a good data set, 0.01 a very poor one. `groel`, `empiar-10034` and
`empiar-10065` are published class averages; the other views are phantoms made by formula (`scipion-udl simulate
--phantom NAME`).

**The oracle** is no program that you could use: it knows the true image and the CTF of every particle and tries all
poses. Nobody can do better on these particles; what is above it is lost by not knowing the image. So the column
"times the oracle" is the one to look at: 1.0 is perfect.
"""
_ROTATION = """## Rotation error

Mean over the particles, in degrees, of the absolute error on the full circle (modulo 180 for the exactly two-fold
dimer): a particle that lies the wrong way round counts 180 degrees, so a few of them make a large mean. Smaller is
better; the best but the oracle is bold.
"""
_RIGHT = """## The right way round

The share of particles that are less than 90 degrees off. The spectrum of an image does not tell it from its half
turn, and views whose two ends are nearly the same are where alignment programs go wrong. Chance is 50 %. Where even
the oracle is below 100 %, the two ends cannot be told apart in all particles, by nobody.
"""
_INFORMED = """### What the set itself can teach

The oracle knows the true image; a program has to learn it from the particles. Where the two ends of a view differ by
little, that is less than the oracle knows, whatever the program. Here each particle was aligned to the average of the
other particles, and these were at their **true** poses: share that lies the right way round, in per cent, and mean
error on the full circle, in degrees.
"""
_SHIFT = """## Shift error

RMS length in pixels at the middle of the particle, over the particles that are the right way round.
"""
_AVERAGE = """## The average

Correlation of the plain average with the true image (its Fourier rings scaled to the average's power, so that the CTF
does not count), and behind it the true resolution in angstrom: where the FRC with the true image falls to 0.5.
"""
_TIME = """## Time and memory

CPU seconds are of all cores together, so they can be compared whatever else the machine did; wall seconds of
`scipion-udl` are on two threads, of the others on one. Memory is the peak of the largest process. For large sets the
time of training, on a part of the particles, is given by itself.
"""
_SNR = """## Down to which SNR

The curves show the mean error modulo 180 degrees, and the share that is the right way round, of every method on every
view. Where the curve of `scipion-udl` leaves that of the oracle, the method is at its limit for that number of
particles.
"""
_NETWORK = """## The network alone

2000 particles at SNR 0.1 without any refinement, modulo 180. The oracle looks at every particle by itself, so its
figure is that of 512 particles of the same view.
"""
_ASIDE = """## Views that were set aside

`anchor` and `spindle` were made before anything was measured on them and were looked at once, when everything else
was finished: if the program had been tuned to the other views, it would be worse on these.
"""
_CONFIDENCE = """## Claimed and true resolution

A program may not say more than it knows. Here sets of pure noise, sets with noise or another view mixed in, and plain
sets of 512 particles are aligned, and the resolution that the report claims (half-set FRC, 0.143) is held against the
true one (FRC with the true image, 0.5, same mask). A claim holds if its frequency is at most 1.05 times the true one;
of noise alone nothing may be claimed. In sets of two views the truth is the view that the average shows better.
"""


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A markdown table; columns behind the first are aligned right."""
    lines = [" | ".join(head), " | ".join(["---"] + ["---:"] * (len(head) - 1))]
    return "\n".join(f"| {line} |" for line in (*lines, *(" | ".join(cells) for cells in body))) + "\n"


def degrees(value: float | None) -> str:
    """An error in degrees or pixels, three figures long."""
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def percent(value: float | None) -> str:
    """A share from 0 to 1."""
    return "-" if value is None else f"{100 * value:.1f}"


def compared(rows: Rows, name: str, column: str, form: Callable, ratio: bool = False, small: bool = True) -> str:
    """One figure of all methods for the cases of a list, the best method but the oracle bold.

    ratio: with a column "times the oracle" for the final result; small: smaller is better.
    """
    methods = [method for method in rows.methods(name) if method in METHODS]
    head = ["view", "SNR", "particles"]
    for method in methods:
        head += [label(method)] + (["times the oracle"] if ratio and method == FINAL else [])
    body = []
    for case in rows.cases(name):
        found = {method: rows.find(case, method) for method in methods}
        values = {method: row[column] for method, row in found.items() if row is not None and row[column] is not None}
        texts = {method: form(value) for method, value in values.items()}
        rivals = [value for method, value in values.items() if method != ORACLE]
        best = form((min if small else max)(rivals)) if rivals else None
        first = rows.first(case)
        cells = [first["view"], first["snr"], f"{first['particles']:.0f}"]
        for method in methods:
            text = texts.get(method, "")
            cells.append(f"**{text}**" if text and text == best and method != ORACLE else text)
            if ratio and method == FINAL:
                cells.append(_times(values))
        body.append(cells)
    return table(head, body)


def _times(values: dict[str, float]) -> str:
    own, oracle = values.get(FINAL), values.get(ORACLE)
    return f"{own / oracle:.2f}" if own is not None and oracle else ""


def averages(rows: Rows, name: str) -> str:
    """Correlation and true resolution of the averages of all methods."""
    methods = [method for method in rows.methods(name) if method in METHODS]
    body = []
    for case in rows.cases(name):
        first, cells = rows.first(case), []
        for method in methods:
            row = rows.find(case, method)
            text = ""
            if row and row["correlation"] is not None:
                text = f"{row['correlation']:.3f}, " + ("-" if not row["true_resolution"] else
                                                         f"{row['true_resolution']:.1f}")  # fmt: skip
            cells.append(text)
        body.append([first["view"], first["snr"], *cells])
    return table(["view", "SNR", *(label(method) for method in methods)], body)


def ratios(rows: Rows) -> str:
    """Times the oracle, the median over the views, by SNR and method; and how many views lie behind each."""
    methods = [method for method in rows.methods("main") if method in METHODS and method != ORACLE]
    body = []
    for snr in sorted({row["snr"] for row in rows.of("main")}, key=float, reverse=True):
        cells = [snr]
        for method in methods:
            pairs = [(rows.find(case, method), rows.find(case, ORACLE)) for case in rows.cases("main")]
            values = [m["mean_sym"] / o["mean_sym"] for m, o in pairs if m and o and m["snr"] == snr]
            cells.append(f"{np.median(values):.2f} ({len(values)})" if values else "")
        body.append(cells)
    return table(["SNR", *(label(method) for method in methods)], body)


def losses(rows: Rows) -> str:
    """In words: on how many cases the best of the others is better, and which."""
    worse, total = [], 0
    for case in [*rows.cases("main"), *rows.cases("faint")]:
        own, best = rows.find(case, FINAL), rows.best_peer(case)
        if own is None or best is None:
            continue
        total += 1
        if best["mean_sym"] < own["mean_sym"]:
            worse.append(f"{case} ({own['mean_sym']:.2f} degrees; {label(best['method'])}: {best['mean_sym']:.2f})")
    if not total:
        return ""
    lost = "; ".join(worse) if worse else "none"
    return (f"Of {total} cases, no other program has a smaller mean rotation error than `scipion-udl` in "
            f"{total - len(worse)}. Cases that it loses: {lost}.\n")  # fmt: skip


def informed(rows: Rows) -> str:
    """What could be known without the template, beside the oracle and the final result."""
    head, body = ["view", "SNR"], []
    for method in (ORACLE, INFORMED, FINAL):
        head += [f"{label(method)}: right way round", "error"]
    for case in rows.cases("main", lambda row: row["method"] == INFORMED):
        found = [rows.find(case, method) for method in (ORACLE, INFORMED, FINAL)]
        cells = [(percent(row["right_way_round"]), degrees(row["mean_360"])) if row else ("", "") for row in found]
        first = rows.first(case)
        body.append([first["view"], first["snr"], *(text for pair in cells for text in pair)])
    return table(head, body)


def times(rows: Rows) -> str:
    """Time and memory: the median of the 512-particle cases by method, then the large sets line by line."""
    head = ["method", "particles", "SNR", "CPU (s)", "CPU a particle (ms)", "wall (s)", "peak memory (MB)"]
    body = []
    for method in rows.methods("main"):
        mine = [row for row in rows.of("main") if row["method"] == method]
        cells = []
        for column, digits in _TIMES:
            values = [row[column] for row in mine if row[column] is not None]
            cells.append(f"{np.median(values):.{digits}f}" if values else "")
        body.append([label(method), "512", f"median of {len(mine)} cases", *cells])
    for row in rows.of("large"):
        cells = [f"{row[column]:.{digits}f}" for column, digits in _TIMES]
        body.append([label(row["method"]), f"{row['particles']:.0f}", row["snr"], *cells])
    return table(head, body)


_TIMES = (("cpu_s", 1), ("cpu_ms_particle", 2), ("wall_s", 1), ("memory_mb", 0))


def network_alone(rows: Rows) -> str:
    """Rotation error modulo 180 of the network without refinement, beside the oracle's."""
    body = []
    for row in (row for row in rows.of("network") if row["method"] == NETWORK):
        oracle = rows.find(f"{row['view']}_{row['snr']}_{ENOUGH}", ORACLE)
        limit = oracle and oracle["mean_180"]
        times = f"{row['mean_180'] / limit:.1f}" if limit else ""
        body.append([row["view"], degrees(row["mean_180"]), degrees(row["p90_180"]), degrees(limit), times])
    return table(["view", "mean (deg)", "90 % (deg)", "oracle, mean (deg)", "times the oracle"], body)


def own_data(rows: Rows) -> str:
    """Particles that were given, not simulated: what the run says of itself, and the errors where a truth is known."""
    head = ["data", "method", "particles", "claimed (A)", "score", "ambiguous", "network to final (deg, median)",
            "mean error (deg)", "CPU (s)", "wall (s)", "memory (MB)"]  # fmt: skip
    body = []
    for row in rows.of("own data"):
        ambiguous = row["ambiguous"]
        body.append([row["case"], label(row["method"]), f"{row['particles']:.0f}", degrees(row["claimed_resolution"]),
                     degrees(row["score"]), "-" if ambiguous is None else f"{ambiguous:.0f}",
                     degrees(row["network_median_change"]), degrees(row["mean_sym"]),
                     f"{row['cpu_s']:.1f}", f"{row['wall_s']:.1f}", f"{row['memory_mb']:.0f}"])  # fmt: skip
    return table(head, body)


def judged(checks: Sequence[Check]) -> str:
    """Thresholds as a list: met or missed, and by what."""
    lines = []
    for check in checks:
        met = check.judged - len(check.missed)
        state = "met" if not check.missed else "MISSED"
        lines.append(f"- **{state}** ({met} of {check.judged}): {check.text}"
                     + (f". Missed by: {'; '.join(check.missed)}" if check.missed else ""))  # fmt: skip
    return "\n".join(lines) + "\n"


def claimed(path: Path) -> tuple[str, Check]:
    """The table of confidence.csv and its threshold."""
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    check = Check("the resolution claimed is at most 1.05 times the true one in 1/px, and none of noise alone")
    for row in found:
        ratio = f"{float(row['ratio']):.2f} times" if row["ratio"] else "none claimed"
        name = " ".join(filter(None, (row["view"], row["snr"], row["what"])))
        check.judge(bool(int(row["holds"])), f"{name} ({ratio})")
    return confidence.markdown(found) + "\n", check


def programs(rows: Rows) -> str:
    """What the methods are and their settings, in the words of each module (but how to call it)."""
    lines = ["## What is compared\n"]
    seen = set()
    for method in (m for m in METHODS if any(row["method"] == m for row in rows.all)):
        module = METHODS[method].module
        if module in seen:
            continue
        seen.add(module)
        text = ast.get_docstring(ast.parse((Path(__file__).parent / "methods" / f"{module}.py").read_text())) or ""
        text = " ".join(part for part in text.split("\n\n") if not part.startswith("python -m"))
        lines.append(f"- **{label(method)}**: {' '.join(text.split())}")
    return "\n".join(lines) + "\n"


def stamp(rows: Rows) -> str:
    """Machine, dates and versions of all rows."""

    def every(column: str, mine: Sequence[Row] = rows.all) -> list[str]:
        return sorted({row[column] for row in mine if row[column]})

    days = every("date")
    own = [row for row in rows.all if row["method"].startswith("own")]  # the others do not change with the program
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return (f"Measured {when} on: {'; '.join(every('machine'))}. scipion-udl {', '.join(every('version'))} "
            f"(commits {', '.join(every('commit', own))}), {'; '.join(every('python'))}.\n")  # fmt: skip


def page(rows: Rows, confidence_csv: Path, images: dict[str, str]) -> str:
    """docs/benchmarks.md."""

    def picture(subject: str, words: str) -> list[str]:
        return [f"![{words}](images/{images[subject]})\n"] if subject in images else []

    checks = [*thresholds.accuracy(rows, "main"), *thresholds.limits(rows)]
    claims_table = ""
    if confidence_csv.exists():
        claims_table, check = claimed(confidence_csv)
        checks.append(check)
    parts = [_INTRO, stamp(rows)]
    parts += ["## In short\n", "Times the oracle, the median over the views (in brackets how many of them):\n"]
    parts += [ratios(rows), losses(rows), "## Thresholds, met and missed\n", judged(checks)]
    parts += [programs(rows)]
    parts += [_SNR, *picture("errors", "Mean error against SNR"), *picture("right", "Right way round against SNR")]
    parts += [_ROTATION, compared(rows, "main", "mean_sym", degrees, ratio=True)]
    parts += [_RIGHT, compared(rows, "main", "right_way_round", percent, small=False)]
    parts += [_INFORMED, informed(rows)] if any(row["method"] == INFORMED for row in rows.all) else []
    parts += [_SHIFT, compared(rows, "main", "shift_rms", degrees, ratio=True), _AVERAGE, averages(rows, "main")]
    parts += [_TIME, *picture("cpu", "CPU time a particle"), times(rows)]
    for name, words in _MORE.items():
        if rows.of(name):
            parts += [words, compared(rows, name, "mean_sym", degrees, ratio=True)]
    parts += [_NETWORK, network_alone(rows)] if rows.of("network") else []
    if rows.of("set aside"):
        parts += [_ASIDE, judged(thresholds.accuracy(rows, "set aside"))]
        parts += [compared(rows, "set aside", "mean_sym", degrees, ratio=True)]
        parts += ["Right way round:\n", compared(rows, "set aside", "right_way_round", percent, small=False)]
        parts += ["Shift error (px):\n", compared(rows, "set aside", "shift_rms", degrees, ratio=True)]
    parts += [_CONFIDENCE, claims_table] if claims_table else []
    parts += ["## Given particles\n", own_data(rows)] if rows.of("own data") else []
    return "\n".join([*parts, "All figures of all runs are in [benchmarks_all.md](benchmarks_all.md).\n"])


_MORE = {
    "faint": "## Very weak signal\n\n512 particles at SNR 0.003: mean rotation error, degrees.\n",
    "few": "## Few particles\n\n128 particles: mean rotation error, degrees.\n",
}


def everything(rows: Rows) -> str:
    """docs/benchmarks_all.md: one line a run."""
    columns = {
        "mean_sym": ("mean", degrees), "median_sym": ("median", degrees), "p90_sym": ("90 %", degrees),
        "within_5_sym": ("< 5 deg (%)", percent), "mean_360": ("mean, 360", degrees),
        "within_5_360": ("< 5 deg, 360 (%)", percent), "mean_180": ("mean, 180", degrees),
        "median_180": ("median, 180", degrees), "p90_180": ("90 %, 180", degrees),
        "within_5_180": ("< 5 deg, 180 (%)", percent), "shift_rms": ("shift RMS (px)", degrees),
        "correlation": ("correlation", lambda v: "-" if v is None else f"{v:.3f}"),
        "true_resolution": ("FRC 0.5 (A)", degrees), "claimed_resolution": ("claimed (A)", degrees),
        "cpu_s": ("CPU (s)", degrees), "wall_s": ("wall (s)", degrees),
        "memory_mb": ("memory (MB)", lambda v: "-" if v is None else f"{v:.0f}"),
    }  # fmt: skip
    head = ["case", "method", *(words for words, _ in columns.values())]
    body = [_line(row, columns) for row in rows.all]
    text = ("Rotation errors are in degrees: modulo the view's own exact symmetry, on the full circle (360), and "
            "modulo 180. The name of a case is view, SNR and number of particles.\n")  # fmt: skip
    return "\n".join(["# Benchmarks: every run\n", stamp(rows), text, table(head, body)])


def _line(row: Row, columns: dict) -> list[str]:
    return [row["case"], row["method"], *(form(row[column]) for column, (_, form) in columns.items())]


def main() -> int:
    """Write the pages and the pictures. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder with results.csv")
    parser.add_argument("--docs", type=Path, default=Path(__file__).resolve().parent.parent / "docs")
    args = parser.parse_args()
    try:
        rows = Rows(args.out / "results.csv")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    images = save_all(rows, args.docs / "images")
    text = page(rows, args.out / "confidence" / "confidence.csv", images)
    (args.docs / "benchmarks.md").write_text(text)
    (args.docs / "benchmarks_all.md").write_text(everything(rows))
    print(f"{args.docs}: benchmarks.md, benchmarks_all.md, {', '.join(images.values())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
