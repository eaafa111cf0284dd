"""What a run takes on the processor, in time and memory, told before it is begun: by `check` and by Scipion's forms.

A model fitted to measured runs of particles at a signal-to-noise ratio of 0.1. Alignments were of 512 to 50 000
particles of 64 to 512 px (docs/benchmarks_all.md has them), classifications of 2000 particles in 25 classes, 4000 in 50
and 100 000 in 100 (docs/numbers.md). Noise costs time: at a ratio of 0.01 an alignment took five times as long.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from scipion_udl.constants import TRAIN_A_CLASS, TRAIN_AT_MOST, WORKING_BOX

NOISY = 5  # times as long, where particles are very noisy
# Seconds of one core, of particles of 128 px: of an alignment and of training, to begin with and for each particle.
_ALIGN_START, _ALIGN_PARTICLE, _TRAIN_START, _TRAIN_PARTICLE = 15.0, 4e-3, 6.0, 0.25e-3
# Of a classification: for each particle; for each class; for each particle of the training subset, in each class.
_CLASSIFY_START, _CLASSIFY_PARTICLE, _CLASSIFY_CLASS, _CLASSIFY_TRAINED = 5.0, 7.7e-3, 1.05, 0.16e-3
_MIRROR = 2.0  # as much work, where mirror images are looked for
_GAIN, _CLASSIFY_GAIN = 0.4, 0.75  # of each further core: two do 1.4, or 1.75, times the work of one
_MOST_GAIN = 4.0  # times the work of one core, however many align
# Gigabytes: the program itself; of the working box; of what is read of larger boxes; of each particle.
_PROGRAM, _WORKING, _LARGER, _PARTICLE = 0.4, 0.3, 0.03, 2e-6


@dataclass(frozen=True)
class Cost:
    """seconds: of one core; gigabytes: of memory, at most; gain: of each further core; most_gain: of all of them."""

    seconds: float
    gigabytes: float
    gain: float = _GAIN
    most_gain: float = _MOST_GAIN

    def minutes(self, threads: int) -> float:
        """How long it takes by the clock.

        Parameters
        ----------
        threads : int
            Of the run; those beyond the cores of this machine are of no use.

        Returns
        -------
        float
            Minutes.
        """
        cores = max(1, min(threads, os.cpu_count() or 1))
        return self.seconds / min(1 + self.gain * (cores - 1), self.most_gain) / 60


def cost_of_alignment(count: int, box: int, trains: bool = True, mirror: bool = False) -> Cost:
    """What an alignment takes.

    Parameters
    ----------
    count : int
        Particles.
    box : int
        Pixels.
    trains : bool, optional
        Whether a network is trained on them first.
    mirror : bool, optional
        Whether mirror images are looked for.

    Returns
    -------
    Cost
        Of clear particles.
    """
    area = (box / WORKING_BOX) ** 2
    seconds = _ALIGN_START + count * area * _ALIGN_PARTICLE * (_MIRROR if mirror else 1)
    if trains:
        seconds += _TRAIN_START + count * area * _TRAIN_PARTICLE
    return Cost(seconds, _gigabytes(count, box))


def cost_of_classification(count: int, box: int, classes: int) -> Cost:
    """What a classification takes.

    Parameters
    ----------
    count : int
        Particles.
    box : int
        Pixels.
    classes : int
        How many.

    Returns
    -------
    Cost
        Of clear particles.
    """
    area = (box / WORKING_BOX) ** 2
    trained = min(count, TRAIN_A_CLASS * classes, TRAIN_AT_MOST)
    work = count * _CLASSIFY_PARTICLE + classes * (_CLASSIFY_CLASS + trained * _CLASSIFY_TRAINED)
    return Cost(_CLASSIFY_START + area * work, _gigabytes(count, box), _CLASSIFY_GAIN, float("inf"))


def _gigabytes(count: int, box: int) -> float:
    area = (box / WORKING_BOX) ** 2
    return _PROGRAM + _WORKING * min(area, 1.0) + _LARGER * max(area - 1, 0.0) + _PARTICLE * count


def memory_of_machine() -> float:
    """The memory that this machine has.

    Returns
    -------
    float
        Gigabytes; infinity where it does not tell.
    """
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError):
        return float("inf")


def in_words(minutes: float) -> str:
    """A time for people.

    Parameters
    ----------
    minutes : float
        The time.

    Returns
    -------
    str
        In seconds, minutes or hours.
    """
    if minutes < 1.5:
        return f"{60 * minutes:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
