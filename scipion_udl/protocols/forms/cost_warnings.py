"""Warnings of a form where a run on the processor would take long, or more memory than there is."""

from __future__ import annotations

from scipion_udl import cost_estimate
from scipion_udl.cost_estimate import NOISY, Cost, in_words

_LONG = 30.0  # minutes
_MUCH = 0.8  # of the machine's memory


def warnings_of_cost(count: int, box: int, threads: int, cost: Cost) -> list[str]:
    """Sentences where ``count`` particles of ``box`` pixels take long on threads of the processor, or much memory."""
    warnings, time, machine = [], cost.minutes(threads), cost_estimate.memory_of_machine()
    if time > _LONG:
        warnings.append(
            f"{count} particles of {box} px on {threads} threads of the processor will take about {in_words(time)}, "
            f"and up to {NOISY} times that if they are very noisy. A GPU (*Use GPU*), more threads, or particles "
            "binned to a smaller box make it quicker; the alignment of binned ones can be assigned to the full ones."
        )
    if cost.gigabytes > _MUCH * machine:
        warnings.append(
            f"Particles of {box} px need about {cost.gigabytes:.0f} GB of memory, and this machine has {machine:.0f}: "
            "bin them to a smaller box."
        )
    return warnings
