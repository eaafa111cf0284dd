"""How the cost of `classify` grows: with particles, classes, the box and the noise.

    python -m benchmarks.scale OUT --particles 20000 --classes 50 --box 64                   (one set)
    python -m benchmarks.scale OUT --particles 20000 --classes 50 --box 64 --base CLONE      (an older build beside)
    python -m benchmarks.scale OUT --particles 20000 --classes 50 --box 64 --sweep           (each of them varied alone)

Simulates particles of random views in chunks, each a float16 stack of its own, so that sets may be far larger than
memory; runs `scipion-udl classify` on them in a process of its own, and compares the views of its classes with the
truth (benchmarks/many_views/spread.py). OUT/scale.csv has a row a run, written after each: the seconds of each stage by
the run's own log, CPU, peak memory, what was read, and the spread; OUT/scale.md the same as a table. Sets that are
there already are used again. CLONE is a folder with another version of this project, which the same Python runs.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import mrcfile
import numpy as np

from benchmarks.alignment import HERE, timed
from benchmarks.many_views.particles import Truth, words_of
from benchmarks.many_views.spread import Classes, spread
from benchmarks.views import Rows
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.tables import Table, read_tables, write_tables

BLOCK = 2000  # images that are converted at a time
HALF = 12  # mode of an MRC file of float16
# The stages of a run, and the line of its log that each begins with: the last such line for sorting, for which all
# levels of the network must be learned, the first for all others.
STAGES = {
    "first look": r"\d+ particles of",
    "learning": r"Learning \d+ classes",
    "sorting": r"Classes at ",
    "alignment": r"Aligning \d+ classes",
    "writing": r"CTF: ",
}
KEY = ["build", "particles", "classes", "box", "snr"]
TOOK = ["wall_s", "cpu_s", "cpu_ms_particle", "memory_mb", "read_mb", "disk_mb"]
COLUMNS = [*KEY, *STAGES, *TOOK, "median", "mean", "counted"]
LINE = re.compile(r"\[ *([\d.]+) s\] (.*)")


@dataclass(frozen=True)
class Case:
    """particles in so many classes, of box x box pixels, with this SNR."""

    particles: int
    classes: int
    box: int
    snr: float

    @property
    def folder(self) -> str:
        """The name of the folder of its particles, which do not depend on the classes."""
        return f"{self.particles}_{self.box}px_snr{self.snr:g}"


def cases(first: Case, sweep: bool) -> list[Case]:
    """The cases to be run: ``first``, and with ``sweep`` those with one of its numbers changed."""
    if not sweep:
        return [first]
    found = [replace(first, particles=first.particles * k // 4) for k in (1, 2)]
    found += [replace(first, classes=max(2, first.classes * k // 4)) for k in (1, 2)]
    found += [replace(first, box=first.box * k // 2) for k in (3, 4)]
    found += [replace(first, snr=first.snr * k) for k in (0.5, 2)]
    return list(dict.fromkeys([first, *found]))


def simulate(folder: Path, case: Case, chunk: int) -> None:
    """Particles of a case in stacks of ``chunk`` each, with particles.star, truth.star and parameters.json of all."""
    tables: list[list[Table]] = []
    for number, start in enumerate(range(0, case.particles, chunk)):
        part = folder / f"stack_{number}"
        count = min(chunk, case.particles - start)
        options = {"views": "random", "phantom": "crane", "count": count, "box": case.box, "snr": case.snr}
        simulated(part, {**options, "shift": case.box // 12, "seed": number + 1})
        halve(part / "particles.mrcs")
        tables.append([*read_tables(str(part / "particles.star")), *read_tables(str(part / "truth.star"))])
    (folder / "parameters.json").write_text((folder / "stack_0" / "parameters.json").read_text())
    optics, *_ = tables[0]
    particles, truth = (joined([one[k] for one in tables]) for k in (1, 2))
    write_tables(str(folder / "particles.star"), [optics, particles])
    write_tables(str(folder / "truth.star"), [truth])  # the last: a set that has it is whole


def simulated(folder: Path, options: dict) -> None:
    """Have ``simulate`` make particles on the CPU; options by name."""
    command = [sys.executable, "-m", "scipion_udl.cli", "simulate", folder, *words_of({**options, "gpu": "none"})]
    subprocess.run([*map(str, command), "--overwrite"], check=True, stdout=subprocess.DEVNULL)


def classified(table: Path, out: Path, threads: int, *more: object, build: Path = HERE) -> dict[str, float]:
    """What a run of ``classify`` took, of the version of this project that lies in ``build``; more: its options."""
    command = [sys.executable, "-m", "scipion_udl.cli", "classify", table, "-o", out, *more]
    command += ["--threads", threads, "--gpu", "none", "--overwrite"]
    return timed([*map(str, command)], out.with_suffix(".log"), threads, build)


def joined(tables: list[Table]) -> Table:
    """The rows of all tables, which have the same columns, one after the other."""
    columns = {label: [text for one in tables for text in one.texts(label)] for label in tables[0].columns}
    return Table(tables[0].name, columns)


def halve(path: Path) -> None:
    """Write a stack again, under its name, as float16: half of the disk."""
    stack, new = StackReader(str(path)), path.with_suffix(".half")
    with mrcfile.open(path, header_only=True) as mrc:
        voxel = mrc.voxel_size.copy()
    with mrcfile.new_mmap(new, (stack.count, *stack.shape), HALF, overwrite=True) as mrc:
        mrc.set_image_stack()
        mrc.voxel_size = voxel
        for start in range(0, stack.count, BLOCK):
            rows = np.arange(start, min(start + BLOCK, stack.count))
            mrc.data[rows] = stack.read(rows)
    new.replace(path)


def stages(log: Path, seconds: float) -> dict[str, float]:
    """Seconds of each stage of a run that took ``seconds``, by its run.log; those whose line it lacks are left out, and
    their seconds are the stage's before."""
    lines = [found.groups() for found in map(LINE.match, log.read_text("utf-8").splitlines()) if found]
    begins = {}
    for name, begin in STAGES.items():
        at = [float(time) for time, text in lines if re.match(begin, text)]
        if at:
            begins[name] = at[-1 if name == "sorting" else 0]
    ends = [*list(begins.values())[1:], seconds]
    return {name: round(end - start, 1) for (name, start), end in zip(begins.items(), ends)}


