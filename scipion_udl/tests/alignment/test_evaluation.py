"""The figures of merit say what they claim to say, whatever the frame, the order of rows and the form of names."""

from __future__ import annotations

import argparse
import csv
import os

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

from scipion_udl.alignment.evaluation import compare, evaluate, join, located_truth
from scipion_udl.alignment.geometry import Poses, compose, invert
from scipion_udl.alignment.reference import transform
from scipion_udl.errors import UdlError
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.io.truth import truth_table
from scipion_udl.tests.alignment.test_reference import picture

BOX, COUNT, PIXEL = 48, 40, 2.5


def random_poses(n: int, seed: int = 0, mirror: bool = False) -> Poses:
    rng = np.random.default_rng(seed)
    return Poses(rng.uniform(-180, 180, n), rng.uniform(-8, 8, (n, 2)), rng.random(n) < 0.5 if mirror else None)


def disturbed(truth: Poses, degrees: float, pixels: float, seed: int = 1) -> Poses:
    """Poses that turn the template by errors of a known size about its own origin."""
    rng = np.random.default_rng(seed)
    n = len(truth)
    return compose(Poses(rng.normal(0, degrees, n), rng.normal(0, pixels, (n, 2))), truth)


# compare


@pytest.mark.parametrize("mirror", [False, True])
def test_a_common_rigid_transform_changes_nothing(mirror):
    truth = random_poses(2000, mirror=mirror)
    found = disturbed(truth, 1.0, 0.5)
    common = Poses(np.array([123.4]), np.array([[7.0, -3.0]]))
    here, there = compare(found, truth, 2.0), compare(compose(common, found), truth, 2.0)
    # The medians of x and y, which say where the common place is, turn a little with the axes they are taken along.
    assert here == pytest.approx(there, rel=0.01)
    assert here["rotation_mean"] == pytest.approx(0.8, rel=0.1)  # mean absolute value of a normal error of 1 degree
    assert here["shift_rms"] == pytest.approx(np.sqrt(2) * 0.5, rel=0.1)
    assert here["shift_rms_angstrom"] == pytest.approx(2 * here["shift_rms"])


def test_the_truth_itself_has_no_error():
    truth = random_poses(100, mirror=True)
    result = compare(truth, truth)
    assert result["rotation_mean"] < 1e-9
    assert result["shift_rms"] < 1e-9
    assert result["within_5"] == result["within_5_180"] == result["right_way_round"] == 1.0


def test_ten_percent_turned_by_180_degrees_are_ten_percent_wrong():
    truth = random_poses(500)
    found = disturbed(truth, 0.5, 0.2)
    found = compose(Poses(np.where(np.arange(500) % 10 == 3, 180.0, 0.0)), found)
    result = compare(found, truth)
    assert result["within_5"] == pytest.approx(0.9)
    assert result["right_way_round"] == pytest.approx(0.9)
    assert result["within_5_180"] == 1.0
    assert result["rotation_mean_180"] < 0.5
    assert result["rotation_mean"] == pytest.approx(0.1 * 180 + 0.9 * 0.4, rel=0.05)
    assert result["shift_rms"] == pytest.approx(np.sqrt(2) * 0.2, rel=0.1)


def test_the_majority_decides_which_way_is_round():
    truth = random_poses(300)
    found = compose(Poses(np.where(np.arange(300) < 200, 180.0, 0.0)), truth)
    assert compare(found, truth)["right_way_round"] == pytest.approx(2 / 3)


def test_random_poses_are_as_bad_as_chance():
    result = compare(random_poses(4000, 5), random_poses(4000, 6))
    assert result["rotation_mean"] == pytest.approx(90, abs=5)
    assert result["rotation_mean_180"] == pytest.approx(45, abs=3)
    assert result["within_5"] == pytest.approx(10 / 360, abs=0.015)


def test_inverted_poses_do_not_pass():
    truth = random_poses(400)
    assert compare(invert(truth), truth)["within_5"] < 0.2


def test_different_numbers_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(random_poses(3), random_poses(4))
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(random_poses(3)[:0], random_poses(3)[:0])


def test_join_goes_by_image():
    rows, true_rows = join([("a", 1), ("b", 0), ("c", 2)], [("c", 2), ("a", 0), ("a", 1)])
    assert list(rows) == [0, 2]
    assert list(true_rows) == [2, 0]


# the command


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Particles with known truth, aligned with small errors, and ``evaluate`` called on them in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("data")
    truth = random_poses(COUNT)
    particles = [transform(picture(BOX), invert(truth)[[k]]) for k in range(COUNT)]
    write_stack("data/particles.mrcs", np.array(particles), PIXEL)
    write_stack("data/template.mrc", picture(BOX), PIXEL)
    write_particles("data/particles.star", "data/particles.mrcs", range(COUNT))
    write_truth("data/truth.star", truth, range(COUNT))
    source = open_particles("data/particles.star")
    found = disturbed(truth, 0.5, 0.1)
    write_aligned(source, found, np.linspace(0.1, 0.9, COUNT), np.zeros(COUNT, bool), "aligned.star", "aligned.xmd")

    def call(**options):
        chosen = {"aligned": "aligned.star", "truth": None, "reference": None, "output": "out", "overwrite": False}
        return evaluate(argparse.Namespace(**{**chosen, "pixel_size": None, **options}))

    return call, truth, found


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_particles(path, stack, rows):
    names = [f"{k + 1:06d}@{stack}" for k in rows]
    optics = {"rlnOpticsGroup": ["1"], "rlnImagePixelSize": [str(PIXEL)], "rlnImageSize": [str(BOX)]}
    particles = {"rlnImageName": names, "rlnOpticsGroup": ["1"] * len(names)}
    write_tables(path, [Table("optics", optics), Table("particles", particles)])


