"""What a comparison of classes shows: its figure, its report and the classes as far as all agree."""

from __future__ import annotations

import os

from pyworkflow.viewer import View

from scipion_udl.protocols import ProtUdlCompareClasses
from scipion_udl.protocols.protocol_base import REPORT
from scipion_udl.viewers.base import BrowserView, Button, UdlProtocolViewer


class UdlCompareClassesViewer(UdlProtocolViewer):
    """The report of a comparison, where the particles of classes lie in the other sets, and what all agree on."""

    _label = "results of compare classes"
    _targets = [ProtUdlCompareClasses]

    def buttons(self) -> list[Button]:
        """The buttons, in the order of the form."""
        return [
            Button(
                "doShowReport",
                "Report",
                "The whole comparison on one page, in your browser: averages of matched classes side by side, what "
                "comes again, what came apart, what one set alone has.",
                self._show_report,
            ),
            Button(
                "doShowFigure",
                "Where the particles lie",
                "For each class of the first set, which share of its particles each class of the others holds. On the "
                "diagonal are the classes that are matched with each other.",
                self._show_figure,
            ),
            Button(
                "doShowSet",
                "Table of the classes",
                "outputConsensus with all columns, _udlComesAgain among them: where Xmipp is installed, in its viewer.",
                lambda: self._show_set("outputConsensus"),
            ),
        ]

    def _show_report(self) -> list[View]:
        return [BrowserView(self._path(REPORT))]

    def _show_figure(self) -> list[View]:
        return [self._picture(self._path(os.path.basename(self.protocol.getFigure())), "Comparison of classes")]
