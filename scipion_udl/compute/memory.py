"""What is done where memory is short: fewer particles at a time, down to one. No result depends on how many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.errors import UdlError, is_out_of_memory
from scipion_udl.messages import Message, message

Result = TypeVar("Result")


class InChunks(Protocol):
    """What is gone through in chunks of ``chunk`` particles, on ``device``, shared by the processes ``group``."""

    chunk: int
    device: torch.device

    @property
    def group(self) -> ProcessGroup:
        """The processes that share passes over all particles."""
        raise NotImplementedError


def until_it_fits(group: ProcessGroup, work: Callable[[], Result], lower: Callable[[], None]) -> Result:
    """Do a piece of work, and where memory is not enough for it do it again with less. Of several processes all call
    this, and all lower where one of them has to.

    Parameters
    ----------
    group : ProcessGroup
        The processes.
    work : callable
        Without arguments; fit to be done again.
    lower : callable
        Makes ``work`` want less; raises UdlError where that cannot be.

    Returns
    -------
    Result
        What ``work`` returns.
    """
    while True:
        try:
            with group.together():
                return work()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or group.is_of_outer(error):
                raise
        # Here the error is gone, and with it all that its traceback held.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        lower()


def within_memory(particles: InChunks, work: Callable[[], Result], warn: Callable[[Message], None]) -> Result:
    """Do a piece of work that goes through particles; where memory is not enough for it, with half as many at a time.

    Parameters
    ----------
    particles : InChunks
        Whose ``chunk`` is halved.
    work : callable
        Without arguments; fit to be done again.
    warn : callable
        Told of every halving.

    Returns
    -------
    Result
        What ``work`` returns.

    Raises
    ------
    UdlError
        Where memory is not enough for one particle.
    """

    def lower() -> None:
        if particles.chunk <= 1:
            raise UdlError(message("memory_too_small", device=name_of(particles.device)))
        particles.chunk //= 2
        warn(message("memory_halved", chunk=particles.chunk))

    return until_it_fits(particles.group, work, lower)


def name_of(device: torch.device) -> str:
    """Whose memory it is, in a word.

    Parameters
    ----------
    device : torch.device
        The one in use.

    Returns
    -------
    str
        "CPU" or "GPU".
    """
    return "CPU" if device.type == "cpu" else "GPU"
