"""Two processes that share every batch train the networks that one trains.

Sums over two parts are rounded in another way than sums over all. A pair network that still stands at chance magnifies
that hundreds of times an epoch, as it does any change of its first weights in the last bit; so turns are compared of
networks that know something already, and of fresh ones the first losses. The difference head is pairs-udl's.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file

from scipion_udl.io.particles import open_particles
from scipion_udl.models.checkpoint import load_model
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.tests.engine_helpers import CPU, simulate, turn_errors
from scipion_udl.tests.fork_helpers import ALONE, processes, run_all
from scipion_udl.tests.pair_helpers import save_learned
from scipion_udl.training.history import read_history

PAIRS = ["--network", "resnet"]
NARROW = [*PAIRS, "--widths", "8,16", "--hidden", "16", "--input-size", "16"]
# name: how it is trained, after how many epochs the run is stopped (0: it is not), and how many there are. START is a
# model that was trained.
KNOWING = {
    "polar-judl": (["--method", "judl"], 1, 2),
    "polar-udl": (["--method", "udl"], 0, 2),
    "pairs-udl": ([*PAIRS, "--method", "udl", "--model", "START"], 0, 1),
    "pairs-judl": ([*PAIRS, "--method", "judl", "--model", "START", "--joint", "autoencoder"], 1, 2),
}
FRESH = {
    "circular": ([*NARROW, "--method", "udl", "--head", "circular"], 0, 1),
    "published": ([*NARROW, "--method", "judl", "--preset", "paper-synthetic"], 0, 1),
}
MADE_AT_THE_END = ("references", "reference_turns", "bias")


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """163 particles: shares of a batch differ in size, and so do batches."""
    return simulate(tmp_path_factory.mktemp("together") / "views", 163, 32, 2.0, "clamp", max_shift=2.0, ctf=None)


@pytest.fixture(scope="module")
def start(views):
    """A pair network that has learned the turns, of particles without noise."""
    return save_learned(views / "start.safetensors")


def commands(views, start, folder):
    """Training of every kind, and going on with it once of either kind of network."""
    found = []
    for name, (options, first, last) in {**KNOWING, **FRESH}.items():
        options = [start if option == "START" else option for option in options]
        command = ["train", views / "particles.star", "-o", folder / name, "--seed", 7, *options, *ALONE]
        if first:
            found.append([*command, "--epochs", first])
        found.append([*command, "--epochs", last, *(["--continue"] if first else [])])
    return [[str(word) for word in command] for command in found]


@pytest.fixture(scope="module")
def both(views, start, tmp_path_factory):
    """The folders of trainings by one process and by two."""
    folder = tmp_path_factory.mktemp("trained")
    run_all(commands(views, start, folder / "one"))
    processes(folder, run_all, commands(views, start, folder / "two"))
    return folder / "one", folder / "two"


@torch.no_grad()
def rotations(path, views):
    """What the network of a model file finds; with a checkpoint beside it, as it was after the last epoch."""
    network, card = load_model(str(path), CPU)
    checkpoint = path.parent / "checkpoint.safetensors"
    if checkpoint.exists():
        kept = {name: value for name, value in network.state_dict().items() if name in MADE_AT_THE_END}
        last = {name[4:]: value for name, value in load_file(checkpoint).items() if name.startswith("now.")}
        network.load_state_dict({**last, **kept})
    prepared = PreparedParticles(open_particles(str(views / "particles.star")), CPU)
    return prepared.all(
        prepared.usable, "spectra", lambda part, values: network.rotations(card.inputs().of(values, prepared.box))
    )


@pytest.mark.parametrize("name", KNOWING)
def test_two_processes_train_the_network_of_one(both, views, name):
    one, two = (rotations(folder / name / "model.safetensors", views) for folder in both)
    assert one.std() > 1
    assert turn_errors(one, two).max() < 0.05


@pytest.mark.parametrize("name", {**KNOWING, **FRESH})
def test_their_losses_are_those_of_one(both, name):
    one, two = (read_history(str(folder / name / "training.csv")) for folder in both)
    assert [row["epoch"] for row in one] == [row["epoch"] for row in two]
    for first, second in zip(one, two):
        for key in first.keys() & {"loss", "validation"}:
            assert second[key] == pytest.approx(first[key], rel=1e-3)


@pytest.mark.parametrize("name", ["pairs-udl", "pairs-judl"])
def test_the_epochs_changed_something(both, start, views, name):
    trained = rotations(both[0] / name / "model.safetensors", views)
    assert turn_errors(rotations(start, views), trained).max() > 0.1
