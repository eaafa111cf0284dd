"""The benchmark: every case with every method, scored alike, one row each in OUT/results.csv.

    python -m benchmarks.alignment --out benchmark_output --template view.png:2.0:name     (from the project's folder)

It can be stopped and started again: a case and method with a row in OUT/results.csv does not run again, unless
``--again METHOD`` or its last run failed. ``python -m benchmarks.tables OUT`` makes tables and pictures of the rows.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.methods import METHODS
from benchmarks.methods.common import write_average
from benchmarks.scores import score
from scipion_udl.constants import __version__
from scipion_udl.io.particles import open_particles

HERE = Path(__file__).resolve().parent.parent
OWN_THREADS = 2
PEER_THREADS = 1
TRAIN = "own-train"

COLUMNS = [
    "case", "list", "view", "kind", "set_aside", "snr", "particles", "box", "pixel_size", "period", "method",
    "mean_sym", "median_sym", "p90_sym", "within_5_sym", "mean_360", "median_360", "p90_360", "within_5_360",
    "mean_180", "median_180", "p90_180", "within_5_180", "right_way_round", "shift_rms", "correlation",
    "true_frequency", "true_resolution", "claimed_frequency", "claimed_resolution", "signal_found", "ambiguous",
    "score", "searched", "network_median_change", "cpu_s", "cpu_ms_particle", "wall_s", "memory_mb", "threads",
    "warnings", "error", "version", "commit", "python", "machine", "date",
]  # fmt: skip


class Results:
    """The rows of OUT/results.csv, by case and method; every change is on disk at once (results.json too)."""

    def __init__(self, out: Path) -> None:
        self.path = out / "results.csv"
        self.rows: dict[tuple[str, str], dict] = {}
        if self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = {(row["case"], row["method"]): row for row in csv.DictReader(file)}

    def done(self, case: str, method: str) -> bool:
        """Whether there is a result that did not fail."""
        row = self.rows.get((case, method))
        return row is not None and not row["error"]

    def add(self, row: dict) -> None:
        """Put a row in the place of an older one, or behind all."""
        text = {key: "" if row.get(key) is None else str(row[key]) for key in COLUMNS}
        self.rows[row["case"], row["method"]] = text
        rows = list(self.rows.values())
        with replaced(self.path) as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        with replaced(self.path.with_suffix(".json")) as file:
            json.dump(rows, file, indent=1)


class replaced:
    """A text file that gets its name when it is complete: a stopped benchmark leaves no torn table."""

    def __init__(self, path: Path) -> None:
        self.path, self.part = path, path.with_name(path.name + ".part")

    def __enter__(self):
        self.file = self.part.open("w", newline="")
        return self.file

    def __exit__(self, kind: object, *_: object) -> None:
        self.file.close()
        if kind is None:
            os.replace(self.part, self.path)


def timed(command: list[str], log: Path, threads: int, folder: Path = HERE) -> dict[str, float]:
    """Run a command from a folder, the project's unless said otherwise: wall_s, and of all its processes cpu_s,
    memory_mb (peak, together), read_mb and disk_mb (None where the system does not tell).

    Raises RuntimeError with the last line of the log where it fails.
    """
    number = str(threads)
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), number)
    figures = Path(f"{log}.figures.json")
    measure = [sys.executable, str(HERE / "benchmarks" / "measure.py"), str(figures)]
    with log.open("w") as file:
        process = subprocess.Popen([*measure, *command], stdout=file, stderr=file, cwd=folder, env=environment)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise RuntimeError(f"{lines[-1] if lines else 'no message'} (exit code {code}, see {log})")
    taken = json.loads(figures.read_text())
    figures.unlink()
    return taken


def machine() -> str:
    """Processor and cores of this machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model or platform.machine()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB"


def _software() -> dict[str, str]:
    import torch

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    python = f"Python {platform.python_version()}, torch {torch.__version__}"
    return {"version": __version__, "commit": commit.stdout.strip(), "python": python, "machine": machine()}


def run(case: Case, method: str, out: Path, threads: int | None) -> dict:
    """One row: make the particles, run the method on them, score what it left. A failure is a row with ``error``.

    The method ``own-train`` makes the model that ``own-model`` is given.
    """
    row = {
        "case": case.name, "list": case.list, "view": case.view.name, "kind": case.view.kind, "snr": case.snr,
        "set_aside": int(case.view.set_aside), "particles": case.count, "box": case.box,
        "pixel_size": case.view.pixel_size, "period": case.view.period, "method": method, **_software(),
        "date": datetime.date.today().isoformat(),
        "threads": threads or (OWN_THREADS if method.startswith("own") else PEER_THREADS),
    }  # fmt: skip
    result = out / "runs" / f"{case.name}__{method}"
    shutil.rmtree(result, ignore_errors=True)
    result.parent.mkdir(parents=True, exist_ok=True)
    try:
        data = cases.make(case, out / "data")
        model = out / "runs" / f"{case.name}__{TRAIN}" / "model.safetensors"
        row |= timed(_command(method, data, result, row["threads"], model), Path(f"{result}.log"), row["threads"])
        if method != TRAIN:
            row |= _scored(case, data, result)
        row["cpu_ms_particle"] = round(1000 * row["cpu_s"] / row["particles"], 3) if row["particles"] else None
    except (RuntimeError, ValueError, OSError, subprocess.CalledProcessError) as error:
        row["error"] = " ".join(str(error).split())
    return row


