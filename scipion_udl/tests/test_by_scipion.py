"""Scipion's own runner finds every test of the plugin."""

from __future__ import annotations

import unittest

from scipion_udl.tests.run_by_scipion import classes_here, classes_of_scipion


class TestUdlByScipion(unittest.TestCase):
    """What ``scipion tests --show --grep udl`` lists; ``make test-scipion`` runs it."""

    def test_all_classes_are_found(self) -> None:
        here = classes_here()
        self.assertIn("scipion_udl.tests.test_by_scipion.TestUdlByScipion", here)
        self.assertLessEqual(set(here), set(classes_of_scipion()))
