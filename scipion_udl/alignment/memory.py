"""What is done where memory is short: fewer particles at a time, down to one. No result depends on how many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from scipion_udl.alignment.prepare import PreparedParticles
from scipion_udl.errors import UdlError, is_out_of_memory

Result = TypeVar("Result")


def within_memory(particles: PreparedParticles, work: Callable[[], Result], warn: Callable[[str], None]) -> Result:
    """What ``work``, which goes through ``particles``, returns.

    Where memory is not enough for it, it is done again with half as many particles at a time, and ``warn`` is told; so
    it must be fit to be done again. Raises UdlError where memory is not enough for one particle. Processes that share a
    run are not stopped in the same place, so for them the error goes on.
    """
    while True:
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or particles.team.size > 1:
                raise
        # Here the error is gone, and with it all that its traceback held.
        if particles.chunk <= 1:
            raise UdlError(
                f"There is not enough memory on the {'CPU' if particles.device.type == 'cpu' else 'GPU'} even for one "
                "particle at a time: end other programs that use it, or bin the particles to a smaller box."
            )
        if particles.device.type == "cuda":
            torch.cuda.empty_cache()
        particles.chunk //= 2
        warn(f"Memory was not enough: it goes on with {particles.chunk} particles at a time (--batch).")
