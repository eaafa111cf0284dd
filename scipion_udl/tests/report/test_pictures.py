"""Images as the pages of a report show them."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from scipion_udl.report import pictures

DRAWN = True


def test_images_in_the_page_keep_up_up_and_left_left() -> None:
    image = np.zeros((16, 16))
    image[:4, :4] = 1.0  # a bright corner at row 0, column 0
    picture = Image.open(io.BytesIO(base64.b64decode(pictures.to_png(image).split(",")[1])))
    grey = np.asarray(picture)
    assert grey[1, 1] == 255
    assert grey[-2, 1] == grey[1, -2] == 0


def test_lowpass_keeps_the_mean_and_halves_the_stated_frequency() -> None:
    x = np.arange(64)
    wave = np.tile(np.cos(2 * np.pi * 8 * x / 64), (64, 1)) + 3.0
    smooth = pictures.lowpass(wave, 8.0)
    assert smooth.mean() == pytest.approx(3.0)
    assert np.ptp(smooth) / np.ptp(wave) == pytest.approx(0.5, rel=1e-6)
    assert pictures.lowpass(wave[:63, :63], 8.0).shape == (63, 63)
