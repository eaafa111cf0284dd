"""Accuracy, time and memory of `scipion-udl align` on simulated particles with known poses.

python benchmarks/alignment.py --out benchmark_output          (the built-in phantoms) python benchmarks/alignment.py
--out benchmark_output --template A.png:2.08 --template B.png:2.0

Every case is simulated (phase-flipped CTF, shifts of whole pixels), aligned in a process of its own without a model,
and compared with the truth modulo one common rigid transform. The table is printed and written to OUT/alignment.md and
.csv. Templates are given as FILE:PIXEL_SIZE. Peak memory is ru_maxrss of the process, CPU time that of all its threads.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from scipion_udl.alignment.evaluation import join, located_truth
from scipion_udl.alignment.geometry import pose_errors
from scipion_udl.constants import __version__
from scipion_udl.io.particles import open_particles

COLUMNS = [
    "view", "snr", "particles", "box", "run", "mean_180", "median_180", "p90_180", "within_5_180", "within_5_360",
    "shift_rms", "resolution", "wall", "cpu", "memory_mb",
]  # fmt: skip
HEADINGS = [
    "view", "SNR", "particles", "box", "run", "mean modulo 180 (deg)", "median (deg)", "90 % (deg)",
    "within 5 deg modulo 180", "within 5 deg, full circle", "shift RMS (px)", "resolution claimed (A)", "wall (s)",
    "CPU (s)", "peak memory (MB)",
]  # fmt: skip


def timed(command: list[str], log: Path) -> tuple[float, float, float]:
    """Run a command; returns wall seconds, CPU seconds, peak memory in MB. Ends the benchmark where it fails."""
    start = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} failed, see {log}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def figures(aligned: Path, truth: Path) -> dict[str, float]:
    """Errors of an alignment against the truth, joined by image."""
    source = open_particles(str(aligned))
    images, true_poses = located_truth(str(truth))
    rows, true_rows = join(source.locations(), images)
    found, true_poses = source.poses()[rows], true_poses[true_rows]
    full, half = pose_errors(found, true_poses), pose_errors(found, true_poses, 180.0)
    turned, error = abs(full.rotation), abs(half.rotation)
    right = turned < 90
    ordered = sorted(error)
    return {
        "mean_180": error.mean(),
        "median_180": ordered[len(ordered) // 2],
        "p90_180": ordered[int(0.9 * (len(ordered) - 1))],
        "within_5_180": (error < 5).mean(),
        "within_5_360": (turned < 5).mean(),
        "shift_rms": float((full.shift[right] ** 2).sum(1).mean() ** 0.5),
    }


def resolution(out: Path) -> float | None:
    """The resolution that the run claims."""
    import json

    return json.loads((out / "summary.json").read_text())["resolution"]


def case(
    out: Path, view: list[str], name: str, pixel_size: str, args: argparse.Namespace, snr: str, n: int
) -> list[dict]:
    """Simulate one case and run every variant on it."""
    program = [sys.executable, "-m", "scipion_udl.cli"]
    data = out / f"{name}_{snr}_{n}"
    if not (data / "particles.star").exists():
        timed(
            [*program, "simulate", str(data), *view, "--count", str(n), "--snr", snr, "--box", str(args.box),
             "--pixel-size", pixel_size, "--shift", "10", "--seed", "1"],
            out / "simulate.log",
        )  # fmt: skip
    rows = []
    for run, extra in (("final", []), ("network alone", ["--no-refine"])):
        result = data.with_name(f"{data.name}_{run.split()[0]}")
        command = [*program, "align", str(data / "particles.star"), "-o", str(result), "--overwrite", "--gpu", "none"]
        wall, cpu, memory = timed([*command, *extra], out / f"{result.name}.log")
        row = {"view": name, "snr": snr, "particles": n, "box": args.box, "run": run}
        row.update(figures(result / "aligned.star", data / "truth.star"))
        row.update({"resolution": resolution(result), "wall": wall, "cpu": cpu, "memory_mb": memory})
        rows.append(row)
        print(as_markdown([row]).splitlines()[-1], flush=True)
    return rows


def as_markdown(rows: list[dict]) -> str:
    """The rows as a table."""

    def text(key: str, value: object) -> str:
        if value is None:
            return "-"
        if key.startswith("within"):
            return f"{value:.1%}"
        if key in ("mean_180", "median_180", "p90_180", "shift_rms"):
            return f"{value:.2f}"
        return f"{value:.1f}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    lines += ["| " + " | ".join(text(key, row[key]) for key in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def machine() -> str:
    """Processor, cores, Python and torch of this machine."""
    import torch

    model = platform.processor() or "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, Python {platform.python_version()}, torch {torch.__version__}"


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for particles and results")
    parser.add_argument("--template", action="append", default=[], metavar="FILE:PIXEL_SIZE")
    parser.add_argument("--phantom", action="append", default=[], help="default: all, where no template is given")
    parser.add_argument("--snr", nargs="+", default=["0.1", "0.03"])
    parser.add_argument("--count", nargs="+", type=int, default=[512])
    parser.add_argument("--box", type=int, default=128)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    views = []
    for template in args.template:
        file, _, pixel_size = template.rpartition(":")
        path = Path(file)
        views.append((["--template", file], f"{path.parent.name}-{path.stem}", pixel_size))
    names = args.phantom
    if not views and not names:
        from scipion_udl.simulate.phantoms import PHANTOMS

        names = list(PHANTOMS)
    views += [(["--phantom", name], name, "2.0") for name in names]
    rows = []
    for view, name, pixel_size in views:
        for snr in args.snr:
            for n in args.count:
                rows += case(args.out, view, name, pixel_size, args, snr, n)
    when = datetime.date.today().isoformat()
    page = f"scipion-udl {__version__}, {when}, {machine()}\n\n{as_markdown(rows)}\n"
    (args.out / "alignment.md").write_text(page)
    with (args.out / "alignment.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(page)


if __name__ == "__main__":
    main()