def run(case: Case, folder: Path, build: Path, out: Path, threads: int) -> dict:
    """The row of one run of ``classify``, of the version of this project that lies in ``build``."""
    took = classified(folder / "particles.star", out, threads, "--classes", case.classes, build=build)
    took["cpu_ms_particle"] = round(1000 * took["cpu_s"] / case.particles, 3)
    seconds = json.loads((out / "summary.json").read_text())["seconds"]
    found = spread(Classes.read(out / "classes.star", Truth.read(folder)))
    return {**asdict(case), **stages(out / "run.log", seconds), **took, **found, "classes": case.classes}


def runs(args: argparse.Namespace, out: Path) -> Iterator[dict]:
    """A row for each case and build, those of one case after each other."""
    builds = {"this": HERE, **({"base": args.base.resolve()} if args.base else {})}
    for case in cases(Case(args.particles, args.classes, args.box, args.snr), args.sweep):
        folder = out / case.folder
        if not (folder / "truth.star").exists():
            folder.mkdir(exist_ok=True)
            simulate(folder, case, args.chunk)
        for name, build in builds.items():
            yield {"build": name, **run(case, folder, build, folder / f"{name}_{case.classes}", args.threads)}


def table_of(path: Path) -> str:
    """The rows of a scale.csv as a table of a page."""
    with path.open(newline="") as file:
        rows = [[row[name] for name in COLUMNS] for row in csv.DictReader(file)]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in (COLUMNS, ["---"] * len(COLUMNS), *rows))


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for all files and results")
    parser.add_argument("--particles", type=int, default=20000, help="how many (20000)")
    parser.add_argument("--classes", type=int, default=50, help="classes (50)")
    parser.add_argument("--box", type=int, default=64, help="pixels (64)")
    parser.add_argument("--snr", type=float, default=0.1, help="of the particles (0.1)")
    parser.add_argument("--chunk", type=int, default=50000, help="particles of a stack (50000)")
    parser.add_argument("--threads", type=int, default=2, help="of classify (2)")
    parser.add_argument("--base", type=Path, metavar="CLONE", help="an older version of this project, run beside")
    parser.add_argument("--sweep", action="store_true", help="vary particles, classes, box and SNR, each alone")
    args = parser.parse_args(argv)
    if args.base and not (args.base / "scipion_udl" / "cli").exists():
        parser.error(f"--base {args.base}: no scipion_udl lies there")
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    rows = Rows(out / "scale.csv", COLUMNS, KEY)
    for row in runs(args, out):
        rows.add(row)
        (out / "scale.md").write_text(table_of(out / "scale.csv"), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
