"""The warnings of time and memory that the form gives before a run."""

from __future__ import annotations

import unittest
from unittest import mock

from scipion_udl import cost_estimate
from scipion_udl.cost_estimate import cost_of_alignment
from scipion_udl.protocols.forms.cost_warnings import warnings_of_cost


def warnings(count: int, box: int, threads: int, trains: bool, mirror: bool = False) -> list[str]:
    return warnings_of_cost(count, box, threads, cost_of_alignment(count, box, trains, mirror))


@mock.patch("os.cpu_count", return_value=8)
class TestUdlCost(unittest.TestCase):
    """Runs are warned of where they are long or large."""

    def test_only_long_runs_are_warned_of(self, _cores: object) -> None:
        self.assertEqual(warnings(10_000, 128, 4, True), [])
        (warning,) = warnings(1_000_000, 256, 4, True)
        self.assertIn("1000000 particles of 256 px on 4 threads", warning)
        self.assertIn("hours", warning)
        (warning,) = warnings(900_000, 192, 4, False, mirror=True)
        self.assertIn(f"{cost_of_alignment(900_000, 192, False, True).minutes(4) / 60:.1f} hours", warning)

    def test_boxes_that_do_not_fit_into_the_memory_are_warned_of(self, _cores: object) -> None:
        with mock.patch.object(cost_estimate, "memory_of_machine", return_value=2.0):
            self.assertEqual(warnings(200, 256, 4, True), [])
            (warning,) = warnings(200, 1024, 4, True)
        self.assertIn("memory", warning)
