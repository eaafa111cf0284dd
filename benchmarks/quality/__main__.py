"""The quality of classes and particles: sets that are simulated and classified, networks trained on them, and measured.

    python -m benchmarks.quality make OUT --seeds 1 80            (80 sets; about a minute each)
    python -m benchmarks.quality make OUT/aside --seeds 501 512 --molecules anvil
    python -m benchmarks.quality train OUT --write scipion_udl/quality     (the files that come with the package)
    python -m benchmarks.quality apart OUT                        (a sixth at a time, judged by networks of the others)
    python -m benchmarks.quality test OUT/aside                   (by the networks of the package)

OUT/set_SEED.npz has the numbers of a set's classes and particles, and the truth; what is there is not made again.
Tables of figures go to OUT/quality.csv.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
from scipy.special import expit

from benchmarks.quality import sets, training
from scipion_udl.io.output.data_files import write_csv
from scipion_udl.quality.judge import CLASSES, PARTICLES, Judge
from scipion_udl.quality.particle_features import with_evidence

TRAINED_ON = ("boot", "crane", "saddle", "tetramer")


def main(argv: list[str] | None = None) -> int:
    """Run it. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.split("\n")[0])
    parser.add_argument("do", choices=("make", "train", "apart", "test"))
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--seeds", type=int, nargs=2, default=(1, 80), metavar=("FIRST", "LAST"), help="a set each (1 80)"
    )
    parser.add_argument(
        "--molecules", nargs="+", default=TRAINED_ON, help="of half of the sets (boot crane saddle tetramer)"
    )
    parser.add_argument("--write", type=Path, help="where trained networks go (OUT)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.do == "make":
        return _make(args)
    known = [sets.JudgedSet.read(path) for path in sorted(args.out.glob("set_*.npz"))]
    if args.do == "train":
        _train(args, known)
    else:
        _show(args.out, known, args.do == "test")
    return 0


def _make(args: argparse.Namespace) -> int:
    failed = 0
    for seed in range(args.seeds[0], args.seeds[1] + 1):
        path = args.out / f"set_{seed}.npz"
        if path.exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                sets.make(Path(folder), seed, tuple(args.molecules)).write(path)
            except RuntimeError as error:
                failed += 1
                print(error, file=sys.stderr, flush=True)
    return 1 if failed else 0


def _train(args: argparse.Namespace, known: list[sets.JudgedSet]) -> None:
    card = {
        "kind": "quality",
        "date": date.today().isoformat(),
        "sets": len(known),
        "particles": sum(len(one.good) for one in known),
        "command": "python -m benchmarks.quality make, then train",
        "seeds": sorted(int(one.name.rpartition("_")[2]) for one in known),
    }
    classes, particles = training.train(known, card)
    where = args.write or args.out
    classes.write(str(where / CLASSES))
    particles.write(str(where / PARTICLES))


def _show(out: Path, known: list[sets.JudgedSet], by_package: bool) -> None:
    if by_package:
        judge, judge_of_particles = Judge.of_package(CLASSES), Judge.of_package(PARTICLES)
        evidence = [judge.evidence(one.classes) for one in known]
        quality = [judge_of_particles.quality(with_evidence(o.particles, o.place, e)) for o, e in zip(known, evidence)]
    else:
        evidence = training.apart(known)
        quality = _particles_apart(known, evidence)
    rows = [training.figures(one, expit(e), q) for one, e, q in zip(known, evidence, quality)]
    write_csv(str(out / "quality.csv"), ["set", *rows[0]], ([k.name, *r.values()] for k, r in zip(known, rows)))
    for one, row in zip(known, rows):
        print(one.name, "  ".join(f"{name} {value:.3g}" for name, value in row.items()))
    good = np.concatenate([one.share > 0.5 for one in known])
    told = expit(np.concatenate(evidence))
    kept, dropped = (np.nanmean([row[name] for row in rows]) for name in ("kept", "dropped"))
    print(f"mean: kept {kept:.3f}, dropped {dropped:.3f}; classes: area {training.area(told, good):.4f}, "
          f"Brier {np.square(told - good).mean():.4f}")  # fmt: skip
    kinds = np.concatenate([one.kind for one in known])
    chosen = np.concatenate([(expit(e) >= 0.5)[o.place] & (q >= 0.5) for o, e, q in zip(known, evidence, quality)])
    for kind in np.unique(kinds):
        print(f"{kind}: {chosen[kinds == kind].mean():.3f} of {(kinds == kind).sum()} kept")


def _particles_apart(known: list[sets.JudgedSet], evidence: list[np.ndarray]) -> list[np.ndarray]:
    found = [np.zeros(0)] * len(known)
    for part in range(min(training.PARTS, len(known))):
        others = [k for k in range(len(known)) if k % training.PARTS != part]
        judge = training.of_particles([known[k] for k in others], [evidence[k] for k in others], {})
        for k in range(part, len(known), training.PARTS):
            found[k] = judge.quality(with_evidence(known[k].particles, known[k].place, evidence[k]))
    return found


if __name__ == "__main__":
    sys.exit(main())
