"""A run that is killed, or that a full disk, a read error or short memory stops, is lost to nobody."""

from __future__ import annotations

import fcntl
import os

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment import averages
from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.compute.memory import until_it_fits
from scipion_udl.errors import UdlError
from scipion_udl.io.output import lock
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.models.polar_network import PolarNetwork
from scipion_udl.particles import prepared
from scipion_udl.tests import fault_harness
from scipion_udl.tests.engine_helpers import (
    difference,
    image,
    run,
    simulate,
    summary,
    table_with,
    true_poses,
    turned_spectra,
)
from scipion_udl.tests.fork_helpers import end, start
from scipion_udl.training.trainer import TrainingSettings, train_network
from scipion_udl.validation import partial_averages


def test_killed_and_failing_runs_go_on_to_the_same_results(tmp_path):
    """A sample of benchmarks/faults.py; what it prints names those that are wrong."""
    options = ["--kills", "5", "--faults", "2", "--only", "train,join,simulate,classify", "--seed", "1"]
    process = start(tmp_path / "said", fault_harness.main, [str(tmp_path / "work"), *options])
    code, out, err = end(process), (tmp_path / "said.out").read_text(), (tmp_path / "said.err").read_text()
    assert code == 0, f"{options}\n{out}\n{err}"
    assert "kills by SIGKILL" in out
    assert "kills by SIGTERM" in out
    assert "8  operations failed" in out


# memory


class Full:
    """Stands for a function that has memory for so many particles at a time, which are its argument ``place``; each
    time it fails by the next of ``errors``."""

    def __init__(self, function, most: int, place: int, errors: list[Exception]) -> None:
        self.function, self.most, self.place, self.errors, self.seen = function, most, place, list(errors), []

    def __call__(self, *arguments, **options):
        count = len(arguments[self.place])
        self.seen.append(count)
        if count > self.most:
            raise self.errors.pop(0)
        return self.function(*arguments, **options)


ERRORS = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
]
NEAR = ["--start-poses", "--max-shift", 1, "--high-resolution-limit", 9]


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A folder with 12 particles, in data, with their poses in given.star, and their alignment, in whole."""
    folder = tmp_path_factory.mktemp("few")
    data = simulate(folder / "data", 12, 24, 1.0, max_shift=1.0)
    table_with(data, folder / "given.star", true_poses(data))
    assert run("align", folder / "given.star", "-o", folder / "whole", *NEAR) == 0
    return folder


def test_short_memory_lowers_the_batch_down_to_1_and_changes_no_result(few, tmp_path, monkeypatch, capsys):
    full = Full(averages.apply_poses, 1, 0, ERRORS)
    monkeypatch.setattr(averages, "apply_poses", full)
    words = ["align", few / "given.star", *NEAR, "--batch", 8]
    assert run(*words, "-o", tmp_path / "short") == 0
    told = [f"Memory was not enough: it goes on with {n} particles at a time (--batch)." for n in (4, 2, 1)]
    assert [w for w in summary(tmp_path / "short")["warnings"] if "Memory" in w] == told
    assert all(sentence in capsys.readouterr().err for sentence in told[:1])
    assert full.seen[:3] == [8, 4, 2]
    angle, shift = difference(few / "whole" / "aligned.star", tmp_path / "short" / "aligned.star")
    assert angle < 1e-3
    assert shift < 1e-3
    first, second = (image(folder / "average.mrcs") for folder in (few / "whole", tmp_path / "short"))
    assert np.abs(first - second).max() < 1e-4 * first.std()


def test_memory_for_not_one_particle_ends_in_a_sentence(few, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepared, "look_through", Full(prepared.look_through, 0, 0, 9 * ERRORS))
    assert run("align", few / "data" / "particles.star", "-o", tmp_path / "out") == 1
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warning")]
    assert len(error) == 1
    assert "even for one particle at a time" in error[0]
    assert not (tmp_path / "out").exists()


def test_evaluation_goes_on_with_less_memory(few, tmp_path, monkeypatch):
    aligned, truth = few / "whole" / "aligned.star", few / "data" / "truth.star"
    words = ["evaluate", aligned, "--truth", truth, "--gpu", "none"]
    assert run(*words, "-o", tmp_path / "whole") == 0
    monkeypatch.setattr(partial_averages, "apply_poses", Full(partial_averages.apply_poses, 3, 0, 2 * ERRORS))
    assert run(*words, "-o", tmp_path / "short") == 0
    one, other = summary(tmp_path / "whole"), summary(tmp_path / "short")
    assert [w for w in other["warnings"] if "with 2 particles at a time" in w]
    assert one["figures"] == pytest.approx(other["figures"], rel=1e-5)


def test_other_errors_are_not_taken_for_short_memory():
    def fail():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        until_it_fits(ProcessGroup(), fail, print)


# a loss that is not finite


class Sick:
    """Makes the loss of a network's objective nan in the given calls of an epoch's first step."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, epoch: int) -> bool:
        sick = epoch == 3 and self.left > 0
        self.left -= sick
        return sick


