"""The estimate of time and memory that is given before a run."""

from __future__ import annotations

import pytest

from scipion_udl import cost_estimate
from scipion_udl.cost_estimate import cost_of_alignment, cost_of_classification, in_words

# Particles, box, CPU seconds of one core and gigabytes, training included: hook at SNR 0.1, of docs/benchmarks_all.md
# and of a later version.
ALIGNED = [
    (10_000, 128, 52.2, 0.68),
    (50_000, 128, 165.5, 0.75),
    (3000, 64, 24.4, 0.52),
    (2000, 128, 48.5, 0.68),
    (6000, 128, 68.5, 0.74),
    (1500, 256, 66.3, 0.85),
]
# Particles, classes, minutes on two cores: classifications in docs/numbers.md.
CLASSIFIED = [(2000, 25, 33 / 60), (4000, 50, 68 / 60), (100_000, 100, 685 / 60)]


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)


@pytest.mark.parametrize("count, box, seconds, gigabytes", ALIGNED)
def test_an_alignment_is_estimated_to_take_what_was_measured(count, box, seconds, gigabytes):
    cost = cost_of_alignment(count, box)
    assert 0.6 < cost.seconds / seconds < 1.6
    assert 0.85 < cost.gigabytes / gigabytes < 1.15


@pytest.mark.parametrize("count, classes, minutes", CLASSIFIED)
def test_a_classification_is_estimated_to_take_what_was_measured(count, classes, minutes):
    assert 0.7 < cost_of_classification(count, 128, classes).minutes(2) / minutes < 1.4


def test_threads_beyond_the_cores_are_of_no_use():
    cost = cost_of_alignment(10_000, 128)
    assert cost.minutes(8) < cost.minutes(4) < cost.minutes(1)
    assert cost.minutes(64) == cost.minutes(8)


def test_mirror_images_and_training_cost_time():
    plain = cost_of_alignment(1000, 128, trains=False).seconds
    assert plain < cost_of_alignment(1000, 128).seconds
    assert plain < cost_of_alignment(1000, 128, trains=False, mirror=True).seconds


@pytest.mark.parametrize("minutes, words", [(0.5, "30 seconds"), (2.0, "2 minutes"), (90.0, "1.5 hours")])
def test_a_time_is_told_in_the_unit_that_people_think_of_it_in(minutes, words):
    assert in_words(minutes) == words


def test_a_machine_that_does_not_tell_its_memory_has_enough(monkeypatch):
    def unknown(_name):
        raise ValueError

    monkeypatch.setattr("os.sysconf", unknown)
    assert cost_estimate.memory_of_machine() == float("inf")
