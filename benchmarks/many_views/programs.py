"""Programs that sort particles into views, each a process of its own: `scipion-udl classify`, RELION and ASPIRE.

A result says where its tables and images lie and what it took: wall_s, cpu_s and memory_mb of all its processes
(:mod:`benchmarks.measure`). A run of RELION that has finished is kept, with what it took beside it.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.alignment import replaced, timed
from benchmarks.many_views.particles import Truth, count_of, particles_of, words_of
from benchmarks.methods import ASPIRE_ENVIRONMENT
from scipion_udl.imaging.poses import Poses, invert
from scipion_udl.io.particles import open_particles

RELION = {
    "tau2_fudge": 2, "iter": 15, "psi_step": 12, "offset_range": 10, "offset_step": 4, "oversampling": 1, "pad": 1,
    "particle_diameter": 190, "pool": 30, "j": 1, "random_seed": 1,
}  # fmt: skip
RELION_FLAGS = ["ctf", "zero_mask", "norm", "scale", "flatten_solvent", "preread_images"]
RELION_FLAGS += ["dont_combine_weights_via_disc"]
RELION_LAST = "run_it015"
TOOK = "took.json"


@dataclass
class Result:
    """What a program left.

    program: in words; table: particles with their classes; averages: their images, in the order of class numbers;
    claims: classes.csv; neighbours: (N, n) numbers of the particles most like each, in place of classes; took: what
    was measured; note: what a reader of the figures must know.
    """

    program: str
    table: Path | None = None
    averages: Path | None = None
    claims: Path | None = None
    neighbours: np.ndarray | None = None
    took: dict = field(default_factory=dict)
    note: str = ""


def classify(table: Path, classes: int, threads: int, refine: bool = True) -> Result:
    """`scipion-udl classify`, in a folder beside the table; refine: with its rounds in real space."""
    out = classify_folder(table, classes, refine)
    command = [sys.executable, "-m", "scipion_udl.cli", "classify", table, "-o", out, "--classes", classes]
    command += ["--threads", threads, "--gpu", "none", "--overwrite", *([] if refine else ["--no-refine"])]
    took = timed([*map(str, command)], Path(f"{out}.log"), threads)
    return classify_result(table, classes, refine, took)


def classify_folder(table: Path, classes: int, refine: bool = True) -> Path:
    """Where :func:`classify` leaves its results."""
    return table.parent / f"classify_{count_of(table)}_{classes}{'' if refine else '_no_refine'}"


def classify_result(table: Path, classes: int, refine: bool = True, took: dict | None = None) -> Result:
    """What :func:`classify` left."""
    out = classify_folder(table, classes, refine)
    name = "classify" if refine else "classify --no-refine"
    return Result(name, out / "classes.star", out / "averages.mrcs", out / "classes.csv", took=took or {})


def relion(table: Path, classes: int, anew: bool = False) -> Result:
    """RELION's 2D classification, in a folder beside the table; one that finished there is kept, unless ``anew``."""
    out = relion_folder(table, classes)
    line = ["--K", str(classes), *words_of(RELION), *(f"--{name}" for name in RELION_FLAGS)]
    if not anew and finished(out, table, line):
        took = json.loads((out / TOOK).read_text()) if (out / TOOK).exists() else {}
        note = "kept from an earlier run" + ("" if took else f"; what it took is not known ({TOOK} is missing)")
        return relion_result(table, classes, took, note)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = ["relion_refine", "--i", str(table), "--o", str(out / "run"), *line]
    took = timed(command, out / "log.txt", RELION["j"])
    with replaced(out / TOOK) as file:
        json.dump(took, file)
    return relion_result(table, classes, took)


def relion_folder(table: Path, classes: int) -> Path:
    """Where :func:`relion` leaves its results."""
    return table.parent / f"relion_{count_of(table)}_{classes}"


def relion_result(table: Path, classes: int, took: dict | None = None, note: str = "") -> Result:
    """What :func:`relion` left."""
    root = relion_folder(table, classes) / RELION_LAST
    files = (root.with_name(f"{RELION_LAST}_{name}") for name in ("data.star", "classes.mrcs"))
    return Result("RELION", *files, took=took or {}, note=note)


def finished(out: Path, table: Path, line: list[str]) -> bool:
    """Whether RELION came to its end in ``out``, of the particles of ``table`` and with the options ``line``.

    By what RELION writes itself: the command in its last optimiser.star, the particles in its last data.star. Particles
    are the same where image and defocus are.
    """
    data, optimiser, images = (
        out / f"{RELION_LAST}_{name}" for name in ("data.star", "optimiser.star", "classes.mrcs")
    )
    if not (data.exists() and optimiser.exists() and images.exists()):
        return False
    with optimiser.open() as file:
        words = next((text[1:].split() for text in file if text.startswith("# --")), [])
    own = [word for k, word in enumerate(words) if not {"--i", "--o"} & {word, words[k - 1]}]
    return sorted(own) == sorted(line) and _defocus(data) == _defocus(table)


def _defocus(table: Path) -> dict[str, float]:
    """The defocus of each image, angstrom, to less than what tables round to."""
    particles = particles_of(table)
    defocus = particles.numbers("rlnDefocusU") if "rlnDefocusU" in particles else np.zeros(len(particles))
    return {name: round(float(value), 1) for name, value in zip(particles.texts("rlnImageName"), defocus)}


def has_aspire() -> bool:
    """Whether ASPIRE is there, in the environment that :mod:`benchmarks.methods.aspire` tells how to make."""
    return (ASPIRE_ENVIRONMENT / "bin" / "python").exists()


def aspire(table: Path, classes: int, threads: int, centred: Truth | None = None) -> Result:
    """ASPIRE's rotation-invariant features: for each particle the N / ``classes`` most like it.

    It is given the images as they are, or, with a truth, brought to their true centres before: its features need
    centred particles, and it has no way of its own to centre them. Neither that nor the file that the images are
    written to for it is part of its time.
    """
    source = open_particles(str(table))
    count = len(source) // classes
    images, result = (table.parent / f"aspire_{len(source)}_{classes}_{name}.npy" for name in ("images", "result"))
    particles = source.read(np.arange(len(source)))
    if centred is not None:
        particles = to_centre(particles, centred.poses[centred.rows(source.names)])
    np.save(images, particles)
    worker = Path(__file__).resolve().parents[1] / "methods" / "aspire_views_worker.py"
    line = [ASPIRE_ENVIRONMENT.absolute() / "bin" / "python", "-I", "-W", "ignore", worker, images, result, count]
    try:
        took = timed([*map(str, line)], result.with_suffix(".log"), threads)
    finally:
        images.unlink()
    name, shifts = ("ASPIRE, true centres", "the true shifts given") if centred else ("ASPIRE", "not centred before")
    note = f"the {count} most similar of each particle, in either hand; {shifts}"
    return Result(name, neighbours=np.load(result), took=took, note=note)


def to_centre(images: np.ndarray, poses: Poses) -> np.ndarray:
    """Images (N, D, D) moved, not rotated, so that what poses (N,) take to the origin lies there; float32."""
    away = invert(poses).shift  # where the origin lies in each image, x and y
    moved = (ndimage.fourier_shift(np.fft.fft2(image), (-y, -x)) for image, (x, y) in zip(images, away))
    return np.array([np.fft.ifft2(waves).real for waves in moved], np.float32)
