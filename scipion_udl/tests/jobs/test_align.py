"""`align` from end to end: how good it is, what it writes, and what other programs make of that."""

from __future__ import annotations

import csv
import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.tables import read_tables
from scipion_udl.models.checkpoint import load_card
from scipion_udl.tests.engine_helpers import (
    PIXEL_SIZE,
    correlation,
    difference,
    errors_to_truth,
    image,
    rms,
    summary,
    without_noise,
)
from scipion_udl.validation.reference_match import match_reference, transform

SETS = ["even", "odd"]
RESULTS = {
    "aligned.star",
    "aligned.xmd",
    "average.mrcs",
    "average_before.mrcs",
    "average_weighted.mrcs",
    "half1.mrcs",
    "half2.mrcs",
    "frc.csv",
    "joining.json",
    "report.html",
    "summary.json",
}


@pytest.fixture(params=SETS)
def both(request):
    """(simulation, its alignment), of an even and of an odd box."""
    prefix = "" if request.param == "even" else "odd_"
    return request.getfixturevalue(f"{prefix}particles"), request.getfixturevalue(f"{prefix}aligned")


# accuracy


def test_particles_are_aligned_to_a_degree_and_half_a_pixel(both):
    simulation, out = both
    errors = errors_to_truth(out / "aligned.star", simulation)
    assert len(errors.rotation) == 300
    assert np.abs(errors.rotation).mean() < 0.9
    assert rms(errors) < 0.35


def test_every_particle_lies_the_right_way_round(both):
    simulation, out = both
    errors = errors_to_truth(out / "aligned.star", simulation)
    assert np.abs(errors.rotation).max() < 10
    assert (np.abs(errors.rotation) < 5).mean() >= 0.99


def test_both_tables_say_the_same(both):
    _, out = both
    angle, shift = difference(out / "aligned.star", out / "aligned.xmd")
    assert angle < 1e-3
    assert shift < 1e-3
    star = next(table for table in read_tables(str(out / "aligned.star")) if "rlnImageName" in table)
    xmd = read_tables(str(out / "aligned.xmd"))[0]
    assert np.allclose(star.numbers("rlnParticleFigureOfMerit"), xmd.numbers("maxCC"), atol=1e-5)
    for flag in ("udlAmbiguous", "udlOutlier"):
        assert np.array_equal(star.numbers(flag), xmd.numbers(flag))
    assert star.numbers("udlOutlier").sum() == summary(out)["outliers"] <= 3  # none of these is junk


@pytest.fixture
def ideal(both):
    """What a perfect average would show."""
    name, box = ("hook", 64) if both[0].name == "particles" else ("clamp", 65)
    return without_noise(box, name)


def test_the_average_shows_what_the_particles_have_in_common(both, ideal):
    _, out = both
    before, after, weighted = (
        match_reference(image(out / f"{name}.mrcs"), ideal, PIXEL_SIZE).correlation
        for name in ("average_before", "average", "average_weighted")
    )
    assert after > 0.9
    assert weighted > 0.95
    assert before < 0.6


def test_the_resolution_that_is_claimed_is_about_the_true_one(both, ideal):
    _, out = both
    true = match_reference(image(out / "average.mrcs"), ideal, PIXEL_SIZE).resolution
    facts = summary(out)
    assert facts["signal_found"] is True
    assert facts["resolution"] == pytest.approx(true, rel=0.15)


def test_scores_are_correlations_and_no_asymmetric_particle_is_ambiguous(both):
    _, out = both
    table = next(table for table in read_tables(str(out / "aligned.star")) if "rlnImageName" in table)
    scores = table.numbers("rlnParticleFigureOfMerit")
    assert scores.max() <= 1
    assert scores.mean() > 0.2
    assert table.numbers("udlAmbiguous").mean() < 0.02
    assert not any("mixed" in warning for warning in summary(out)["warnings"])


# what is written


def test_all_files_get_their_final_names_and_nothing_else_is_left(both):
    _, out = both
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert names == RESULTS | {"aligned.mrcs", "model.safetensors", "model.png", "training.csv", "run.log"}
    assert not (out / ".unfinished").exists()


def test_averages_are_one_image_with_the_pixel_size(both):
    simulation, out = both
    box = open_particles(str(simulation / "particles.star")).box
    for name in ("average", "average_before", "average_weighted", "half1", "half2"):
        reader = StackReader(str(out / f"{name}.mrcs"))
        assert reader.read().shape == (1, box, box)
        assert reader.pixel_size == pytest.approx(PIXEL_SIZE)


