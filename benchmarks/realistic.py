"""Real particles' effects, each alone and all together: what they do to `classify` and to `align`.

    python -m benchmarks.realistic --out realistic_output                          (both tasks, all effects; hours)
    python -m benchmarks.realistic --out realistic_output --task classify --effects clean ramp-1 junk all
    python -m benchmarks.realistic --out realistic_output --volume map.mrc --pixel-size 6 --count 4000 --classes 50
    python -m benchmarks.realistic --out realistic_output --task align --snr 0.02 --seed 2
    python -m benchmarks.realistic --out realistic_output --effects clean all --relion         (RELION beside)
    python -m benchmarks.realistic --out realistic_output --table                  (the table of what has been measured)

Simulates particles with `scipion-udl simulate`, whose options are the effects (benchmarks/real_effects/sets.py), runs
the programs on them as anybody would, each in a process of its own, and compares what they made of them with the truth.
OUT/realistic.csv has a row a set and program, written after each; the rows of earlier runs stay until the same is run
again. OUT/realistic.md has them as a table. Sets that are there are used again.

classify: particles of a molecule in many views. align: one view of it, or a template; beside it the oracle, which knows
the view and the CTF and has the same particles in the same noise without all that is around and upon them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.alignment import timed
from benchmarks.real_effects import figures, relion
from benchmarks.real_effects.sets import (
    ALIGN,
    ALL,
    CLASSIFY,
    CLEAN,
    TWO_VIEWS,
    Kind,
    diameter_of,
    effects_of,
    for_the_oracle,
    make,
)
from benchmarks.real_effects.table import text
from benchmarks.views import Rows
from scipion_udl.errors import UdlError

KEY = ["task", "shows", "box", "particles", "snr", "seed", "effect", "program"]
FIGURES = ["spread", "spread_mean", "classes", "largest", "within_5", "median_error", "lost", "good_outliers", "caught"]
FIGURES += ["caught_kinds", "claimed", "true", "claims", "mixed"]
COLUMNS = [*KEY, "classes_asked", "options", *FIGURES, "wall_s", "cpu_s", "memory_mb"]
COUNTS = {CLASSIFY: 1000, ALIGN: 400}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Returns the exit code: 1 where a run failed."""
    parser = _parser()
    args = parser.parse_args(argv)
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    rows, failed = Rows(out / "realistic.csv", COLUMNS, KEY), 0
    if not args.table:
        try:
            chosen = [(task, args.effects or list(effects_of(task, not args.template))) for task in args.task]
            for task, effects in chosen:
                kind_of(task, args)
                if wrong := [name for name in effects if not any(name in effects_of(one) for one in args.task)]:
                    raise ValueError(f"--effects {wrong[0]}: known are {', '.join(effects_of(task))}")
        except ValueError as error:
            parser.error(str(error))
        failed = sum(of_task(out, task, effects, args, rows) for task, effects in chosen)
    (out / "realistic.md").write_text(text(rows.rows.values()) + "\n")
    print(text(rows.rows.values()))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.realistic", description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="folder for all files and results")
    parser.add_argument("--task", nargs="+", choices=[CLASSIFY, ALIGN], default=[CLASSIFY, ALIGN], help="(both)")
    parser.add_argument("--effects", nargs="+", metavar="NAME", help="only these (all; 'clean' is none, 'all' is all)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--phantom", default="boot", help="a built-in molecule (boot)")
    source.add_argument("--volume", metavar="MAP", help="a map in its place")
    source.add_argument("--template", metavar="IMAGE", help="with --task align: one view in its place")
    parser.add_argument("--pixel-size", type=float, metavar="A", help="of the particles (phantoms: 256 A a box)")
    parser.add_argument("--box", type=int, default=64, help="pixels of a side (64)")
    parser.add_argument("--count", type=int, help="particles (classify 1000, align 400)")
    parser.add_argument("--snr", type=float, default=0.1, help="(0.1)")
    parser.add_argument("--seed", type=int, default=1, help="of the sets and the programs (1)")
    parser.add_argument("--classes", type=int, default=16, help="of classify and RELION (16)")
    parser.add_argument("--diameter", type=float, metavar="A", help="of the particle, for RELION (measured)")
    parser.add_argument("--give-diameter", action="store_true", help="give it to classify and align, too")
    parser.add_argument("--options", default="", metavar="WORDS", help="more options of classify or align, in quotes")
    parser.add_argument("--no-oracle", action="store_true", help="no oracle beside align")
    parser.add_argument("--no-own", action="store_true", help="the others alone; own rows stay as they are")
    parser.add_argument("--relion", action="store_true", help=f"RELION beside, of the sets {CLEAN} and {ALL}")
    parser.add_argument("--iterations", type=int, default=25, help="of RELION (25)")
    parser.add_argument("--threads", type=int, default=2, help="of every program (2)")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table")
    return parser


