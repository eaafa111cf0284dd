"""Which classes come again: `classify` and RELION with several seeds, and RELION's classes given as references.

    python -m benchmarks.repeats OUT                                      (4000 particles, 25 classes, 4 seeds)
    python -m benchmarks.repeats OUT --particles 1000 --classes 8 --relion 2

Simulates particles of random views in OUT. `classify` runs with each of the seeds, and so does RELION with --relion N,
N seeds; a run that is there already is used again. OUT/repeats.csv has a row a program: the adjusted Rand index of
every two runs (mean, least and most); printed, the share of the particles of the first run that come again in the
second, which is what `classify --repeat 2` prints; again, the mean of that share over the runs that the printed one
knows nothing of; printed_2 and again_2, the same of `--repeat 3`.

With RELION the averages of its first run are rotated, mirrored and inverted by chance, and given to
`classify --references --fixed-references`; OUT/references.csv says which share of the particles goes where RELION has
them, of all and of those that RELION is sure of (rlnMaxValueProbDistribution above SURE), and, for comparison, which
share of the same particles RELION's second run has in the classes that match those of its first.
"""

from __future__ import annotations

import argparse
import csv
import sys
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.alignment import timed
from benchmarks.many_views.particles import particles_of, words_of
from benchmarks.scale import classified, simulated
from benchmarks.views import Rows
from scipion_udl import compare
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import Table
from scipion_udl.validation.class_agreement import agreements, like_first
from scipion_udl.validation.reference_match import transform

SURE = 0.9
RELION = {
    "tau2_fudge": 2, "iter": 25, "psi_step": 12, "offset_range": 6, "offset_step": 4, "oversampling": 1, "pad": 1,
    "pool": 30, "j": 1,
}  # fmt: skip
RELION_FLAGS = ["ctf", "ctf_phase_flipped", "zero_mask", "norm", "scale", "flatten_solvent", "preread_images"]
RELION_FLAGS += ["dont_combine_weights_via_disc", "firstiter_cc", "dont_check_norm"]
DIAMETER = 0.84  # of RELION's mask, in parts of the box
COLUMNS = ["program", "particles", "classes", "seeds", "rand", "rand_least", "rand_most"]
COLUMNS += ["printed", "again", "printed_2", "again_2"]
REFERENCES = ["particles", "classes", "sure", "as_relion", "as_relion_sure", "second_run", "second_run_sure"]


def relion(table: Path, out: Path, seed: int, args: argparse.Namespace) -> Path:
    """The table of a run of RELION with a seed; one that finished is kept."""
    last = out / f"run_it{RELION['iter']:03d}_data.star"
    if not last.exists():
        out.mkdir(exist_ok=True)
        options = {"particle_diameter": round(DIAMETER * args.box * args.pixel_size), "K": args.classes}
        words = words_of({**RELION, **options, "random_seed": seed})
        flags = [f"--{name}" for name in RELION_FLAGS]
        timed(["relion_refine", "--i", str(table), "--o", str(out / "run"), *words, *flags], out / "log.txt", 1)
    return last


def shares(runs: list[Path], known: int) -> tuple[float, float]:
    """Which share of the particles of the first run comes again: in the ``known`` runs after it, as
    `classify --repeat` has it, and in those after these, means; the second is NaN where there are none."""
    sizes = None
    found = []
    for other in runs[1:]:
        pair = compare(str(runs[0]), str(other))
        sizes = np.bincount(np.unique(_classes(runs[0]), return_inverse=True)[1])
        found.append(float(np.average(np.nan_to_num(pair.comes_again[0]), weights=sizes)))
    later = found[known:]
    return float(np.mean(found[:known])), float(np.mean(later)) if later else float("nan")


def _classes(table: Path) -> np.ndarray:
    """The class numbers (N,) of a table."""
    return particles_of(table).numbers("rlnClassNumber").astype(int)


def row_of(program: str, runs: list[Path], args: argparse.Namespace) -> dict:
    """The figures of the runs of a program."""
    rand = [float(compare(str(one), str(other)).adjusted_rand[0, 1]) for one, other in combinations(runs, 2)]
    row = {"program": program, "particles": args.particles, "classes": args.classes, "seeds": len(runs)}
    row |= {"rand": np.mean(rand), "rand_least": min(rand), "rand_most": max(rand)}
    for known, end in ((1, ""), (2, "_2")):
        if len(runs) > known:
            row[f"printed{end}"], row[f"again{end}"] = shares(runs, known)
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