def _command(method: str, data: Path, result: Path, threads: int, model: Path) -> list[str]:
    if method == TRAIN:
        command = [sys.executable, "-m", "scipion_udl.cli", "train", str(data / "particles.star"), "-o", str(result)]
        return [*command, "--gpu", "none", "--threads", str(threads)]
    return METHODS[method].command(data, result, threads, model if METHODS[method].needs_model else None)


def _scored(case: Case, data: Path, result: Path) -> dict:
    """The figures; the average is made first, for all methods alike and outside of the time that is measured."""
    own = result / "align" / "average.mrcs"
    if case.list == "large" and own.exists():  # speed and memory are asked for: the run's own average will do
        shutil.copy(own, result / "average.mrcs")
    elif (data / "truth.star").exists() and not (result / "average.mrcs").exists():
        write_average(data, result)
    source = open_particles(str(data / "particles.star"))
    return {"box": source.box, "pixel_size": source.pixel_size, **score(data, result, case.view.period)}


def line(row: dict) -> str:
    """One row for the screen."""
    head = f"{row['case']:28} {row['method']:12} "
    if row.get("error"):
        return f"{head} FAILED: {row['error']}"
    parts = [f"{row['cpu_s']:8.1f} s CPU {row['wall_s']:8.1f} s {row['memory_mb']:6.0f} MB"]
    if "mean_sym" in row:
        parts.insert(0, f"{row['mean_sym']:7.3f} deg  {row['within_5_sym']:6.1%}  {row['shift_rms']:6.3f} px")
    return head + "  ".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for particles and results")
    parser.add_argument("--template", action="append", default=[], metavar="FILE:PIXEL_SIZE[:NAME[:FOLD]]",
                        help="a view of yours, as well as the phantoms (A/px; FOLD: its exact symmetry)")  # fmt: skip
    parser.add_argument("--data", action="append", default=[], metavar="FOLDER_OR_FILE",
                        help="particles of yours instead (a truth.star beside them is used)")  # fmt: skip
    parser.add_argument("--set-aside", action="store_true", help="the phantoms that were set aside, and nothing else")
    parser.add_argument("--list", nargs="+", metavar="NAME", help="only these lists: main faint few network large")
    parser.add_argument("--view", nargs="+", metavar="NAME", help="only these views")
    parser.add_argument("--snr", nargs="+", metavar="S", help="only these SNRs")
    parser.add_argument("--method", nargs="+", metavar="NAME", help=f"only these of {' '.join(METHODS)} {TRAIN}")
    parser.add_argument("--again", nargs="+", default=[], metavar="METHOD", help="run these though they have results")
    parser.add_argument("--threads", type=int, help="of every method (default: own 2, others 1)")
    parser.add_argument("--dry-run", action="store_true", help="only print what would run")
    return parser


def chosen(args: argparse.Namespace) -> list[tuple[Case, str]]:
    """The (case, method) pairs that the options ask for. Raises ValueError for an option that fits nothing."""
    if args.data:
        every = [cases.given_case(path) for path in args.data]
    else:
        every = cases.all_cases([cases.template_view(text) for text in args.template], args.set_aside)
    methods = {*METHODS, TRAIN}
    for option, known in (("method", methods), ("again", methods), ("list", {case.list for case in every}),
                          ("view", {case.view.name for case in every})):  # fmt: skip
        unknown = set(getattr(args, option) or []) - set(known)
        if unknown:
            raise ValueError(f"--{option}: there is no {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    for option, value in (("list", lambda c: c.list), ("view", lambda c: c.view.name), ("snr", lambda c: c.snr)):
        wanted = getattr(args, option)
        every = [case for case in every if not wanted or value(case) in wanted]
    return [(case, m) for case in every for m in case.methods if not args.method or m in args.method]


def main() -> int:
    """Run what has no result yet. Returns the exit code: 1 where a run failed."""
    parser = _parser()
    args = parser.parse_args()
    try:
        pairs = chosen(args)
    except ValueError as error:
        parser.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    out = args.out.resolve()
    results = Results(out)
    failed = 0
    for case, method in pairs:
        if method in METHODS and not METHODS[method].available():
            print(f"{case.name:28} {method:12}  left out: it is not installed", flush=True)
            continue
        if results.done(case.name, method) and method not in args.again:
            continue
        if args.dry_run:
            print(f"{case.name:28} {method}")
            continue
        row = run(case, method, out, args.threads)
        results.add(row)
        failed += bool(row.get("error"))
        print(line(row), flush=True)
    if failed:
        print(f"{failed} runs failed; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
