"""Which processor computes: chosen once, said aloud, never changed in silence; and how images get to it."""

from __future__ import annotations

import os

import numpy as np
import torch

from scipion_udl.errors import UdlError
from scipion_udl.messages import message


def gpu_names() -> list[str]:
    """Names of the GPUs that torch can use, by number.

    Returns
    -------
    list of str
        As the driver calls them; empty where there is none.
    """
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def choose_device(
    gpu: str = "auto", threads: int | None = None, local_rank: int = 0, local_size: int = 1
) -> torch.device:
    """The device for ``--gpu``, with the threads that go with it.

    On a GPU everything is computed in float32: TF32 is switched off for products and convolutions alike. A score is a
    sum over ten thousand coefficients that are nearly all noise, of which TF32 keeps 10 bits, and half precision fails
    FFTs of most boxes. Training may use torch.autocast for its networks, where a step needs no more.

    Parameters
    ----------
    gpu : str, optional
        "none", "auto" (a GPU where there is one) or numbers, of which this process takes its own.
    threads : int, optional
        CPU threads to use; None for all, divided among the processes on this machine.
    local_rank, local_size : int, optional
        Which process on this machine this is, from 0, and of how many; each has a GPU of its own: of those that are
        named, or of all.

    Returns
    -------
    torch.device
        CPU or a GPU by its number.

    Raises
    ------
    UdlError
        For a GPU that is not there, and where there are fewer than processes: a run that was asked to use one never
        falls back to the CPU.
    """
    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // local_size))
    gpu = str(gpu).strip().lower()
    if gpu == "none":
        return torch.device("cpu")
    if gpu == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        wanted = list(range(max(torch.cuda.device_count(), 1)))
    else:
        wanted = _numbers(gpu)
    if local_size > len(set(wanted)):
        has = f"{len(set(wanted))} GPU{'s are' if len(set(wanted)) > 1 else ' is'}"
        raise UdlError(message("too_few_gpus", processes=local_size, there=has))
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda", wanted[local_rank])


def _numbers(gpu: str) -> list[int]:
    """The GPUs of a list such as "0,1", each once. Raises UdlError for what is none, or not there."""
    try:
        wanted = list(dict.fromkeys(int(part) for part in gpu.replace(",", " ").split()))
    except ValueError:
        wanted = []
    if not wanted:
        raise UdlError(message("gpu_not_understood", gpu=gpu))
    there = torch.cuda.device_count()
    for number in wanted:
        if not 0 <= number < there:
            has = f"torch sees {there}: 0 to {there - 1}" if there else "torch sees no GPU on this machine"
            raise UdlError(message("gpu_not_there", number=number, there=has))
    return wanted


def describe(device: torch.device) -> str:
    """The device in words, for the log and the summary.

    Parameters
    ----------
    device : torch.device
        The one in use.

    Returns
    -------
    str
        As in "GPU 0 (its name)" or "CPU (4 threads)".
    """
    if device.type == "cuda":
        return f"GPU {device.index} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"CPU ({threads} thread{'' if threads == 1 else 's'})"


class Upload:
    """Brings images to a device while it computes: a thread begins with a chunk that is needed later.

    On a GPU they go from pinned memory over a stream of their own; on the CPU they stay where they are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def begin(self, images: np.ndarray) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        """Send images to the device; from any thread.

        Parameters
        ----------
        images : (n, D, D) float32 array
            In host memory.

        Returns
        -------
        tensor, event
            The images, and when they have arrived; None for what is there already, on the CPU.
        """
        values = torch.from_numpy(images)
        if self._stream is None:
            return values, None
        with torch.cuda.stream(self._stream):  # also makes its GPU the one of this thread
            sent = values.pin_memory().to(self.device, non_blocking=True)
            return sent, self._stream.record_event()

    def finish(self, sent: torch.Tensor, arrival: torch.cuda.Event | None) -> torch.Tensor:
        """The images on the device, for what the calling thread computes next.

        Parameters
        ----------
        sent : (n, D, D) tensor
            What :meth:`begin` gave.
        arrival : torch.cuda.Event or None
            The same.

        Returns
        -------
        (n, D, D) tensor
            To be used in the calling thread's stream.
        """
        if arrival is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_event(arrival)
            sent.record_stream(now)  # its memory is not to be used again before this stream is done with it
        return sent
