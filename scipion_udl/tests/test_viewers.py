"""The training curve that 'Analyze results' draws."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from pyworkflow.tests import BaseTest, setupTestProject

from scipion_udl.viewers import UdlTrainViewer

# As training.csv has them: text, with nothing where there is no number.
ROWS = [{"epoch": "1", "stage": "template", "loss": "0.5", "validation": "", "true_error": ""}] + [
    {"epoch": str(k), "stage": "network", "loss": f"{1 / k}", "validation": f"{2 / k}", "true_error": f"{30 / k}"}
    for k in (1, 2, 3)
]


class TestUdlTrainViewer(BaseTest):
    """What the viewer of a training draws from the file of its epochs."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)

    def panels(self, rows: list[dict]) -> list:
        viewer = UdlTrainViewer(project=self.proj)
        viewer.protocol = SimpleNamespace(readTraining=lambda: rows)
        (plotter,) = viewer._showTraining()
        return plotter.getFigure().axes

    def test_the_true_error_is_drawn_beside_the_loss_on_its_own_axis(self) -> None:
        template, network, error = self.panels(ROWS)
        self.assertEqual((template.get_title(loc="left"), network.get_title(loc="left")), ("template", "network"))
        self.assertIn("true error", error.get_ylabel())
        (curve,) = error.get_lines()
        np.testing.assert_allclose(np.array(curve.get_xydata()), [[1, 30], [2, 15], [3, 10]])
        self.assertEqual(len(network.get_lines()), 2)
        self.assertEqual(error.get_position().bounds, network.get_position().bounds)

    def test_without_a_truth_there_is_no_second_axis(self) -> None:
        rows = [{key: value for key, value in row.items() if key != "true_error"} for row in ROWS]
        self.assertEqual(len(self.panels(rows)), 2)
