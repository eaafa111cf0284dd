"""What classes of an octahedral shell can show: those that the truth makes, beside those of `classify`.

    scipion-udl simulate shell --volume shell.mrc --views random --neighbours 0.7 --spacing 1.05 --signed
    scipion-udl classify shell/particles.star -o shell/classes --classes 20
    python -m benchmarks.octahedral shell --run shell/classes --diameter 130

Real particles have no truth. Particles simulated from a map of them, at their SNR, number and crowding, have one, and
classes of particles that truly show nearly the same view, in their true poses, are what no program can surpass by much.
Of each average two things are told. The outside share: how much of its azimuthal power (less its mean over rings,
lightly smoothed) lies beyond the particle's rim. And how much of that within is two-, three- or four-fold.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from scipy import ndimage

from benchmarks.many_views.particles import Truth
from scipion_udl.imaging.ctf import evaluate_ctf
from scipion_udl.imaging.poses import Poses, rotations, wrap
from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.particles import open_particles
from scipion_udl.io.truth import read_truth
from scipion_udl.simulation.molecules import view_matrices

ROUNDS = 40  # of the means of views
SMOOTH = 0.012  # of the box: deviation of the Gaussian
HOLE, RIM, FAR = 0.186, 1.12, 0.969  # of the particle's radius; of half the box
GOOD = 0.3  # outside share of a class that is of the particle
LEAST = 0.03  # of the particles: a class whose symmetry counts
ORDERS = 24  # of the angle


def octahedral_group() -> np.ndarray:
    """The 24 rotations (24, 3, 3) that take a cube to itself."""
    found = []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product([1.0, -1.0], repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), axes] = signs
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.array(found)


def classes_by_truth(direction: np.ndarray, poses: Poses, count: int, seed: int) -> tuple[np.ndarray, Poses]:
    """Classes (N,) from 0 of particles whose views lie nearest together, whatever rotation of the group takes them
    there, and their poses in these. direction: (N, 3), unit vectors; poses: the true ones, canonical view by view."""
    group, draw = octahedral_group(), np.random.default_rng(seed)
    alike = np.einsum("gij,nj->ngi", group, direction)
    centres = direction[draw.choice(len(direction), count, replace=False)].copy()
    for _ in range(ROUNDS):
        near = np.einsum("ngi,ki->ngk", alike, centres)
        label = near.max(1).argmax(1)
        for k in np.unique(label):
            own = np.flatnonzero(label == k)
            total = alike[own, near[own, :, k].argmax(1)].sum(0)
            centres[k] = total / np.linalg.norm(total)
    frames = view_matrices(centres)[label]
    rotated = np.einsum("nij,gjk,nlk->ngil", view_matrices(direction), group, frames)
    best = rotated[np.arange(len(label)), rotated[:, :, 2, 2].argmax(1)]
    angle = poses.angle + np.degrees(np.arctan2(best[:, 0, 1], best[:, 0, 0]))
    return label, Poses(wrap(angle), poses.shift)


def means(folder: Path, label: np.ndarray, poses: Poses) -> np.ndarray:
    """Averages (K, D, D) of the particles of a simulated set in their poses, phases flipped by the table's CTF."""
    source = open_particles(str(folder / "particles.star"))
    box, defocus = source.box, read_defocus(source)
    out = np.zeros((int(label.max()) + 1, box, box))
    middle = np.full(2, box // 2)
    for n in range(len(source)):
        image = np.asarray(source.read(np.array([n]))[0], np.float64)
        if defocus is not None:
            sign = np.sign(evaluate_ctf(defocus.rows(np.array([n])), box, source.pixel_size)[0].numpy())
            image = np.fft.irfft2(np.fft.rfft2(image) * sign, s=image.shape)
        matrix = rotations(-poses.angle[n : n + 1])[0][::-1, ::-1]  # of (y, x), from the average to the particle
        offset = middle - matrix @ (middle + poses.shift[n, ::-1])
        out[label[n]] += ndimage.affine_transform(image, matrix, offset=offset, order=1)
    return out / np.maximum(np.bincount(label), 1)[:, None, None]


@dataclass
class Seen:
    """Of an average: its outside share, and the share of its inner azimuthal power that is 2-, 3- and 4-fold."""

    outside: float
    fold: dict[int, float]


def seen_in(average: np.ndarray, radius: float) -> Seen:
    """What an average (D, D) of particles of ``radius`` pixels shows; about its origin, pixel D // 2."""
    box = len(average)
    angle = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    rings = np.arange(HOLE * radius, FAR * box / 2)
    smooth = ndimage.gaussian_filter(average, SMOOTH * box)
    y, x = (box // 2 + rings[:, None] * wave for wave in (np.sin(angle), np.cos(angle)))
    values = ndimage.map_coordinates(smooth, [y, x], order=1)
    values -= values.mean(1, keepdims=True)
    power = np.square(values).sum(1) * rings
    inside, beyond = rings < radius, rings > RIM * radius
    orders = (np.abs(np.fft.rfft(values[inside], axis=1)) ** 2 * rings[inside, None]).sum(0)[: ORDERS + 1]
    orders[0] = 0
    outside = power[beyond].sum() / max(power[beyond].sum() + power[inside].sum(), 1e-12)
    return Seen(float(outside), {m: float(orders[m::m].sum() / max(orders.sum(), 1e-12)) for m in (2, 3, 4)})


def figures(averages: np.ndarray, sizes: np.ndarray, radius: float) -> dict:
    """Of all classes: share of the particles in those that are of the particle, in the largest one, and the best two-,
    three- and four-fold share among those that are, and among all (``any``)."""
    seen = [seen_in(average, radius) for average in averages[: len(sizes)]]
    share = sizes / sizes.sum()
    good = np.array([one.outside < GOOD for one in seen])
    counted = share >= LEAST
    best = {
        f"{name}{m}": round(max((one.fold[m] for one, w in zip(seen, which) if w), default=0.0), 2)
        for m in (2, 3, 4)
        for name, which in (("fold", good & counted), ("any", counted))
    }
    return {"inside": round(float(share[good].sum()), 3), "largest": round(float(share.max()), 3), **best}


def main() -> None:
    """Print the figures of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a set that `simulate` made from an octahedral map")
    parser.add_argument("--run", type=Path, nargs="*", default=[], help="results of `classify` on it")
    parser.add_argument("--diameter", type=float, required=True, help="of the particle, angstrom")
    parser.add_argument("--classes", type=int, nargs="*", default=[11, 15, 20], help="that the truth makes")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    source = open_particles(str(args.folder / "particles.star"))
    radius = args.diameter / 2 / (source.pixel_size or 1.0)
    truth, poses = Truth.read(args.folder), read_truth(str(args.folder / "truth.star"))[1]
    for count in args.classes:
        label, own = classes_by_truth(truth.direction, poses, count, args.seed)
        print(f"truth, {count} classes", figures(means(args.folder, label, own), np.bincount(label), radius))
    for run in args.run:
        with open(run / "classes.csv", newline="") as file:
            sizes = np.array([int(row["particles"]) for row in csv.DictReader(file)])
        print(run, figures(mrcfile.read(run / "averages.mrcs").astype(float), sizes, radius))


if __name__ == "__main__":
    main()
