"""What the tests of classification share: images of few views in known poses, as the class network sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from scipion_udl.classification.class_seeding import best_start
from scipion_udl.classification.em import ClassFit
from scipion_udl.classification.samples import gathered
from scipion_udl.imaging.fourier import to_fourier
from scipion_udl.imaging.polar_samples import AngularTransform, PolarSampling
from scipion_udl.imaging.poses import Poses
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.simulation.phantoms_3d import molecule
from scipion_udl.tests.engine_helpers import Told, prepared

BOX, RINGS = 40, 12
# Views of the boot that differ.
DIRECTIONS = np.array([[0.3, 0.5, 0.812], [0.9, -0.4, 0.17], [-0.35, 0.93, 0.1], [0.0, -0.1, 0.995]])
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)


def seen(view: int | np.ndarray, poses: Poses, box: int = BOX) -> np.ndarray:
    """Particles (n, box, box) of variance 1 without noise: the boot from DIRECTIONS[view], in true poses ``poses``."""
    direction = DIRECTIONS[np.broadcast_to(view, len(poses))]
    images = molecule("boot", box).project(direction, poses)
    return images / images.std(axis=(1, 2), keepdims=True)


def random_poses(count: int, seed: int, reach: float = 2.0) -> Poses:
    """Any angle, off centre by up to ``reach`` pixels along either axis."""
    draw = np.random.default_rng(seed)
    return Poses(draw.uniform(-180, 180, count), draw.uniform(-reach, reach, (count, 2)))


@dataclass
class Grid:
    """Polar samples of images of ``box`` pixels whose noise is white, of variance 1, and their angular orders."""

    box: int = BOX
    rings: int = RINGS

    def __post_init__(self) -> None:
        self.sampling = PolarSampling(self.box, self.rings)
        self.transform = AngularTransform(self.sampling, self.rings)

    def samples(self, images: np.ndarray) -> torch.Tensor:
        """(n, rings, angles) of images (n, box, box)."""
        return self.sampling.of(to_fourier(torch.from_numpy(np.asarray(images, np.float32))))

    def coefficients(self, images: np.ndarray) -> torch.Tensor:
        """(n, rings, orders) of images (n, box, box)."""
        return self.transform.forward(self.samples(images))

    def power(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Sums (...,) over rings and orders, every independent coefficient counted once."""
        return (coefficients.abs().square() * self.transform.weight).sum((-2, -1))


def away(one: torch.Tensor, other: torch.Tensor) -> float:
    """The distance of two sets of coefficients in parts of the length of the second."""
    return float((one - other).abs().square().sum().sqrt() / other.abs().square().sum().sqrt())


def class_fit_of(images: np.ndarray, folder: Path, seed: int = 1, reach: float = 3.0) -> ClassFit:
    """What learns from images (n, box, box), in their order."""
    particles = prepared(folder, images)
    sampling = PolarSampling(particles.box, min(RINGS, particles.k_max))
    return ClassFit(gathered(particles, sampling, np.arange(len(images))), sampling, reach, seed)


def trained_on(class_fit: ClassFit, classes: int, starts: int = 2) -> ClassBank:
    """Classes taught as `classify` teaches them: the best of several starts, then level by level."""
    every = torch.arange(len(class_fit.samples))
    bank = best_start(class_fit, classes, every, starts, Told())
    for rings in class_fit.levels():
        bank = class_fit.widened(bank, rings)
        class_fit.level(bank, every)
    return bank