def trained(monkeypatch, tmp_path, times: int, stop_after: int | None = None):
    from scipion_udl.training.objectives import PolarObjective

    spectra, _ = turned_spectra(160, 1.0)
    sick, loss, warnings = Sick(times), PolarObjective.loss, []

    def of(self, network, batch, generator, epoch):
        value = loss(self, network, batch, generator, epoch)
        return value * float("nan") if sick(epoch) else value

    monkeypatch.setattr(PolarObjective, "loss", of)
    network = PolarNetwork(radii=12, angles=64)
    settings = TrainingSettings(epochs=5, lr=1e-3, patience=50)
    result = train_network(spectra, network, settings, checkpoint=str(tmp_path / "c"), warn=warnings.append)
    return result, warnings


def test_a_loss_that_is_not_finite_goes_back_once_with_a_lower_rate(monkeypatch, tmp_path):
    result, warnings = trained(monkeypatch, tmp_path, 1)
    assert len(warnings) == 1
    assert "diverged in epoch 3" in warnings[0]
    assert "rate of 0.0001" in warnings[0]
    assert result.summary["epochs"] == 5
    assert result.summary["lowered"] == 3
    assert result.summary["lr"] == pytest.approx(1e-4)
    assert [row["epoch"] for row in result.history if row["stage"] == "network"] == list(range(6))
    assert all(torch.isfinite(value).all() for value in result.network.state_dict().values())


def test_the_second_time_it_ends_and_says_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(UdlError, match=r"epoch 3 .*with a lower rate, too: try a lower --lr than 0.0001"):
        trained(monkeypatch, tmp_path, 2)
    assert (tmp_path / "c").exists(), "what was learned before is kept"


# an earlier run that is replaced


def _let_go(out: OutputFolder) -> None:
    """Leave a folder as a killed process does: the system gives its lock back, and no more is done."""
    for descriptor in os.listdir("/proc/self/fd"):
        if os.path.realpath(f"/proc/self/fd/{descriptor}") == os.path.realpath(out.final(lock.NAME)):
            fcntl.flock(int(descriptor), fcntl.LOCK_UN)


def test_a_killed_run_that_replaces_another_does_not_take_its_model_for_its_own(tmp_path):
    path = str(tmp_path / "out")

    def publish(out: OutputFolder, name: str) -> None:
        with open(out.scratch(name), "w") as file:
            file.write(name)
        out.publish(name)

    with OutputFolder(path) as out:
        publish(out, "model")
        assert out.has("model")
    killed = OutputFolder(path, overwrite=True).__enter__()
    killed.start_anew()
    _let_go(killed)
    with OutputFolder(path, resume=True) as out:
        assert not out.has("model")
        publish(out, "average")
        assert os.listdir(path).count("model") == 0, "old results go when the first new one is there"
    _let_go(OutputFolder(path, resume=True).__enter__())
    with OutputFolder(path, overwrite=True) as out:  # and what it holds is still known as ours
        publish(out, "model")
    assert sorted(name for name in os.listdir(path) if name[0] != ".") == ["model"]
