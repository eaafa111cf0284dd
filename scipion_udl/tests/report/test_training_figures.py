"""Figures of a training: what stands where on the picture, and what is drawn of its epochs."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from PIL import Image

from scipion_udl.report import figures, training_figures

DRAWN = True


def grey_at(picture: np.ndarray, angle: float, part: float) -> float:
    """The grey value in direction ``angle`` (degrees, clockwise from +x) at a part of the radius."""
    centre, reach = np.array(picture.shape) / 2, picture.shape[0] / 2
    row, column = centre + part * reach * np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    return float(picture[int(row) - 2 : int(row) + 3, int(column) - 2 : int(column) + 3].mean())


def drawn(template: np.ndarray) -> np.ndarray:
    """The picture of a template alone, its disc filling the square, as grey values."""
    with figures.style():
        figure = figures.new_figure(3, 3)
        axes = figure.add_axes([0, 0, 1, 1], projection="polar")
        training_figures.draw_template(axes, template, np.arange(1, 11) / 100.0, "Å")
        for text in list(axes.texts):
            text.remove()
        stream = io.BytesIO()
        figure.savefig(stream, dpi=100)
    return np.asarray(Image.open(stream).convert("L"), float)


def test_a_direction_of_the_spectrum_stands_clockwise_from_the_x_axis_and_opposite() -> None:
    template = np.zeros((10, 60))
    template[:, 10] = 1.0  # 10 of 60 bins: 30 degrees
    picture = drawn(template)
    there = [grey_at(picture, angle, 0.7) for angle in (30, 210)]
    elsewhere = [grey_at(picture, angle, 0.7) for angle in (-30, 150, 60, 90, 0)]
    assert min(there) > max(elsewhere) + 60


def test_fine_detail_stands_outside() -> None:
    template = np.zeros((10, 60))
    template[7] = 1.0  # frequency 0.08, of rings that end at 0.105
    picture = drawn(template)
    assert grey_at(picture, 75, 0.76) > grey_at(picture, 75, 0.5) + 60


@pytest.mark.parametrize("views", [3, 5, 20])
def test_each_view_has_its_template_up_to_a_dozen(views: int) -> None:
    names = [f"class {k}" for k in range(views)]
    with figures.style():
        figure = training_figures.templates_figure(np.ones((views, 10, 60)), np.arange(1, 11) / 100.0, "Å", names)
    seen = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in seen] == names[:12]
    assert all(axes.collections for axes in seen)


def test_numeric_columns_take_numbers_and_their_text() -> None:
    columns = training_figures.numeric_columns(
        [{"loss": "0.5", "stage": "a"}, {"loss": 0.25, "stage": "b", "gain": None}]
    )
    assert list(columns) == ["loss"]
    assert list(columns["loss"]) == [0.5, 0.25]
