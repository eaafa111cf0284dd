"""RELION's 2D classification of a set with effects, as a user of it would run it.

The particles are normalised by relion_preprocess first: a plane fitted to the background is taken off, mean and
deviation are those outside the particle, and white and black dust beyond 5 deviations is replaced. Then relion_refine
with the settings of its form for 2D classification: the particle's diameter, 25 iterations (or as many as asked for),
--tau2_fudge 2, --psi_step 12 and --oversampling 1 (samples 6 degrees apart), --offset_range 5, --offset_step 2, masked
with zeros, noise, scale and norm corrected. With one class the angles are 2 degrees apart (1 in the second pass).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.alignment import timed
from benchmarks.many_views.particles import Truth
from benchmarks.many_views.spread import Classes
from benchmarks.real_effects.figures import of_classes, of_poses
from benchmarks.real_effects.sets import PickTruth
from scipion_udl.io import dialects
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import read_tables, write_tables

_ROUND = {"tau2_fudge": 2, "offset_range": 5, "offset_step": 2, "oversampling": 1, "pad": 2, "pool": 30}
_FLAGS = ("ctf", "zero_mask", "norm", "scale", "flatten_solvent", "preread_images", "dont_combine_weights_via_disc")
_WIDER = 1.1  # the mask against the particle
DUST = 5


def run(
    folder: Path, out: Path, classes: int, diameter: float, iterations: int, threads: int, ctf: bool = True
) -> dict:
    """Classify the set in ``folder``, in ``out``; what it took. diameter: of the particle, angstrom; ctf: whether the
    particles have one."""
    out.mkdir(parents=True, exist_ok=True)
    source = open_particles(str(folder / "particles.star"))
    radius = min(round(_WIDER * diameter / 2 / source.pixel_size), source.box // 2 - 2)
    # with its ending: relion_preprocess takes a name without for one that ends at its last dot, in a folder's name too
    normalised = out / "normalised.mrcs"
    line = ["relion_preprocess", "--operate_on", folder / "particles.mrcs", "--operate_out", normalised]
    line += ["--norm", "--bg_radius", radius, "--white_dust", DUST, "--black_dust", DUST]
    timed([*map(str, line)], out / "preprocess.log", threads)
    *optics, particles = read_tables(str(folder / "particles.star"))
    images = [f"{item + 1:06d}@{normalised}" for _, item in source.locations()]
    particles.set("rlnImageName", images)
    write_tables(str(out / "normalised.star"), [*optics, particles])
    line = ["relion_refine", "--i", out / "normalised.star", "--o", out / "run", "--K", classes, "--iter", iterations]
    line += ["--particle_diameter", round(_WIDER * diameter), "--psi_step", 2 if classes == 1 else 12]
    line += ["--random_seed", 1, "--j", threads, *(f"--{name}" for name in _FLAGS if ctf or name != "ctf")]
    line += [word for name, value in _ROUND.items() for word in (f"--{name}", value)]
    if flipped(folder / "particles.star"):
        line.append("--ctf_phase_flipped")
    return timed([*map(str, line)], out / "relion.log", threads)


def flipped(table: Path) -> bool:
    """Whether the phases of a set's particles were flipped, as its table says."""
    label = "rlnCtfDataArePhaseFlipped"
    return any(label in one and one.numbers(label)[0] != 0 for one in read_tables(str(table)))


def figures(folder: Path, out: Path, classes: int, iterations: int) -> dict:
    """Figures of its last iteration against the truth: of classes, or with one class of poses."""
    table = out / f"run_it{iterations:03d}_data.star"
    found = open_particles(str(table))
    # the normalised stack has the order of the simulated one
    rows = np.array([item for _, item in found.locations()])
    truth = PickTruth.read(folder)
    if classes == 1:
        good = truth.good[rows]
        return of_poses(found.poses()[good], truth.poses[rows][good])
    label = dialects.class_numbers(
        found.table, dialects.find_particles(str(table), read_tables(str(table)))[1], str(table)
    )
    nobody = np.zeros(len(rows), bool)
    return of_classes(Classes(Truth.read(folder), rows, label, nobody), nobody, truth)
