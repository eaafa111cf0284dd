"""Two processes that share a run come to the results of one, and end together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl import cli
from scipion_udl.alignment import aligner
from scipion_udl.compute import launch
from scipion_udl.compute.distributed import ProcessGroup, is_reporting_rank
from scipion_udl.compute.gradients import share_statistics, total_with_gradient
from scipion_udl.errors import UdlError
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.pipelines import align_set, guide
from scipion_udl.tests.engine_helpers import PIXEL_SIZE, difference, image, run, simulate, subset_star, summary
from scipion_udl.tests.fork_helpers import ALONE

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
_START = "import sys; from scipion_udl.compute.launch import start_ranks; sys.exit(start_ranks(sys.argv[1:], 2))"
OWN = [sys.executable, "-c", _START]


def started(*command: object) -> subprocess.CompletedProcess:
    """A program run to its end, which comes soon."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment, check=False)


def norm_network() -> torch.nn.Sequential:
    """A small network with batch norms, always the same one."""
    torch.manual_seed(2)
    nn = torch.nn
    image_layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*image_layers, nn.BatchNorm1d(3, affine=False, momentum=None))


# A process alone


def test_a_process_alone_communicates_with_nobody():
    ranks = ProcessGroup.from_environment()
    values, rows = torch.randn(3, requires_grad=True), np.arange(4.0)
    assert (ranks.rank, ranks.size, ranks.first) == (0, 1, True)
    assert ranks.total(values) is values
    assert total_with_gradient(values, ranks) is values
    assert ranks.gather(rows) is rows
    assert ranks.share(rows) is rows
    assert ranks.on_rank0(lambda: 7) == 7
    assert ranks.words("CPU") == "CPU"
    assert is_reporting_rank()


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 64, 1000, 1003])
@pytest.mark.parametrize("unit", [1, 64])
def test_shares_hold_every_particle_once_in_order_and_are_about_as_large(size, count, unit):
    indices = np.random.default_rng(0).permutation(5000)[:count]
    shares = [ProcessGroup(rank, size).share(indices, unit) for rank in range(size)]
    assert np.array_equal(np.concatenate(shares), indices)
    ends = np.cumsum([len(share) for share in shares])[:-1]
    assert all(end % unit == 0 or end == count for end in ends)
    assert max(map(len, shares)) - min(map(len, shares)) <= 2 * unit


def test_an_environment_that_is_incomplete_is_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UdlError, match=r"MASTER_ADDR.*torchrun"):
        ProcessGroup.from_environment()
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UdlError, match="not a number"):
        ProcessGroup.from_environment()


def test_only_the_first_makes_a_folder_and_speaks(tmp_path, monkeypatch):
    with ProcessGroup(1, 2).folder(OutputFolder(str(tmp_path / "out"))) as out:
        out.publish("nothing.txt")
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not is_reporting_rank()
    assert cli.main(["evaluate", "no.star", "--truth", "no.star", "-o", str(tmp_path / "out")]) == 0


def test_several_gpus_are_several_processes(monkeypatch):
    started = []
    monkeypatch.setattr(launch, "start_ranks", lambda arguments, count: started.append((arguments, count)) or 3)
    command = ["align", "particles.star", "-o", "out", "--gpu", "0,1"]
    assert cli.main(command) == 3
    assert started == [(command, 2)]
    assert [launch.gpus_asked_for(gpu) for gpu in ("none", "auto", "0", "0,1", "0 1 3", "1,x")] == [0, 0, 1, 2, 3, 0]


# Two processes

