"""The figures of docs/method.md: what they mark is where it says, and they stay small."""

from pathlib import Path

import numpy as np
import torch

from benchmarks.method_figures import BOX, FIGURES, _clearest, main
from scipion_udl.imaging.fourier import to_fourier, transform
from scipion_udl.imaging.poses import Poses

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
LARGEST = 150_000  # bytes


def test_a_mark_shows_the_same_place_in_both_images():
    """Images that say where they are: their grey values are smooth and differ from place to place."""
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    near = np.exp(-(x**2 + y**2) / (2 * 14.0**2))
    second = torch.from_numpy(np.stack([near * (1 + 0.03 * x), near * (1 + 0.03 * y)]).astype(np.float32))
    pose = Poses([37.0], [[4.0, -3.0]])
    angle, shift = torch.tensor(pose.angle).float().expand(2), torch.tensor(pose.shift).float().expand(2, 2)
    first = transform(to_fourier(second), BOX, angle, shift)
    maps = np.random.default_rng(1).random((64, 8, 8))
    here, there, kept = _clearest(maps, pose, 8)
    assert kept.shape == (3, 8, 8)
    for a, b in zip(here, there):
        assert np.abs(a - b).max() > 1  # else a wrong sign would do as well
        np.testing.assert_allclose(_read(first, a), _read(second, b), atol=0.02)


def _read(images: torch.Tensor, place: np.ndarray) -> np.ndarray:
    """The values of images (n, D, D) between pixels, linearly."""
    (x, y), (u, v) = np.floor(place).astype(int), place - np.floor(place)
    values = images.numpy()
    left, right = (values[:, y, c] * (1 - v) + values[:, y + 1, c] * v for c in (x, x + 1))
    return left * (1 - u) + right * u


def test_the_spectrum_of_a_particle_is_drawn(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--only", "spectrum"]) == 0
    picture = tmp_path / "method_spectrum.png"
    assert str(picture) in capsys.readouterr().out
    assert 5_000 < picture.stat().st_size < LARGEST


def test_all_figures_are_in_the_manual_and_small():
    text = (IMAGES.parent / "method.md").read_text()
    for name in FIGURES:
        assert f"images/method_{name}.png" in text
        assert (IMAGES / f"method_{name}.png").stat().st_size < LARGEST