def disturbed(images: np.ndarray, seed: int) -> np.ndarray:
    """Averages (K, D, D), each rotated by any angle, every other one mirrored and another half inverted, by chance."""
    random = np.random.default_rng(seed)
    count = len(images)
    angle, mirror = random.uniform(-180, 180, count), random.random(count) < 0.5
    poses = Poses(angle, np.zeros((count, 2)), mirror)
    moved = np.stack([transform(one, poses[[k]]) for k, one in enumerate(images)])
    return (moved * np.where(random.random(count) < 0.5, -1, 1)[:, None, None]).astype(np.float32)


def as_references(table: Path, runs: list[Path], out: Path, args: argparse.Namespace) -> dict:
    """Sort the particles by the averages of the first run of RELION; what agrees with it."""
    averages = StackReader(str(runs[0]).replace("_data.star", "_classes.mrcs"))
    images = disturbed(averages.read(np.arange(averages.count)), 7)
    write_stack(str(out / "disturbed.mrcs"), images, args.pixel_size)
    options = ("--references", out / "disturbed.mrcs", "--fixed-references")
    classified(table, out / "by_references", args.threads, *options)
    with (out / "by_references" / "classes.csv").open(newline="") as file:
        reference = {int(row["class"]): int(row["reference"]) for row in csv.DictReader(file)}
    own, first = particles_of(out / "by_references" / "classes.star"), particles_of(runs[0])
    given = {name: reference[int(number)] for name, number in zip(*_columns(own))}
    theirs = {name: int(number) for name, number in zip(*_columns(first))}
    sure = first.numbers("rlnMaxValueProbDistribution") > SURE
    same = np.array([given[name] == number for name, number in theirs.items()])
    row = {"particles": len(same), "classes": args.classes, "sure": sure.mean()}
    row |= {"as_relion": same.mean(), "as_relion_sure": same[sure].mean() if sure.any() else float("nan")}
    if len(runs) > 1:
        again = again_in_match(theirs, dict(zip(*_columns(particles_of(runs[1])))))
        row |= {"second_run": again.mean(), "second_run_sure": again[sure].mean() if sure.any() else float("nan")}
    return {name: round(float(value), 3) for name, value in row.items()}


def _columns(table: Table) -> tuple[list[str], list[str]]:
    return table.texts("rlnImageName"), table.texts("rlnClassNumber")


def again_in_match(first: dict[str, int], second: dict[str, str]) -> np.ndarray:
    """Which particles, in the order of ``first``, the second run has in the class that matches theirs."""
    labels = np.array([[first[name], int(second[name])] for name in first]).T
    labels = np.stack([np.unique(own, return_inverse=True)[1] for own in labels])
    moved = like_first(labels, agreements(labels, [int(own.max()) + 1 for own in labels]))
    return moved[0] == moved[1]


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repeats", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for all files and results")
    parser.add_argument("--phantom", default="crane", help="of the particles (crane)")
    parser.add_argument("--particles", type=int, default=4000, help="how many (4000)")
    parser.add_argument("--classes", type=int, default=25, help="how many (25)")
    parser.add_argument("--seeds", type=int, default=4, help="runs of classify (4)")
    parser.add_argument("--relion", type=int, default=0, help="runs of RELION, an hour each for 4000 in 25 (none)")
    parser.add_argument("--box", type=int, default=64, help="pixels (64)")
    parser.add_argument("--pixel-size", type=float, default=2.0, help="angstrom (2)")
    parser.add_argument("--snr", type=float, default=0.1, help="of the particles (0.1)")
    parser.add_argument("--threads", type=int, default=1, help="of classify (1)")
    args = parser.parse_args(argv)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    table = out / "particles.star"
    if not table.exists():
        options = {"views": "random", "phantom": args.phantom, "count": args.particles, "snr": args.snr}
        simulated(out, {**options, "box": args.box, "pixel-size": args.pixel_size, "seed": 1})
    rows, runs = Rows(out / "repeats.csv", COLUMNS, ["program"]), []
    for seed in range(1, args.seeds + 1):
        runs.append(out / f"own_{seed}" / "classes.star")
        if not runs[-1].exists():
            classified(table, runs[-1].parent, args.threads, "--classes", args.classes, "--seed", seed)
    rows.add(row_of("classify", runs, args))
    theirs = [relion(table, out / f"relion_{seed}", seed, args) for seed in range(1, args.relion + 1)]
    if len(theirs) > 1:
        rows.add(row_of("RELION", theirs, args))
    if theirs:
        Rows(out / "references.csv", REFERENCES, ["classes"]).add(as_references(table, theirs, out, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