def kind_of(task: str, args: argparse.Namespace) -> Kind:
    """What the sets of a task have in common. Raises ValueError where a task cannot be done with what is shown."""
    if args.template and task == CLASSIFY:
        raise ValueError("--template is one view: give --task align")
    names = ("template", "volume", "phantom")
    name, value = next((one, getattr(args, one)) for one in names if getattr(args, one))
    size = args.pixel_size or (256 / args.box if name == "phantom" else None)
    source = (f"--{name}", value if name == "phantom" else str(Path(value).resolve()))
    return Kind(task, source, args.count or COUNTS[task], args.snr, args.box, size, args.seed)


def of_task(out: Path, task: str, effects: list[str], args: argparse.Namespace, rows: Rows) -> int:
    """A row a set and program; a set that fails is told of, and the others go on. Returns how many failed."""
    failed = 0
    for effect in effects:
        if effect not in effects_of(task):
            continue
        try:
            kind = kind_of(task, args)
            key = {"task": task, "shows": Path(kind.source[1]).stem, "box": kind.box, "particles": kind.count}
            key |= {"snr": f"{kind.snr:g}", "seed": kind.seed, "effect": effect}
            for program, figures_ in results(out, kind, effect, args):
                asked = args.classes if task == CLASSIFY else ""
                rows.add({**key, "program": program, "classes_asked": asked, "options": args.options, **figures_})
        except (RuntimeError, ValueError, OSError, UdlError, subprocess.CalledProcessError) as error:
            print(f"{task} {effect}: {error}", file=sys.stderr, flush=True)
            failed += 1
    return failed


def results(out: Path, kind: Kind, effect: str, args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """(program, figures) of each of the programs asked for, one after the other."""
    folder = make(kind, out, effect)
    if not args.no_own:
        yield kind.task, own(folder, kind, effect, args)
    if kind.task == ALIGN and not args.no_oracle and effect != TWO_VIEWS:
        data, result = for_the_oracle(kind, out, effect), folder.with_name(f"{effect}_oracle_poses")
        reach = max(15, round(0.36 * kind.box) + 1)
        line = [sys.executable, "-m", "benchmarks.methods.oracle", data, result, "--max-shift", reach]
        took = timed([*map(str, line), "--threads", str(args.threads)], Path(f"{result}.log"), args.threads)
        yield "oracle", figures.of_oracle(data, result / "poses.star") | took
    if args.relion and effect in (CLEAN, ALL):
        classes = args.classes if kind.task == CLASSIFY else 1
        result = folder.with_name(f"{effect}_relion_{classes}")
        diameter = args.diameter or diameter_of(folder)
        took = relion.run(folder, result, classes, diameter, args.iterations, args.threads)
        yield f"RELION, K = {classes}", relion.figures(folder, result, classes, args.iterations) | took


def own(folder: Path, kind: Kind, effect: str, args: argparse.Namespace) -> dict:
    """Figures of `scipion-udl` on the set in ``folder``."""
    result = folder.with_name(f"{effect}_{kind.task}")
    line = [sys.executable, "-m", "scipion_udl.cli", kind.task, folder / "particles.star", "-o", result, "--overwrite"]
    line += ["--seed", kind.seed, "--threads", args.threads, "--gpu", "none", *args.options.split()]
    line += ["--classes", args.classes] if kind.task == CLASSIFY else []
    line += ["--diameter", f"{args.diameter or diameter_of(folder):.1f}"] if args.give_diameter else []
    took = timed([*map(str, line)], Path(f"{result}.log"), args.threads)
    made = figures.of_classify if kind.task == CLASSIFY else figures.of_align
    return made(folder, result) | took


if __name__ == "__main__":
    sys.exit(main())