def test_the_average_is_the_plain_mean_of_the_aligned_stack(both):
    _, out = both
    stack = StackReader(str(out / "aligned.mrcs"))
    assert stack.count == 300
    assert stack.pixel_size == pytest.approx(PIXEL_SIZE)
    assert np.allclose(image(out / "average.mrcs"), stack.read().mean(0), atol=1e-5)


def test_the_average_before_is_the_plain_mean_of_the_particles(both):
    simulation, out = both
    stack = StackReader(str(simulation / "particles.mrcs")).read()
    assert np.allclose(image(out / "average_before.mrcs"), stack.mean(0), atol=1e-5)


def test_the_aligned_stack_is_in_the_order_of_the_table(both):
    simulation, out = both
    poses = open_particles(str(out / "aligned.star")).poses()
    particles = StackReader(str(simulation / "particles.mrcs")).read()
    stack = StackReader(str(out / "aligned.mrcs")).read()
    disc = np.hypot(*(np.indices(stack.shape[1:]) - stack.shape[1] // 2)) < 20
    for number in (0, 17, 299):
        assert correlation(transform(particles[number], poses[[number]]), stack[number], disc) > 0.95


def test_the_frc_is_that_of_the_halves(both):
    simulation, out = both
    box = open_particles(str(simulation / "particles.star")).box
    with open(out / "frc.csv", newline="", encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == box // 2 - 1
    assert rows[0]["frequency"] == pytest.approx(1 / (box * PIXEL_SIZE), rel=1e-4)
    assert all(row["frequency"] * row["resolution"] == pytest.approx(1, rel=1e-4) for row in rows)
    assert rows[2]["frc"] > 0.9
    facts = summary(out)
    above = [row["resolution"] for row in rows if row["frc"] > 0.143]
    assert min(above) <= facts["resolution"] * 1.05


def test_the_halves_together_are_about_the_average(both):
    _, out = both
    halves = (image(out / "half1.mrcs") + image(out / "half2.mrcs")) / 2
    disc = np.hypot(*(np.indices(halves.shape) - len(halves) // 2)) < 0.4 * len(halves)
    assert correlation(halves, image(out / "average.mrcs"), disc) > 0.97


def test_the_summary_tells_what_was_done(both):
    simulation, out = both
    facts = summary(out)
    assert facts["particles"] == 300
    assert facts["input"] == str(simulation / "particles.star")
    assert facts["device"].startswith("CPU")
    assert facts["model"] == "trained here"
    assert facts["method"] == "judl"
    assert facts["refined"] is True
    assert facts["training"]["converged"] is True
    assert facts["network_only"]["median_change"] < 2
    assert 0 < facts["score_mean"] < 1
    assert facts["contrast"] == "bright"
    assert facts["half_counts"] == [150, 150]
    assert facts["resolution"] < facts["box"] * PIXEL_SIZE / facts["shared_ring"]
    # whole pixels from -5 to 5 in x and in y
    assert facts["shift_rms"] == pytest.approx(np.sqrt(2 * 10), abs=0.4)


def test_the_model_tells_what_it_was_trained_on(both):
    simulation, out = both
    card = load_card(str(out / "model.safetensors"))
    assert (card.method, card.network, card.contrast) == ("judl", "polar", "bright")
    assert card.box == open_particles(str(simulation / "particles.star")).box
    assert card.pixel_size == PIXEL_SIZE
    assert card.training["particles"] == 300
    assert card.training["converged"] is True


# the tables, in the hands of the programs that own the forms


@pytest.mark.skipif(not shutil.which("relion_stack_create"), reason="RELION is not installed")
def test_relion_makes_the_same_average_of_aligned_star(both, tmp_path):
    _, out = both
    command = ["relion_stack_create", "--i", str(out / "aligned.star"), "--o", "out", "--apply_transformation"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    theirs = StackReader(str(tmp_path / "out.mrcs")).read().mean(0)
    assert correlation(theirs, image(out / "average.mrcs")) >= 0.99


def test_xmipp_makes_the_same_average_of_aligned_xmd(both):
    emlib = pytest.importorskip("pwem.emlib")
    _, out = both
    total = 0
    table = emlib.MetaData(str(out / "aligned.xmd"))
    for row in table:
        particle = emlib.Image()
        particle.readApplyGeo(table, row)
        total = total + particle.getData().squeeze()
    assert correlation(total / table.size(), image(out / "average.mrcs")) >= 0.99
