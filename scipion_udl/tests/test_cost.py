"""The estimate of time and memory that the form gives before a run."""

from __future__ import annotations

import unittest
from unittest import mock

from scipion_udl.protocols import cost

# particles, box, minutes on two cores, training included: rows of docs/benchmarks_all.md, hook at SNR 0.1
MEASURED = [(10_000, 128, 37.2 / 60), (50_000, 128, 117.3 / 60)]
# particles, classes, minutes on two cores: classifications in docs/numbers.md
CLASSIFIED = [(2000, 25, 33 / 60), (4000, 50, 68 / 60), (100_000, 100, 685 / 60)]


@mock.patch("os.cpu_count", return_value=8)
class TestUdlCost(unittest.TestCase):
    """What is told beforehand is about what is measured."""

    def test_estimates_are_within_a_factor_of_two_of_what_was_measured(self, _cores: object) -> None:
        for count, box, minutes in MEASURED:
            ratio = cost.minutes(count, box, 2, True) / minutes
            self.assertTrue(0.5 < ratio < 2, (count, box, ratio))
        for count, classes, minutes in CLASSIFIED:
            ratio = cost.classification_minutes(count, 128, classes, 2) / minutes
            self.assertTrue(0.7 < ratio < 1.4, (count, classes, ratio))

    def test_only_long_runs_are_warned_of(self, _cores: object) -> None:
        self.assertEqual(cost.warnings_of_cost(10_000, 128, 4, True), [])
        (warning,) = cost.warnings_of_cost(1_000_000, 256, 4, True)
        self.assertIn("1000000 particles of 256 px on 4 threads", warning)
        self.assertIn("hours", warning)
        (warning,) = cost.warnings_of_cost(900_000, 192, 4, False, mirror=True)
        self.assertIn(f"{cost.minutes(900_000, 192, 4, False, mirror=True) / 60:.0f} hours", warning)

    def test_threads_beyond_the_cores_are_of_no_use(self, _cores: object) -> None:
        self.assertLess(cost.minutes(10_000, 128, 8, True), cost.minutes(10_000, 128, 4, True))
        self.assertEqual(cost.minutes(10_000, 128, 64, True), cost.minutes(10_000, 128, 8, True))

    def test_boxes_that_do_not_fit_into_the_memory_are_warned_of(self, _cores: object) -> None:
        with mock.patch.object(cost, "memory_of_machine", return_value=2.0):
            self.assertEqual(cost.warnings_of_cost(200, 256, 4, True), [])
            (warning,) = cost.warnings_of_cost(200, 1024, 4, True)
        self.assertIn("memory", warning)