_WORK = """
import sys
import numpy as np
import torch
from scipion_udl import cli
from scipion_udl.alignment import aligner
from scipion_udl.pipelines import align_set, guide
from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.compute.gradients import average_gradients, share_statistics, total_with_gradient
from scipion_udl.tests.compute.test_distributed import norm_network

folder = sys.argv[1]
with ProcessGroup.from_environment() as ranks:
    rows = np.arange(10) + 100
    own = ranks.share(rows - 100, 3)
    angle, flag = np.zeros(10), np.zeros((10, 2), bool)
    angle[own], flag[own] = rows[own] / 7, [True, ranks.first]
    ranks.gather_rows([angle, flag], rows - 100, 3)
    gathered = ranks.gather(np.full((2 * ranks.rank, 3), ranks.rank, np.int16))

    # a norm over the global batch, and the mean loss of parts of it
    torch.manual_seed(0)
    batch, network = torch.randn(8, 4, dtype=torch.float64), torch.nn.Linear(4, 3).double()
    torch.manual_seed(ranks.rank)
    other = torch.nn.Linear(4, 3)
    ranks.broadcast_state(other)
    values = network(batch[ranks.rank * 4 : ranks.rank * 4 + 4])
    mean = total_with_gradient(values.sum(0), ranks) / 8
    variance = total_with_gradient((values - mean).square().sum(0), ranks) / 8
    ((values - mean) / variance.sqrt()).pow(4).sum(1).mean().backward()
    average_gradients(network.parameters(), ranks)

    torch.manual_seed(1)
    images, layers = torch.randn(7, 1, 6, 6), norm_network()
    share_statistics(layers, ranks)
    rows = ranks.share(np.arange(7))
    for _ in range(2):
        layers.zero_grad()
        made = torch.zeros(7, 3).index_copy(0, torch.from_numpy(rows), layers(images[rows]))
        total_with_gradient(made, ranks).pow(3).mean().backward()
        average_gradients(layers.parameters(), ranks)
    layers = ranks.on_rank0(lambda: layers)  # with its norms it goes to the others

    rows, ran = np.arange(10) + 100, []
    tensor, words = ranks.on_rank0(lambda: (ran.append(1), (torch.arange(3), "first"))[1])
    alone = ranks.on_rank0(lambda: len(ranks.share(rows)))
    ranks.barrier()
    torch.save(
        {
            "own": own, "angle": angle, "flag": flag, "gathered": gathered, "gradient": network.weight.grad,
            "state": other.weight.detach(), "tensor": tensor, "words": words, "ran": len(ran), "alone": alone,
            "total": ranks.total(torch.tensor([1 + 2j]) * (ranks.rank + 1)), "agreed": ranks.agree(ranks.first),
            "layers": layers.state_dict(), "layer_gradient": layers[0].weight.grad,
            "said": ranks.words("CPU"), "spoke": ranks.is_reporting_rank(),
        },
        f"{folder}/{ranks.rank}.pt",
    )

particles, model, *options = sys.argv[2:]
words = ["--write-stack", "--max-shift", "3", *options]
assert cli.main(["align", particles, "--model", model, "-o", f"{folder}/refined", *words]) == 0
# Without a network, and the first average of a third of the particles only: the others are searched for.
aligner.FIRST, align_set.ENOUGH, guide.ENOUGH = 30, 1000, 1000
near = ["--max-shift", "2", "--high-resolution-limit", "12"]
assert cli.main(["align", particles, "-o", f"{folder}/searched", *near, *options]) == 0
assert cli.main(["align", particles, "--model", model, "-o", f"{folder}/mine", *options]) == 1
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """130 particles of 32 px, two of them blank, which are among the 80 in some.star."""
    folder = simulate(tmp_path_factory.mktemp("ranks") / "small", 130, 32, 0.3, max_shift=2.0)
    stack = StackReader(str(folder / "particles.mrcs")).read()
    stack[[5, 70]] = 1.0
    write_stack(str(folder / "particles.mrcs"), stack, PIXEL_SIZE)
    subset_star(folder, folder / "some.star", range(80))
    return folder


@pytest.fixture(scope="module")
def small_model(small):
    """A model that has hardly been trained."""
    assert run("train", small / "particles.star", "-o", small / "model", "--epochs", 1) == 0
    return small / "model" / "model.safetensors"


@pytest.fixture(scope="module")
def together(tmp_path_factory, small, small_model):
    """(folder, process): what two processes did and said that torchrun has started."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "work.py").write_text(_WORK)
    (folder / "mine").mkdir()
    (folder / "mine" / "mine.txt").write_text("mine")
    options = [folder, small / "some.star", small_model, *ALONE, "--batch", 16]
    result = started(*TORCHRUN, folder / "work.py", *options)
    assert result.returncode == 0, result.stderr
    return folder, result


