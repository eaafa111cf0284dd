"""`train` and `align` from end to end, on simulated particles whose true poses are known."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.alignment import aligner, training
from scipion_udl.alignment.geometry import Poses, pose_errors, wrap
from scipion_udl.alignment.reference import match_reference, transform
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables
from scipion_udl.models.checkpoint import read_card
from scipion_udl.simulate.phantoms import phantom
from scipion_udl.tests.alignment.engine_helpers import (
    PIXEL_SIZE,
    correlation,
    errors_to_truth,
    image,
    named_poses,
    run,
    simulate,
    subset_star,
    without_noise,
)

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
    "report.html",
    "summary.json",
}


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def rms(errors):
    return float(np.sqrt((errors.shift**2).sum(1).mean()))


def difference(a, b):
    """(largest angle in degrees, largest shift in pixels) between two tables of the same images, common pose out."""
    one, other = named_poses(a), named_poses(b)
    assert one.keys() == other.keys()
    first, second = (np.array([poses[name] for name in one]) for poses in (one, other))
    errors = pose_errors(Poses(first[:, 0], first[:, 1:]), Poses(second[:, 0], second[:, 1:]))
    return np.abs(errors.rotation).max(), np.abs(errors.shift).max()


@pytest.fixture(params=SETS)
def both(request):
    """(simulation, its alignment), of an even and of an odd box."""
    prefix = "" if request.param == "even" else "odd_"
    return request.getfixturevalue(f"{prefix}particles"), request.getfixturevalue(f"{prefix}aligned")


@pytest.fixture(scope="module")
def few(particles, tmp_path_factory):
    """A STAR of 100 of the particles, for what needs no training."""
    return subset_star(particles, tmp_path_factory.mktemp("few") / "few.star", range(100))


@pytest.fixture(scope="module")
def few_aligned(few, model):
    out = few.parent / "aligned"
    assert run("align", few, "-o", out, "--model", model) == 0
    return out


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
    assert np.array_equal(star.numbers("udlAmbiguous"), xmd.numbers("udlAmbiguous"))


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
    assert names == RESULTS | {"aligned.mrcs", "model.safetensors", "training.csv"}
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
    # whole pixels from -5 to 5 in x and in y
    assert facts["shift_rms"] == pytest.approx(np.sqrt(2 * 10), abs=0.4)


def test_the_model_tells_what_it_was_trained_on(both):
    simulation, out = both
    card = read_card(str(out / "model.safetensors"))
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


# what the result does not depend on


@pytest.mark.parametrize("batch", [13, 1000])
def test_another_chunk_size_gives_the_same_poses(few, few_aligned, model, tmp_path, batch):
    assert run("align", few, "-o", tmp_path / "out", "--model", model, "--batch", batch) == 0
    angle, shift = difference(tmp_path / "out" / "aligned.star", few_aligned / "aligned.star")
    assert angle < 1e-3
    assert shift < 1e-3


def test_another_order_gives_the_same_poses(particles, few_aligned, model, tmp_path):
    order = np.random.default_rng(8).permutation(100)
    table = subset_star(particles, tmp_path / "p.star", order)
    assert run("align", table, "-o", tmp_path / "out", "--model", model) == 0
    angle, shift = difference(tmp_path / "out" / "aligned.star", few_aligned / "aligned.star")
    assert angle < 1e-3
    assert shift < 1e-3


def test_inverted_contrast_gives_the_same_poses(particles, few_aligned, model, tmp_path):
    stack = StackReader(str(particles / "particles.mrcs")).read(np.arange(100))
    write_stack(str(tmp_path / "particles.mrcs"), 500 - 20 * stack, PIXEL_SIZE)
    names = open_particles(str(particles / "particles.star")).names[:100]
    assert [name[:7] for name in names] == [f"{k + 1:06d}@" for k in range(100)]
    assert run("align", tmp_path / "particles.mrcs", "-o", tmp_path / "out", "--model", model) == 0
    found = open_particles(str(tmp_path / "out" / "aligned.star")).poses()
    expected = open_particles(str(few_aligned / "aligned.star")).poses()
    errors = pose_errors(found, expected)
    assert np.abs(errors.rotation).max() < 0.02
    assert np.abs(errors.shift).max() < 0.02


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """A small set, and what one uninterrupted run makes of it."""
    folder = simulate(tmp_path_factory.mktemp("twin") / "particles", 140, 48, 0.3, name="hammer", max_shift=3)
    out = folder.parent / "aligned"
    assert run("align", folder / "particles.star", "-o", out, "--epochs", 8) == 0
    return folder, out


TABLES = ["aligned.star", "aligned.xmd", "training.csv", "frc.csv"]


def assert_same_bytes(one, other, names):
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert np.array_equal(image(one / "average.mrcs"), image(other / "average.mrcs"))


def test_the_same_seed_gives_the_same_tables_bit_by_bit(twin, tmp_path):
    folder, out = twin
    assert run("align", folder / "particles.star", "-o", tmp_path / "again", "--epochs", 8) == 0
    assert_same_bytes(out, tmp_path / "again", [*TABLES, "model.safetensors"])


# stopped and continued


def test_a_run_stopped_after_training_does_not_train_again(twin, tmp_path, monkeypatch, capsys):
    folder, out = twin
    words = ["align", folder / "particles.star", "-o", tmp_path / "out", "--epochs", 8]

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(aligner.Aligner, "run", stop)
        assert run(*words) == 130
    capsys.readouterr()
    assert not (tmp_path / "out" / "aligned.star").exists()
    assert run(*words, "--continue") == 0
    assert "Training (" not in capsys.readouterr().out
    assert_same_bytes(out, tmp_path / "out", TABLES)


def test_training_stopped_half_way_goes_on_from_there(twin, tmp_path, monkeypatch):
    folder, out = twin
    words = ["align", folder / "particles.star", "-o", tmp_path / "out", "--epochs", 8]
    epochs = []

    def stop_after_two(*arguments):
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return count(*arguments)

    epoch = training._epoch

    def count(*arguments):
        row = epoch(*arguments)
        epochs.append(row["epoch"])
        return row

    with monkeypatch.context() as patch:
        patch.setattr(training, "_epoch", stop_after_two)
        assert run(*words) == 130
    assert epochs == [1, 2]
    with monkeypatch.context() as patch:
        patch.setattr(training, "_epoch", count)
        assert run(*words, "--continue") == 0
    assert epochs[2] == 3
    assert_same_bytes(out, tmp_path / "out", [*TABLES, "model.safetensors"])
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()


# options


def test_without_refinement_the_angle_is_the_networks(particles, few, model, tmp_path):
    out = tmp_path / "out"
    assert run("align", few, "-o", out, "--model", model, "--no-refine") == 0
    errors = errors_to_truth(out / "aligned.star", particles)
    modulo_180 = errors_to_truth(out / "aligned.star", particles, 180.0)
    assert np.abs(modulo_180.rotation).mean() < 2.0
    assert (np.abs(errors.rotation) < 10).mean() >= 0.98  # shift and side are still found
    assert rms(errors) < 1.0
    facts = summary(out)
    assert facts["refined"] is False
    assert facts["resolution"] is None
    assert facts["signal_found"] is not True  # halves that were not apart prove nothing


def test_refinement_makes_it_better(particles, few, few_aligned, model, tmp_path):
    out = tmp_path / "out"
    assert run("align", few, "-o", out, "--model", model, "--no-refine") == 0
    alone, refined = (
        np.abs(errors_to_truth(folder / "aligned.star", particles, 180.0).rotation).mean()
        for folder in (out, few_aligned)
    )
    assert refined < alone


def test_a_reference_sets_the_frame(particles, few, model, tmp_path):
    frame = Poses([40.0], [[2.0, -3.0]])  # takes the template to the reference
    template = StackReader(str(particles / "template.mrc")).read()[0]
    reference = transform(template, frame)
    write_stack(str(tmp_path / "reference.mrcs"), np.stack([0 * reference, reference]), PIXEL_SIZE)
    out = tmp_path / "out"
    given = f"2@{tmp_path / 'reference.mrcs'}"
    assert run("align", few, "-o", out, "--model", model, "--reference", given) == 0
    errors = errors_to_truth(out / "aligned.star", particles)
    assert np.abs(errors.rotation).mean() < 1.2
    assert abs(float(wrap(errors.common.angle[0] - 40.0))) < 0.5
    assert np.abs(errors.common.shift[0] - [2.0, -3.0]).max() < 0.4
    disc = np.hypot(*(np.indices((64, 64)) - 32)) < 26
    average = image(out / "average_weighted.mrcs")
    assert correlation(average, transform(without_noise(64, "hook"), frame), disc) > 0.9
    assert correlation(average, without_noise(64, "hook"), disc) < 0.5


def test_a_wider_search_finds_particles_far_off_centre(model, tmp_path):
    folder = simulate(tmp_path / "particles", 100, 64, 0.2, max_shift=12, seed=21)
    out = tmp_path / "out"
    assert run("align", folder / "particles.star", "-o", out, "--model", model, "--max-shift", 12) == 0
    errors = errors_to_truth(out / "aligned.star", folder)
    assert (np.abs(errors.rotation) < 5).mean() >= 0.97
    assert (np.hypot(*errors.shift.T) < 1).mean() >= 0.97


def test_a_model_serves_particles_of_the_same_view_that_are_binned(particles, model, tmp_path):
    """The same field of view on fewer pixels."""
    folder = simulate(tmp_path / "binned", 60, 48, 0.5, seed=5, max_shift=3)
    write_stack(str(tmp_path / "p.mrcs"), StackReader(str(folder / "particles.mrcs")).read(), PIXEL_SIZE * 64 / 48)
    assert run("align", tmp_path / "p.mrcs", "-o", tmp_path / "out", "--model", model) == 0
    assert summary(tmp_path / "out")["pixel_size"] == pytest.approx(4.0)
    assert summary(tmp_path / "out")["network_only"]["within_5_degrees"] > 0.9


# training by itself


@pytest.fixture(scope="module")
def udl_model(particles, tmp_path_factory):
    """A folder with a model of the free head, trained for a few epochs, its true error logged."""
    out = tmp_path_factory.mktemp("udl") / "trained"
    words = ["--method", "udl", "--epochs", 30, "--truth", particles / "truth.star"]
    assert run("train", particles / "particles.star", "-o", out, *words) == 0
    return out


def test_udl_learns_from_differences_alone(udl_model):
    with open(udl_model / "training.csv", newline="", encoding="utf-8") as file:
        errors = [float(row["true_error"]) for row in csv.DictReader(file)]
    assert errors[0] > 30  # chance is 45
    assert min(errors) < 15


def test_training_leaves_a_model_its_history_and_a_summary(udl_model):
    names = {path.name for path in udl_model.iterdir() if not path.name.startswith(".")}
    assert {"model.safetensors", "training.csv", "summary.json"} <= names
    card = read_card(str(udl_model / "model.safetensors"))
    assert (card.method, card.network) == ("udl", "polar-free")
    assert summary(udl_model)["training"]["epochs"] <= 30


def test_a_udl_model_aligns_too(particles, few, udl_model, tmp_path):
    out = tmp_path / "out"
    assert run("align", few, "-o", out, "--model", udl_model / "model.safetensors") == 0
    errors = errors_to_truth(out / "aligned.star", particles)
    assert (np.abs(errors.rotation) < 5).mean() >= 0.98
    assert summary(out)["method"] == "udl"


def test_a_model_is_trained_on_with_its_own_method_alone(particles, udl_model, tmp_path, capsys):
    start = udl_model / "model.safetensors"
    assert run("train", particles / "particles.star", "-o", tmp_path / "a", "--model", start) == 1
    assert "--method udl" in capsys.readouterr().err
    words = ["--model", start, "--method", "udl", "--epochs", 2]
    assert run("train", particles / "particles.star", "-o", tmp_path / "b", *words) == 0
    with open(tmp_path / "b" / "training.csv", newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert float(first["validation"]) < 0.5  # not from chance, which is 1


def test_training_and_then_aligning_is_aligning(twin, tmp_path):
    folder, out = twin
    assert run("train", folder / "particles.star", "-o", tmp_path / "trained", "--epochs", 8) == 0
    model = tmp_path / "trained" / "model.safetensors"
    assert run("align", folder / "particles.star", "-o", tmp_path / "out", "--model", model) == 0
    assert (tmp_path / "trained" / "training.csv").read_bytes() == (out / "training.csv").read_bytes()
    angle, shift = difference(tmp_path / "out" / "aligned.star", out / "aligned.star")
    assert angle < 1e-6
    assert shift < 1e-6
    assert summary(tmp_path / "out")["model"] == str(model)
    assert not (tmp_path / "out" / "model.safetensors").exists()


# a handful of particles


@pytest.mark.parametrize("form", ["particles.star", "particles.mrcs"])
def test_one_particle_stays_as_it_is(tmp_path, form, capsys):
    folder = simulate(tmp_path / "p", 1, 48, 1.0)
    out = tmp_path / "out"
    assert run("align", folder / form, "-o", out) == 0
    assert "One particle has nothing to be aligned to" in capsys.readouterr().err
    poses = open_particles(str(out / "aligned.star")).poses()
    assert (poses.angle[0], *poses.shift[0]) == (0, 0, 0)
    assert np.array_equal(image(out / "average.mrcs"), StackReader(str(folder / "particles.mrcs")).read()[0])
    assert summary(out)["resolution"] is None


@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_handful_is_aligned_without_training(tmp_path, count, capsys):
    folder = simulate(tmp_path / "p", count, 48, 20.0, max_shift=3, seed=12)
    out = tmp_path / "out"
    assert run("align", folder / "particles.star", "-o", out) == 0
    assert "too few to train on" in capsys.readouterr().err
    errors = errors_to_truth(out / "aligned.star", folder)
    apart = errors.rotation[:, None] - errors.rotation[None]
    assert np.abs(wrap(apart)).max() < 5
    assert summary(out)["resolution"] is None
    assert not (out / "model.safetensors").exists()


def test_fewer_particles_than_training_needs_are_aligned_in_real_space(tmp_path):
    folder = simulate(tmp_path / "p", 60, 48, 0.5, max_shift=3, seed=13)
    out = tmp_path / "out"
    assert run("align", folder / "particles.star", "-o", out) == 0
    errors = errors_to_truth(out / "aligned.star", folder)
    assert (np.abs(errors.rotation) < 5).mean() >= 0.95
    assert rms(errors) < 0.7
    facts = summary(out)
    assert facts["resolution"] is None
    assert facts["training"] is None
    assert facts["model"] is None


# views


@pytest.mark.parametrize(("snr", "seed"), [(0.3, 3), (0.1, 4)])
def test_a_two_fold_view_is_flagged(tmp_path, snr, seed):
    folder = simulate(tmp_path / "p", 200, 64, snr, name="dimer", seed=seed)
    out = tmp_path / "out"
    assert run("align", folder / "particles.star", "-o", out) == 0
    modulo_180 = errors_to_truth(out / "aligned.star", folder, 180.0)
    assert np.abs(modulo_180.rotation).mean() < 1.5
    facts = summary(out)
    assert facts["ambiguous"] > 150
    assert any("180 degrees" in warning for warning in facts["warnings"])
    assert not any("mixed" in warning for warning in facts["warnings"])


@pytest.mark.parametrize(("box", "snr"), [(64, 0.1), (96, 0.3)])
def test_a_nearly_two_fold_view_is_right_where_it_is_not_flagged(tmp_path, box, snr):
    folder = simulate(tmp_path / "p", 300, box, snr, name="barrel")
    out = tmp_path / "out"
    assert run("align", folder / "particles.star", "-o", out) == 0
    errors = errors_to_truth(out / "aligned.star", folder)
    table = next(table for table in read_tables(str(out / "aligned.star")) if "rlnImageName" in table)
    sure = table.numbers("udlAmbiguous") == 0
    assert np.abs(wrap(errors.rotation, 180.0)).mean() < 1
    assert sure.sum() < 15 or (np.abs(errors.rotation[sure]) < 90).mean() >= 0.95


def test_mixed_views_are_told(tmp_path):
    views = [phantom(name, 48).sample(Poses(np.linspace(-180, 179, 100))) for name in ("hook", "hammer")]
    stack = np.concatenate([view / view.std(axis=(1, 2), keepdims=True) * np.sqrt(0.5) for view in views])
    stack = stack + np.random.default_rng(0).normal(size=stack.shape)
    write_stack(str(tmp_path / "p.mrcs"), stack.astype(np.float32), PIXEL_SIZE)
    assert run("align", tmp_path / "p.mrcs", "-o", tmp_path / "out") == 0
    assert any("mixed" in warning for warning in summary(tmp_path / "out")["warnings"])
