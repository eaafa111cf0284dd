"""Classes that live: a session in batches, with a view that comes late, against one run over all of its particles.

    python -m benchmarks.living OUT                                                   (20 batches of 5000)
    python -m benchmarks.living OUT --batches 6 --batch 2000 --classes 30 --late 4

Simulates particles of random views of `crane` (benchmarks/scale.py), and of one view, which varies by JITTER degrees
(--views single --jitter). Those of random views that lie within CAP degrees of that view, from either side, are left
out; it comes into the batches from --late on alone, and makes up --share of them. The first batch is classified, each
that follows appended to the one before; all of them are then classified in one run. OUT/living.csv has a row a batch:
how many classes there are, what share of the particles of the late view are in classes that it has for itself (most of
whose particles are of it), seconds, CPU and peak memory, the spread of the views within the classes so far, and that of
the same particles in the classes of the one run (spread_of_one), where the late view has late_in_own_of_one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.many_views.particles import Truth
from benchmarks.many_views.spread import Classes, axis_of, spread
from benchmarks.scale import Case, classified, joined, simulate, simulated
from benchmarks.views import Rows
from scipion_udl.io.tables import read_tables, write_tables

CAP, JITTER = 20.0, 3.0  # degrees
TABLES = ("particles.star", "truth.star")
KEY = ["batch"]
COLUMNS = [
    *("batch", "particles", "late", "classes", "late_in_own", "wall_s", "cpu_s", "cpu_ms_particle", "memory_mb"),
    *("late_in_own_of_one", "spread", "spread_of_one"),
]


def dealt(direction: np.ndarray, late: np.ndarray, sizes: list[int], first: int, share: float) -> list[np.ndarray]:
    """The particles (numbers from 0, ascending) of each batch.

    Parameters
    ----------
    direction : (N, 3) array
        The direction that each particle is seen from.
    late : (N,) bool array
        Those of the late view.
    sizes : list of int
        Particles of each batch.
    first : int
        The first batch, from 1, that shows the late view.
    share : float
        Its share of those batches.

    Returns
    -------
    list of int arrays
        No particle comes twice; a batch is smaller where the particles are used up.
    """
    near = np.abs(direction @ axis_of(direction[late])) > np.cos(np.deg2rad(CAP))
    view, others = np.flatnonzero(late), np.flatnonzero(~near & ~late)
    found = []
    for number, size in enumerate(sizes, 1):
        count = round(share * size) if number >= first else 0
        found.append(np.sort(np.r_[view[:count], others[: size - count]]))
        view, others = view[count:], others[size - count :]
    return found


def both_views(folder: Path, case: Case, share: float) -> int:
    """Make particles of random views, and after them in both tables those of one view; how many come first."""
    random, single = folder / "random", folder / "single"
    if not (folder / "truth.star").exists():
        for part in (random, single):
            part.mkdir(parents=True, exist_ok=True)
        simulate(random, case, 50000)
        options = {"views": "single", "jitter": JITTER, "phantom": "crane", "count": round(share * case.particles)}
        simulated(single, {**options, "box": case.box, "snr": case.snr, "shift": case.box // 12, "seed": 1000})
        optics = read_tables(str(random / "particles.star"))[0]
        both = [joined([read_tables(str(part / name))[-1] for part in (random, single)]) for name in TABLES]
        (folder / "parameters.json").write_text((random / "parameters.json").read_text())
        write_tables(str(folder / TABLES[0]), [optics, both[0]])
        write_tables(str(folder / TABLES[1]), [both[1]])
    return case.particles


def so_far(outs: list[Path], truth: Truth) -> Classes:
    """The particles of all batches in their classes."""
    parts = [Classes.read(out / "classes.star", truth) for out in outs]
    fields = {name: np.concatenate([getattr(one, name) for one in parts]) for name in ("rows", "label", "flagged")}
    return Classes(truth, **fields)


def in_own(classes: Classes, late: np.ndarray) -> float:
    """The share of the particles of the late view, (N,) bool of the whole set, that are in classes most of whose
    particles are of it; NaN without any."""
    there = late[classes.rows]
    own = [k for k in np.unique(classes.label) if there[classes.label == k].mean() > 0.5]
    return float(np.isin(classes.label, own)[there].mean()) if there.any() else float("nan")


def session(args: argparse.Namespace, out: Path) -> None:
    """Simulate, classify and write."""
    case = Case(int(args.batches * args.batch * 1.3), args.classes, args.box, args.snr)
    folder = out / case.folder
    random = both_views(folder, case, args.share)
    truth, (optics, particles) = Truth.read(folder), read_tables(str(folder / "particles.star"))
    late = np.arange(len(truth.names)) >= random
    batches = dealt(truth.direction, late, [args.batch] * args.batches, args.late, args.share)
    write_tables(str(out / "all.star"), [optics, particles.rows(np.concatenate(batches))])
    one = classified(out / "all.star", out / "all", args.threads, "--classes", args.classes)
    print("one run:", one, flush=True)
    whole = Classes.read(out / "all" / "classes.star", truth)
    rows, outs = Rows(out / "living.csv", COLUMNS, KEY), []
    for number, own in enumerate(batches, 1):
        table, here = out / f"batch_{number}.star", out / f"batch_{number}"
        write_tables(str(table), [optics, particles.rows(own)])
        how = ("--append-to", outs[-1]) if outs else ("--classes", args.classes)
        took = classified(table, here, args.threads, *how)
        outs.append(here)
        found, size = so_far(outs, truth), len(own)
        there = np.isin(whole.rows, found.rows)
        same = Classes(truth, whole.rows[there], whole.label[there], whole.flagged[there])
        rows.add(
            {
                "batch": number,
                "particles": size,
                "late": int(late[own].sum()),
                "classes": len(np.unique(found.label)),
                "cpu_ms_particle": round(1000 * took["cpu_s"] / size, 2),
                **{name: took[name] for name in ("wall_s", "cpu_s", "memory_mb")},
                "late_in_own": round(in_own(found, late), 3),
                "late_in_own_of_one": round(in_own(same, late), 3),
                "spread": spread(found)["median"],
                "spread_of_one": spread(same)["median"],
            }
        )


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.living", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for all files and results")
    parser.add_argument("--batches", type=int, default=20, help="how many (20)")
    parser.add_argument("--batch", type=int, default=5000, help="particles of each (5000)")
    parser.add_argument("--classes", type=int, default=50, help="of the first batch, and of the one run (50)")
    parser.add_argument("--late", type=int, default=10, help="the first batch with the late view (10)")
    parser.add_argument("--share", type=float, default=0.1, help="of the late view in those batches (0.1)")
    parser.add_argument("--box", type=int, default=64, help="pixels (64)")
    parser.add_argument("--snr", type=float, default=0.1, help="of the particles (0.1)")
    parser.add_argument("--threads", type=int, default=1, help="of classify (1)")
    args = parser.parse_args(argv)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    session(args, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