@pytest.fixture
def both(together):
    """What either of the two found."""
    return [torch.load(together[0] / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def test_rows_of_all_processes_come_together_on_each(both):
    for found in both:
        assert np.array_equal(found["angle"], (np.arange(10) + 100) / 7)
        assert found["flag"][:, 0].all()
        assert np.array_equal(found["flag"][:, 1], np.arange(10) < len(both[0]["own"]))
        assert found["gathered"].dtype == np.int16
        assert np.array_equal(found["gathered"], np.full((2, 3), 1))


def test_sums_decisions_and_states_are_the_same_on_all(both):
    torch.manual_seed(0)
    weight = torch.nn.Linear(4, 3).weight.detach()
    for found in both:
        assert found["total"] == torch.tensor([3 + 6j])
        assert torch.equal(found["state"], weight)
        assert torch.equal(found["tensor"], torch.arange(3))
        assert (found["words"], found["agreed"], found["said"]) == ("first", True, "2 processes: 2 x CPU")
    assert [found["spoke"] for found in both].count(True) == 1


def test_what_the_first_does_for_all_is_done_once_and_not_shared(both):
    assert [found["ran"] for found in both] == [1, 0]
    assert [found["alone"] for found in both] == [10, 10]


def test_gradients_are_those_of_the_global_batch(both):
    torch.manual_seed(0)
    batch, network = torch.randn(8, 4, dtype=torch.float64), torch.nn.Linear(4, 3).double()
    values = network(batch)
    normal = (values - values.mean(0)) / values.var(0, unbiased=False).sqrt()
    normal.pow(4).sum(1).mean().backward()
    for found in both:
        assert torch.allclose(found["gradient"], network.weight.grad, rtol=1e-9, atol=1e-12)


def test_a_batch_norm_is_of_the_global_batch_where_the_parts_differ_in_size(both):
    torch.manual_seed(1)
    images, layers = torch.randn(7, 1, 6, 6), norm_network()
    for _ in range(2):
        layers.zero_grad()
        layers(images).pow(3).mean().backward()
    for found in both:
        for name, value in layers.state_dict().items():
            assert torch.allclose(found["layers"][name].double(), value.double(), atol=1e-5), name
        gradient = layers[0].weight.grad
        assert torch.allclose(both[0]["layer_gradient"], gradient, atol=1e-5 * float(gradient.abs().max()))


def test_statistics_are_shared_no_longer_once_a_process_is_alone():
    layers, images = norm_network(), torch.randn(4, 1, 6, 6)
    share_statistics(layers, ProcessGroup(0, 2))
    share_statistics(layers, ProcessGroup())
    assert torch.equal(layers(images), norm_network()(images))


# Alignment


def test_two_processes_find_the_poses_of_one(small, small_model, together, tmp_path):
    options = ["--model", small_model, "--batch", 16, "--write-stack", "--max-shift", 3]
    assert run("align", small / "some.star", "-o", tmp_path / "one", *options) == 0
    _assert_same(tmp_path / "one", together[0] / "refined")
    one, two = (StackReader(str(out / "aligned.mrcs")).read() for out in (tmp_path / "one", together[0] / "refined"))
    assert np.abs(one - two).max() < 1e-3


def test_particles_that_are_searched_over_the_full_circle_are_shared_too(small, together, tmp_path, monkeypatch):
    monkeypatch.setattr(aligner, "FIRST", 30)
    monkeypatch.setattr(align_set, "ENOUGH", 1000)
    monkeypatch.setattr(guide, "ENOUGH", 1000)
    options = ["--max-shift", 2, "--high-resolution-limit", 12, "--batch", 16]
    assert run("align", small / "some.star", "-o", tmp_path / "one", *options) == 0
    _assert_same(tmp_path / "one", together[0] / "searched")


def test_the_first_alone_speaks(together):
    folder, result = together
    assert result.stdout.count("Device: 2 processes: 2 x CPU (1 thread)") == 2  # of two runs
    assert result.stdout.count("Results  ") == 2
    assert result.stderr.count("images are constant") == 2
    assert summary(folder / "refined")["device"] == "2 processes: 2 x CPU (1 thread)"


def _assert_same(one: Path, two: Path) -> None:
    angle, shift = difference(one / "aligned.star", two / "aligned.star")
    assert angle < 1e-4
    assert shift < 1e-4
    for name in ("average", "half1", "half2", "average_before", "average_weighted"):
        first, second = (image(out / f"{name}.mrcs") for out in (one, two))
        assert np.abs(first - second).max() < 1e-4 * np.abs(first).max()
    first, second = summary(one), summary(two)
    assert first.keys() == second.keys()
    for name in first.keys() - {"command", "device", "seconds"}:
        is_figures = isinstance(first[name], (float, dict))
        assert second[name] == (pytest.approx(first[name], rel=1e-4) if is_figures else first[name]), name


def test_an_error_of_one_ends_both_with_one_sentence(small, small_model, tmp_path):
    stack = StackReader(str(small / "particles.mrcs")).read()
    stack[120, 3, 3] = np.nan  # among those that the second process reads
    write_stack(str(tmp_path / "bad.mrcs"), stack, PIXEL_SIZE)
    began = time.monotonic()
    result = started(*OWN, "align", tmp_path / "bad.mrcs", "--model", small_model, *ALONE, "-o", tmp_path / "out")
    assert result.returncode == 1
    assert time.monotonic() - began < 60
    assert result.stderr.strip() == (
        f"scipion-udl align: {tmp_path / 'bad.mrcs'}: item 121 holds NaN; remove or mend this image"
    )
    assert not (tmp_path / "out").exists()


def test_a_folder_that_exists_is_refused_once(together):
    folder, result = together
    said = [line for line in result.stderr.splitlines() if line.startswith("scipion-udl align: ")]
    assert len(said) == 1
    assert said[0].startswith(f"scipion-udl align: {folder / 'mine'} exists already")
    assert [path.name for path in (folder / "mine").iterdir()] == ["mine.txt"]
