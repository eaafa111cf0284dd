"""Runs of `train` and `align` beside each other: what changes the result, and what must not."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.alignment import aligner
from scipion_udl.imaging.poses import Poses, pose_errors, wrap
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.models.checkpoint import load_card
from scipion_udl.tests.engine_helpers import (
    PIXEL_SIZE,
    align_images,
    apart,
    correlation,
    difference,
    errors_to_truth,
    image,
    rms,
    run,
    simulate,
    subset_star,
    summary,
    true_poses,
    without_noise,
)
from scipion_udl.training import trainer
from scipion_udl.validation.reference_match import transform

FEW = 40
# They lie off centre by up to 5 px, or 2: the search need not reach farther.
NEAR, NEARER = ("--max-shift", 6), ("--max-shift", 3)
BRIEFLY = ("--epochs", 4, "--seed", 3, *NEARER)


@pytest.fixture(scope="module")
def few(particles, tmp_path_factory):
    """A STAR of 40 of the particles, for what needs no training."""
    return subset_star(particles, tmp_path_factory.mktemp("few") / "few.star", range(FEW))


@pytest.fixture(scope="module")
def few_aligned(few, model):
    """What comes of them with the model."""
    return align_images(few, model=model, max_shift=6)


# what the result does not depend on


def test_another_chunk_size_and_order_give_the_same_poses(particles, few_aligned, model, tmp_path):
    order = np.random.default_rng(8).permutation(FEW)
    table = subset_star(particles, tmp_path / "p.star", order)
    found = align_images(table, model=model, max_shift=6, batch=13)  # it was all at once
    angle, shift = apart(found.poses, few_aligned.poses[order])
    assert angle < 1e-3
    assert shift < 1e-3


def test_inverted_contrast_gives_the_same_poses(particles, few, few_aligned, model, tmp_path):
    stack = StackReader(str(particles / "particles.mrcs")).read(np.arange(FEW))
    inverted = tmp_path / "particles.mrcs"  # the same name, for names decide on the halves
    write_stack(str(inverted), 500 - 20 * stack, PIXEL_SIZE)
    optics, table = read_tables(str(few))  # with the same defocus
    assert [name[:7] for name in table.texts("rlnImageName")] == [f"{k + 1:06d}@" for k in range(FEW)]
    names = [f"{k + 1:06d}@{inverted}" for k in range(FEW)]
    write_tables(str(tmp_path / "p.star"), [optics, Table(table.name, {**table.columns, "rlnImageName": names})])
    errors = pose_errors(align_images(tmp_path / "p.star", model=model, max_shift=6).poses, few_aligned.poses)
    assert np.abs(errors.rotation).max() < 0.02
    assert np.abs(errors.shift).max() < 0.02


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """A small set, and what one uninterrupted run makes of it."""
    folder = simulate(tmp_path_factory.mktemp("twin") / "particles", 130, 32, 0.5, name="hammer", max_shift=2)
    out = folder.parent / "aligned"
    assert run("align", folder / "particles.star", "-o", out, *BRIEFLY) == 0
    return folder, out


TABLES = ["aligned.star", "aligned.xmd", "training.csv", "frc.csv"]


def assert_same_bytes(one, other, names):
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert np.array_equal(image(one / "average.mrcs"), image(other / "average.mrcs"))


# stopped and continued


def test_a_run_stopped_twice_goes_on_from_there_to_the_same_bytes(twin, tmp_path, monkeypatch, capsys):
    """Half-way through training, and after it; it is not trained again, and the same seed gives the same tables."""
    folder, out = twin
    words = ["align", folder / "particles.star", "-o", tmp_path / "out", *BRIEFLY]
    epochs = []

    def stop(*_):
        raise KeyboardInterrupt

    def stop_after_two(*arguments):
        return count(*arguments) if len(epochs) < 2 else stop()

    epoch = trainer._Training.epoch

    def count(*arguments):
        row = epoch(*arguments)
        epochs.append(row["epoch"])
        return row

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Training, "epoch", stop_after_two)
        assert run(*words) == 130
    assert epochs == [1, 2]
    with monkeypatch.context() as patch:
        patch.setattr(trainer._Training, "epoch", count)
        patch.setattr(aligner.Aligner, "run", stop)
        assert run(*words, "--continue") == 130
    assert epochs == [1, 2, 3, 4]
    capsys.readouterr()
    assert not (tmp_path / "out" / "aligned.star").exists()
    assert run(*words, "--continue") == 0
    assert "Training the" not in capsys.readouterr().out
    assert_same_bytes(out, tmp_path / "out", [*TABLES, "model.safetensors"])
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()


# options


@pytest.fixture(scope="module")
def unrefined(few, model):
    out = few.parent / "unrefined"
    assert run("align", few, "-o", out, "--model", model, "--no-refine", *NEAR) == 0
    return out


def test_without_refinement_the_angle_is_the_networks(particles, unrefined):
    out = unrefined
    errors = errors_to_truth(out / "aligned.star", particles)
    modulo_180 = errors_to_truth(out / "aligned.star", particles, 180.0)
    assert np.abs(modulo_180.rotation).mean() < 2.0
    assert (np.abs(errors.rotation) < 10).mean() >= 0.98  # shift and side are still found
    assert rms(errors) < 1.0
    facts = summary(out)
    assert facts["refined"] is False
    assert facts["resolution"] is None
    assert facts["signal_found"] is not True  # halves that were not apart prove nothing


def test_refinement_makes_it_better(particles, unrefined, few_aligned):
    alone = errors_to_truth(unrefined / "aligned.star", particles, 180.0)
    refined = pose_errors(few_aligned.poses, true_poses(particles)[np.arange(FEW)], 180.0)
    assert np.abs(refined.rotation).mean() < np.abs(alone.rotation).mean()


def test_a_reference_sets_the_frame(particles, model, tmp_path):
    frame = Poses([40.0], [[2.0, -3.0]])  # takes the template to the reference
    template = StackReader(str(particles / "template.mrc")).read()[0]
    reference = transform(template, frame)
    write_stack(str(tmp_path / "reference.mrcs"), np.stack([0 * reference, reference]), PIXEL_SIZE)
    given = f"2@{tmp_path / 'reference.mrcs'}"
    star = subset_star(particles, tmp_path / "p.star", range(100))
    # The disc is given: a reference that is moved within a narrow one lies less well in it.
    found = align_images(star, model=model, reference=given, mask_radius=30, max_shift=9)
    errors = pose_errors(found.poses, true_poses(particles)[np.arange(100)])
    assert np.abs(errors.rotation).mean() < 1.2
    assert abs(float(wrap(errors.common.angle[0] - 40.0))) < 0.5
    assert np.abs(errors.common.shift[0] - [2.0, -3.0]).max() < 0.4
    disc = np.hypot(*(np.indices((64, 64)) - 32)) < 26
    average = found.average_weighted
    assert correlation(average, transform(without_noise(64, "hook"), frame), disc) > 0.9
    assert correlation(average, without_noise(64, "hook"), disc) < 0.5


def test_the_error_of_a_training_that_does_not_take_place_is_refused(few, model, particles, tmp_path, capsys):
    words = ["--truth", particles / "truth.star", "--model", model]
    assert run("align", few, "-o", tmp_path / "out", *words) != 0
    assert "leave --truth out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_wider_search_finds_particles_far_off_centre(model, tmp_path):
    folder = simulate(tmp_path / "particles", 24, 64, 0.2, max_shift=12, seed=21)  # of a square: up to 17 px off
    found = align_images(folder / "particles.star", model=model, max_shift=17)
    errors = pose_errors(found.poses, true_poses(folder))
    assert (np.abs(errors.rotation) < 5).mean() >= 0.97
    assert (np.hypot(*errors.shift.T) < 1).mean() >= 0.97


def test_a_model_serves_particles_of_the_same_view_that_are_binned(particles, model, tmp_path):
    """The same field of view on fewer pixels."""
    folder = simulate(tmp_path / "binned", 40, 48, 0.5, seed=5, max_shift=3)
    write_stack(str(tmp_path / "p.mrcs"), StackReader(str(folder / "particles.mrcs")).read(), PIXEL_SIZE * 64 / 48)
    assert run("align", tmp_path / "p.mrcs", "-o", tmp_path / "out", "--model", model, "--max-shift", 4) == 0
    assert summary(tmp_path / "out")["pixel_size"] == pytest.approx(4.0)
    assert summary(tmp_path / "out")["network_only"]["within_5_degrees"] > 0.9


def test_images_of_noise_among_particles_are_outliers_and_stay(particles, model, tmp_path):
    images = StackReader(str(particles / "particles.mrcs")).read(np.arange(42))
    junk = np.arange(0, 42, 14)
    images[junk] = np.random.default_rng(2).normal(images.mean(), images.std(), (len(junk), 64, 64))
    write_stack(str(tmp_path / "p.mrcs"), images, PIXEL_SIZE)
    assert run("align", tmp_path / "p.mrcs", "-o", tmp_path / "out", "--model", model, *NEAR) == 0
    table = next(t for t in read_tables(str(tmp_path / "out" / "aligned.star")) if "rlnImageName" in t)
    flags = table.numbers("udlOutlier") > 0
    assert len(flags) == 42
    assert flags[junk].all()
    assert np.delete(flags, junk).mean() < 0.02
    assert summary(tmp_path / "out")["outliers"] == flags.sum()
    assert f"{flags.sum()} <small>" in (tmp_path / "out" / "report.html").read_text()


# training by itself


@pytest.fixture(scope="module")
def loud(tmp_path_factory):
    """A folder with 160 particles in little noise, from which a network learns within few epochs."""
    return simulate(tmp_path_factory.mktemp("loud") / "particles", 160, 48, 2.0, max_shift=2, ctf=None)


@pytest.fixture(scope="module")
def udl_model(loud):
    """A folder with a model of the free head, trained for a few epochs, its true error logged."""
    out = loud.parent / "trained"
    words = ["--method", "udl", "--epochs", 20, "--lr", 3e-3, "--truth", loud / "truth.star"]
    assert run("train", loud / "particles.star", "-o", out, *words) == 0
    return out


def test_udl_learns_from_differences_alone(udl_model):
    with open(udl_model / "training.csv", newline="", encoding="utf-8") as file:
        errors = [float(row["true_error"]) for row in csv.DictReader(file)]
    assert errors[0] > 30  # chance is 45
    assert min(errors) < 15


def test_training_leaves_a_model_its_history_and_a_summary(udl_model):
    names = {path.name for path in udl_model.iterdir() if not path.name.startswith(".")}
    assert {"model.safetensors", "training.csv", "summary.json"} <= names
    assert "model.png" not in names  # a free head holds no template to be drawn
    card = load_card(str(udl_model / "model.safetensors"))
    assert (card.method, card.network) == ("udl", "polar-free")
    assert summary(udl_model)["training"]["epochs"] <= 20


def test_a_udl_model_aligns_too(loud, udl_model, tmp_path):
    star = subset_star(loud, tmp_path / "p.star", range(30))
    found = align_images(star, model=udl_model / "model.safetensors", max_shift=3)
    errors = pose_errors(found.poses, true_poses(loud)[np.arange(30)])
    assert (np.abs(errors.rotation) < 5).mean() >= 0.98
    assert found.model.card.method == "udl"


def test_a_model_is_trained_on_with_its_own_method_alone(loud, udl_model, tmp_path, capsys):
    start = udl_model / "model.safetensors"
    joint = ["--model", start, "--method", "judl"]
    assert run("train", loud / "particles.star", "-o", tmp_path / "a", *joint) == 1
    assert "--method udl" in capsys.readouterr().err
    words = ["--model", start, "--method", "udl", "--epochs", 1]
    assert run("train", loud / "particles.star", "-o", tmp_path / "b", *words) == 0
    with open(tmp_path / "b" / "training.csv", newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert float(first["validation"]) < 0.5  # not from chance, which is 1


@pytest.fixture(scope="module")
def trained(twin):
    """The folder of `train`, which learned from the small set as `align` did."""
    out = twin[0].parent / "trained"
    assert run("train", twin[0] / "particles.star", "-o", out, "--epochs", 4, "--seed", 3) == 0
    return out


def assert_aligned_as(one, other):
    angle, shift = difference(one / "aligned.star", other / "aligned.star")
    assert angle < 1e-6
    assert shift < 1e-6


def test_training_and_then_aligning_is_aligning(twin, trained, tmp_path):
    folder, out = twin
    model = trained / "model.safetensors"
    words = ["--model", model, "--seed", 3, *NEARER]
    assert run("align", folder / "particles.star", "-o", tmp_path / "out", *words) == 0
    assert (trained / "training.csv").read_bytes() == (out / "training.csv").read_bytes()
    assert_aligned_as(tmp_path / "out", out)
    assert summary(tmp_path / "out")["model"] == str(model)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_model_that_train_learned_is_gone_on_with(twin, trained, tmp_path, capsys):
    """As Scipion's protocol does it: train, then align in the same folder; the epochs are said to the first alone."""
    star, out = twin[0] / "particles.star", tmp_path / "both"
    shutil.copytree(trained, out)
    assert run("align", star, "-o", out, "--seed", 4, "--continue") == 1
    assert "was learned with --seed 3" in capsys.readouterr().err
    assert run("align", star, "-o", out, "--seed", 3, *NEARER, "--continue") == 0
    assert "Going on with the model that was trained before" in capsys.readouterr().out
    assert_aligned_as(out, twin[1])


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


