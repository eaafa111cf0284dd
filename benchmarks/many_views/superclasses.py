"""Where to cut the tree of classes: which pairs of class averages share a superclass, by the angle between their views.

    python -m benchmarks.many_views.superclasses [--sets 4] [--count 40]

Averages of the five 3D phantoms along random directions, each over directions 7 degrees about its own, as those of a
class are, rotated and off centre at random, seen through the CTF, phase-flipped; without noise, and with white noise.
Views from opposite sides are each other's mirror image: the angle between axes counts. A particle with a symmetry looks
alike along other axes as well.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.cluster import hierarchy

from scipion_udl.classification.superclasses import tree_of, view_similarity
from scipion_udl.imaging.ctf import evaluate_ctf
from scipion_udl.imaging.defocus import Defocus
from scipion_udl.imaging.fourier import to_fourier, to_images
from scipion_udl.imaging.poses import Poses
from scipion_udl.simulation.phantoms_3d import PHANTOMS_3D, molecule

BOX, RADIUS, PIXEL_SIZE = 48, 22.5, 4.0  # pixels, pixels, angstrom; the radius as where nobody knows it
DEFOCUS = np.linspace(5000, 20000, 16)  # angstrom: of the particles of each class
WIDTH, MEMBERS = 7.0, 24  # of a class: degrees, and directions that its average is of
OFF = 2.0  # pixels along either axis
SNRS = (np.inf, 10.0, 2.0)  # of averages
LIMITS = (0.15, 0.175, 0.2, 0.225, 0.25)
ANGLES = (0, 10, 15, 20, 25, 30, 40, 90)  # degrees: edges of the bins


def averages(name: str, directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise-free averages (K, BOX, BOX) of classes along ``directions`` (K, 3)."""
    facts = {"voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1, "phase_shift": 0.0, "b_factor": 0.0}
    same = {key: np.full(len(DEFOCUS), value) for key, value in facts.items()}
    defocus = Defocus(defocus_u=DEFOCUS, defocus_v=DEFOCUS, angle=np.zeros(len(DEFOCUS)), **same)
    ctf = evaluate_ctf(defocus, BOX, PIXEL_SIZE).abs().mean(0)
    shape, images = molecule(name, BOX), []
    for direction in directions:
        near = direction + rng.normal(size=(MEMBERS, 3)) * np.radians(WIDTH)
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        shift = np.tile(rng.uniform(-OFF, OFF, 2), (MEMBERS, 1))
        images.append(shape.project(near, Poses(np.full(MEMBERS, rng.uniform(-180, 180)), shift)).mean(0))
    return to_images(to_fourier(torch.from_numpy(np.array(images, np.float32))) * ctf, BOX).numpy()


def shares(name: str, count: int, snr: float, seed: int) -> np.ndarray:
    """Of so many classes: which pairs share a superclass, (limits, bins of ANGLES), NaN where a bin has no pair."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    images = averages(name, directions, rng)
    images = images + rng.normal(size=images.shape) * (images.std() / np.sqrt(snr))
    pairs = np.triu_indices(count, 1)
    place = np.digitize(np.degrees(np.arccos(np.minimum(1, np.abs(directions @ directions.T))))[pairs], ANGLES[1:-1])
    tree = tree_of(view_similarity(images, RADIUS))
    rows = []
    for limit in LIMITS:
        label = hierarchy.fcluster(tree, limit, "distance")
        same = (label[:, None] == label)[pairs]
        rows.append([same[place == one].mean() if (place == one).any() else np.nan for one in range(len(ANGLES) - 1)])
    return np.array(rows)


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_views.superclasses")
    parser.add_argument("--sets", type=int, default=4, help="of each phantom (4)")
    parser.add_argument("--count", type=int, default=40, help="classes of a set (40)")
    args = parser.parse_args(argv)
    print("SNR   limit  share of pairs in one superclass, by the angle between their views (degrees)")
    print(" " * 13 + "".join(f"{f'{low}-{high}':>8}" for low, high in zip(ANGLES, ANGLES[1:])))
    for snr in SNRS:
        found = [shares(name, args.count, snr, seed) for name in PHANTOMS_3D for seed in range(args.sets)]
        for limit, row in zip(LIMITS, np.nanmean(found, axis=0)):
            print(f"{snr:<6g}{limit:<7g}" + "".join(f"{share:8.2f}" for share in row), flush=True)


if __name__ == "__main__":
    main()
