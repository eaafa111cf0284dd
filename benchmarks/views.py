"""Particles of many views: how near the views of a class lie, whether noise and another molecule are told apart.

    python -m benchmarks.views --out views_output                    (three molecules, three SNRs, 4000 particles)
    python -m benchmarks.views --out views_output --only boot:0.1    (one of them)
    python -m benchmarks.views --out views_output --only mixed       (30 % noise, 20 % of a second molecule, SNR 0.1)
    python -m benchmarks.views --out views_output --relion 2000 25 --aspire   (the first 2000 of crane, others beside)
    python -m benchmarks.views --out views_output --only crane:0.1 --stages   (what each stage of classify adds)

Simulates particles with known viewing directions, runs `scipion-udl classify` on them as anybody would, in a process of
its own, and the other programs that are asked for, and compares what they made of them with the truth: the angle
between each particle's viewing axis and that of its class (benchmarks/many_views/spread.py), and each class average
against the noise-free projection along that axis (resolution.py). OUT/views.csv has a row a set and program, written
after each; the rows of earlier runs stay until the same is run again. RELION runs that have finished in OUT are kept
(--relion-anew: not).
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.alignment import replaced
from benchmarks.many_views import programs, stages
from benchmarks.many_views.particles import MOLECULES, SNRS, Truth, first_of, simulate
from benchmarks.many_views.programs import Result
from benchmarks.many_views.resolution import resolutions
from benchmarks.many_views.spread import Classes, neighbour_spread, pose_errors, spread
from scipion_udl.io.particles import open_particles

FIGURES = ["median", "mean", "classes", "counted", "noise_flagged", "flagged", "purity", "one_hand"]
FIGURES += ["resolution_claimed", "claims", "resolution_true", "shift_error", "angle_error"]
KEY = ["set", "program", "particles", "classes_asked"]
COLUMNS = [*KEY, *FIGURES, "wall_s", "cpu_s", "memory_mb", "note"]


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Returns the exit code: 1 where a run failed."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.aspire and not programs.has_aspire():
        parser.error("--aspire: it is not installed; benchmarks/methods/aspire.py tells how")
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    names = args.only or [f"{molecule}:{snr}" for molecule in MOLECULES for snr in SNRS] + ["mixed"]
    if wrong := [name for name in names if name != "mixed" and name.count(":") != 1]:
        parser.error(f"--only {wrong[0]}: sets are MOLECULE:SNR, or mixed")
    if (args.relion or args.aspire or args.stages) and not args.only:
        names = [f"crane:{snr}" for snr in SNRS]
    with open(out / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            parser.error(f"another run works in {out}: wait for it, or give another --out")
        return all_sets(out, names, args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.views", description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="folder for all files and results")
    parser.add_argument("--only", nargs="+", metavar="SET", help="MOLECULE:SNR, or mixed")
    parser.add_argument("--count", type=int, default=4000, help="particles (4000)")
    parser.add_argument("--classes", type=int, default=50, help="classes (50)")
    parser.add_argument("--relion", type=int, nargs=2, metavar=("N", "K"), help="RELION beside, N particles, K classes")
    parser.add_argument("--relion-anew", action="store_true", help="run RELION again where it has finished before")
    parser.add_argument("--aspire", action="store_true", help="ASPIRE beside, on as many as RELION")
    parser.add_argument("--stages", action="store_true", help="what each stage of classify adds")
    parser.add_argument("--no-refine", action="store_true", help="classes alone, not the alignment of each")
    parser.add_argument("--no-classify", action="store_true", help="the others alone; its rows stay as they are")
    parser.add_argument("--threads", type=int, default=2, help="of classify and ASPIRE (2); RELION has one")
    return parser


def all_sets(out: Path, names: list[str], args: argparse.Namespace) -> int:
    """Each set in turn; one that fails is told of, and the others go on. Returns the exit code."""
    rows, failed = Rows(out / "views.csv"), 0
    for name in names:
        try:
            of_set(out, name, args, rows)
        except (RuntimeError, ValueError, subprocess.CalledProcessError) as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            failed = 1
    return failed


class Rows:
    """The rows of a views.csv, or of another table with other columns and another key; those that are there already
    stay until they are replaced."""

    def __init__(self, path: Path, columns: Sequence[str] = COLUMNS, key: Sequence[str] = KEY) -> None:
        self.path, self.columns, self.key, self.rows = path, columns, key, {}
        if path.exists():
            with path.open(newline="") as file:
                self.rows = {tuple(row.get(one) for one in key): row for row in csv.DictReader(file)}

    def add(self, row: dict) -> None:
        """Show a row, and write the file with it at once."""
        print({key: value for key, value in row.items() if value not in (None, "")}, flush=True)
        self.rows[tuple(str(row[one]) for one in self.key)] = row
        with replaced(self.path) as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(self.rows.values())


def of_set(out: Path, name: str, args: argparse.Namespace, rows: Rows) -> None:
    """A row a program for one set."""
    folder, count, classes = out / name.replace(":", "_"), args.count, args.classes
    if not (folder / "truth.star").exists():
        simulate(folder, name, args.count)
    if args.relion:
        count, classes = args.relion
    table = first_of(folder / "particles.star", count)
    truth = Truth.read(folder)
    for result in results(table, classes, args, truth):
        key = {"set": name, "program": result.program, "particles": count, "classes_asked": classes}
        rows.add({**key, **figures(result, truth, table), **result.took, "note": result.note})


def results(table: Path, classes: int, args: argparse.Namespace, truth: Truth) -> Iterator[Result]:
    """What each of the programs asked for made of the particles of ``table``, one after the other."""
    if args.stages:
        yield from stages.before_real_space(table, classes, args.threads)
        yield programs.classify(table, classes, args.threads, refine=False)
    if not args.no_classify:
        yield programs.classify(table, classes, args.threads, refine=not args.no_refine)
    if args.relion:
        yield programs.relion(table, classes, args.relion_anew)
    if args.aspire:
        yield programs.aspire(table, classes, args.threads)
        yield programs.aspire(table, classes, args.threads, centred=truth)


def figures(result: Result, truth: Truth, table: Path) -> dict:
    """The figures of a result against the truth. table: of the particles that it is of."""
    source = open_particles(str(table))
    if result.neighbours is not None:
        rows = truth.rows(source.names)
        return neighbour_spread(result.neighbours, truth.direction[rows], truth.molecule[rows])
    classes = Classes.read(result.table, truth)
    found = {**spread(classes), **pose_errors(classes)}
    if result.averages is not None:
        found |= resolutions(classes, result.averages, source.pixel_size, result.claims)
    return found


if __name__ == "__main__":
    sys.exit(main())
