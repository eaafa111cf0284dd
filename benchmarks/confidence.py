"""Claimed against true resolution: does `scipion-udl align` ever say more than it can know?

    python -m benchmarks.confidence --out benchmark_output/confidence [--template FILE:PIXEL_SIZE[:NAME]]

Sets of noise alone, of particles with a share of noise or of another view among them, and plain ones are aligned.
Claimed is what the run says (half-set FRC = 0.143), true is where the FRC of its average with the template that was put
in, moved into the average's frame by the known poses, falls to 0.5 (same mask). A claimed frequency may be at most 1.05
times the true one, and of noise alone nothing may be claimed. The share of angles that the run expects to be right
stands beside the share within 10 degrees, modulo 180, of those particles that show the view. Writes OUT/confidence.csv;
the exit code is 1 where a claim goes too far.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.alignment import timed
from benchmarks.cases import COUNT, PHANTOM_VIEWS, SEED, Case, View, make, template_view
from benchmarks.scores import TRUE_LEVEL, claims, falls_to, joined, moved_template, true_frc
from scipion_udl.imaging.poses import pose_errors
from scipion_udl.io.images import read_image
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackWriter
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.io.truth import read_truth, truth_table
from scipion_udl.simulation.particles import chunks, noise

ALLOWED = 1.05
MIXED_SNRS = ("0.1", "0.03", "0.01")
PLAIN_SNRS = ("1", *MIXED_SNRS)
NOISE_SHARES = (0.25, 0.5, 0.75)
VIEW_SHARES = (0.25, 0.5)
COLUMNS = [
    "set", "what", "view", "snr", "particles", "seed", "claimed_resolution", "true_resolution", "claimed_frequency",
    "true_frequency", "ratio", "holds", "signal_found", "angles_sure", "within_10", "warnings",
]  # fmt: skip


@dataclass(frozen=True)
class MixedSet:
    """Particles of ``view``, ``share`` of which are replaced by ``other``: a view, or "white" or "coloured" noise."""

    view: View
    snr: str
    count: int
    seed: int
    share: float = 0.0
    other: View | str = "white"

    @property
    def what(self) -> str:
        """In words."""
        if self.share == 0:
            return "plain"
        other = f"{self.other} noise" if isinstance(self.other, str) else self.other.name
        return f"{other} alone" if self.share == 1 else f"{self.share:.0%} {other}"

    @property
    def name(self) -> str:
        """One word, for files."""
        who = "" if self.share == 1 else f"{self.view.name}_{self.snr}_"
        return f"{who}{self.count}_{self.what.replace(' ', '-').replace('%', '')}_{self.seed}"


def sets(views: list[View], snrs: list[str] | None, count: int, seed: int) -> list[MixedSet]:
    """The sets that are checked: noise alone first, then every view plain and mixed."""
    out = [MixedSet(PHANTOM_VIEWS[0], "", count, seed, 1.0, kind) for kind in ("white", "coloured")]
    for view in views:
        plain = [MixedSet(view, snr, count, seed) for snr in PLAIN_SNRS]
        mixed = [replace(one, share=share) for one in plain[1:] for share in NOISE_SHARES]
        other = next(one for one in PHANTOM_VIEWS if one.name != view.name and one.kind == "asymmetric")
        mixed += [replace(one, share=share, other=other) for one in plain[1:] for share in VIEW_SHARES]
        out += [one for one in (*plain, *mixed) if not snrs or one.snr in snrs]
    return out


def write_set(one: MixedSet, data: Path) -> Path:
    """The folder of a set: particles.star, particles.mrcs, and template_K.mrc with truth_K.star of each view in it."""
    folder = data / "sets" / one.name
    if (folder / "particles.star").exists():
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    views = [one.view] if isinstance(one.other, str) or not one.share else [one.view, one.other]
    snr = one.snr or "0.1"  # of noise alone: only the table is used, for its defocus values
    parts = [make(Case(view, snr, one.count, (), "confidence", seed=one.seed), data / "views") for view in views]
    replaced = np.zeros(one.count, bool)
    replaced[np.random.default_rng([one.seed, 7]).permutation(one.count)[: round(one.share * one.count)]] = True
    sources = [open_particles(str(p / "particles.star")) for p in parts]
    names = [f"{k + 1:06d}@{(folder / 'particles.mrcs').resolve()}" for k in range(one.count)]
    _write_stack(part / "particles.mrcs", sources, replaced, one)
    _write_table(part / "particles.star", sources, replaced, names)
    for number, (place, mine) in enumerate(zip(parts, (~replaced, replaced)), 1):
        if one.share < 1:
            poses = read_truth(str(place / "truth.star"))[1]
            table = truth_table([name for name, own in zip(names, mine) if own], poses[mine])
            write_tables(str(part / f"truth_{number}.star"), [table])
            shutil.copy(place / "template.mrc", part / f"template_{number}.mrc")
    part.rename(folder)
    return folder


def _write_stack(path: Path, sources: list, replaced: np.ndarray, one: MixedSet) -> None:
    box = sources[0].box
    with StackWriter(str(path), one.count, box, sources[0].pixel_size) as writer:
        for rows in chunks(one.count, 256):
            images = sources[0].read(rows)
            away = replaced[rows]
            if away.any() and len(sources) > 1:
                images[away] = sources[1].read(rows[away])
            elif away.any():
                # noise() counts its images from 0 in every call: each chunk has a seed of its own
                seed = one.seed + 1000 * (1 + int(rows[0]))
                images[away] = noise(int(away.sum()), box, seed, one.other == "coloured")
            writer.write(images)


def _write_table(path: Path, sources: list, replaced: np.ndarray, names: list[str]) -> None:
    last = sources[-1].table
    columns = {
        label: [b if away else a for a, b, away in zip(column, last.columns[label], replaced)]
        for label, column in sources[0].table.columns.items()
    }
    columns["rlnImageName"] = names
    optics = [table for table in sources[0].tables if table.name == "optics"]
    write_tables(str(path), [*optics, Table("particles", columns)])


def check(one: MixedSet, out: Path, threads: int) -> dict[str, object]:
    """Align a set and compare what is claimed with the truth: a row of confidence.csv."""
    data = write_set(one, out / "data")
    result = out / "runs" / one.name
    result.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "scipion_udl.cli", "align", str(data / "particles.star"), "-o", str(result)]
    command += ["--overwrite", "--gpu", "none", "--threads", str(threads)]
    timed(command, Path(f"{result}.log"), threads)
    said = claims(result)
    average, pixel_size = read_image(str(result / "average.mrcs"))
    truths = [_truth(result, truth, average) for truth in sorted(data.glob("truth_*.star"))]
    # Of two views the one that the average shows better; alone in sets of halves it is not the first by definition.
    true, within, frc = max(truths, key=lambda t: t[0]) if truths else (0.0, float("nan"), None)
    if frc is not None:
        np.savetxt(result / "true_frc.csv", np.stack([np.arange(len(frc)), frc], 1), "%.5g", ",", header="ring,frc")
    claimed = said["claimed_frequency"]
    ratio = None if claimed is None else claimed / true if true else float("inf")
    return {
        "set": one.name, "what": one.what, "view": "" if one.share == 1 else one.view.name, "snr": one.snr,
        "particles": one.count, "seed": one.seed, "claimed_resolution": said["claimed_resolution"],
        "true_resolution": pixel_size / true if true else None, "claimed_frequency": claimed, "true_frequency": true,
        "ratio": ratio, "holds": int(ratio is None or ratio <= ALLOWED), "signal_found": said["signal_found"],
        "angles_sure": said["angles_sure"], "within_10": within, "warnings": said["warnings"],
    }  # fmt: skip


def _truth(result: Path, truth: Path, average: np.ndarray) -> tuple[float, float, np.ndarray]:
    """(true frequency in 1/px, share of this view's particles within 10 degrees modulo 180, true FRC) against one
    view's template."""
    found, true = joined(result / "aligned.star", truth)
    errors = pose_errors(found, true)
    template = read_image(str(truth.with_name(truth.name.replace("truth", "template").replace(".star", ".mrc"))))[0]
    frc = true_frc(average, moved_template(template, errors))
    close = np.abs(pose_errors(found, true, 180.0).rotation) < 10
    return falls_to(frc, TRUE_LEVEL) / len(average), float(close.mean()), frc


def markdown(rows: list[dict]) -> str:
    """The rows as a table."""

    def text(value: object, form: str) -> str:
        return "-" if value in (None, "") or np.isnan(float(value)) else format(float(value), form)

    lines = [
        "| set | view | SNR | particles | claimed (A) | true (A) | claimed / true in 1/px | holds | "
        "angles within 10 degrees, said and true | warnings |"
    ]
    lines.append("|" + " --- |" * 10)
    for row in rows:
        warnings = [part.split(":")[0][:60] for part in str(row["warnings"] or "").split(" / ") if part]
        cells = [row["what"], row["view"], row["snr"], row["particles"], text(row["claimed_resolution"], ".1f"),
                 text(row["true_resolution"], ".1f"), text(row["ratio"], ".2f"),
                 "yes" if int(row["holds"]) else "NO",
                 f"{text(row.get('angles_sure'), '.0%')}, {text(row.get('within_10'), '.0%')}",
                 "; ".join(warnings)]  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _save(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    """Check all sets that are not in OUT/confidence.csv yet. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.confidence", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--template", action="append", default=[], metavar="FILE:PIXEL_SIZE[:NAME[:FOLD]]")
    parser.add_argument("--view", nargs="+", metavar="NAME", help="only these views (default: all)")
    parser.add_argument("--snr", nargs="+", metavar="S", help="only these SNRs, and noise alone")
    parser.add_argument("--count", type=int, default=COUNT, help=f"particles of a set ({COUNT})")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed makes other particles")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="align again what has been checked before")
    args = parser.parse_args()
    views = [*(template_view(text) for text in args.template), *PHANTOM_VIEWS]
    views = [view for view in views if not args.view or view.name in args.view]
    args.out.mkdir(parents=True, exist_ok=True)
    path, rows = args.out / "confidence.csv", {}
    if path.exists():
        with path.open(newline="") as file:
            rows = {row["set"]: row for row in csv.DictReader(file)}
    checked = []
    for one in sets(views, args.snr, args.count, args.seed):
        if args.again or one.name not in rows:
            rows[one.name] = check(one, args.out.resolve(), args.threads)
            _save(path, list(rows.values()))
        checked.append(rows[one.name])
        print(markdown([rows[one.name]]).splitlines()[-1], file=sys.stderr, flush=True)
    print(markdown(checked))
    wrong = [row for row in checked if not int(row["holds"])]
    print(f"\n{len(checked) - len(wrong)} of {len(checked)} claims hold.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
