"""What all methods share: their command line, the particles of a case, the poses they leave, the average."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import write_tables
from scipion_udl.io.truth import read_truth, truth_table
from scipion_udl.simulation.ctf import CtfSettings, simulated_ctf

# Particles that are held at a time.
CHUNK = 64


def arguments(description: str, more: list[tuple[str, dict]] | None = None) -> argparse.Namespace:
    """Parse ``DATA OUT [--threads N]`` and the options ``more`` (flag, keywords of add_argument).

    Makes the folder OUT. Libraries and child processes are told the number of threads.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with particles.star and particles.mrcs")
    parser.add_argument("out", type=Path, help="folder for poses.star")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (1)")
    for flag, keywords in more or []:
        parser.add_argument(flag, **keywords)
    args = parser.parse_args()
    # Threads that wait must sleep, or they count as CPU time without doing anything.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    if "torch" in sys.modules:  # to import it takes seconds, which are not for methods that do without
        sys.modules["torch"].set_num_threads(args.threads)
    _keep_memory()
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def _keep_memory() -> None:
    """Have the C library keep large arrays that were freed: to get them anew each time costs a third of the time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def read_particles(data: Path) -> ParticleSource:
    """The particles of a case. Raises UdlError where they are missing."""
    return open_particles(str(data / "particles.star"))


def chunks(count: int, size: int = CHUNK) -> list[np.ndarray]:
    """The numbers 0 to count - 1 in chunks of ``size``."""
    return [np.arange(first, min(count, first + size)) for first in range(0, count, size)]


class Ctf:
    """The CTF of each particle as its table tells it (a B-factor included, where the table has one).

    Phase-flipped particles have its absolute value. Without defocus in the table it is 1 everywhere.
    """

    def __init__(self, source: ParticleSource) -> None:
        self.box, self.pixel_size = source.box, source.pixel_size
        self.defocus: np.ndarray | None = None
        if source.table is None or "rlnDefocusU" not in source.table:
            return
        optics = next(table for table in source.tables if "rlnVoltage" in table)
        self.defocus = source.table.numbers("rlnDefocusU") / 1e4
        self.defocus_v = source.table.numbers("rlnDefocusV") / 1e4
        self.angle = source.table.numbers("rlnDefocusAngle")
        flipped = "rlnCtfDataArePhaseFlipped" in optics and optics.numbers("rlnCtfDataArePhaseFlipped")[0] != 0
        self.settings = CtfSettings(
            voltage=optics.numbers("rlnVoltage")[0],
            cs=optics.numbers("rlnSphericalAberration")[0],
            amplitude_contrast=optics.numbers("rlnAmplitudeContrast")[0],
            b_factor=source.table.numbers("rlnCtfBfactor")[0] if "rlnCtfBfactor" in source.table else 0.0,
            signed=not flipped,
        )

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """The CTF of the particles ``indices`` for rfft2 of their images, float32 (n, box, box//2 + 1)."""
        if self.defocus is None:
            return np.ones((len(indices), self.box, self.box // 2 + 1), np.float32)
        defocus, defocus_v, angle = (values[indices] for values in (self.defocus, self.defocus_v, self.angle))
        return simulated_ctf(self.settings, defocus, self.box, self.pixel_size, defocus_v, angle)


def write_poses(out: Path, source: ParticleSource, poses: Poses) -> None:
    """Write OUT/poses.star, in the form of truth.star."""
    write_tables(str(out / "poses.star"), [truth_table(source.names, poses)])


def rotation(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The image (D, D) under the pose ``matrix`` (3, 3): out(M R p + t) = image(p). Cubic splines; float64 (D, D).

    What comes from outside of the image is 0.
    """
    inverse = np.linalg.inv(matrix)
    swap = inverse[1::-1, 1::-1]  # scipy counts (row, column), poses (x, y)
    centre = np.full(2, len(image) // 2)
    offset = centre - swap @ centre + inverse[1::-1, 2]
    return ndimage.affine_transform(np.asarray(image, np.float64), swap, offset, order=3, mode="constant")


def write_average(data: Path, out: Path) -> None:
    """Write OUT/average.mrcs: the plain mean of the particles of DATA under the poses of OUT/poses.star.

    The same for every method, so that averages differ by the poses alone. Raises UdlError where a pose is missing.
    """
    source = read_particles(data)
    names, poses = read_truth(str(out / "poses.star"))
    row = {name: k for k, name in enumerate(names)}
    if missing := [name for name in source.names if name not in row]:
        raise UdlError(f"{out / 'poses.star'} has no pose for {missing[0]}")
    matrices = to_matrices(poses[np.array([row[name] for name in source.names])])
    total = np.zeros((source.box, source.box))
    for indices in chunks(len(source)):
        for image, matrix in zip(source.read(indices), matrices[indices]):
            total += rotation(image, matrix)
    average = (total / len(source)).astype(np.float32)
    write_stack(str(out / "average.mrcs"), average[None], source.pixel_size)
