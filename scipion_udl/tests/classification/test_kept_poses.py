"""Classification in poses that are given: nobody looks for others, and what differs in register is told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from emtable import Table as StarFile

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.imaging.fourier import to_fourier
from scipion_udl.imaging.poses import Poses, pose_errors
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.tests.class_helpers import Grid, away, random_poses, seen
from scipion_udl.tests.engine_helpers import correlation, run

BOX, COUNT, PIXEL_SIZE, SNR = 48, 60, 2.0, 0.3


@pytest.mark.parametrize("mirror", [False, True])
def test_samples_in_given_poses_are_those_of_aligned_images(mirror):
    """Rotated, shifted and mirrored as what makes the averages does it."""
    grid, truth = Grid(BOX), random_poses(5, 2)
    images = seen(1, truth, BOX)
    poses = Poses(np.array([20.0, -130.0, 75.0, 180.0, -5.0]), np.array([[1.5, -2], [0, 3], [2, 2], [-1, 0.5], [0, 0]]))
    poses = Poses(poses.angle, poses.shift, np.array([mirror, False, mirror, mirror, False]))
    tensor = torch.from_numpy(np.asarray(images, np.float32))
    aligned = apply_poses(tensor, torch.zeros(len(images)), poses).numpy()
    values = grid.sampling.of(to_fourier(tensor))
    assert away(grid.sampling.posed(values, poses, 1.0), grid.samples(aligned)) < 0.05
    halved = Poses(poses.angle, poses.shift / 2, poses.mirror)
    assert away(grid.sampling.posed(values, halved, 0.5), grid.samples(aligned)) < 0.05
    if mirror:
        plain = Poses(poses.angle, poses.shift)
        assert away(grid.sampling.posed(values, plain, 1.0), grid.samples(aligned)) > 0.2


def rolled(poses: Poses, angle: float) -> Poses:
    """The poses of an average that lies rotated by an angle."""
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return Poses(poses.angle + angle, poses.shift @ rotation.T)


@pytest.fixture(scope="module")
def particles(tmp_path_factory) -> Path:
    """COUNT particles of one view in register, and as many of the same view rotated by 60 degrees: what tells them
    apart is how they lie, and nothing else."""
    folder = tmp_path_factory.mktemp("kept")
    poses = random_poses(2 * COUNT, 7)
    noise = np.random.default_rng(3).normal(size=(2 * COUNT, BOX, BOX))
    write_stack(str(folder / "p.mrcs"), seen(1, poses, BOX) * np.sqrt(SNR) + noise, PIXEL_SIZE)
    given = [rolled(poses[np.array([k])], 60.0 * (k >= COUNT)) for k in range(2 * COUNT)]
    table = Poses(np.concatenate([one.angle for one in given]), np.concatenate([one.shift for one in given]))
    source = open_particles(str(folder / "p.mrcs"))
    write_aligned(source, table, np.zeros(len(source)), np.zeros(len(source), bool), star=str(folder / "p.star"))
    return folder / "p.star"


def rows_of(out: Path) -> list:
    return list(StarFile(fileName=str(out / "classes.star"), tableName="particles"))


def test_particles_are_sorted_as_they_lie_and_stay_there(particles, tmp_path):
    words = ("--classes", 2, "--threads", 1, "--mask-radius", 20)
    assert run("classify", particles, "-o", tmp_path / "o", *words, "--no-align") == 0
    label = np.array([int(row.rlnClassNumber) for row in rows_of(tmp_path / "o")])
    first = label[:COUNT] == np.bincount(label[:COUNT]).argmax()
    second = label[COUNT:] == np.bincount(label[COUNT:]).argmax()
    assert np.bincount(label[:COUNT]).argmax() != np.bincount(label[COUNT:]).argmax()
    assert np.concatenate([first, second]).mean() > 0.95
    found, given = (open_particles(str(path)).poses() for path in (tmp_path / "o" / "classes.star", particles))
    errors = pose_errors(found, given)
    assert np.abs(errors.rotation).max() < 1e-3
    assert np.abs(errors.shift).max() < 1e-3
    assert not (tmp_path / "o" / "joining_classes.json").exists()


def test_averages_are_those_of_the_given_poses(particles, tmp_path):
    import mrcfile

    words = ("--classes", 2, "--threads", 1, "--mask-radius", 20)
    assert run("classify", particles, "-o", tmp_path / "o", *words, "--no-align") == 0
    averages = mrcfile.read(tmp_path / "o" / "averages.mrcs")
    clean = [seen(1, Poses(np.array([angle])), BOX)[0] for angle in (0.0, -60.0)]  # its pose would be the reverse
    alike = np.array([[correlation(average, image) for image in clean] for average in averages])
    assert (alike.max(1) > 0.9).all()
    assert set(alike.argmax(1)) == {0, 1}


def test_a_table_without_poses_is_refused(particles, tmp_path, capsys):
    assert run("classify", particles.parent / "p.mrcs", "-o", tmp_path / "o", "--classes", 2, "--no-align") == 1
    assert "carries no alignment to keep: leave --no-align out" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
