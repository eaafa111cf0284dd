"""Structure from noise: windows that hold no particle, picked with a template, and what programs make of them.

    python -m benchmarks.noise_picks --out noise_output                       (2000 of 40 000 windows, white and CTF)
    python -m benchmarks.noise_picks --out noise_output --kind ctf --count 10000 --seeds 1 2 3
    python -m benchmarks.noise_picks --out noise_output --phantom clamp --off-centre
    python -m benchmarks.noise_picks --out noise_output --kind stack --windows empty_ice.star --count 400
    python -m benchmarks.noise_picks --out noise_output --relion --classes 4  (RELION's class averages beside)
    python -m benchmarks.noise_picks --out noise_output --table               (the table of what has been measured)

Of --among windows (20 times --count) those are kept that correlate best with the template, a phantom of `simulate`,
over all orientations and shifts (benchmarks/noise_windows/picks.py); windows are made one after the other and never
stored. kind: "white" noise; "ctf", half of whose variance has passed a CTF, as ice does; "stack", windows of a table
of your own, wider than the box by 16 %, that hold no particle. Whatever `classify` and `align` find in them is the
template's: they have to flag it all and claim nothing. "template" is the correlation of the class average that looks
most like the template with it. OUT/noise_picks.csv has a row a set and program; OUT/noise_picks.md has them as a table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.alignment import timed
from benchmarks.noise_windows import figures
from benchmarks.noise_windows.picks import CTF, KINDS, STACK, WHITE, Noise, make
from benchmarks.noise_windows.table import text
from benchmarks.real_effects import relion
from benchmarks.views import Rows
from scipion_udl.errors import UdlError
from scipion_udl.io.tables import read_tables

KEY = ["kind", "shows", "count", "among", "box", "centred", "seed", "program"]
FIGURES = ["score", "classes", "flagged", "claims", "claimed", "template", "showing", "fit"]
COLUMNS = [*KEY, "options", *FIGURES, "wall_s", "cpu_s", "memory_mb"]
PROGRAMS = ("classify", "align")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Returns the exit code: 1 where a run failed."""
    parser = _parser()
    args = parser.parse_args(argv)
    if STACK in args.kind and not args.windows and not args.table:
        parser.error("--kind stack: give the table of the windows with --windows")
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    rows, failed = Rows(out / "noise_picks.csv", COLUMNS, KEY), 0
    sets = [] if args.table else [noise for seed in args.seeds for noise in noises(args, seed)]
    for noise in sets:
        key = {"kind": noise.kind, "shows": noise.shows, "count": noise.count, "among": noise.among, "box": noise.box}
        key |= {"centred": int(noise.centred), "seed": noise.seed}
        try:
            for program, found in results(out, noise, args):
                rows.add({**key, "program": program, "options": args.options, **found})
        except (RuntimeError, ValueError, OSError, UdlError, subprocess.CalledProcessError) as error:
            print(f"{noise.name}: {error}", file=sys.stderr, flush=True)
            failed += 1
    (out / "noise_picks.md").write_text(text(rows.rows.values()) + "\n")
    print(text(rows.rows.values()))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise_picks", description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="folder for all files and results")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=[WHITE, CTF], help="(white ctf)")
    parser.add_argument("--windows", metavar="TABLE", help="of --kind stack")
    parser.add_argument("--count", type=int, default=2000, help="windows that are picked (2000)")
    parser.add_argument("--among", type=int, help="windows that are looked at (20 times as many)")
    parser.add_argument("--box", type=int, default=64, help="pixels of a side (64)")
    parser.add_argument("--phantom", default="hook", help="the template (hook)")
    parser.add_argument("--off-centre", action="store_true", help="windows stay as they are, off the centre")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="a set each (1)")
    parser.add_argument("--programs", nargs="*", choices=PROGRAMS, default=PROGRAMS, help="(classify align)")
    parser.add_argument("--classes", type=int, default=20, help="of classify and RELION (20)")
    parser.add_argument("--options", default="", metavar="WORDS", help="more options of both programs, in quotes")
    parser.add_argument("--relion", action="store_true", help="RELION's 2D classification beside")
    parser.add_argument("--iterations", type=int, default=25, help="of RELION (25)")
    parser.add_argument("--threads", type=int, default=1, help="of every program (1)")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table")
    return parser


def noises(args: argparse.Namespace, seed: int) -> list[Noise]:
    """The sets of a seed."""
    among = args.among or 20 * args.count
    windows = str(Path(args.windows).resolve()) if args.windows else ""
    return [
        Noise(kind, args.count, among, args.box, seed, args.phantom, not args.off_centre, windows * (kind == STACK))
        for kind in args.kind
    ]


def results(out: Path, noise: Noise, args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """(program, figures) of each of the programs asked for, one after the other."""
    folder, score = make(noise, out)
    for program in args.programs:
        result = folder / program
        line = [sys.executable, "-m", "scipion_udl.cli", program, folder / "particles.star", "-o", result]
        line += ["--overwrite", "--threads", args.threads, "--gpu", "none", "--seed", noise.seed, *args.options.split()]
        line += ["--classes", args.classes] if program == "classify" else []
        took = timed([*map(str, line)], Path(f"{result}.log"), args.threads)
        made = figures.of_classify if program == "classify" else figures.of_align
        yield program, {"score": round(score, 2), **made(result, noise.shows), **took}
    if args.relion:
        result = folder / f"relion_{args.classes}"
        optics, particles = read_tables(str(folder / "particles.star"))
        diameter = 0.7 * noise.box * optics.numbers("rlnImagePixelSize")[0]
        ctf = "rlnDefocusU" in particles
        took = relion.run(folder, result, args.classes, diameter, args.iterations, args.threads, ctf)
        found = figures.of_relion(result, args.iterations, noise.shows)
        yield f"RELION, K = {args.classes}", {"score": round(score, 2), **found, **took}


if __name__ == "__main__":
    sys.exit(main())
