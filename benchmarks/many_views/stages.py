"""What each stage of `scipion-udl classify` adds: amplitude spectra alone, then the network after each of its levels.

The network is taught as the command teaches it, in a process of its own that puts all particles into classes after each
level and carries on:

    python -m benchmarks.many_views.stages TABLE OUT CLASSES [--threads N]

OUT/rings_06.star and so on hold classes and poses; OUT/stages.json the CPU seconds of each level, what came before it
and the pass over all particles included, and the seconds that have passed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.alignment import replaced, timed
from benchmarks.many_views.particles import count_of, write_classes
from benchmarks.many_views.programs import Result
from scipion_udl.classification.assignment import Sorted, sort_particles
from scipion_udl.cli.commands import build_parser
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.pipelines.learn_classes import class_fit_of, levels
from scipion_udl.pipelines.run import Run
from scipion_udl.settings.commands import ClassifySettings


def before_real_space(table: Path, classes: int, threads: int) -> Iterator[Result]:
    """The results of the amplitude spectra, and of each level of the network."""
    out = table.parent / f"stages_{count_of(table)}_{classes}"
    out.mkdir(exist_ok=True)
    words = [str(word) for word in (table, out / "amplitudes.star", classes, "--threads", threads)]
    took = timed([sys.executable, "-m", "benchmarks.methods.amplitudes", *words], out / "amplitudes.log", threads)
    yield Result("amplitude spectra", out / "amplitudes.star", took=took)
    words[1] = str(out)
    took = timed([sys.executable, "-m", "benchmarks.many_views.stages", *words], out / "network.log", threads)
    for rings, own in json.loads((out / "stages.json").read_text()).items():
        note = "memory: that of all levels together"
        yield Result(f"network, {rings} rings", out / f"rings_{int(rings):02d}.star", took=took | own, note=note)


class Levels:
    """The class network, level by level. run: of classify's arguments, its particles looked through. ``aside``: seconds
    (CPU, clock) of the passes over all particles so far, which a run that ends at the level at hand makes only once."""

    def __init__(self, run: Run, classes: int) -> None:
        self.run, self.classes = run, classes
        self.class_fit = class_fit_of(run, classes, 0.1 * run.particles.box)
        self.aside = np.zeros(2)

    def sorted(self) -> Iterator[tuple[int, Sorted, np.ndarray]]:
        """(rings of the level, all particles in classes, seconds of CPU and by the clock) after each level."""
        class_fit = self.class_fit
        for bank in levels(self.run, class_fit, self.classes):
            before = _now()
            found = sort_particles(self.run.particles, bank, class_fit.sampling, class_fit.search_range)
            yield bank.config["rings"], found, _now() - self.aside
            self.aside += _now() - before


def _now() -> np.ndarray:
    return np.array([time.process_time(), time.monotonic()])


@torch.no_grad()
def main() -> None:
    """Teach the network and write what it makes of the particles after each level."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("classes", type=int)
    parser.add_argument("--threads", type=int, default=2)
    own = parser.parse_args()
    words = ["classify", own.table, "-o", own.out / "network", "--classes", own.classes, "--threads", own.threads]
    parsed = build_parser().parse_args([*map(str, words), "--gpu", "none", "--overwrite"])
    settings = ClassifySettings.of(vars(parsed))
    began, took = np.array([0.0, time.monotonic()]), {}
    with OutputFolder(settings.output, settings.overwrite, settings.resume) as folder:
        run = Run(settings, folder)
        run.scan()
        run.use_ctf()
        for rings, found, seconds in Levels(run, own.classes).sorted():
            took[rings] = dict(zip(("cpu_s", "wall_s"), np.round(seconds - began, 2).tolist()))
            write_classes(own.out / f"rings_{rings:02d}.star", run.source.names, found.label, found.poses)
    with replaced(own.out / "stages.json") as file:
        json.dump(took, file)


if __name__ == "__main__":
    main()
