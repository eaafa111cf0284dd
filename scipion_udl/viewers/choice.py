"""A gallery of classes out of which some are chosen by clicks, for a subset of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import MouseEvent
from matplotlib.patches import Rectangle
from matplotlib.widgets import Button

from scipion_udl.errors import UdlError
from scipion_udl.report import figures
from scipion_udl.viewers.gallery import CAPTION, STRIP, Gallery

FADED = 0.4  # opacity of an image that is not chosen
ROW = 0.42  # inches of a row of controls


class ChoiceGallery(Gallery):
    """A gallery in which a click on an image chooses it, or takes it out; what is not chosen is faded.

    sizes: (n,) particles in the class of each row; flagged: (n,) bool, rows that look like junk: these are not chosen
    to begin with, and what is said of them is red; actions: name of a button -> what makes a subset of rows (m,) of
    that kind and returns a sentence. All else: as of a Gallery.
    """

    strip, below = STRIP + 2 * ROW, CAPTION + 0.16

    def __init__(
        self,
        *args: Any,
        sizes: Sequence[int],
        flagged: Sequence[bool],
        actions: dict[str, Callable[[np.ndarray], str]],
        **options: Any,
    ) -> None:
        self.sizes, self.flagged = np.asarray(sizes, np.int64), np.asarray(flagged, bool)
        self.chosen, self.actions = ~self.flagged, actions
        super().__init__(*args, **options)
        self.figure.canvas.mpl_connect("button_press_event", self._clicked)

    # -- the window ----------------------------------------------------------------------------------------------------

    def _add_controls(self, finest: float) -> None:
        super()._add_controls(finest)
        upper, lower = STRIP + ROW, STRIP
        self.pickers = [
            self._button("Choose all", 0.2, upper, 1.0, lambda: self.choose(np.ones_like(self.chosen))),
            self._button("None", 1.3, upper, 0.7, lambda: self.choose(np.zeros_like(self.chosen))),
            self._button("Not flagged", 2.1, upper, 1.1, lambda: self.choose(~self.flagged)),
        ]
        self.count = self.figure.text(*self._place(3.4, upper + 0.1, 1, 1)[:2], "", fontsize=9)
        self.figure.text(*self._place(0.2, lower + 0.1, 1, 1)[:2], "A subset of those chosen:", fontsize=9)
        self.makers = [
            self._button(name, 2.1 + 1.1 * k, lower, 1.0, partial(self.make, name))
            for k, name in enumerate(self.actions)
        ]
        left = 2.2 + 1.1 * len(self.actions)
        self.told = self.figure.text(*self._place(left, lower + 0.1, 1, 1)[:2], "", fontsize=9, color=figures.MUTED)

    def _button(self, name: str, left: float, bottom: float, width: float, press: Callable[[], None]) -> Button:
        button = Button(self.figure.add_axes(self._place(left, bottom, width, 0.32)), name)
        button.label.set_fontsize(9)
        button.on_clicked(lambda _event: press())
        return button

    def mark(self, axes: Axes, row: int) -> None:
        """Frame what is chosen and fade what is not; the words of flagged ones are red."""
        if self.chosen[row]:
            axes.add_patch(
                Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=figures.BLUE, linewidth=4)
            )
        else:
            axes.images[0].set_alpha(FADED)
        if self.flagged[row]:
            axes.texts[0].set_color(figures.RED)

    def draw(self) -> None:
        """As of a gallery; also how much is chosen."""
        super().draw()
        self.count.set_text(
            f"Chosen: {int(self.chosen.sum())} of {len(self.chosen)} classes, {int(self.sizes[self.chosen].sum())} of "
            f"{int(self.sizes.sum())} particles. Click on an image to change it."
        )

    # -- what the buttons do -------------------------------------------------------------------------------------------

    def _clicked(self, event: MouseEvent) -> None:
        rows = self.rows
        if event.inaxes in self.cells and self.cells.index(event.inaxes) < len(rows):
            row = rows[self.cells.index(event.inaxes)]
            self.chosen[row] = not self.chosen[row]
            self.draw()

    def choose(self, chosen: np.ndarray) -> None:
        """Choose the rows that a mask (n,) says, on all pages."""
        self.chosen = np.array(chosen, bool)
        self.draw()

    def make(self, kind: str) -> None:
        """Make a subset of what is chosen; says what was started, or why not."""
        rows = np.flatnonzero(self.chosen)
        try:
            self.told.set_text(self.actions[kind](rows) if len(rows) else "No class is chosen.")
        except (OSError, ValueError, UdlError) as error:
            self.told.set_text(f"It cannot be made: {error}")
        self.figure.canvas.draw_idle()
