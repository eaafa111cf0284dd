"""Training of the pair network: it finds the turns, goes on where it was stopped, and keeps to its schedule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.errors import UdlError
from scipion_udl.models.resnet import PairNetwork
from scipion_udl.tests.engine_helpers import same_weights, turn_errors
from scipion_udl.tests.pair_helpers import SMALL, SPECTRA, learned_network, particles, train
from scipion_udl.training import trainer
from scipion_udl.training.datasets import TensorSamples
from scipion_udl.training.objectives import PairObjective
from scipion_udl.training.presets import preset_of
from scipion_udl.training.trainer import TrainingSettings, train_network

N = 200
ANGLES = np.random.default_rng(5).uniform(0, 360, N)


@pytest.fixture(scope="module")
def data():
    return particles(ANGLES, 0.3)


@pytest.fixture(scope="module")
def learned():
    return learned_network()


@torch.no_grad()
def test_the_network_learns_the_turns_from_differences_alone(learned):
    unseen = np.random.default_rng(2).uniform(0, 360, 100)
    found = learned.rotations(SPECTRA.rotated(particles(unseen)))
    true = torch.from_numpy(unseen)
    assert turn_errors(found, true).mean() < 12  # chance is 45
    assert turn_errors(-found, true).mean() > 30  # in the right sense, too


@torch.no_grad()
def test_turning_a_particle_turns_the_answer_by_as_much(learned):
    unseen = np.random.default_rng(3).uniform(0, 360, 60)
    before = learned.rotations(SPECTRA.rotated(particles(unseen)))
    for angle in (15.0, -60.0, 150.0):
        after = learned.rotations(SPECTRA.rotated(particles(unseen + angle)))
        change = torch.remainder(after - before - angle + 90, 180) - 90
        assert change.abs().mean() < 12
        assert abs(float(change.mean())) < 5


@torch.no_grad()
def test_half_a_turn_and_a_shift_change_no_answer(learned):
    here, half = (learned.rotations(SPECTRA.rotated(particles(ANGLES[:20] + rotation))) for rotation in (0.0, 180.0))
    assert (torch.remainder(half - here + 90, 180) - 90).abs().max() < 1.0


# Going on


@pytest.mark.parametrize(
    ("method", "joint", "head"),
    [("udl", "mean", "difference"), ("judl", "mean", "circular"), ("judl", "autoencoder", "degrees")],
)
def test_continued_training_is_uninterrupted_training_bit_by_bit(data, method, joint, head, tmp_path):
    preset = replace(preset_of("resnet", method), joint=joint, decay=(7, 0.5))

    def go(**more):
        settings = TrainingSettings(method, network="resnet", epochs=5, patience=99, seed=4, batch=32)
        torch.manual_seed(4)
        network = PairNetwork(**SMALL, head=head)
        objective = PairObjective(method, preset, SPECTRA)
        result = train_network(TensorSamples(data), network, settings, objective=objective, **more)
        return result, objective

    whole, extra = go()

    def stop(row, epochs):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    path, rows = str(tmp_path / "checkpoint.safetensors"), []
    with pytest.raises(KeyboardInterrupt):
        go(checkpoint=path, report=stop)
    continued, again = go(checkpoint=path, report=lambda row, epochs: rows.append(row["epoch"]))
    assert rows == [3, 4, 5]
    assert same_weights(whole, continued)
    assert whole.history == continued.history
    assert whole.summary == continued.summary
    for name, value in extra.extra.state_dict().items():
        assert torch.equal(value, again.extra.state_dict()[name])
    assert bool(extra.extra.state_dict()) == (joint == "autoencoder")


@pytest.fixture
def rates(monkeypatch):
    """The learning rates of all steps that Adam takes."""
    taken, step = [], torch.optim.Adam.step

    def noted(self, *args):
        taken.extend(group["lr"] for group in self.param_groups)
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    return taken


def test_the_learning_rate_falls_at_its_steps_also_where_training_goes_on(data, rates, tmp_path, monkeypatch):
    preset = replace(preset_of("resnet", "udl"), decay=(7, 0.5))
    monkeypatch.setattr(trainer, "preset_of", lambda *_: preset)
    path = str(tmp_path / "checkpoint.safetensors")
    train(data, checkpoint=path, epochs=1, lr=0.01)  # 5 batches an epoch
    train(data, checkpoint=path, epochs=4, lr=0.01)
    assert len(rates) == 20
    assert rates == pytest.approx([0.01] * 7 + [0.005] * 7 + [0.0025] * 6)


def test_without_a_schedule_the_learning_rate_stays(data, rates):
    train(data, epochs=2, lr=0.003)
    assert rates == [0.003] * 10


def test_the_published_schedule_falls_after_12000_steps(data, rates, tmp_path, monkeypatch):
    path = str(tmp_path / "checkpoint.safetensors")
    train(data, checkpoint=path, epochs=1, name="paper-synthetic")
    true_state = trainer._State
    monkeypatch.setattr(trainer, "_State", lambda **saved: replace(true_state(**saved), steps=11_998))
    train(data, checkpoint=path, epochs=2, name="paper-synthetic")
    assert rates == pytest.approx([3e-4] * 5 + [3e-4] * 2 + [2.4e-4] * 3)


@pytest.mark.parametrize("length", [0.5, float("inf")])
def test_gradients_are_cut_as_the_recipe_says(data, length, monkeypatch):
    norms, step = [], torch.optim.Adam.step

    def noted(self, *args):
        squares = [p.grad.square().sum() for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.stack(squares).sum().sqrt()))
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    preset = replace(preset_of("resnet", "udl", "paper-synthetic"), clip=length)
    monkeypatch.setattr(trainer, "preset_of", lambda *_: preset)
    train(data, network=PairNetwork(**SMALL, head="degrees"), preset=preset, epochs=1)
    assert (max(norms) < 0.501) == (length == 0.5)


# What does not fit


@pytest.mark.parametrize("left", [0, 100, -10])
def test_a_damaged_checkpoint_is_one_sentence(data, tmp_path, left):
    path = tmp_path / "checkpoint.safetensors"
    train(data, epochs=1, checkpoint=str(path))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UdlError, match=r"checkpoint.safetensors is damaged"):
        train(data, epochs=2, checkpoint=str(path))


def test_a_checkpoint_without_some_weights_is_one_sentence(data, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = str(tmp_path / "checkpoint.safetensors")
    for prefix in ("now.", "best.", "adam.0"):
        (tmp_path / "checkpoint.safetensors").unlink(missing_ok=True)
        train(data, "judl", epochs=1, checkpoint=path)
        with safe_open(path, framework="pt") as file:
            kept = {name: file.get_tensor(name) for name in file.keys() if not name.startswith(prefix)}  # noqa: SIM118
            metadata = file.metadata()
        if prefix == "adam.0":
            metadata = {"training": '{"method": "judl", "state": {"epoch": 1, "colour": 3}}'}
        save_file(kept, path, metadata)
        with pytest.raises(UdlError, match="damaged"):
            train(data, "judl", epochs=2, checkpoint=path)


@pytest.mark.parametrize("other", [{"method": "judl"}, {"network": "wide"}])
def test_a_checkpoint_of_another_training_is_one_sentence(data, tmp_path, other):
    path = str(tmp_path / "checkpoint.safetensors")
    train(data, epochs=1, checkpoint=path)
    if "network" in other:
        other = {"network": PairNetwork(16, (8, 24), (16,), (4,), "difference")}
    with pytest.raises(UdlError, match="of another network or method"):
        train(data, epochs=2, checkpoint=path, **other)


def test_a_monitor_takes_no_part(data):
    """It needs the references; finding them must not change what is learned."""
    settings = TrainingSettings("udl", network="resnet", epochs=3, patience=99, seed=4, batch=32)
    found = []
    for monitor in (None, lambda network: {"true_error": float(network.bias)}):
        torch.manual_seed(4)
        network = PairNetwork(**SMALL, head="circular")
        objective = PairObjective("udl", settings.preset, SPECTRA)
        found.append(train_network(TensorSamples(data), network, settings, monitor=monitor, objective=objective))
    assert same_weights(*found)
    assert [row["validation"] for row in found[0].history] == [row["validation"] for row in found[1].history]
    assert all("true_error" in row for row in found[1].history)
