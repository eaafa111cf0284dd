"""The networks beside each other: the published pair network, narrow, part by part, and the polar networks.

    python -m benchmarks.pair_networks --out networks_output

Particles of a phantom, 64 px, without noise and at SNR 0.1 (2000 each). Runs `scipion-udl train --truth` as anybody
would; the truth is for the figures alone. Every row changes the published recipe by one thing more, and says how far
the mean error modulo 180 degrees came within the row's time. Writes OUT/networks.csv and docs/networks.md; what is
there already is not run again. --step measures a step of the published network at its full size, too.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETS = {"clean": "inf", "SNR 0.1": "0.1"}
PAPER = ("--preset", "paper-synthetic", "--widths", "16,32,64,64", "--hidden", "128", "--input-size", "32")


@dataclass(frozen=True)
class Row:
    """A training: words of what it is; options of `train`; start: the name of the row whose model it goes on from."""

    name: str
    words: str
    options: tuple[str, ...]
    epochs: int
    start: str | None = None


ROWS = (
    Row("published", "published recipe, narrow", ("--network", "resnet", "--method", "udl", *PAPER), 30),
    Row("rate", "the same, learning rate 2e-3",
        ("--network", "resnet", "--method", "udl", *PAPER, "--lr", "2e-3"), 30),
    Row("circle", "the same, angle as a point on a circle",
        ("--network", "resnet", "--method", "udl", *PAPER, "--lr", "2e-3", "--head", "circular"), 30),
    Row("each", "the same, an angle of each image",
        ("--network", "resnet", "--method", "udl", *PAPER, "--lr", "2e-3", "--head", "difference"), 30),
    Row("degrees", "our recipe, angle in degrees", ("--network", "resnet", "--method", "udl", "--head", "degrees"), 40),
    Row("ours", "our recipe", ("--network", "resnet", "--method", "udl"), 40),
    Row("longer", "our recipe, 20 epochs more", ("--network", "resnet", "--method", "udl"), 20, "ours"),
    Row("judl", "JUDL from it, mean of the others", ("--network", "resnet", "--method", "judl"), 20, "ours"),
    Row("judl-ae", "JUDL from it, autoencoder",
        ("--network", "resnet", "--method", "judl", "--joint", "autoencoder"), 20, "ours"),
    Row("polar-udl", "polar network, UDL", ("--network", "polar", "--method", "udl"), 120),
    Row("polar-judl", "polar network, JUDL", ("--network", "polar", "--method", "judl"), 60),
)  # fmt: skip
COLUMNS = [
    "set", "name", "words", "start_error", "error", "best_epoch", "epochs", "steps", "converged", "cpu_s", "wall_s"
]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not there yet, and write the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pair_networks", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--row", nargs="+", metavar="NAME", choices=[row.name for row in ROWS], help="only these rows")
    parser.add_argument("--set", nargs="+", metavar="NAME", choices=list(SETS), help="only these sets")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--step", action="store_true", help="time a step of the published network on this machine")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    table = args.out / "networks.csv"
    done = list(csv.DictReader(table.open())) if table.exists() else []
    for name in args.set or SETS:
        for row in ROWS:
            there = any(one["set"] == name and one["name"] == row.name for one in done)
            if there or (args.row and row.name not in args.row):
                continue
            done.append(run(args.out, name, row, args.threads))
            with table.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(done)
    step_file = args.out / "step.json"
    if args.step:
        step_file.write_text(json.dumps(published_step(int(args.threads))))
    step = json.loads(step_file.read_text()) if step_file.exists() else None
    (args.docs / "networks.md").write_text(page(done, step, args.threads))
    return 0


def run(out: Path, name: str, row: Row, threads: str) -> dict:
    """Train, and read off what came of it."""
    data = out / f"data_{SETS[name]}"
    if not data.exists():
        _call("simulate", data, "--phantom", "hook", "--box", 64, "--pixel-size", 4, "--shift", 5, "--count", 2000,
              "--snr", SETS[name], "--seed", 3)  # fmt: skip
    folder = out / f"{row.name}_{SETS[name]}"
    start = ["--model", out / f"{row.start}_{SETS[name]}" / "model.safetensors"] if row.start else []
    figures = out / f"{folder.name}.json"
    _call("train", data / "particles.star", "-o", folder, "--overwrite", "--truth", data / "truth.star", "--gpu",
          "none", "--threads", threads, "--epochs", row.epochs, *row.options, *start, figures=figures)  # fmt: skip
    history = [one for one in csv.DictReader((folder / "training.csv").open()) if one["stage"] == "network"]
    training = json.loads((folder / "summary.json").read_text())["training"]
    best = next(one for one in history if int(one["epoch"]) == training["best_epoch"])
    took = json.loads(figures.read_text())
    seen = training["particles"] - min(512, round(0.2 * training["particles"]))
    found = {
        "set": name, "name": row.name, "words": row.words, "start_error": history[0]["true_error"],
        "error": best["true_error"], "best_epoch": training["best_epoch"], "epochs": training["epochs"],
        "steps": training["epochs"] * round(seen / training["batch"]), "converged": training["converged"],
        "cpu_s": took["cpu_s"], "wall_s": took["wall_s"],
    }  # fmt: skip
    print(f"{name:8} {row.words:45} {float(found['error']):7.2f} deg {found['cpu_s']:8.1f} s CPU", flush=True)
    return found


def _call(*words: object, figures: Path | None = None) -> None:
    command = [sys.executable, "-m", "scipion_udl.cli", *(str(word) for word in words)]
    measure = [sys.executable, str(HERE / "measure.py"), str(figures)] if figures else []
    done = subprocess.run([*measure, *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")


def published_step(threads: int, steps: int = 2) -> dict:
    """CPU seconds of a training step of the published network (128 px, batch 32), and its parameters."""
    import torch

    from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
    from scipion_udl.models.resnet import PairNetwork
    from scipion_udl.training.objectives import PairObjective
    from scipion_udl.training.presets import preset_of

    torch.set_num_threads(threads)
    network, recipe = PairNetwork(), preset_of("resnet", "udl", "paper-synthetic")
    objective = PairObjective("udl", recipe, SpectrumImageSettings.published())
    optimiser, generator = torch.optim.Adam(network.parameters(), lr=recipe.lr), torch.Generator().manual_seed(1)
    fine = torch.rand(recipe.batch, 256, 256, generator=generator)
    took = []
    for _ in range(steps + 1):  # the first one warms up
        began = time.process_time()
        loss = objective.loss(network, fine, generator, 1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        took.append(time.process_time() - began)
    return {"cpu_s": sum(took[1:]) / steps, "parameters": sum(p.numel() for p in network.parameters())}


_INTRO = """# The networks beside each other

