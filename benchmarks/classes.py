"""Classes of different views: how long `align --by-class` takes, and whether a class is as good as aligned alone.

    python -m benchmarks.classes --out classes_output                        (20 classes of 200 particles, 128 px)

Simulates views with known poses (the phantoms without symmetry, then views of random blobs), joins them to one table
in random order, and runs `scipion-udl align --by-class` as anybody would, and `scipion-udl align` on the first few
classes alone, each in a process of its own. Writes OUT/classes.csv and classes.json: rotation errors against the truth
by class, time and memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np

from scipion_udl.imaging.poses import pose_errors
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.jobs.simulate import write_simulation
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.simulation.particles import Simulation
from scipion_udl.simulation.phantoms import BlobTemplate, phantom
from scipion_udl.validation.pose_errors import join, located_truth

HERE = Path(__file__).resolve().parent
LIMIT = 300.0  # seconds by the clock
WORSE = 1.15  # by how much the mean error of a class may exceed that of the class alone
PHANTOMS = ("hook", "clamp", "hammer", "anchor", "pebble")
PIXEL_SIZE = 2.0
COLUMNS = [
    "class", "particles", "mean", "median", "within_5", "shift_rms", "resolution", "mean_alone", "resolution_alone",
]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Returns 0 where it ends in time and no class is worse than alone, 1 where not."""
    args = _parser().parse_args(argv)
    out = Path(args.out).resolve()
    if out.exists() and args.overwrite:
        shutil.rmtree(out)
    out.mkdir(parents=True)
    table = simulate_classes(out, args.classes, args.count, args.box, args.snr)
    options = ["--gpu", args.gpu, "--threads", args.threads, "--seed", args.seed]
    took = _run(out / "by_class.json", "align", table, "-o", out / "aligned", "--by-class", *options)
    alone = {}
    for number in range(1, args.alone + 1):
        particles = out / str(number) / "particles.star"
        one = _run(out / "alone.json", "align", particles, "-o", out / "alone" / str(number), *options)
        alone[number] = errors(out / "alone" / str(number), out / str(number)) | one
    rows = [_row(out, number, alone.get(number)) for number in range(1, args.classes + 1)]
    machine = {"processor": _processor(), "threads": args.threads, "gpu": args.gpu, "date": date.today().isoformat()}
    _write(out, rows, {"by_class": took, "machine": machine, "options": vars(args)})
    print(text(rows))
    print(f"{took['wall_s']:.0f} s by the clock, {took['cpu_s']:.0f} s of CPU, {took['memory_mb']:.0f} MB at most")
    worse = [row["class"] for row in rows if row["mean_alone"] and row["mean"] > WORSE * row["mean_alone"]]
    print(f"in {LIMIT:g} s: {took['wall_s'] < LIMIT}; classes that are worse than alone: {worse or 'none'}")
    return 0 if took["wall_s"] < LIMIT and not worse else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classes", description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="folder for all files and results, made new")
    parser.add_argument("--overwrite", action="store_true", help="remove OUT first")
    parser.add_argument("--classes", type=int, default=20, help="different views (20)")
    parser.add_argument("--count", type=int, default=200, help="particles of each (200)")
    parser.add_argument("--box", type=int, default=128, help="pixels of a side (128)")
    parser.add_argument("--snr", type=float, default=0.1, help="(0.1)")
    parser.add_argument("--alone", type=int, default=3, help="classes that are aligned by themselves, too (3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gpu", default="none")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def view(number: int, box: int) -> BlobTemplate:
    """View ``number`` (from 1): a phantom, or blobs of all sizes at random places."""
    if number <= len(PHANTOMS):
        return phantom(PHANTOMS[number - 1], box)
    rng = np.random.default_rng(number)
    count = int(rng.integers(16, 30))
    radius, angle = 0.3 * np.sqrt(rng.uniform(size=count)), rng.uniform(0, 2 * np.pi, count)
    place = [radius * np.cos(angle), radius * np.sin(angle)]
    return BlobTemplate(np.stack([*place, rng.uniform(0.008, 0.04, count), rng.uniform(0.5, 1.5, count)], -1), box)


def simulate_classes(out: Path, classes: int, count: int, box: int, snr: float) -> Path:
    """OUT/1, OUT/2, ...: the particles of each view; and a table of all in random order, whose path is returned."""
    parts = []
    for number in range(1, classes + 1):
        with OutputFolder(str(out / str(number))) as folder:
            options = {"max_shift": 0.08 * box, "ctf": CtfSettings(), "seed": number}
            write_simulation(folder, Simulation(view(number, box), count, snr, PIXEL_SIZE, **options))
        optics, table = read_tables(str(out / str(number) / "particles.star"))
        table.set("rlnClassNumber", [str(number)] * count)
        parts.append(table)
    columns = {label: [text for part in parts for text in part.columns[label]] for label in parts[0].columns}
    order = np.random.default_rng(0).permutation(classes * count)
    write_tables(str(out / "classes.star"), [optics, Table("particles", columns).rows(order)])
    return out / "classes.star"


def _run(figures: Path, *words: object) -> dict:
    """Run a command of scipion-udl; what it took."""
    command = [sys.executable, "-m", "scipion_udl.cli", *map(str, words)]
    print("scipion-udl", *map(str, words), flush=True)
    done = subprocess.run([sys.executable, str(HERE / "measure.py"), str(figures), *command])
    if done.returncode:
        raise SystemExit(f"scipion-udl {words[0]} failed (exit code {done.returncode})")
    return json.loads(figures.read_text())


def errors(aligned: Path, simulated: Path) -> dict:
    """Errors of aligned.star against the truth of one view, what is common to all of it taken off."""
    source = open_particles(str(aligned / "aligned.star"))
    images, truth = located_truth(str(simulated / "truth.star"))
    rows, true_rows = join(source.locations(), images)
    found = pose_errors(source.poses()[rows], truth[true_rows], 360.0)
    rotation = np.abs(found.rotation)
    return {
        "particles": len(rows),
        "mean": float(rotation.mean()),
        "median": float(np.median(rotation)),
        "within_5": float((rotation < 5).mean()),
        "shift_rms": float(np.sqrt((found.shift**2).sum(1).mean())),
    }


def _row(out: Path, number: int, alone: dict | None) -> dict:
    figures = {one["class"]: one for one in _summary(out / "aligned")["classes"]}[number]
    row = {"class": number, **errors(out / "aligned", out / str(number)), "resolution": figures["resolution"]}
    own = None if alone is None else _summary(out / "alone" / str(number))["resolution"]
    return row | {"mean_alone": alone and alone["mean"], "resolution_alone": own}


def _summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def text(rows: list[dict]) -> str:
    """The rows as a table of a page."""
    lines = ["| class | mean error | median | within 5° | shift, RMS | resolution | alone: mean error, resolution |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        alone = "" if row["mean_alone"] is None else f"{row['mean_alone']:.2f}°, {_angstrom(row['resolution_alone'])}"
        lines.append(
            f"| {row['class']} | {row['mean']:.2f}° | {row['median']:.2f}° | {row['within_5']:.1%} | "
            f"{row['shift_rms']:.2f} px | {_angstrom(row['resolution'])} | {alone} |"
        )
    return "\n".join(lines)


def _angstrom(resolution: float | None) -> str:
    return f"{resolution:.1f} Å" if resolution else "none claimed"


def _write(out: Path, rows: list[dict], more: dict) -> None:
    with (out / "classes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    (out / "classes.json").write_text(json.dumps({**more, "rows": rows}, indent=1, default=str))


if __name__ == "__main__":
    sys.exit(main())
