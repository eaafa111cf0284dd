"""Networks, methods and recipes on the command line: what goes together works, and what does not is one sentence."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.imaging.poses import wrap
from scipion_udl.io.tables import read_tables
from scipion_udl.models.checkpoint import load_card, load_model
from scipion_udl.tests.engine_helpers import (
    CPU,
    difference,
    errors_to_truth,
    rms,
    run,
    simulate,
    subset_star,
    summary,
)
from scipion_udl.tests.pair_helpers import save_learned
from scipion_udl.training import datasets
from scipion_udl.training.history import read_history

NARROW = ["--widths", "8,16", "--hidden", "16", "--input-size", "16"]


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """A folder with 160 particles of 32 px at SNR 2."""
    return simulate(tmp_path_factory.mktemp("courses") / "views", 160, 32, 2.0, "clamp", max_shift=2.0, ctf=None)


@pytest.fixture(scope="module")
def some(views):
    """A table of 40 of them."""
    return subset_star(views, views / "some.star", np.arange(60, 100))


def train(folder, out, *options):
    return run("train", folder / "particles.star", "-o", out, *options)


@pytest.fixture(scope="module")
def udl(views):
    """A pair network that has learned its turns, trained on for two epochs on the particles."""
    options = ["--network", "resnet", "--method", "udl", "--model", save_learned(views / "start.safetensors")]
    assert train(views, views.parent / "udl", *options, "--epochs", 2) == 0
    return views.parent / "udl" / "model.safetensors"


@pytest.fixture(scope="module")
def matching(views):
    out = views.parent / "matching"
    assert train(views, out, "--network", "matching", "--method", "udl", "--epochs", 1, "--input-size", 16) == 0
    return out / "model.safetensors"


def sentence(capsys, *arguments, code=1):
    """What stderr says, but for warnings, of a command that is refused."""
    capsys.readouterr()
    assert run(*arguments) == code
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if not line.startswith("Warning")]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"scipion-udl {arguments[0]}: ")
    assert "unexpected" not in lines[0]
    return lines[0]


# Training


def test_the_card_says_what_was_trained(udl):
    card = load_card(str(udl))
    assert (card.network, card.method, card.box) == ("resnet", "udl", 32)
    assert card.config["widths"] == [8, 16]
    assert card.config["hidden"] == [16]
    assert card.config["size"] == card.spectra["size"] == 16
    assert card.config["head"] == "difference"
    network, _ = load_model(str(udl), CPU)
    assert network.references.abs().sum() > 0


def test_a_start_model_is_trained_on_jointly(views, udl, tmp_path):
    options = ["--network", "resnet", "--method", "judl", "--model", udl, "--epochs", 2]
    assert train(views, tmp_path / "judl", *options, "--truth", views / "truth.star") == 0
    card = load_card(str(tmp_path / "judl" / "model.safetensors"))
    assert (card.network, card.method) == ("resnet", "judl")
    assert card.config == load_card(str(udl)).config
    history = read_history(str(tmp_path / "judl" / "training.csv"))
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert all(0 < row["true_error"] < 90 for row in history)


@pytest.mark.parametrize("head", ["degrees", "circular", "difference"])
@pytest.mark.parametrize("joint", ["mean", "autoencoder"])
def test_every_head_and_joint_term_can_be_trained(views, tmp_path, head, joint):
    options = ["--network", "resnet", "--method", "judl", "--head", head, "--joint", joint, "--epochs", 1, *NARROW]
    assert train(views, tmp_path / "out", *options) == 0
    assert load_card(str(tmp_path / "out" / "model.safetensors")).config["head"] == head


def test_a_published_recipe_can_be_trained_narrow(views, tmp_path):
    options = ["--network", "resnet", "--method", "judl", "--preset", "paper-synthetic", "--epochs", 1, *NARROW]
    assert train(views, tmp_path / "out", *options) == 0
    card = load_card(str(tmp_path / "out" / "model.safetensors"))
    assert card.training["recipe"] == "paper-synthetic"
    assert (card.training["batch"], card.training["lr"]) == (32, 3e-4)
    assert card.spectra["scaling"] == "published"
    assert card.config["head"] == "degrees"


def test_training_goes_on_where_it_was_stopped(views, tmp_path):
    options = ["--network", "resnet", "--method", "udl", *NARROW]
    assert train(views, tmp_path / "whole", *options, "--epochs", 3) == 0
    assert train(views, tmp_path / "parts", *options, "--epochs", 1) == 0
    assert train(views, tmp_path / "parts", *options, "--epochs", 3, "--continue") == 0
    whole, parts = (load_model(str(tmp_path / name / "model.safetensors"), CPU)[0] for name in ("whole", "parts"))
    for one, other in zip(whole.state_dict().values(), parts.state_dict().values()):
        assert one.equal(other)


def test_particles_that_are_read_anew_teach_what_those_in_memory_do(views, tmp_path, monkeypatch):
    options = ["--network", "resnet", "--method", "judl", "--epochs", 2, *NARROW]
    assert train(views, tmp_path / "held", *options) == 0
    monkeypatch.setattr(datasets, "IN_MEMORY", 1)
    monkeypatch.setattr(datasets, "READ", 100)
    assert train(views, tmp_path / "read", *options) == 0
    held, read = (read_history(str(tmp_path / name / "training.csv")) for name in ("held", "read"))
    assert [row["validation"] for row in read] == pytest.approx([row["validation"] for row in held], rel=1e-3)


def test_particles_of_an_odd_box_can_be_trained_on(tmp_path):
    odd = simulate(tmp_path / "odd", 130, 33, 2.0, "clamp", max_shift=2.0, ctf=None)
    assert train(odd, tmp_path / "out", "--network", "resnet", "--method", "udl", "--epochs", 1) == 0
    card = load_card(str(tmp_path / "out" / "model.safetensors"))
    assert (card.box, card.spectra["box"], card.spectra["size"]) == (33, 32, 32)


# What does not go together


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--network", "matching", "--method", "judl"], "matching network is trained by --method udl only"),
        (["--preset", "paper-real"], "give --network resnet or matching"),
        (["--network", "matching", "--method", "udl", "--head", "difference"], "--head difference is of the resnet"),
        (["--network", "matching", "--method", "udl", "--widths", "4"], "--widths is not for the matching network"),
        (["--widths", "4,8"], "--widths is not for the polar network"),
        (["--hidden", "4,8"], "--hidden is not for the polar network"),
        (["--head", "circular"], "--head is not for the polar network"),
        (["--joint", "mean"], "--joint is not for the polar network"),
        (["--input-size", "16"], "--input-size is not for the polar network"),
        (["--network", "resnet", "--input-size", "64"], "more than the working box of these particles, 32 px"),
        (
            ["--network", "matching", "--method", "udl", "--input-size", "9999"],
            "9999 is more than the box of these images, 32 px",
        ),
        (["--network", "resnet", "--input-size", "4", "--widths", "4"], "too small to see anything: give 8 or more"),
        (["--network", "resnet", "--widths", "4,4,4,4,4,4"], "6 blocks halve an image of 32 pixels too often"),
        (["--network", "resnet", "--input-size", "20", "--widths", "4,4,4"], "3 blocks halve an image of 20 pixels"),
        (
            ["--network", "resnet", "--method", "judl", "--input-size", "20", "--widths", "4,4"]
            + ["--joint", "autoencoder"],
            "20 pixels are no multiple of 8",
        ),
        (["--network", "resnet", "--method", "udl", "--joint", "mean"], "--joint mean is of --method judl"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(views, tmp_path, capsys, options, said):
    command = ["train", views / "particles.star", "-o", tmp_path / "out", "--epochs", 1, *options]
    assert said in sentence(capsys, *command)
    assert not (tmp_path / "out").exists()


def test_a_start_model_must_be_of_the_network_that_is_trained(views, udl, matching, tmp_path, capsys):
    command = ["train", views / "particles.star", "-o", tmp_path / "out", "--epochs", 1]
    for options, said in (
        (["--model", udl], "is a resnet network: train it on with --network resnet"),
        (["--model", udl, "--network", "matching", "--method", "udl"], "is a resnet network"),
        (["--model", matching, "--network", "resnet"], "is a matching network: train it on with --network matching"),
        (["--model", udl, "--network", "resnet", "--widths", "8,16"], "--widths goes with a new network"),
        (["--model", udl, "--network", "resnet", "--head", "circular"], "--head goes with a new network"),
        (["--model", udl, "--network", "resnet", "--input-size", "16"], "--input-size goes with a new network"),
    ):
        assert said in sentence(capsys, *command, *options)
        assert not (tmp_path / "out").exists()


def test_a_joint_model_is_not_trained_on_by_pairs(views, tmp_path, capsys):
    joint = ["--network", "resnet", "--method", "judl"]
    assert train(views, tmp_path / "judl", *joint, "--epochs", 1, *NARROW) == 0
    assert "goes on from a UDL model" in capsys.readouterr().err
    command = ["--network", "resnet", "--method", "udl", "--model", tmp_path / "judl" / "model.safetensors"]
    said = sentence(capsys, "train", views / "particles.star", "-o", tmp_path / "out", "--epochs", 1, *command)
    assert "is a judl model: train it on with --method judl" in said


def test_particles_of_another_field_of_view_are_refused(particles, udl, tmp_path, capsys):
    said = sentence(capsys, "align", particles / "particles.star", "-o", tmp_path / "out", "--model", udl)
    assert "96 A across" in said


# Use of the pair network


def test_the_poses_do_not_depend_on_chunk_and_order(views, udl, some, tmp_path):
    shuffled = subset_star(views, views / "shuffled.star", 60 + np.random.default_rng(0).permutation(40))
    for name, path, batch in (("one", some, 64), ("chunks", some, 7), ("order", shuffled, 64)):
        options = ["--model", udl, "--no-refine", "--batch", batch]
        assert run("align", path, "-o", tmp_path / name, *options) == 0
    errors = errors_to_truth(tmp_path / "one" / "aligned.star", views, 180.0)
    assert np.abs(errors.rotation).mean() < 25  # chance is 45; the network's angles, in the right sense
    for other in ("chunks", "order"):
        angle, shift = difference(tmp_path / "one" / "aligned.star", tmp_path / other / "aligned.star")
        assert angle < 1e-3
        assert shift < 1e-3


def test_refined_poses_are_as_good_as_with_the_polar_network(views, udl, some, tmp_path):
    assert train(views, tmp_path / "trained", "--epochs", 3) == 0
    found = {}
    for name, model in (("polar", tmp_path / "trained" / "model.safetensors"), ("resnet", udl)):
        assert run("align", some, "-o", tmp_path / name, "--model", model) == 0
        errors = errors_to_truth(tmp_path / name / "aligned.star", views)
        found[name] = float(np.abs(errors.rotation).mean()), rms(errors)
    assert found["polar"][0] < 1.5
    assert found["resnet"][0] < 1.1 * found["polar"][0] + 0.05
    assert found["resnet"][1] < 1.1 * found["polar"][1] + 0.05
    assert summary(tmp_path / "resnet")["method"] == "udl"


def test_pairs_are_turned_by_the_pair_network(views, udl, tmp_path):
    options = ["--model", udl, "--truth", views / "truth.star", "--gpu", "none", "--threads", 1]
    for batch in (7, 64):
        out = tmp_path / str(batch)
        assert run("align-pairs", views / "particles.star", "-o", out, "--batch", batch, *options) == 0
    one, other = (read_tables(str(tmp_path / name / "pairs.star"))[0] for name in ("7", "64"))
    angles = [np.array(table.columns["udlAngle"], float) for table in (one, other)]
    assert np.abs(wrap(angles[0] - angles[1])).max() < 1e-3
    errors = np.abs(wrap(np.array(one.columns["udlAngleError"], float), 180.0))
    assert errors.mean() < 25  # chance is 45; the signs are right


def test_a_matching_model_is_for_pairs_alone(views, matching, tmp_path, capsys):
    said = sentence(capsys, "align", views / "particles.star", "-o", tmp_path / "out", "--model", matching)
    assert "compares two images: use it with align-pairs" in said
    assert not (tmp_path / "out").exists()


def test_the_pair_network_begins_with_udl_and_a_start_model_goes_on_as_it_was(views, udl, tmp_path):
    fresh, more = tmp_path / "fresh", tmp_path / "more"
    assert train(views, fresh, "--network", "resnet", *NARROW, "--epochs", 1) == 0
    assert load_card(str(fresh / "model.safetensors")).method == "udl"
    assert train(views, tmp_path / "polar", "--epochs", 1) == 0
    assert load_card(str(tmp_path / "polar" / "model.safetensors")).method == "judl"
    assert train(views, more, "--network", "resnet", "--model", udl, "--epochs", 1) == 0
    assert load_card(str(more / "model.safetensors")).method == "udl"
