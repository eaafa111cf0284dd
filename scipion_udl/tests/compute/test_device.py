"""The processor that computes is the one that was asked for, or there is an error."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.compute.device import choose_device, describe, gpu_names
from scipion_udl.errors import UdlError


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def gpus(monkeypatch):
    """Call it with a number: so many GPUs seem to be there."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=0: f"Accelerator {device}")

    return pretend


@pytest.mark.parametrize("count", [0, 2])
def test_none_is_the_cpu_whatever_is_there(gpus, count):
    gpus(count)
    assert choose_device("none") == torch.device("cpu")
    assert choose_device(" NONE ") == torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one(gpus):
    gpus(0)
    assert choose_device("auto").type == "cpu"
    gpus(2)
    assert choose_device("auto") == torch.device("cuda", 0)


@pytest.mark.parametrize(("asked", "number"), [("1", 1), ("0", 0), ("1,0", 1), ("1 0", 1), (1, 1)])
def test_a_gpu_by_its_number_is_that_gpu(gpus, asked, number):
    gpus(2)
    assert choose_device(asked) == torch.device("cuda", number)


@pytest.mark.parametrize("asked", ["0", "1,0", "7"])
def test_a_gpu_that_is_not_there_is_never_replaced_by_the_cpu(gpus, asked):
    gpus(0)
    with pytest.raises(UdlError, match=rf"GPU {asked[0]} was asked for, but torch sees no GPU.*--gpu none"):
        choose_device(asked)


@pytest.mark.parametrize("asked", ["2", "0,2", "0,5", "-1"])
def test_every_gpu_of_a_list_must_be_there(gpus, asked):
    gpus(2)
    with pytest.raises(UdlError, match=r"torch sees 2: 0 to 1|not understood"):
        choose_device(asked)


@pytest.mark.parametrize("asked", ["cuda", "first", "", ",", "1.5", "0x"])
def test_what_is_no_number_is_not_understood(gpus, asked):
    gpus(2)
    with pytest.raises(UdlError, match=r"not understood.*none, auto"):
        choose_device(asked)


def test_as_many_threads_as_asked_for():
    choose_device("none", 1)
    assert torch.get_num_threads() == 1
    assert describe(torch.device("cpu")) == "CPU (1 thread)"
    choose_device("none", 2)
    assert describe(torch.device("cpu")) == "CPU (2 threads)"
    choose_device("none")
    assert torch.get_num_threads() == len(os.sched_getaffinity(0))


def test_a_gpu_is_named(gpus):
    gpus(2)
    assert gpu_names() == ["Accelerator 0", "Accelerator 1"]
    assert "GPU 1" in describe(torch.device("cuda", 1))


# several processes


@pytest.mark.parametrize(("asked", "numbers"), [("auto", [0, 1, 2]), ("1,3", [1, 3]), ("3 0", [3, 0])])
def test_every_process_takes_a_gpu_of_its_own(gpus, asked, numbers):
    gpus(4)
    chosen = [choose_device(asked, None, rank, len(numbers)) for rank in range(len(numbers))]
    assert chosen == [torch.device("cuda", number) for number in numbers]


@pytest.mark.parametrize(("asked", "there"), [("auto", "1 GPU is"), ("0", "1 GPU is"), ("0,0", "1 GPU is")])
def test_a_gpu_for_several_processes_is_an_error(gpus, asked, there):
    gpus(1)
    with pytest.raises(UdlError, match=f"2 processes were started on this machine, but {there} there"):
        choose_device(asked, None, 0, 2)


def test_processes_of_a_machine_divide_its_threads(gpus, monkeypatch):
    gpus(0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(7)))
    assert choose_device("none", None, 1, 3) == choose_device("auto", None, 1, 3) == torch.device("cpu")
    assert torch.get_num_threads() == 2
    choose_device("none", None, 1, 30)
    assert torch.get_num_threads() == 1
    choose_device("none", 3, 1, 2)
    assert torch.get_num_threads() == 3


def test_gpus_compute_in_full_precision(gpus):
    gpus(1)
    settings = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [setting.allow_tf32 for setting in settings]
    try:
        for setting in settings:
            setting.allow_tf32 = True
        choose_device("auto")
        assert [setting.allow_tf32 for setting in settings] == [False, False]
    finally:
        for setting, value in zip(settings, before):
            setting.allow_tf32 = value