2000 particles of the phantom `hook`, 64 px, each rotated by any angle and shifted by up to 5 px, without noise and at
SNR 0.1. The error is the mean over the particles of the absolute rotation error modulo 180 degrees, of the network
alone, in the epoch with the best held-out loss; a network that knows nothing has 45 degrees. The truth took no part in
the training. "Narrow" is the published network with channels 16-32-64-64, one linear layer of 128 and the inner 32 x 32
Fourier pixels of the spectrum: what a processor can train in minutes. Made by `python -m benchmarks.pair_networks`.
"""


def page(done: Sequence[dict], step: dict | None, threads: str) -> str:
    """docs/networks.md."""
    parts = [_INTRO, f"Measured on {time.strftime('%Y-%m-%d')}, {threads} thread, {platform.machine()}.\n"]
    for name in SETS:
        rows = {one["name"]: one for one in done if one["set"] == name}
        if not rows:
            continue
        parts.append(f"## {name[0].upper()}{name[1:]}\n")
        parts.append("| what | mean error (deg) | at the start | epochs (best) | steps | CPU (s) |")
        parts.append("| --- | ---: | ---: | ---: | ---: | ---: |")
        for row in (row for row in ROWS if row.name in rows):
            one = rows[row.name]
            parts.append(
                f"| {row.words} | {float(one['error']):.2f} | {float(one['start_error']):.2f} | {one['epochs']} "
                f"({one['best_epoch']}) | {one['steps']} | {float(one['cpu_s']):.0f} |"
            )
        parts.append("")
    if step:
        parts.append(
            f"A step of the published network at its full size ({step['parameters'] / 1e6:.0f} million parameters, "
            f"128 px, batch 32) takes {step['cpu_s']:.1f} s of CPU here; its 100 epochs of 50 000 particles are "
            f"{100 * 50_000 // 32} steps: {100 * 50_000 / 32 * step['cpu_s'] / 86400:.0f} days. It is for a GPU.\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
