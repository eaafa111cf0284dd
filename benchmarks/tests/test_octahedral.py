"""The benchmark of octahedral shells: the truth makes classes that show their symmetry, noise shows none."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.many_views.particles import Truth
from benchmarks.octahedral import GOOD, classes_by_truth, figures, means, octahedral_group, seen_in
from scipion_udl.cli import main
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.truth import read_truth

BOX, RADIUS = 64, 20.0


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Particles of 24 blobs that an octahedral group makes of one, hardly any noise."""
    folder = tmp_path_factory.mktemp("shell")
    blobs = octahedral_group() @ (0.8 * RADIUS * np.array([0.36, 0.48, 0.8]))
    z, y, x = np.indices((BOX,) * 3) - BOX // 2
    volume = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 8) for a, b, c in blobs)
    mrcfile.write(folder / "map.mrc", volume.astype(np.float32), voxel_size=3.0)
    given = f"--volume {folder / 'map.mrc'} --views random --count 400 --box {BOX} --snr 5 --shift 2 --signed"
    assert main(["simulate", str(folder / "set"), *given.split()]) == 0
    return folder / "set"


def test_the_group_takes_a_cube_to_itself_in_24_ways():
    group = octahedral_group()
    assert len(np.unique(group.reshape(24, 9), axis=0)) == 24
    assert np.linalg.det(group) == pytest.approx(1)
    products = (group[:, None] @ group[None]).reshape(-1, 9)
    assert len(np.unique(products, axis=0)) == 24


def test_classes_of_the_truth_are_of_one_view_and_in_register(shell):
    truth, poses = Truth.read(shell), read_truth(str(shell / "truth.star"))[1]
    label, own = classes_by_truth(truth.direction, poses, 12, 1)
    averages, sizes = means(shell, label, own), np.bincount(label)
    found = figures(averages, sizes, RADIUS)
    assert found["inside"] == 1
    assert found["fold4"] > 0.8  # the four-fold view is among them
    draw = np.random.default_rng(1)
    elsewhere = Poses(draw.uniform(-180, 180, len(label)), own.shift)
    blurred = means(shell, label, elsewhere)
    azimuthal = [np.square(a - _over_rings(a)).sum() for a in (averages[0], blurred[0])]
    assert azimuthal[0] > 3 * azimuthal[1]  # out of register hardly anything is left but rings


def _over_rings(image: np.ndarray) -> np.ndarray:
    """The mean over rings of an image, as an image."""
    y, x = np.indices(image.shape) - BOX // 2
    ring = np.hypot(y, x).round().astype(int)
    return (np.bincount(ring.ravel(), image.ravel()) / np.bincount(ring.ravel()))[ring]


def test_noise_lies_outside_as_much_as_inside_and_has_no_symmetry():
    noise = np.random.default_rng(0).normal(size=(20, 128, 128))
    seen = [seen_in(image, 43.0) for image in noise]
    assert np.mean([one.outside for one in seen]) == pytest.approx(0.46, abs=0.04)  # by their areas
    assert np.mean([one.fold[3] for one in seen]) == pytest.approx(1 / 3, abs=0.06)  # every third order
    assert min(one.outside for one in seen) > GOOD


def test_a_pattern_is_as_many_fold_as_it_was_made():
    y, x = np.indices((128, 128)) - 64
    inside = np.exp(-((np.hypot(y, x) - 30) ** 2) / 50)
    for fold in (3, 4):
        seen = seen_in(inside * np.cos(fold * np.arctan2(y, x)), 43.0)
        assert seen.fold[fold] > 0.98
        assert seen.outside < 0.02
