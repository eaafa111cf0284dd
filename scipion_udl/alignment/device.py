"""Which processor computes: chosen once, said aloud, never changed in silence."""

from __future__ import annotations

import os

import torch

from scipion_udl.errors import UdlError


def gpu_names() -> list[str]:
    """Names of the GPUs that torch can use, by number."""
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def choose_device(gpu: str = "auto", threads: int | None = None) -> torch.device:
    """The device for ``--gpu``: none, auto (a GPU where there is one) or a number (of several, the first is used).

    threads: CPU threads to use, None for all. Raises UdlError for a GPU that is not there: a run that was asked to use
    one never falls back to the CPU.
    """
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    gpu = str(gpu).strip().lower()
    if gpu == "none":
        return torch.device("cpu")
    if gpu == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        wanted = [int(part) for part in gpu.replace(",", " ").split()]
    except ValueError:
        wanted = []
    if not wanted:
        raise UdlError(f"--gpu {gpu} is not understood: give none, auto, or the number of a GPU (0, 1, ...).")
    there = torch.cuda.device_count()
    for number in wanted:
        if not 0 <= number < there:
            has = f"torch sees {there}: 0 to {there - 1}" if there else "torch sees no GPU on this machine"
            raise UdlError(
                f"GPU {number} was asked for, but {has}; choose another with --gpu, or --gpu none for the CPU."
            )
    return torch.device("cuda", wanted[0])


def describe(device: torch.device) -> str:
    """The device in words, for the log and the summary."""
    if device.type == "cuda":
        return f"GPU {device.index} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"CPU ({threads} thread{'' if threads == 1 else 's'})"
