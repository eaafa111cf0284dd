"""What an evaluation shows: its figure and its table."""

from __future__ import annotations

import os

from pyworkflow.viewer import View

from scipion_udl.protocols import ProtUdlEvaluate
from scipion_udl.viewers.base import Button, NothingToShow, UdlProtocolViewer

_SHARES = ("right_way_round", "within_5")  # figures that are shares, of pairs and modulo a symmetry, too


def _in_words(row: dict[str, str]) -> str:
    """The value of a row of evaluation.csv with its unit, rounded; shares as per cent."""
    if row["figure"].split("pair_")[-1].startswith(_SHARES):
        return f"{100 * float(row['value']):.4g} %"
    value = row["value"] if float(row["value"]).is_integer() else f"{float(row['value']):.4g}"
    return f"{value} {row['unit'].replace('A', 'Å')}".rstrip()


class UdlEvaluateViewer(UdlProtocolViewer):
    """The figure and the table of an evaluation."""

    _label = "results of evaluate alignment"
    _targets = [ProtUdlEvaluate]

    def buttons(self) -> list[Button]:
        """The buttons, in the order of the form."""
        return [
            Button(
                "doShowFigure",
                "Figure",
                "Errors against the truth, where it is known; the average beside the reference, where there is one; "
                "and averages of two halves with their FRC.",
                self._show_figure,
            ),
            Button("doShowTable", "Table", "All figures with their units and what they mean.", self._show_table),
        ]

    def _show_figure(self) -> list[View]:
        path = self.protocol.getFigure()
        if not os.path.exists(path):
            raise NothingToShow("The evaluation is not ready yet.")
        return [self._picture(path, "Evaluation")]

    def _show_table(self) -> list[View]:
        try:
            rows = self.protocol.readFigures()
        except OSError:
            raise NothingToShow("The evaluation is not ready yet.") from None
        lines = [f"{row['meaning']}: {_in_words(row)}" for row in rows]
        return [self.infoMessage("\n".join(lines), "Evaluation")]
