"""`evaluate`: errors that were put in come out, whatever the order of rows and the form of names."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

from scipion_udl.cli.commands import build_parser
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, compose, invert
from scipion_udl.io.aligned import write_aligned, write_authors_xmd
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.io.truth import truth_table
from scipion_udl.jobs.evaluate import evaluate
from scipion_udl.settings.commands import EvaluateSettings
from scipion_udl.tests.validation.test_pose_errors import disturbed, random_poses
from scipion_udl.tests.validation.test_reference_match import picture
from scipion_udl.validation.pose_errors import compare, join, located_truth
from scipion_udl.validation.reference_match import transform

DRAWN = True

BOX, COUNT, PIXEL = 48, 40, 2.5


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

    def call(aligned="aligned.star", output="out", **options):
        words = ["evaluate", aligned, "-o", output, "--gpu", "none", "--threads", "1"]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return evaluate(EvaluateSettings.of(vars(build_parser().parse_args(words))))

    return call, truth, found


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_particles(path, stack, rows):
    names = [f"{k + 1:06d}@{stack}" for k in rows]
    optics = {"rlnOpticsGroup": ["1"], "rlnImagePixelSize": [str(PIXEL)], "rlnImageSize": [str(BOX)]}
    particles = {"rlnImageName": names, "rlnOpticsGroup": ["1"] * len(names)}
    write_tables(path, [Table("optics", optics), Table("particles", particles)])


def one_particle(found):
    """one_aligned.star: the first of them, of which nothing is drawn."""
    write_particles("one.star", "data/particles.mrcs", [0])
    write_aligned(open_particles("one.star"), found[:1], np.zeros(1), np.zeros(1, bool), "one_aligned.star")


def write_truth(path, truth, rows):
    names = [f"{k + 1:06d}@{os.path.abspath('data/particles.mrcs')}" for k in rows]
    write_tables(path, [truth_table(names, truth[np.array(rows)])])


@pytest.mark.parametrize("aligned", ["aligned.star", "aligned.xmd"])
def test_files_give_the_figures_of_the_poses(run, aligned, capsys):
    call, truth, found = run
    result = call(aligned=aligned, truth="data/truth.star")
    expected = compare(found, truth, PIXEL)
    assert {figure: result[figure] for figure in expected} == pytest.approx(expected, abs=2e-3)
    rows = read_rows("out/evaluation.csv")
    assert {row["figure"]: float(row["value"]) for row in rows} == pytest.approx(result, rel=1e-4, abs=1e-9)
    assert all(row["meaning"] for row in rows)
    assert os.path.getsize("out/evaluation.png") > 10_000
    screen = capsys.readouterr().out
    assert f"{result['rotation_mean']:.2f} deg" in screen
    assert f"{result['shift_rms']:.2f} px" in screen


def test_row_order_and_the_form_of_names_do_not_matter(run):
    shuffled = np.random.default_rng(3).permutation(COUNT)
    write_truth("data/other.star", run[1], shuffled)  # absolute names, the particles have relative ones
    os.symlink("data", "link")
    images, truth = located_truth("link/other.star")
    rows, true_rows = join(open_particles("aligned.star").locations(), images)
    assert rows.tolist() == list(range(COUNT))
    as_written = located_truth("data/truth.star")[1]
    assert np.array_equal(truth.angle[true_rows], as_written.angle)
    assert np.array_equal(truth.shift[true_rows], as_written.shift)


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


def test_wrong_input_ends_in_one_sentence(run, capsys):
    call, _, _ = run
    write_stack("other.mrcs", np.zeros((2, BOX, BOX)), PIXEL)
    write_stack("small.mrc", np.zeros((20, 20)), PIXEL)
    write_tables("stranger.star", [truth_table(["1@other.mrcs"], Poses.identity(1))])
    subset = np.array([0, 2, 4])
    write_truth("every_other.star", run[1], subset)
    cases = [
        ({"truth": "every_other.star", "pairs": True}, "no two particles that follow each other"),
        ({"symmetry": 4, "reference": "data/template.mrc"}, "give --truth, too"),
        ({"mask_radius": BOX}, "more than half the box"),
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
        assert "rotation" not in capsys.readouterr().out  # no half table before it
        assert not os.path.exists("out")


def test_results_are_not_overwritten_unasked(run):
    call, _, found = run
    one_particle(found)
    call(aligned="one_aligned.star")
    with pytest.raises(UdlError, match="overwrite"):
        call(aligned="one_aligned.star")
    call(aligned="one_aligned.star", overwrite=True)


def test_truth_is_read_as_written(run):
    images, truth = located_truth("data/truth.star")
    assert images[3] == (os.path.realpath("data/particles.mrcs"), 3)
    assert truth.angle == pytest.approx(run[1].angle, abs=1e-5)
    assert truth.shift == pytest.approx(run[1].shift, abs=1e-5)


# more than the truth


def test_everything_can_be_asked_at_once_and_pairs_are_counted_and_written(run, capsys):
    call, _, found = run
    broken = compose(Poses(np.where(np.arange(COUNT) == 7, 40.0, 0.0)), found)
    source = open_particles("data/particles.star")
    write_aligned(source, broken, np.zeros(COUNT), np.zeros(COUNT, bool), "broken.star")
    truth, template = "data/truth.star", "data/template.mrc"
    result = call(aligned="broken.star", truth=truth, reference=template, pairs=True, symmetry=2)
    assert result["pairs"] == COUNT - 1
    assert "39 pairs" in capsys.readouterr().out
    rows = read_rows("out/pairs.csv")
    wrong = [row for row in rows if abs(float(row["rotation_error"])) > 20]
    assert [(row["image"][:6], row["next"][:6]) for row in wrong] == [("000007", "000008"), ("000008", "000009")]
    assert [float(row["rotation_error"]) for row in wrong] == pytest.approx([-40, 40], abs=4)
    assert {"rotation_mean", "pair_rotation_mean", "pair_correntropy", "correlation", "correntropy_4"} <= set(result)
    assert result["correntropy"] > 0.95
    assert set(os.listdir("out")) >= {"evaluation.csv", "evaluation.png", "errors.csv", "pairs.csv", "frc.csv"}


def test_particles_without_truth_are_left_out_and_said_and_so_are_their_pairs(run, capsys):
    call, truth, _ = run
    write_truth("data/part.star", truth, [0, 1, 2, 10, 11, 30])
    result = call(truth="data/part.star", pairs=True)
    assert (result["particles"], result["pairs"]) == (6, 3)
    assert f"{COUNT - 6} of {COUNT} particles are not in data/part.star" in capsys.readouterr().out
    assert [row["image"][:6] for row in read_rows("out/pairs.csv")] == ["000001", "000002", "000011"]


def test_a_symmetric_view_has_a_column_of_its_own(run, capsys):
    call, _, found = run
    rotated = compose(Poses(np.where(np.arange(COUNT) % 4 == 0, 90.0, 0.0)), found)
    source = open_particles("data/particles.star")
    write_aligned(source, rotated, np.zeros(COUNT), np.zeros(COUNT, bool), "turned.star")
    result = call(aligned="turned.star", truth="data/truth.star", symmetry=4)
    assert result["within_5_180"] == pytest.approx(0.75)
    assert result["within_5_symmetry"] == 1.0
    assert "modulo 90" in capsys.readouterr().out
    meanings = {row["figure"]: row["meaning"] for row in read_rows("out/evaluation.csv")}
    assert meanings["rotation_mean_symmetry"].endswith("modulo 90 degrees")
    assert "rotation_error_symmetry" in read_rows("out/errors.csv")[0]


def test_particles_without_truth_are_judged_by_themselves(run, capsys):
    call, _, _ = run
    source = open_particles("data/particles.star")
    scrambled = random_poses(COUNT, 77)
    write_aligned(source, scrambled, np.zeros(COUNT), np.zeros(COUNT, bool), "scrambled.star")
    good, bad = call(), call(aligned="scrambled.star", output="bad")
    for figure in ("correntropy_2", "correntropy_4"):
        assert good[figure] > bad[figure] + 0.01
    assert good["half_frc_0.143"] < bad["half_frc_0.143"]  # angstrom: less is finer
    assert good["correntropy_2"] > 0.99
    assert "rotation_mean" not in good
    assert "No resolution is claimed" in capsys.readouterr().out
    assert os.path.getsize("out/evaluation.png") > 10_000
    with open("out/summary.json", encoding="utf-8") as file:
        assert json.load(file)["figures"] == pytest.approx(good)


def test_what_is_outside_of_the_mask_does_not_count(run):
    call, _, _ = run
    dirty = picture(BOX)
    dirty[2:6, BOX // 2 - 2 : BOX // 2 + 2] += 3.0  # bright dirt at the edge of the box, 20 px from its centre
    write_stack("dirty.mrc", dirty, PIXEL)
    wide = call(reference="dirty.mrc")["correlation"]
    tight = call(reference="dirty.mrc", mask_radius=15, output="tight")["correlation"]
    clean = call(reference="data/template.mrc", mask_radius=15, output="clean")["correlation"]
    assert wide < 0.95
    assert tight == pytest.approx(clean, abs=0.002)


def test_the_table_of_the_authors_is_evaluated_like_ours(run):
    call, truth, found = run
    source = open_particles("data/particles.star")
    write_authors_xmd(source, found, np.linspace(0.5, 0.9, COUNT), "authors.xmd")
    theirs, ours = call(aligned="authors.xmd", truth="data/truth.star"), open_particles("aligned.star").poses()
    expected = compare(ours, truth, PIXEL)
    assert {figure: theirs[figure] for figure in expected} == pytest.approx(expected, abs=1e-3)
    read = open_particles("authors.xmd").poses()
    assert np.abs(Poses(read.angle - ours.angle).angle).max() < 1e-3
    assert np.abs(read.shift - ours.shift).max() < 1e-3
    assert float(read_rows("out/errors.csv")[-1]["score"]) == pytest.approx(0.9)


def test_one_particle_has_nothing_to_agree_with(run, capsys):
    call, _, found = run
    one_particle(found)
    assert call(aligned="one_aligned.star") == {"particles": 1}
    with pytest.raises(UdlError, match="no next one"):
        call(aligned="one_aligned.star", pairs=True, output="again")
    write_truth("one_truth.star", run[1], np.array([0]))
    capsys.readouterr()
    with pytest.raises(UdlError, match="no next one"):
        call(aligned="one_aligned.star", truth="one_truth.star", pairs=True, output="again")
    assert "rotation" not in capsys.readouterr().out


def test_classes_that_are_mixed_are_told(run, capsys):
    call, _, _ = run
    names = [f"{k + 1:06d}@data/particles.mrcs" for k in range(COUNT)]
    poses = {"anglePsi": ["0"] * COUNT, "shiftX": ["0"] * COUNT, "shiftY": ["0"] * COUNT}
    for classes, told in ((1, False), (2, True)):
        ref = [str(1 + k % classes) for k in range(COUNT)]
        write_tables("classes.xmd", [Table("particles", {"image": names, **poses, "ref": ref})], xmipp=True)
        call(aligned="classes.xmd", output=f"out{classes}", pixel_size=PIXEL)
        assert ("holds 2 classes" in capsys.readouterr().err) == told


@pytest.mark.parametrize(("column", "value"), [(1, "1e308"), (2, "-1e20"), (1, "150.0"), (2, "1e308")])
@pytest.mark.parametrize("whose", ["aligned.star", "data/truth.star"])
def test_a_pose_beyond_measure_is_named_by_file_and_row(run, whose, column, value):
    labels = ("udlAngle", "udlShiftX", "udlShiftY")
    if whose == "aligned.star":
        labels = ("rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst")
    tables = read_tables(whose)
    texts = list(tables[-1].texts(labels[column]))
    texts[4] = value
    tables[-1].set(labels[column], texts)
    write_tables(whose, tables)
    with pytest.raises(UdlError, match=rf"{whose}: row 5 shifts .* of 48 px: mend the row"):
        run[0](truth="data/truth.star")