def write_truth(path, truth, rows):
    names = [f"{k + 1:06d}@{os.path.abspath('data/particles.mrcs')}" for k in rows]
    write_tables(path, [truth_table(names, truth[np.array(rows)])])


@pytest.mark.parametrize("aligned", ["aligned.star", "aligned.xmd"])
def test_files_give_the_figures_of_the_poses(run, aligned, capsys):
    call, truth, found = run
    result = call(aligned=aligned, truth="data/truth.star")
    assert result == pytest.approx(compare(found, truth, PIXEL), abs=2e-3)
    rows = read_rows("out/evaluation.csv")
    assert {row["figure"]: float(row["value"]) for row in rows} == pytest.approx(result, rel=1e-4)
    assert os.path.getsize("out/evaluation.png") > 10_000
    screen = capsys.readouterr().out
    assert f"{result['rotation_mean']:.2f} deg" in screen
    assert f"{result['shift_rms']:.2f} px" in screen


def test_row_order_and_the_form_of_names_do_not_matter(run):
    call, truth, _ = run
    first = call(truth="data/truth.star")
    shuffled = np.random.default_rng(3).permutation(COUNT)
    write_truth("data/other.star", truth, shuffled)  # absolute names, the particles have relative ones
    os.symlink("data", "link")
    assert call(truth="link/other.star", output="again") == first


def test_particles_without_truth_are_left_out_and_said(run, capsys):
    call, truth, _ = run
    write_truth("data/part.star", truth, range(10, COUNT))
    assert call(truth="data/part.star")["particles"] == COUNT - 10
    assert f"10 of {COUNT} particles are not in data/part.star" in capsys.readouterr().out


def test_errors_are_written_particle_by_particle(run):
    call, _, found = run
    broken = compose(Poses(np.where(np.arange(COUNT) == 7, 180.0, 0.0)), found)
    source = open_particles("data/particles.star")
    write_aligned(source, broken, np.linspace(0.1, 0.9, COUNT), np.zeros(COUNT, bool), "broken.star")
    call(aligned="broken.star", truth="data/truth.star")
    rows = read_rows("out/errors.csv")
    assert len(rows) == COUNT
    wrong = [row for row in rows if abs(float(row["rotation_error"])) > 90]
    assert [row["image"] for row in wrong] == ["000008@data/particles.mrcs"]
    assert abs(float(wrong[0]["rotation_error_180"])) < 5
    assert float(rows[-1]["score"]) == pytest.approx(0.9)


def test_the_average_is_compared_with_a_reference(run, capsys):
    call, _, _ = run
    result = call(reference="data/template.mrc")
    assert result["correlation"] > 0.99
    assert 2 * PIXEL <= result["resolution_frc_0.5"] < 8 * PIXEL
    assert os.path.getsize("out/evaluation.png") > 10_000
    assert "correlation" in capsys.readouterr().out


def test_an_unaligned_average_does_not_match_the_reference(run):
    call, _, _ = run
    source = open_particles("data/particles.star")
    write_aligned(source, Poses.identity(COUNT), np.zeros(COUNT), np.zeros(COUNT, bool), "identity.star")
    assert call(aligned="identity.star", reference="data/template.mrc")["correlation"] < 0.97


def test_wrong_input_ends_in_one_sentence(run):
    call, _, _ = run
    write_stack("other.mrcs", np.zeros((2, BOX, BOX)), PIXEL)
    write_stack("small.mrc", np.zeros((20, 20)), PIXEL)
    write_tables("stranger.star", [truth_table(["1@other.mrcs"], Poses.identity(1))])
    cases = [
        ({}, "either --truth"),
        ({"truth": "data/truth.star", "reference": "data/template.mrc"}, "either --truth"),
        ({"truth": "nowhere.star"}, "nowhere.star"),
        ({"truth": "data/particles.star"}, "no true poses"),
        ({"truth": "data/particles.mrcs"}, "not a text table"),
        ({"truth": "stranger.star"}, "names none of the images"),
        ({"aligned": "data/particles.star", "truth": "data/truth.star"}, "carries no poses"),
        ({"aligned": "data/particles.mrcs", "truth": "data/truth.star"}, "carries no poses"),
        ({"reference": "small.mrc"}, "same box"),
        ({"reference": "data/particles.mrcs"}, "holds 40 images"),
    ]
    for options, words in cases:
        with pytest.raises(UdlError, match=words) as error:
            call(**options)
        assert "\n" not in str(error.value)
        assert not os.path.exists("out")


def test_results_are_not_overwritten_unasked(run):
    call, _, _ = run
    call(truth="data/truth.star")
    with pytest.raises(UdlError, match="overwrite"):
        call(truth="data/truth.star")
    call(truth="data/truth.star", overwrite=True)


def test_truth_is_read_as_written(run):
    images, truth = located_truth("data/truth.star")
    assert images[3] == (os.path.realpath("data/particles.mrcs"), 3)
    assert truth.angle == pytest.approx(run[1].angle, abs=1e-5)
    assert truth.shift == pytest.approx(run[1].shift, abs=1e-5)
