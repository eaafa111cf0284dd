"""What a run on the processor will take, in time and memory, before it is begun: a model fitted to measured runs.

The runs were of 500 to 50 000 simulated particles of 64 to 512 px, on two cores (docs/benchmarks_all.md has the large
ones). Noise costs time: at a signal-to-noise ratio of 0.01 an alignment took five times as long as at 0.1. Those of
classifications were of 2000 particles in 25 classes, 4000 in 50 and 100 000 in 100 (docs/numbers.md).
"""

from __future__ import annotations

import os

from scipion_udl.constants import TEACH_A_CLASS, TEACH_AT_MOST

# Seconds of one core.
_START, _ALIGN_PARTICLE, _TRAIN_PARTICLE = 15.0, 4e-3, 0.25e-3  # the two latter of a particle of 128 px
_TRAIN_START = 6.0
# Of a classification: for each particle; for each class; for each particle that teaches, in each class.
_SORT_PARTICLE, _SORT_CLASS, _TEACH_PARTICLE = 7.7e-3, 1.05, 0.16e-3
_SORT_START = 5.0
_USUAL_BOX = 128
_GAIN, _SORT_GAIN = 0.4, 0.75  # of each further core: two do 1.4, or 1.75, times the work of one
_MIRROR = 2.0  # as much work, where mirror images are looked for
_NOISY = 5
# Gigabytes: the program itself, and what it holds at a time of particles of 128 px. The number of particles adds none.
_PROGRAM, _CHUNK = 0.45, 0.05
_LONG = 30.0  # minutes


def minutes(count: int, box: int, threads: int, trains: bool, mirror: bool = False) -> float:
    """Estimated minutes for ``count`` clear particles of ``box`` pixels; trains: a network is trained on them first."""
    area = (box / _USUAL_BOX) ** 2
    seconds = _START + count * area * _ALIGN_PARTICLE * (_MIRROR if mirror else 1)
    if trains:
        seconds += _TRAIN_START + count * area * _TRAIN_PARTICLE
    return _by_the_clock(seconds, threads)


def classification_minutes(count: int, box: int, classes: int, threads: int) -> float:
    """Estimated minutes for sorting ``count`` clear particles of ``box`` pixels into ``classes`` classes."""
    area = (box / _USUAL_BOX) ** 2
    taught = min(count, TEACH_A_CLASS * classes, TEACH_AT_MOST)
    seconds = _SORT_START + area * (count * _SORT_PARTICLE + classes * (_SORT_CLASS + taught * _TEACH_PARTICLE))
    return _by_the_clock(seconds, threads, _SORT_GAIN)


def _by_the_clock(seconds: float, threads: int, gain: float = _GAIN) -> float:
    """Minutes that so many seconds of one core take on threads."""
    cores = max(1, min(threads, os.cpu_count() or 1))
    return seconds / (1 + gain * (cores - 1)) / 60


def gigabytes(box: int) -> float:
    """Estimated peak memory for particles of ``box`` pixels."""
    return _PROGRAM + _CHUNK * (box / _USUAL_BOX) ** 2


def memory_of_machine() -> float:
    """Gigabytes of memory that this machine has; infinite where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError):
        return float("inf")


def warnings_of_cost(count: int, box: int, threads: int, trains: bool, mirror: bool = False) -> list[str]:
    """Sentences where a run on the processor would take long, or more memory than there is."""
    return _warnings(count, box, threads, minutes(count, box, threads, trains, mirror))


def _warnings(count: int, box: int, threads: int, time: float) -> list[str]:
    """Sentences where ``time`` minutes are many, or the memory is too small."""
    warnings, memory = [], gigabytes(box)
    if time > _LONG:
        warnings.append(
            f"{count} particles of {box} px on {threads} threads of the processor will take about {_in_words(time)}, "
            f"and up to {_NOISY} times that if they are very noisy. A GPU (*Use GPU*), more threads, or particles "
            "binned to a smaller box make it quicker; the alignment of binned ones can be assigned to the full ones."
        )
    if memory > 0.8 * memory_of_machine():
        warnings.append(
            f"Particles of {box} px need about {memory:.0f} GB of memory, and this machine has "
            f"{memory_of_machine():.0f}: bin them to a smaller box."
        )
    return warnings


def warnings_of_classification(count: int, box: int, classes: int, threads: int) -> list[str]:
    """Sentences where a classification on the processor would take long, or more memory than there is."""
    return _warnings(count, box, threads, classification_minutes(count, box, classes, threads))


def _in_words(time: float) -> str:
    """Minutes, or hours where they are many."""
    return f"{time:.0f} minutes" if time < 90 else f"{time / 60:.0f} hours"
