"""Training finds the turns, gives the same weights from the same seed, and goes on where it was stopped."""

from __future__ import annotations

import csv

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.settings.networks import trained_by
from scipion_udl.tests.engine_helpers import same_weights, turn_errors, turned_spectra
from scipion_udl.training.history import read_history, write_history
from scipion_udl.training.tasks import new_network
from scipion_udl.training.trainer import TrainingSettings, train_network

SHAPE = SpectraSettings(r_min=2, r_max=13, angles=64)
N = 160


def train(spectra, method="judl", network=None, report=None, started=False, monitor=None, **options):
    """(result, rows as they were reported) of a training on one thread."""
    checkpoint = options.pop("checkpoint", None)
    settings = TrainingSettings(method, **{"batch": 64, "seed": 5, **options})
    if network is None:
        torch.manual_seed(settings.seed)
        network = new_network(trained_by("polar", method), SHAPE)
    rows = []

    def tell(row, epochs):
        rows.append(row)
        if report:
            report(row, epochs)

    return train_network(spectra, network, settings, started, checkpoint, tell, monitor), rows


@torch.no_grad()
def turns_of(result, data):
    return result.network.rotations(data)


@pytest.fixture(scope="module")
def spectra():
    return turned_spectra(N, 0.7)


@pytest.mark.parametrize(("noise", "bound"), [(0.3, 0.5), (1.0, 1.0), (2.0, 2.5)])
def test_the_joint_network_knows_the_turn_of_every_particle(noise, bound):
    data, rotations = turned_spectra(N, noise)
    result, _ = train(data)
    assert turn_errors(turns_of(result, data), rotations).mean() < bound


def test_the_free_head_learns_the_turns_from_differences_alone():
    data, rotations = turned_spectra(N, 0.2)
    result, _ = train(data, "udl", epochs=40, patience=40, batch=32)
    found = turns_of(result, data)
    assert turn_errors(found, rotations).mean() < 5
    assert turn_errors(-found, rotations).mean() > 30  # in the right sense, too


def test_turns_that_were_never_seen_are_known_as_well(spectra):
    result, _ = train(spectra[0])
    unseen, rotations = turned_spectra(100, 0.7, seed=77)
    assert turn_errors(turns_of(result, unseen), rotations).mean() < 1.0


@pytest.mark.parametrize("method", ["judl", "udl"])
def test_the_same_seed_gives_the_same_weights_bit_by_bit(spectra, method):
    first, _ = train(spectra[0], method, epochs=3)
    second, _ = train(spectra[0], method, epochs=3)
    assert same_weights(first, second)
    assert first.history == second.history


def test_another_seed_gives_other_weights(spectra):
    first, _ = train(spectra[0], "udl", epochs=2)
    second, _ = train(spectra[0], "udl", epochs=2, seed=6)
    assert not same_weights(first, second)


@pytest.mark.parametrize("method", ["judl", "udl"])
def test_continued_training_is_uninterrupted_training_bit_by_bit(spectra, method, tmp_path):
    options = {"epochs": 6, "patience": 99}
    whole, _ = train(spectra[0], method, **options)

    def stop(row, epochs):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    path = str(tmp_path / "checkpoint.safetensors")
    with pytest.raises(KeyboardInterrupt):
        train(spectra[0], method, report=stop, checkpoint=path, **options)
    continued, rows = train(spectra[0], method, checkpoint=path, **options)
    assert [row["epoch"] for row in rows] == [4, 5, 6]  # not again from zero
    assert same_weights(whole, continued)
    assert whole.history == continued.history
    assert whole.summary == continued.summary


@pytest.mark.parametrize(
    ("other", "said"),
    [({"seed": 6}, "seed: 5, here 6"), ({"batch": 32}, "batch: 64, here 32"), ({}, "number of particles")],
)
def test_a_training_does_not_go_on_with_other_particles_or_options(spectra, tmp_path, other, said):
    path = str(tmp_path / "checkpoint.safetensors")
    train(spectra[0], epochs=1, checkpoint=path)
    data = spectra[0] if other else spectra[0][:-10]
    with pytest.raises(UdlError, match=said):
        train(data, epochs=2, checkpoint=path, **other)


def test_a_finished_training_has_nothing_left_to_do(spectra, tmp_path):
    path = str(tmp_path / "checkpoint.safetensors")
    first, _ = train(spectra[0], epochs=4, checkpoint=path)
    again, rows = train(spectra[0], epochs=4, checkpoint=path)
    assert rows == []
    assert same_weights(first, again)


