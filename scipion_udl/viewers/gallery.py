"""A window of images: pages of them, one grey scale for all, and what stands below each. Drawn with matplotlib."""

from __future__ import annotations

from typing import Callable, Mapping, Optional, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.widgets import Button, RadioButtons, RangeSlider, Slider
from pwem.viewers import EmPlotter

from scipion_udl.errors import UdlError
from scipion_udl.report import figures, pictures

STRETCH = (0.3, 99.7)  # percentiles that are drawn black and white, to begin with
STRIP = 1.2  # inches of the controls below the images
MOST_HIGH = 1.4  # inches of a list of choices among them, the margins of its axes counted
MARGIN, HEAD, CAPTION = 0.12, 0.4, 0.24  # inches about the images, above them, and of the text below each
WIDEST = 10.5  # inches
LEAST_CYCLES = 2  # a box that the strongest low-pass leaves

Reader = Callable[[np.ndarray], np.ndarray]


class Gallery:
    """Images on pages, in a window with buttons and sliders; only those of the page that is shown are read.

    title: of the window; kinds: what can be shown of each image, by its name: a function that gives the images
    (n, D, D) of rows (n,); orders: the rows (n,) in an order, by its name; caption: the text below the image of a row;
    shape: most rows and columns of images a page; pixel_size: angstrom, None where nobody knows it; finest: what is
    low-passed to begin with, angstrom or pixels (0: nothing); note: one line on top.

    One stretch, from one percentile of the pixels to another, holds for the whole page and for all kinds, so that what
    was and what has become of it can be compared.
    """

    strip, below = STRIP, CAPTION  # inches of the controls, and of the text below each image

    def __init__(
        self,
        title: str,
        kinds: dict[str, Reader],
        orders: Mapping[str, Sequence[int] | np.ndarray],
        caption: Callable[[int], str],
        shape: tuple[int, int] = (3, 6),
        pixel_size: Optional[float] = None,
        finest: float = 0.0,
        note: str = "",
    ) -> None:
        self.kinds, self.caption, self.pixel_size = kinds, caption, pixel_size
        self.orders = {name: np.asarray(rows, np.int64) for name, rows in orders.items()}
        self.kind, self.order, self.first = next(iter(kinds)), next(iter(orders)), 0
        count = max(len(rows) for rows in self.orders.values())
        self.columns = max(1, min(shape[1], count))
        self.lines = max(1, min(shape[0], -(-count // self.columns)))
        self.page: dict[str, np.ndarray] = {}
        with figures.style():
            self.plotter = EmPlotter(windowTitle=title, figsize=self._size())
            self.plotter.tightLayoutOn = False  # the places are given
            self.figure = self.plotter.getFigure()
            self.figure.udl_gallery = self  # matplotlib's widgets live as long as somebody holds them
            self.note = self.figure.text(0.02, 1 - 0.12 / self._size()[1], note, va="top", fontsize=10)
            self.cells = [self._cell(k) for k in range(self.columns * self.lines)]
            self._add_controls(finest)
            self.show_page()

    # -- the window ----------------------------------------------------------------------------------------------------

    def _size(self) -> tuple[float, float]:
        """Width and height of the window, inches."""
        self.side = min(2.9, (WIDEST - MARGIN * (self.columns + 1)) / self.columns)
        width = max(9.0, self.columns * (self.side + MARGIN) + MARGIN)
        return width, self.lines * (self.side + self.below + MARGIN) + HEAD + self.strip

    def _place(self, left: float, bottom: float, width: float, height: float) -> list[float]:
        """Inches as parts of the window."""
        whole = self._size()
        return [left / whole[0], bottom / whole[1], width / whole[0], height / whole[1]]

    def _cell(self, k: int) -> Axes:
        width, _ = self._size()
        line, column = divmod(k, self.columns)
        left = (width - self.columns * (self.side + MARGIN) + MARGIN) / 2 + column * (self.side + MARGIN)
        bottom = self.strip + (self.lines - 1 - line) * (self.side + self.below + MARGIN) + self.below
        axes = self.figure.add_axes(self._place(left, bottom, self.side, self.side))
        axes.set_axis_off()
        return axes

    def _add_controls(self, finest: float) -> None:
        """Paging on the left, sliders in the middle, what is shown and its order on the right."""
        self.back = Button(self.figure.add_axes(self._place(0.2, 0.62, 0.9, 0.32)), "Previous")
        self.forth = Button(self.figure.add_axes(self._place(1.2, 0.62, 0.9, 0.32)), "Next")
        self.back.on_clicked(lambda _event: self.turn_pages(-1))
        self.forth.on_clicked(lambda _event: self.turn_pages(1))
        self.where = self.figure.text(*self._place(0.2, 0.34, 1, 1)[:2], "", fontsize=9, color=figures.MUTED)
        self.stretch = RangeSlider(
            self.figure.add_axes(self._place(3.6, 0.72, 1.4, 0.2)),
            "Contrast (%)",
            0,
            100,
            valinit=STRETCH,
            valfmt="%.3g",
            color=figures.BLUE,
        )
        self.stretch.on_changed(lambda _value: self.draw())
        self.unit = "Å" if self.pixel_size else "px"
        self.finest = Slider(
            self.figure.add_axes(self._place(3.6, 0.3, 1.4, 0.2)),
            f"Low-pass ({self.unit})",
            0,
            20 * (self.pixel_size or 1.0),
            valinit=finest,
            valfmt="%.3g",
            color=figures.BLUE,
        )
        self.finest.on_changed(lambda _value: self.draw())
        for slider in (self.stretch, self.finest):  # clear of the handles at either end
            slider.label.set_x(-0.08)
            slider.valtext.set_x(1.08)
        self.choices = []
        for left, names, change in ((6.05, self.kinds, self.choose_kind), (7.5, self.orders, self.choose_order)):
            if len(names) > 1:
                height = min(0.28 * len(names), MOST_HIGH)
                axes = self.figure.add_axes(self._place(left, (STRIP - height) / 2, 1.4, height))
                axes.set_frame_on(False)
                self.choices.append(RadioButtons(axes, list(names), activecolor=figures.BLUE))
                self.choices[-1].on_clicked(change)

    # -- what the buttons do -------------------------------------------------------------------------------------------

    @property
    def rows(self) -> np.ndarray:
        """The rows of the page that is shown, in order."""
        return self.orders[self.order][self.first : self.first + len(self.cells)]

    def turn_pages(self, pages: int) -> None:
        """Go on or back by a number of pages, as far as there are some."""
        last = max(0, (len(self.orders[self.order]) - 1) // len(self.cells)) * len(self.cells)
        self.first = int(np.clip(self.first + pages * len(self.cells), 0, last))
        self.show_page()

    def choose_kind(self, name: str) -> None:
        """Show another kind of the same images."""
        self.kind = name
        self.draw()

    def choose_order(self, name: str) -> None:
        """Show the first page of another order."""
        self.order, self.first = name, 0
        self.show_page()

    def show_page(self) -> None:
        """Read the images of the page and draw them; says why where they cannot be read."""
        try:
            self.page = {name: np.asarray(read(self.rows), np.float64) for name, read in self.kinds.items()}
        except (OSError, ValueError, UdlError) as error:
            self.page = {}
            self.note.set_text(f"The images cannot be read: {error}")
        self.draw()

    def draw(self) -> None:
        """Draw the page with the stretch and the low-pass of the sliders."""
        rows, shown = self.rows, {name: self._filtered(images) for name, images in self.page.items()}
        limits = self.limits(list(shown.values()))
        for k, axes in enumerate(self.cells):
            axes.clear()
            axes.set_axis_off()
            if k < len(rows) and self.kind in shown:
                axes.imshow(shown[self.kind][k], cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="bilinear")
                size = 10 if self.side > 2 else 8
                axes.text(
                    0.5,
                    -0.02,
                    self.caption(int(rows[k])),
                    transform=axes.transAxes,
                    ha="center",
                    va="top",
                    fontsize=size,
                )
                self.mark(axes, int(rows[k]))
        self._tell_page(len(rows), len(self.orders[self.order]))
        self.figure.canvas.draw_idle()

    def mark(self, axes: Axes, row: int) -> None:
        """Draw on the image of a row, or on the text below it, what else is to be seen of it: nothing here."""

    def _tell_page(self, shown: int, total: int) -> None:
        """What is shown of all; there is nothing to turn where that is everything."""
        pages = total > len(self.cells)
        self.where.set_text(f"{self.first + 1} to {self.first + shown} of {total}" if pages else "")
        for button in (self.back, self.forth):
            button.ax.set_visible(pages)

    def limits(self, images: Sequence[np.ndarray]) -> tuple[float, float]:
        """The values drawn black and white: the percentiles of the slider, over all pixels of all ``images``."""
        pixels = np.concatenate([part.ravel() for part in images]) if images else np.zeros(1)
        low, high = np.percentile(pixels, self.stretch.val)
        return float(low), float(high if high > low else low + 1)

    def _filtered(self, images: np.ndarray) -> np.ndarray:
        """The images (n, D, D) without what is finer than the slider says."""
        finest = self.finest.val / (self.pixel_size or 1.0)
        if finest <= 2:  # there is nothing finer in an image
            return images
        box = images.shape[-1]
        return np.stack([pictures.lowpass(image, max(LEAST_CYCLES, box / finest)) for image in images])
