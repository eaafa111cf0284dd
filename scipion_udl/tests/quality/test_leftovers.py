"""What particles show beside the average of their class: a second molecule, and nothing where there is none."""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.imaging.poses import Poses
from scipion_udl.io.source import ArraySource
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.quality.leftovers import NAMES, Leftovers

BOX, COUNT, RADIUS = 48, 60, 10.0


def molecule(x: float = 0.0, y: float = 0.0) -> np.ndarray:
    axis = np.arange(BOX) - BOX // 2
    return np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * 3.0**2)) + 0.7 * np.exp(
        -((axis - x - 4) ** 2 + (axis[:, None] - y) ** 2) / 8
    )


def measured(images: np.ndarray) -> dict[str, np.ndarray]:
    prepared = PreparedParticles(ArraySource(images.astype(np.float32)), torch.device("cpu"), None, RADIUS)
    prepared.scan()
    poses = Poses(np.zeros(len(images)), np.zeros((len(images), 2)))
    found = Leftovers(prepared).measure(np.arange(len(images)), poses, np.arange(len(images)) % 2)
    return dict(zip(NAMES, found.T))


def test_a_second_molecule_stands_out_of_particles_that_have_none():
    random = np.random.default_rng(2)
    images = 1.5 * molecule() + random.normal(size=(COUNT, BOX, BOX))
    pairs = np.arange(0, COUNT, 10)
    for k in pairs:
        turn = 2 * np.pi * random.random()
        images[k] += 1.5 * molecule(13 * np.cos(turn), 13 * np.sin(turn))
    found = measured(images)
    alone = np.setdiff1d(np.arange(COUNT), pairs)
    assert found["second"][pairs].min() > found["second"][alone].max()
    assert found["rest"][pairs].mean() > found["rest"][alone].mean() + found["rest"][alone].std()


def test_an_empty_place_has_neither_amplitude_nor_matter():
    random = np.random.default_rng(3)
    images = random.normal(size=(COUNT, BOX, BOX))
    empty = np.arange(0, COUNT, 6)
    there = np.setdiff1d(np.arange(COUNT), empty)
    images[there] += 1.5 * molecule()
    found = measured(images)
    for name in ("amplitude", "whole"):
        assert found[name][empty].max() < found[name][there].min(), name
    assert abs(found["amplitude"][empty].mean()) < 0.3
    # Averages hold a tenth of empty places, so that particles fit them a little more than once.
    assert 0.9 < found["amplitude"][there].mean() < 1.4


def test_a_particle_is_compared_with_the_half_that_it_is_no_part_of():
    random = np.random.default_rng(4)
    noise = random.normal(size=(COUNT, BOX, BOX))
    found = measured(noise)
    # Noise is no part of the other half's average; of its own it would fit every time.
    assert abs(found["amplitude"].mean()) < 3 * found["amplitude"].std() / np.sqrt(COUNT)
