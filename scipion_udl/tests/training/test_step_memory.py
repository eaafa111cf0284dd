"""Where memory is short a training goes on with the same batches and learns the same, in several processes, too."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment import averages
from scipion_udl.alignment.refinement import refiner
from scipion_udl.errors import UdlError
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.models.checkpoint import load_model
from scipion_udl.models.polar_network import FreeHeadNetwork, PolarNetwork
from scipion_udl.models.resnet import Bottleneck, PairNetwork
from scipion_udl.particles.background import Background
from scipion_udl.tests.compute.test_killed import ERRORS, Full
from scipion_udl.tests.engine_helpers import CPU, difference, run, simulate, subset_star, turned_spectra
from scipion_udl.tests.fork_helpers import ALONE, command_together, processes
from scipion_udl.training.history import read_history
from scipion_udl.training.objectives import PairObjective
from scipion_udl.training.step_memory import StepMemory
from scipion_udl.training.trainer import TrainingSettings, train_network

NETWORKS = {"judl": PolarNetwork, "udl": FreeHeadNetwork}


def trained(method, tmp_path, name, device=CPU):
    """(network, losses, warnings) of a short training on spectra, its batches of 32."""
    torch.manual_seed(1)
    spectra, warnings = turned_spectra(160, 1.0)[0].to(device), []
    settings = TrainingSettings(method, epochs=2, lr=1e-3, batch=32)
    network, checkpoint = NETWORKS[method](radii=12, angles=64), str(tmp_path / name)
    result = train_network(spectra, network, settings, checkpoint=checkpoint, warn=warnings.append)
    rows = [row for row in result.history if row["stage"] == "network"]
    return result.network, [row[k] for row in rows for k in ("loss", "validation") if k in row], warnings


@pytest.mark.parametrize("method", NETWORKS)
def test_a_step_that_does_not_fit_is_done_in_parts_and_learns_the_same(method, tmp_path, monkeypatch, device):
    whole, losses, _ = trained(method, tmp_path, "whole", device)
    full = Full(NETWORKS[method].forward, 9, 1, 9 * ERRORS)
    monkeypatch.setattr(NETWORKS[method], "forward", lambda *arguments: full(*arguments))
    short, others, warnings = trained(method, tmp_path, "short", device)
    assert [warning.partition("with the same batches")[2][-12:] for warning in warnings] == [
        " in 2 parts.", " in 4 parts."
    ]  # fmt: skip
    assert max(full.seen[-20:]) <= 9 < max(full.seen), "in the end all fits"
    assert others == pytest.approx(losses, rel=1e-4)
    for name, value in whole.state_dict().items():
        assert torch.allclose(short.state_dict()[name], value, atol=1e-3 * float(value.abs().max()) + 1e-5), name


def test_a_step_that_never_fits_ends_in_a_sentence(tmp_path, monkeypatch):
    full = Full(PolarNetwork.forward, 0, 1, 99 * ERRORS)
    monkeypatch.setattr(PolarNetwork, "forward", lambda *arguments: full(*arguments))
    with pytest.raises(UdlError, match=r"not enough memory on the CPU for a step of training: end other programs"):
        trained("judl", tmp_path, "never")


@pytest.fixture
def pairs(device):
    """(network with batch norms, objective, batch): a pair network in training."""
    torch.manual_seed(3)
    inputs = SpectrumImageSettings(box=24, size=16, r_max=7)
    network = PairNetwork(16, (4, 8), (16,), (2,), "difference").to(device).train()
    objective = PairObjective("udl", TrainingSettings("udl", network="resnet").preset, inputs)
    return network, objective, torch.randn(12, 24, 24, device=device)


def test_what_waits_in_the_memory_of_the_machine_leads_to_the_same_gradients(pairs, device):
    network, objective, batch = pairs
    memory, found = StepMemory(network, objective, 12, device, print), []
    for aside in (False, True):
        memory._aside = aside
        network.zero_grad()
        with memory.keeping():
            loss = objective.loss(network, batch, torch.Generator().manual_seed(0), 1)
        loss.backward()
        found.append([parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(*found))


def test_a_step_that_is_done_again_draws_the_same_and_counts_batch_norms_once(pairs, monkeypatch):
    network, objective, batch = pairs
    warnings, between = [], PairNetwork.between
    full = Full(between, 99, 1, ERRORS[:1])
    monkeypatch.setattr(PairNetwork, "between", lambda *arguments: full(*arguments))
    memory = StepMemory(network, objective, 12, torch.device("cuda"), warnings.append)
    losses, norms = [], []
    for most in (99, 0):  # the second time it fails once, behind the batch norms of the features
        start = {name: value.clone() for name, value in network.state_dict().items()}
        full.most, generator = most, torch.Generator().manual_seed(0)

        def work(generator=generator):
            loss = objective.loss(network, batch, generator, 1)
            return float(loss.detach())

        def once(work=work):
            try:
                return work()
            finally:
                full.most = 99

        losses.append(memory.run(once, generator))
        norms.append({name: value.clone() for name, value in network.state_dict().items() if "running" in name})
        network.load_state_dict(start)
    assert len(warnings) == 1
    assert "waits in the memory of the machine" in warnings[0]
    assert losses[0] == losses[1]
    assert all(torch.equal(norms[0][name], norms[1][name]) for name in norms[0])


# several processes, of which one has less memory


SHORT = {  # what is short of memory: where, in which process, which argument holds the particles, how many fit
    "training": (FreeHeadNetwork, "forward", 1, 1, 20),
    "learning": (PolarNetwork, "forward", 0, 1, 10),
    "reading": (Background, "measure", 1, 1, 10),
    "averages": (averages, "apply_poses", 0, 0, 6),
    "refining": (refiner.Refiner, "match", 1, 1, 9),
    "norms": (Bottleneck, "forward", 1, 1, 3),
}


def run_short(commands):
    """What either process does: it runs all, and is short of memory in those that are its own."""
    for name, command in commands:
        place, function, rank, argument, most = SHORT[name]
        whole = getattr(place, function)
        if int(os.environ["RANK"]) == rank:
            full = Full(whole, most, argument, 9 * ERRORS)
            setattr(place, function, lambda *a, full=full, **k: full(*a, **k))
        assert command_together(command) == (name == "norms"), command
        setattr(place, function, whole)


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """163 particles: shares of a batch differ in size, and so do batches. Some of them, 40, are aligned."""
    folder = tmp_path_factory.mktemp("memory") / "views"
    simulate(folder, 163, 32, 2.0, "clamp", max_shift=2.0, ctf=None)
    subset_star(folder, folder / "some.star", range(40))
    return folder


def commands(views, model, folder):
    """(what is short of memory, command line) of trainings and alignments."""
    learn = ["train", views / "particles.star", "--seed", 7, "--epochs", 2]
    align = ["align", views / "some.star", "--model", model, "--max-shift", 2, "--batch", 16]
    words = {"training": [*learn, "--method", "udl"], "learning": [*learn, "--method", "judl"]}
    words |= dict.fromkeys(("reading", "averages", "refining"), align)
    words["norms"] = [*learn, "--network", "resnet", "--widths", "8,16", "--hidden", "16", "--input-size", "16"]
    return [(name, [str(w) for w in (*line, *ALONE, "-o", folder / name)]) for name, line in words.items()]


@pytest.fixture(scope="module")
def both(views, tmp_path_factory):
    """(folder of what one process did, that of two of which one was short of memory, what they said)."""
    folder = tmp_path_factory.mktemp("short")
    model = folder / "one" / "learning" / "model.safetensors"
    for name, command in commands(views, model, folder / "one"):
        if name not in ("averages", "refining", "norms"):  # the same alignment; what comes to nothing
            assert run(*command) == 0
    _, told = processes(folder, run_short, commands(views, model, folder / "two"))
    return folder / "one", folder / "two", told


@pytest.mark.parametrize("name", ["training", "learning"])
def test_all_processes_go_on_where_one_has_too_little_memory_for_a_step(both, name):
    one, two, told = both
    assert "it goes on with the same batches, so that it learns the same, each in 4 parts." in told
    first, second = (read_history(str(folder / name / "training.csv")) for folder in (one, two))
    assert len(first) == len(second)
    for before, after in zip(first, second):
        for key in before.keys() & {"loss", "validation"}:
            assert after[key] == pytest.approx(before[key], rel=1e-3)
    states = [load_model(str(folder / name / "model.safetensors"), CPU)[0].state_dict() for folder in (one, two)]
    for key, value in states[0].items():
        assert torch.allclose(states[1][key], value, atol=1e-2 * float(value.abs().max()) + 1e-4), key


@pytest.mark.parametrize("name", ["reading", "averages", "refining"])
def test_all_processes_lower_the_batch_where_one_has_too_little_memory(both, name):
    one, two, told = both
    assert told.count("it goes on with 8 particles at a time (--batch).") == 3, "in each, and told once"
    angle, shift = difference(one / "reading" / "aligned.star", two / name / "aligned.star")
    assert angle < 1e-3
    assert shift < 1e-3


def test_all_processes_end_with_one_sentence_where_batch_norm_wants_more_than_one_has(both):
    _, two, told = both
    sentence = "scipion-udl train: There is not enough memory on the CPU for a step of training: "
    assert [line for line in told.splitlines() if line.startswith("scipion-udl")] == [
        f"{sentence}end other programs that use it, or bin the particles to a smaller box."
    ]
    assert not (two / "norms").exists()