@pytest.mark.parametrize("count", [2, 3])
def test_a_handful_is_aligned_without_training(tmp_path, count):
    folder = simulate(tmp_path / "p", count, 32, 20.0, max_shift=2, seed=12)
    found = align_images(folder / "particles.star", max_shift=3)
    assert "too few to train on" in " ".join(map(str, found.warnings))
    errors = pose_errors(found.poses, true_poses(folder))
    between = errors.rotation[:, None] - errors.rotation[None]
    assert np.abs(wrap(between)).max() < 5
    assert found.resolution is None
    assert found.model is None


def test_fewer_particles_than_training_needs_are_aligned_in_real_space(tmp_path):
    folder = simulate(tmp_path / "p", 24, 32, 1.0, max_shift=2, seed=13)
    out = tmp_path / "out"
    assert run("align", folder / "particles.star", "-o", out, *NEARER) == 0
    errors = errors_to_truth(out / "aligned.star", folder)
    assert (np.abs(errors.rotation) < 5).mean() >= 0.95
    assert rms(errors) < 0.7
    facts = summary(out)
    assert facts["resolution"] is None
    assert facts["training"] is None
    assert facts["model"] is None
    assert not (out / "model.safetensors").exists()


# views


def test_a_two_fold_view_is_flagged(tmp_path):
    folder = simulate(tmp_path / "p", 130, 32, 0.15, name="dimer", seed=4, max_shift=2.0)
    found = align_images(folder / "particles.star", epochs=1, max_shift=3)
    errors = pose_errors(found.poses, true_poses(folder), 180.0)
    assert np.abs(errors.rotation).mean() < 1.5
    assert found.ambiguous.sum() > 98
    codes = {warning.code for warning in found.warnings}
    assert "ambiguous_halfturn" in codes
    assert "mixed_views" not in codes


@pytest.mark.parametrize(("snr", "least"), [(0.2, 0), (0.6, 40)])
def test_a_nearly_two_fold_view_is_right_where_it_is_not_flagged(tmp_path, snr, least):
    """In much noise half of them lie the wrong way round; in less most are known to be right."""
    folder = simulate(tmp_path / "p", 130, 48, snr, name="barrel", max_shift=2.0)
    found = align_images(folder / "particles.star", epochs=1, max_shift=3)
    errors = pose_errors(found.poses, true_poses(folder))
    sure = ~found.ambiguous
    assert np.abs(wrap(errors.rotation, 180.0)).mean() < 1
    assert sure.sum() >= least
    assert sure.sum() < 15 or (np.abs(errors.rotation[sure]) < 90).mean() >= 0.95
