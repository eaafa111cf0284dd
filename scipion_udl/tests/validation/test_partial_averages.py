"""Averages of parts of a set: which particle is in which part, mirrored poses, and what the parts agree on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.imaging.poses import Poses, compose, invert
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.tests.engine_helpers import CPU, PIXEL_SIZE
from scipion_udl.tests.validation.test_pose_errors import random_poses
from scipion_udl.tests.validation.test_reference_match import picture
from scipion_udl.validation.partial_averages import Parts, read_parts
from scipion_udl.validation.reference_match import soft_circle, transform

BOX = 48


def particles(folder, poses, noise=0.0):
    """A source of particles that ``poses`` bring onto the picture, with noise of so many of its deviations."""
    rng = np.random.default_rng(4)
    images = np.array([transform(picture(BOX), invert(poses)[[k]]) for k in range(len(poses))])
    images += noise * picture(BOX).std() * rng.normal(size=images.shape)
    write_stack(str(folder / "p.mrcs"), images, PIXEL_SIZE)
    return open_particles(str(folder / "p.mrcs"))


def circle(box=BOX):
    return torch.from_numpy(soft_circle(box))


@pytest.mark.parametrize("box", [48, 49])
def test_mirrored_poses_bring_particles_onto_the_view(box):
    poses = random_poses(6, mirror=True)
    assert 0 < poses.mirror.sum() < 6
    images = np.array([transform(picture(box), invert(poses)[[k]]) for k in range(6)])
    aligned = apply_poses(torch.from_numpy(images).float(), torch.zeros(6), poses).numpy()
    inside = soft_circle(box, 0.3) > 0.5
    for image in aligned:
        assert np.corrcoef(image[inside], picture(box)[inside])[0, 1] > 0.999


def test_items_go_round_the_parts(tmp_path):
    images = np.zeros((6, BOX, BOX)) + np.arange(6)[:, None, None]
    write_stack(str(tmp_path / "p.mrcs"), images, PIXEL_SIZE)
    parts = read_parts(open_particles(str(tmp_path / "p.mrcs")), Poses.identity(6), CPU, circle(), batch=4)
    assert parts.counts.tolist() == [2, 2, 1, 1]
    assert parts.averages(1).mean((1, 2)).tolist() == pytest.approx([2.5])
    assert parts.averages(2).mean((1, 2)).tolist() == pytest.approx([2, 3])  # 0, 2, 4 and 1, 3, 5
    assert parts.averages(4).mean((1, 2)).tolist() == pytest.approx([2, 3, 2, 3])  # 0 and 4, 1 and 5, 2, 3


def test_a_part_without_particles_has_no_average():
    parts = Parts(torch.ones(4, 3, 3), np.array([1, 1, 1, 0]))
    assert parts.averages(4) is None
    assert list(parts.correntropies(torch.ones(3, 3))) == ["correntropy_2"]


def test_the_averages_show_the_view(tmp_path):
    poses = random_poses(12)
    averages = read_parts(particles(tmp_path, poses), poses, CPU, circle()).averages(4)
    for average in averages.numpy():
        assert np.corrcoef(average.ravel(), picture(BOX).ravel())[0, 1] > 0.995


def test_chunks_change_nothing(tmp_path):
    poses = random_poses(13, mirror=True)
    source = particles(tmp_path, poses, 2.0)
    one = read_parts(source, poses, CPU, circle(), batch=3, neighbours=True)
    other = read_parts(source, poses, CPU, circle(), batch=64, neighbours=True)
    assert torch.allclose(one.sums, other.sums, atol=1e-5)
    assert one.neighbours == pytest.approx(other.neighbours, abs=1e-6)


def test_parts_agree_less_the_worse_the_alignment(tmp_path):
    poses = random_poses(60)
    source = particles(tmp_path, poses, 2.0)
    rng = np.random.default_rng(9)
    found = []
    for degrees in (0.0, 20.0, 180.0):
        off = compose(Poses(rng.uniform(-degrees, degrees, 60)), poses)
        parts = read_parts(source, off, CPU, circle(), neighbours=True)
        figures = parts.correntropies(circle())
        frc = parts.frc(circle())[1:9].mean()
        found.append((figures["correntropy_2"], figures["correntropy_4"], parts.neighbours, frc))
    for better, worse in zip(found, found[1:]):
        assert all(high > low for high, low in zip(better, worse))
    assert all(two > four for two, four, *_ in found)  # larger parts have less noise


def test_parts_of_noise_have_nothing_in_common(tmp_path):
    write_stack(str(tmp_path / "p.mrcs"), np.random.default_rng(0).normal(size=(40, BOX, BOX)), PIXEL_SIZE)
    parts = read_parts(open_particles(str(tmp_path / "p.mrcs")), random_poses(40), CPU, circle(), neighbours=True)
    figures = parts.correntropies(circle())
    assert figures["correntropy_2"] == pytest.approx(5**-0.5, abs=0.04)
    assert figures["correntropy_4"] == pytest.approx(5**-0.5, abs=0.02)
    assert parts.neighbours == pytest.approx(5**-0.5, abs=0.01)
    assert np.abs(parts.frc(circle())[5:]).mean() < 0.2
