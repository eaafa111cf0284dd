"""What a run says of sets that are not as they should be: mixed, with copies, with other gains, or too weak."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.alignment.aligner import Aligner, Alignment, AlignmentPlan
from scipion_udl.alignment.averages import average_particles
from scipion_udl.alignment.half_set_refinement import Split
from scipion_udl.imaging.half_set_frc import estimate_resolution
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.results.returned import Alignment as Found
from scipion_udl.simulation.particles import noise
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import (
    CPU,
    PIXEL_SIZE,
    align_images,
    apart,
    errors_to_truth,
    prepared,
    run,
    simulate,
    summary,
)
from scipion_udl.validation.angular_accuracy import angular_accuracy_warnings, expected_accuracy, with_angular_accuracy
from scipion_udl.validation.heterogeneity import image_warnings


def codes(found: Found) -> list[str]:
    return [warning.code for warning in found.warnings]


def known(poses: Poses) -> Alignment:
    """An alignment that gave these poses, the particles in halves by turns."""
    n = len(poses)
    nothing, none = np.zeros(n), np.zeros(n, bool)
    return Alignment(poses, poses, np.arange(n) % 2, nothing, none, 8.0, False, np.full(n, np.nan), none)


# mixed views


def test_no_resolution_is_claimed_of_mixed_views_but_the_frc_is_there():
    views = [phantom(name, 48).sample(Poses(np.linspace(-180, 179, 100))) for name in ("hook", "hammer")]
    stack = np.concatenate([view / view.std(axis=(1, 2), keepdims=True) * np.sqrt(0.5) for view in views])
    found = align_images(stack + np.random.default_rng(0).normal(size=stack.shape), max_shift=3, epochs=1)
    assert "mixed_views" in codes(found)
    assert "no_signal" not in codes(found)  # there is one, or several
    assert found.resolution is None
    assert "mixed" in found.resolution_note
    assert len(found.frc) == 24


# gains


def test_a_gain_for_every_image_changes_neither_poses_nor_claim(tmp_path):
    images = StackReader(str(simulate(tmp_path / "s", 200, 48, 0.5, max_shift=3) / "particles.mrcs")).read()
    gain = np.where(np.arange(200) % 10, 1.0, 100.0)[:, None, None]
    plain = align_images(images, max_shift=6, epochs=2)
    gains = align_images(gain * images + 50 * gain, max_shift=6, model=plain.model)
    assert gains.resolution == pytest.approx(plain.resolution, rel=0.02)
    assert apart(plain.poses, gains.poses) < (0.1, 0.1)
    assert "scales_differ" not in codes(plain)
    assert "scales_differ" in codes(gains)


# copies


def test_names_of_one_image_are_counted(tmp_path):
    write_stack(str(tmp_path / "a.mrcs"), noise(20, 32, seed=1), PIXEL_SIZE)
    (tmp_path / "b.mrcs").symlink_to(tmp_path / "a.mrcs")
    names = [f"{k}@a.mrcs" for k in range(1, 21)] + [f"{k}@b.mrcs" for k in (7, 3)]
    columns = {"rlnImageName": names, "rlnPixelSize": ["3.0"] * 22}
    write_tables(str(tmp_path / "p.star"), [Table("", columns)])
    particles = PreparedParticles(open_particles(str(tmp_path / "p.star")), CPU)
    (warning,) = image_warnings(particles)
    assert warning.startswith("2 of 22 images are in the set more than once (item 21 is item 7 again)")


def test_a_set_of_different_images_has_no_copies(tmp_path):
    assert image_warnings(prepared(tmp_path, noise(40, 32, seed=1))) == []


def test_images_that_share_their_background_are_no_copies(tmp_path):
    images = np.repeat(noise(1, 32, seed=1), 3, axis=0)
    images[:, 15:18, 14] += np.array([[1, 2, 3], [3, 2, 1], [1, 2, 3]], np.float32)
    assert prepared(tmp_path, images).duplicates_of.tolist() == [0, 1, 0]


def test_copies_never_come_into_both_halves(tmp_path):
    """With an image in either half everything would agree, and were it noise."""
    particles = prepared(tmp_path, np.repeat(noise(8, 32, seed=3), 2, axis=0))
    (warning,) = image_warnings(particles)
    assert warning.startswith("8 of 16 images are in the set more than once")
    aligner = Aligner(particles, None, SpectraSettings(), AlignmentPlan(1.0))
    half = aligner.run(start=Poses(np.zeros(16), np.zeros((16, 2)))).half
    assert np.array_equal(half[::2], half[1::2])
    assert set(half) == {0, 1}


@pytest.mark.parametrize("mirror", [False, True])
def test_copies_of_one_image_lie_alike_as_they_are(mirror):
    """They would all come into one half, with nothing in the other."""
    found = align_images(np.repeat(noise(1, 32, seed=3), 12, axis=0), mirror=mirror)
    assert any("copies of one image" in str(warning) for warning in found.warnings)
    assert not found.angle.any()
    assert not found.shift.any()
    assert not found.mirror.any()
    assert found.resolution is None
    assert not found.outlier.any()


def test_copies_stay_in_one_half():
    duplicates_of = np.arange(40)
    duplicates_of[[5, 17, 30]] = 2
    split = Split.of(np.random.default_rng(0).permutation(40), 40, duplicates_of)
    assert len(set(split.half[[2, 5, 17, 30]])) == len(set(split.fold[[2, 5, 17, 30]])) == 1
    assert abs(split.half.mean() - 0.5) < 0.1


# how many angles can be relied on


def test_halves_that_agree_up_to_their_start_alone_are_no_alarm_where_angles_are_sure():
    flat = np.where(np.arange(32) < 14, 0.95, 0.0)
    estimate = estimate_resolution(flat, 64, PIXEL_SIZE, initial_lowpass=14, mask_radius=30)
    assert estimate.signal is False
    calm = with_angular_accuracy(estimate, 0.99)
    assert (calm.signal, calm.resolution, calm.sure) == (None, None, 0.99)
    assert "no noise, 99% of their angles" in calm.note
    assert with_angular_accuracy(estimate, 0.3) == estimate


def test_a_small_set_whose_halves_agree_no_further_is_not_called_noise(tmp_path):
    folder = simulate(tmp_path / "p", 150, 48, 0.1, name="clamp", max_shift=4, seed=1)
    assert run("align", folder / "particles.star", "-o", tmp_path / "out") == 0
    assert np.abs(errors_to_truth(tmp_path / "out" / "aligned.star", folder).rotation).max() < 5
    assert summary(tmp_path / "out")["signal_found"] is not False
    assert summary(tmp_path / "out")["angles_sure"] > 0.95


@pytest.mark.parametrize("wrong", [0.0, 0.4])
def test_angles_that_are_wrong_are_noticed_though_nobody_knows_the_right_ones(tmp_path, wrong):
    rng = np.random.default_rng(4)
    true = Poses(rng.uniform(-180, 180, 200), rng.uniform(-3, 3, (200, 2)))
    clean = phantom("hook", 64).sample(true)
    particles = prepared(tmp_path, clean / clean.std() * np.sqrt(0.1) + rng.normal(size=clean.shape))
    given = Poses(true.angle.copy(), true.shift)
    astray = rng.permutation(200)[: round(wrong * 200)]
    given.angle[astray] += rng.uniform(30, 150, len(astray))
    alignment = known(given)
    sure = expected_accuracy(particles, alignment, average_particles(particles, given, given, alignment.half), 5.0)
    assert sure == pytest.approx(1 - wrong, abs=0.06)
    assert bool(angular_accuracy_warnings(sure)) == (wrong > 0)


def test_few_weak_particles_are_not_surer_for_being_part_of_an_average(tmp_path):
    """By the average of its own half, which holds its own noise, each would be sure of whatever it was given."""
    found = []
    for seed in (4, 5, 6):
        rng = np.random.default_rng(seed)
        true = Poses(rng.uniform(-180, 180, 12), rng.uniform(-3, 3, (12, 2)))
        clean = phantom("hook", 64).sample(true)
        folder = tmp_path / str(seed)
        folder.mkdir()
        particles = prepared(folder, clean / clean.std() * np.sqrt(0.03) + rng.normal(size=clean.shape))
        alignment = known(true)
        averages = average_particles(particles, true, true, alignment.half)
        found.append(expected_accuracy(particles, alignment, averages, 5.0))
    assert np.mean(found) < 0.98


def test_particles_too_weak_to_be_sure_of_are_told_from_the_strong(tmp_path):
    """The poses are the true ones, and yet no particle could tell."""
    rng = np.random.default_rng(5)
    true = Poses(rng.uniform(-180, 180, 500), np.zeros((500, 2)))
    clean = phantom("hook", 48).sample(true)
    found = []
    for number, snr in enumerate((0.1, 0.004)):
        folder = tmp_path / str(number)
        folder.mkdir()
        particles = prepared(folder, clean / clean.std() * np.sqrt(snr) + rng.normal(size=clean.shape))
        alignment = known(true)
        found.append(
            expected_accuracy(particles, alignment, average_particles(particles, true, true, alignment.half), 5.0)
        )
    assert found[0] > 0.97
    assert found[1] < 0.8
    assert "can be expected to be right" in angular_accuracy_warnings(found[1])[0]
