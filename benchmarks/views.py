"""Particles of many views: how near the views of a class lie, whether noise and another molecule are told apart.

    python -m benchmarks.views --out views_output                    (three molecules, three SNRs, 4000 particles)
    python -m benchmarks.views --out views_output --only boot:0.1    (one of them)
    python -m benchmarks.views --out views_output --only mixed       (30 % noise, 20 % of a second molecule, SNR 0.1)
    python -m benchmarks.views --out views_output --relion 2000 25   (the first 2000 of crane, RELION beside)

Simulates particles with known viewing directions, runs `scipion-udl classify` on them as anybody would, in a process of
its own, and measures the angle between each particle's viewing axis and that of its class: the first eigenvector of the
sum of v v^T over its members, sign left open, classes of five members or more. Writes OUT/views.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.io.truth import read_views

HERE = Path(__file__).resolve().parent
MOLECULES = ("boot", "crane", "saddle")  # the last was set aside: nothing was tried out on it
SNRS = ("1", "0.1", "0.05")
LEAST = 5  # members of a class that counts
FIGURES = ["median", "mean", "classes", "noise_flagged", "flagged", "purity"]
COLUMNS = ["set", "program", *FIGURES, "wall_s", "cpu_s", "memory_mb"]
RELION = {
    "tau2_fudge": 2, "iter": 15, "psi_step": 12, "offset_range": 10, "offset_step": 4, "oversampling": 1, "pad": 1,
    "particle_diameter": 190, "pool": 30, "j": 1, "random_seed": 1,
}  # fmt: skip
RELION_FLAGS = ["ctf", "zero_mask", "norm", "scale", "flatten_solvent", "preread_images"]
RELION_FLAGS += ["dont_combine_weights_via_disc"]
MIXED = {"phantom": "boot", "snr": 0.1, "noise-share": 0.3, "second": "crane", "second-share": 0.2, "seed": 5}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    names = args.only or [f"{molecule}:{snr}" for molecule in MOLECULES for snr in SNRS] + ["mixed"]
    if args.relion:
        names = args.only or [f"crane:{snr}" for snr in SNRS]
    rows = [row for name in names for row in of_set(out, name, args)]
    with open(out / "views.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.views", description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="folder for all files and results")
    parser.add_argument("--only", nargs="+", metavar="SET", help="MOLECULE:SNR, or mixed")
    parser.add_argument("--count", type=int, default=4000, help="particles (4000)")
    parser.add_argument("--classes", type=int, default=50, help="classes (50)")
    parser.add_argument("--relion", type=int, nargs=2, metavar=("N", "K"), help="RELION beside")
    parser.add_argument("--no-refine", action="store_true", help="classes alone, not the alignment of each")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def of_set(out: Path, name: str, args: argparse.Namespace) -> list[dict]:
    """A row a program for one set."""
    folder, count, classes = out / name.replace(":", "_"), args.count, args.classes
    if not (folder / "truth.star").exists():
        simulate(folder, name, args.count)
    table = folder / "particles.star"
    if args.relion:
        count, classes = args.relion
        table = first_of(table, count)
    result = folder / f"classify_{count}_{classes}"
    command = [sys.executable, "-m", "scipion_udl.cli", "classify", table, "-o", result, "--classes", classes]
    command += ["--threads", args.threads, "--overwrite", *(["--no-refine"] if args.no_refine else [])]
    rows = [{"set": name, "program": "classify", **run(command, folder), **figures(result / "classes.star", folder)}]
    if args.relion:
        result = folder / f"relion_{count}_{classes}"
        shutil.rmtree(result, ignore_errors=True)
        result.mkdir()
        command = ["relion_refine", "--i", table, "--o", result / "run", "--K", classes, *words_of(RELION)]
        command += [f"--{name}" for name in RELION_FLAGS]
        last = result / "run_it015_data.star"
        rows.append({"set": name, "program": "RELION", **run(command, folder), **figures(last, folder)})
    for row in rows:
        print({key: value for key, value in row.items() if value is not None}, flush=True)
    return rows


def simulate(folder: Path, name: str, count: int) -> None:
    """Particles of 128 px, off centre by up to 10 px, phase-flipped."""
    molecule, _, snr = name.partition(":")
    options = MIXED if name == "mixed" else {"phantom": molecule, "snr": snr, "seed": 7}
    options = {"count": count, "box": 128, "views": "random"} | options
    command = [sys.executable, "-m", "scipion_udl.cli", "simulate", folder, *words_of(options)]
    subprocess.run([*map(str, command), "--overwrite"], check=True, stdout=subprocess.DEVNULL)


def words_of(options: dict) -> list[str]:
    """Options as words of a command line."""
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def first_of(table: Path, count: int) -> Path:
    """A table of the first ``count`` particles."""
    tables = read_tables(str(table))
    particles = next(one for one in tables if "rlnImageName" in one)
    short = Table(particles.name, {label: values[:count] for label, values in particles.columns.items()})
    path = table.with_name(f"first_{count}.star")
    write_tables(str(path), [short if one is particles else one for one in tables])
    return path


def run(command: list, folder: Path) -> dict:
    """Run a command in a process of its own; what it took."""
    took = folder / "took.json"
    measured = [sys.executable, str(HERE / "measure.py"), str(took), *map(str, command)]
    subprocess.run(measured, check=True, stdout=subprocess.DEVNULL)
    return json.loads(took.read_text())


def figures(table: Path, folder: Path) -> dict:
    """Spread of the views within classes, degrees; share of the noise, and of the rest, in flagged classes; purity:
    share of the other particles that are of the molecule that most of their class show."""
    names, molecule, direction = read_views(str(folder / "truth.star"))
    where = {name: k for k, name in enumerate(names)}
    particles = next(one for one in read_tables(str(table)) if "rlnImageName" in one)
    rows = [where[name] for name in particles.texts("rlnImageName")]
    label, molecule, direction = particles.numbers("rlnClassNumber"), molecule[rows], direction[rows]
    flagged = particles.numbers("udlFlagged") > 0 if "udlFlagged" in particles else np.zeros(len(rows), bool)
    angles, kept, pure = [], 0, 0
    for number in np.unique(label):
        own = (label == number) & (molecule > 0)
        if (label == number).sum() < LEAST or not own.any():
            continue
        views = direction[own]
        axis = np.linalg.eigh(views.T @ views)[1][:, -1]
        angles.append(np.degrees(np.arccos(np.minimum(1, np.abs(views @ axis)))))
        if not flagged[own].any():
            pure += np.bincount(molecule[own]).max()
            kept += own.sum()
    angles, noise = np.concatenate(angles), molecule == 0
    return {
        "median": round(float(np.median(angles)), 2),
        "mean": round(float(angles.mean()), 2),
        "classes": len(np.unique(label)),
        "noise_flagged": round(float(flagged[noise].mean()), 4) if noise.any() else None,
        "flagged": round(float(flagged[~noise].mean()), 4),
        "purity": round(pure / max(kept, 1), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
