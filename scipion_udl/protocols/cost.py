"""What a run will take, in time and memory, before it is begun: a model fitted to runs on a processor."""

from __future__ import annotations

# Core-seconds; measured on 500 to 6000 particles of 64 to 256 px (benchmarks/scipion_cost.py says how to renew them).
_ALIGN_PARTICLE = 4.5e-3  # a particle of 128 px
_TRAIN_PARTICLE = 1e-3
_START = 15.0
_USUAL_BOX = 128
_LONG = 30 * 60  # seconds
_MEMORY = 0.6  # GB, whatever the number of particles


def minutes(count: int, box: int, threads: int, trains: bool) -> float:
    """Estimated minutes of a run on ``threads`` cores; trains: whether a network is trained first."""
    raise NotImplementedError


def warnings_of_cost(count: int, box: int, threads: int, trains: bool) -> list[str]:
    """Sentences where a run on the processor would take long, or more memory than there is."""
    return []
