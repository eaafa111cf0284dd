"""Natural images: the matching network, trained without labels on some photographs, tested on pairs from others.

    python -m benchmarks.photos --out photos_output                          (photographs that scikit-image ships)
    python -m benchmarks.photos --out photos_output --photos COCO_FOLDER     (train2017/ and val2017/ of MS-COCO)

Runs `scipion-udl simulate --photos`, `train --network matching --method udl` and `align-pairs` as anybody would, each
in a process of its own. Writes OUT/photos.csv and photos.json: rotation errors over all angles, where chance has a
mean of 90 degrees, all together and by photograph, with CPU and wall time of the training.
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

from scipion_udl.io.tables import read_tables
from scipion_udl.simulation.photos import NOISES

HERE = Path(__file__).resolve().parent
LIMIT = 30.0  # degrees: the mean error that must be reached
# Photographs in the wheel of scikit-image, none of them in both parts.
PHOTOGRAPHS = {
    "train2017": (
        "astronaut.png", "brick.png", "chelsea.png", "coffee.png", "grass.png", "hubble_deep_field.jpg", "ihc.png",
        "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg",
    ),
    "val2017": ("camera.png", "coins.png", "gravel.png", "moon.png", "text.png"),
}  # fmt: skip
COLUMNS = ["photograph", "pairs", "mean", "median", "within_5", "within_10", "within_30"]


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Returns 0 where the mean error is below LIMIT, 1 where it is not."""
    args = _parser().parse_args(argv)
    out = Path(args.out).resolve()
    if out.exists() and args.overwrite:
        shutil.rmtree(out)
    out.mkdir(parents=True)
    folder = Path(args.photos).resolve() if args.photos else shipped_photographs(out / "photographs")
    options = ["--box", args.box, "--shift", args.shift, "--noise", args.noise, "--share", args.share]
    options += ["--snr", args.snr]
    patches = {"train2017": args.patches, "val2017": args.test_patches}
    for seed, part in enumerate(patches, args.seed):
        count = ["--patches", patches[part], "--seed", seed]
        _run(out, "simulate", out / part, "--photos", folder, "--part", part, *options, *count)
    particles = out / "train2017" / "particles.star"
    training = ["--network", "matching", "--method", "udl", "--gpu", args.gpu, "--threads", args.threads]
    took = _run(out, "train", particles, "-o", out / "model", *training, "--seed", args.seed, *args.train)
    test, model = out / "val2017", out / "model" / "model.safetensors"
    pairs = ["--truth", test / "truth.star", "--gpu", args.gpu, "--threads", args.threads, "--search", args.search]
    aligned = _run(out, "align-pairs", test / "particles.star", "-o", out / "pairs", "--model", model, *pairs)
    rows = by_photograph(out / "pairs" / "pairs.star", test / "truth.star")
    figures = {"train_cpu_s": took["cpu_s"], "train_wall_s": took["wall_s"], "align_cpu_s": aligned["cpu_s"]}
    _write(out, rows, figures | {"options": {key: str(value) for key, value in vars(args).items()}})
    print(table(rows))
    print(f"training: {took['cpu_s']:.0f} s of CPU, {took['wall_s']:.0f} s by the clock on {args.threads} threads")
    reached = rows[0]["mean"] < LIMIT
    print(f"mean error {rows[0]['mean']:.1f} degrees: {'below' if reached else 'NOT below'} {LIMIT:g}")
    return 0 if reached else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photos", description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="folder for all files and results, made new")
    parser.add_argument("--overwrite", action="store_true", help="remove OUT first")
    parser.add_argument("--photos", help="folder with train2017/ and val2017/ (default: scikit-image's photographs)")
    parser.add_argument("--patches", type=int, default=300, help="patches of each photograph to train on (300)")
    parser.add_argument("--test-patches", type=int, default=60, help="of each photograph to test on (60)")
    parser.add_argument("--box", type=int, default=64, help="pixels of a patch (64)")
    parser.add_argument("--shift", type=float, default=5, help="off the middle by up to this, px (5)")
    parser.add_argument("--noise", choices=NOISES, default="none")
    parser.add_argument("--snr", type=float, default=1.0)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--search", type=float, default=0.0, help="of align-pairs: degrees looked through (0: none)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gpu", default="none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train", nargs=argparse.REMAINDER, default=[], help="all that follows goes to `train`")
    return parser


def shipped_photographs(folder: Path) -> Path:
    """The photographs of scikit-image's wheel, in the folders of MS-COCO. Raises SystemExit where it is missing."""
    try:
        import skimage
    except ImportError:
        raise SystemExit("scikit-image is not installed (pip install scikit-image): give --photos FOLDER") from None
    data = Path(skimage.__file__).parent / "data"
    for part, names in PHOTOGRAPHS.items():
        (folder / part).mkdir(parents=True)
        for name in names:
            shutil.copy(data / name, folder / part)
    return folder


def _run(out: Path, *words: object) -> dict:
    """Run a command of scipion-udl; what it took."""
    figures = out / f"{words[0]}.json"
    command = [sys.executable, "-m", "scipion_udl.cli", *map(str, words)]
    print("scipion-udl", *map(str, words), flush=True)
    done = subprocess.run([sys.executable, str(HERE / "measure.py"), str(figures), *command])
    if done.returncode:
        raise SystemExit(f"scipion-udl {words[0]} failed (exit code {done.returncode})")
    return json.loads(figures.read_text())


def by_photograph(pairs: Path, truth: Path) -> list[dict]:
    """Figures of the errors in pairs.star: of all pairs, then by the photograph that truth.star names."""
    results, known = read_tables(str(pairs))[0], read_tables(str(truth))[0]
    error = np.abs(results.numbers("udlAngleError"))
    photograph = dict(zip(known.texts("rlnImageName"), known.texts("udlPhotograph")))
    names = np.array([photograph[name] for name in results.texts("rlnImageName")])
    rows = [_row("all", error)]
    return rows + [_row(name, error[names == name]) for name in dict.fromkeys(names)]


def _row(name: str, error: np.ndarray) -> dict:
    within = {f"within_{limit}": float((error < limit).mean()) for limit in (5, 10, 30)}
    return {"photograph": name, "pairs": len(error), "mean": error.mean(), "median": float(np.median(error)), **within}


def table(rows: list[dict]) -> str:
    """The rows as lines for the screen."""
    lines = [f"{'photograph':28}{'pairs':>7}{'mean':>8}{'median':>8}{'<5':>7}{'<10':>7}{'<30':>7}   (degrees)"]
    for r in rows:
        within = "".join(f"{r[f'within_{limit}']:>7.0%}" for limit in (5, 10, 30))
        lines.append(f"{r['photograph'][:27]:28}{r['pairs']:>7}{r['mean']:>8.1f}{r['median']:>8.1f}{within}")
    return "\n".join(lines)


def _write(out: Path, rows: list[dict], more: dict) -> None:
    with (out / "photos.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    (out / "photos.json").write_text(json.dumps({**more, "rows": rows}, indent=1, default=float))


if __name__ == "__main__":
    sys.exit(main())