@pytest.mark.parametrize("left", [0, 100, -10])
def test_a_damaged_checkpoint_is_refused(spectra, tmp_path, left):
    path = tmp_path / "checkpoint.safetensors"
    train(spectra[0], epochs=1, checkpoint=str(path))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UdlError, match=r"checkpoint.safetensors is damaged"):
        train(spectra[0], epochs=2, checkpoint=str(path))


def test_a_checkpoint_of_another_network_is_refused(spectra, tmp_path):
    path = str(tmp_path / "checkpoint.safetensors")
    train(spectra[0], "udl", epochs=1, checkpoint=path)
    with pytest.raises(UdlError, match="of another network"):
        train(spectra[0], "judl", epochs=2, checkpoint=path)


def test_training_stops_once_nothing_is_gained(spectra):
    result, rows = train(spectra[0], epochs=80, patience=3)
    assert result.summary["converged"]
    assert len(rows) < 80
    assert result.summary["epochs"] == len(rows) == result.summary["best_epoch"] + 3


def test_training_that_was_cut_short_is_not_called_converged(spectra):
    result, rows = train(spectra[0], epochs=1)
    assert not result.summary["converged"]
    assert len(rows) == 1


def test_the_weights_that_are_kept_are_those_of_the_best_epoch(spectra):
    result, _ = train(spectra[0], "udl", epochs=8, patience=99, lr=0.02, min_gain=0.0)
    losses = {row["epoch"]: row["validation"] for row in result.history if row["stage"] == "network"}
    assert result.summary["validation"] == min(losses.values())
    assert losses[result.summary["best_epoch"]] == min(losses.values())


@pytest.mark.parametrize("lr", [1e-3, 0.3])
def test_training_never_ends_worse_than_its_start(spectra, lr):
    """The template solution is a floor, however wild the steps."""
    data, rotations = spectra
    result, _ = train(data, epochs=4, lr=lr, patience=99)
    start = next(row["validation"] for row in result.history if row["stage"] == "network")
    assert result.summary["validation"] <= start
    assert turn_errors(turns_of(result, data), rotations).mean() < 1.5


def test_training_goes_on_from_a_model_without_fitting_a_template(spectra):
    first, _ = train(spectra[0], epochs=2)
    weights = {key: value.clone() for key, value in first.network.state_dict().items()}
    second, _ = train(spectra[0], network=first.network, started=True, epochs=1)
    assert all(row["stage"] == "network" for row in second.history)
    assert second.history[0]["validation"] == pytest.approx(first.summary["validation"], rel=1e-5)
    assert weights.keys() == second.network.state_dict().keys()


def test_a_loss_that_is_no_number_ends_in_one_sentence(spectra):
    spoilt = spectra[0].clone()
    spoilt[N // 2] = float("nan")
    with pytest.raises(UdlError, match=r"not finite.*--lr"):
        train(spoilt, "udl", epochs=2)


def test_a_monitor_adds_figures_and_takes_no_part(spectra):
    plain, _ = train(spectra[0], epochs=2)
    watched, rows = train(spectra[0], epochs=2, monitor=lambda network: {"true_error": 1.5})
    assert same_weights(plain, watched)
    assert all(row["true_error"] == 1.5 for row in rows)


def test_the_history_is_written_and_read_with_all_its_columns(spectra, tmp_path):
    result, _ = train(spectra[0], epochs=2)
    path = str(tmp_path / "training.csv")
    write_history(path, result.history)
    with open(path, newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file))
    assert columns[:2] == ["epoch", "stage"]
    assert len(columns) == len(set(columns))
    assert {"loss", "validation"} <= set(columns)
    back = read_history(path)
    assert len(back) == len(result.history)
    for row, before in zip(back, result.history):
        assert row.keys() == before.keys()
        assert row["stage"] == before["stage"]
        for name in row.keys() - {"stage"}:
            assert row[name] == pytest.approx(before[name], rel=1e-5)


def test_the_stages_of_the_history_are_the_template_and_the_network(spectra):
    judl, _ = train(spectra[0], epochs=2)
    udl, _ = train(spectra[0], "udl", epochs=2)
    assert [row["stage"] for row in judl.history][-3:] == ["network"] * 3
    assert judl.history[0]["stage"] == "template"
    assert [row["epoch"] for row in udl.history] == [0, 1, 2]


@pytest.mark.parametrize("count", [128, 129, 150])
def test_any_number_of_particles_can_be_trained_on(count):
    data, _ = turned_spectra(count, 0.3)
    result, _ = train(data, epochs=1, batch=128)
    assert result.summary["particles"] == count
    assert len({id(x) for x in result.history}) == len(result.history)
