"""Starting from an alignment that the particles come with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.alignment.given_poses import how_far_they_held
from scipion_udl.imaging.poses import Poses, compose, pose_errors, wrap
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.tests.engine_helpers import align_images, errors_to_truth, rms, run, summary, table_with, true_poses


def near_truth(folder: Path, degrees: float, pixels: float) -> Poses:
    """True poses with normal errors."""
    true, rng = true_poses(folder), np.random.default_rng(4)
    return Poses(true.angle + rng.normal(0, degrees, 300), true.shift + rng.normal(0, pixels, (300, 2)))


def test_a_good_alignment_stays_as_good_and_in_its_frame(particles, aligned, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("align", aligned / "aligned.star", "-o", out, "--start-poses") == 0
    assert "Training the" not in capsys.readouterr().out
    before, after = (errors_to_truth(folder / "aligned.star", particles) for folder in (aligned, out))
    assert np.abs(after.rotation).mean() < 1.05 * np.abs(before.rotation).mean()
    assert rms(after) < 1.05 * rms(before)
    assert abs(float(wrap(after.common.angle[0] - before.common.angle[0]))) < 1.0
    assert np.abs(after.common.shift - before.common.shift).max() < 0.3
    facts = summary(out)
    assert facts["model"] is None
    assert facts["training"] is None
    assert not (out / "model.safetensors").exists()
    assert facts["resolution"] == pytest.approx(summary(aligned)["resolution"], rel=0.05)
    assert facts["shared_ring"] == 8
    assert any(note.startswith("Started from the poses of the input: 0.0%") for note in facts["notes"])


@pytest.mark.parametrize(("degrees", "pixels", "form"), [(10, 3, "xmd"), (180, 5, "star")])
def test_poses_that_were_wrong_are_left(particles, aligned, tmp_path, degrees, pixels, form):
    """From a mediocre alignment, and from poses that say nothing at all."""
    table = table_with(particles, tmp_path / f"given.{form}", near_truth(particles, degrees, pixels))
    found = align_images(table, start_poses=True)
    fresh = errors_to_truth(aligned / "aligned.star", particles)
    errors = pose_errors(found.poses, true_poses(particles))
    assert np.abs(errors.rotation).mean() < 1.1 * np.abs(fresh.rotation).mean()
    assert (np.abs(errors.rotation) < 5).mean() > 0.98
    assert rms(errors) < 1.1 * rms(fresh)
    assert any("of the particles lie elsewhere now" in str(line) for line in found.warnings)  # a third, or all
    if degrees == 10:
        assert abs(float(wrap(errors.common.angle[0]))) < 4  # the frame of most
    assert found.resolution == pytest.approx(summary(aligned)["resolution"], rel=0.05)


def test_noise_aligned_to_one_image_is_no_signal(tmp_path):
    """The poses that make an image appear in noise: as an earlier alignment without care may have left them."""
    rng, count, box = np.random.default_rng(6), 130, 28
    noise = rng.normal(size=(count, box, box)).astype(np.float32)
    image = rng.normal(size=(box, box))
    grid = range(-3, 4)
    fit = np.stack([(np.roll(noise, (y, x), (1, 2)) * image).sum((1, 2)) for y in grid for x in grid])
    best = fit.argmax(0)  # of all whole shifts up to 3 px, for all frequencies
    write_stack(str(tmp_path / "p.mrcs"), noise, 3.0)
    source = open_particles(str(tmp_path / "p.mrcs"))
    poses = Poses(np.zeros(count), np.stack([best % 7 - 3, best // 7 - 3], -1))
    write_aligned(source, poses, np.zeros(count), np.zeros(count, bool), star=str(tmp_path / "p.star"))
    moved = [np.roll(one, tuple(shift[::-1].astype(int)), (0, 1)) for one, shift in zip(noise, poses.shift)]
    halves = [np.mean(moved[k::2], axis=0) for k in (0, 1)]
    assert np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1] > 0.3  # so it appears in both halves
    found = align_images(tmp_path / "p.star", start_poses=True, max_shift=3)
    assert found.resolution is None
    assert "no_signal" in [warning.code for warning in found.warnings]


def test_what_cannot_be_started_from_is_told(particles, aligned, tmp_path, capsys):
    words = ["-o", tmp_path / "out", "--start-poses"]
    assert run("align", particles / "particles.mrcs", *words) == 1
    assert "carries no poses" in capsys.readouterr().err
    true = true_poses(particles)
    mirrored = table_with(particles, tmp_path / "m.xmd", Poses(true.angle, true.shift, np.arange(300) < 7))
    assert run("align", mirrored, *words) == 1
    assert "mirror 7 particles: give --mirror" in capsys.readouterr().err
    assert run("align", aligned / "aligned.star", *words, "--no-refine") == 1
    assert "leave out one of them" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_share_that_lies_elsewhere_is_that_of_angles_and_hands():
    rng = np.random.default_rng(0)
    given = Poses(rng.uniform(-180, 180, 100), rng.normal(size=(100, 2)), np.arange(100) % 2 == 0)
    found = compose(Poses([30.0], [[2.0, 1.0]]), given)
    found.angle[:10] += 90
    found.mirror[10:20] ^= True
    share, sentence = how_far_they_held(given, found, np.arange(100))
    assert share == pytest.approx(0.2)
    assert "20.0%" in sentence
