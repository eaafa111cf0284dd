"""Views within some degrees, as those of any class, are one view; views far apart are mixed. What a mean is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.alignment.aligner import Alignment
from scipion_udl.imaging.half_set_frc import ResolutionEstimate
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.truth import read_truth
from scipion_udl.tests.engine_helpers import prepared, run
from scipion_udl.validation.heterogeneity import MIXED, consider_views, measure_mixture, worth_of_mean

N, BOX, SNR = 160, 48, 0.3
CLAIM = ResolutionEstimate(True, 12.0, "claimed")


def views(folder: Path, *options: object, count: int = N, seed: int = 1) -> tuple[np.ndarray, Poses]:
    """Images of the built-in molecule from about one direction, and their poses."""
    words = ["--phantom", "boot", "--views", "single", "--count", count, "--snr", SNR, "--box", BOX, "--shift", 2]
    assert run("simulate", folder, *words, "--pixel-size", 5, "--seed", seed, "--no-ctf", *options) == 0
    return StackReader(str(folder / "particles.mrcs")).read(), read_truth(str(folder / "truth.star"))[1]


def alignment(poses: Poses) -> Alignment:
    n = len(poses)
    nothing, none = np.zeros(n), np.zeros(n, bool)
    return Alignment(poses, poses, np.arange(n) % 2, nothing, none, 8.0, False, np.full(n, np.nan), none)


def test_views_jittered_by_five_degrees_are_one_class(tmp_path):
    images, poses = views(tmp_path / "one", "--jitter", 5)
    particles = prepared(tmp_path, images)
    assert measure_mixture(particles, alignment(poses)).share < 0.6 * MIXED
    estimate, warnings = consider_views(particles, alignment(poses), CLAIM)
    assert (estimate, warnings) == (CLAIM, [])


def test_two_views_forty_degrees_apart_are_mixed(tmp_path):
    parts = [views(tmp_path / str(tilt), "--direction", 30, tilt, count=N // 2, seed=tilt) for tilt in (60, 100)]
    poses = Poses(*(np.concatenate([getattr(own, name) for _, own in parts]) for name in ("angle", "shift")))
    particles = prepared(tmp_path, np.concatenate([images for images, _ in parts]))
    assert measure_mixture(particles, alignment(poses)).share > 1.2 * MIXED
    estimate, warnings = consider_views(particles, alignment(poses), CLAIM)
    assert estimate.resolution is None and "mixed" in estimate.note
    assert "mixed" in warnings[0]
    assert warnings[0].code == "mixed_views"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1.0, 1e-30, 1e33])
def test_what_a_mean_is_worth_has_no_unit(unit):
    """Of 4 images, one three times as loud, it is (3 + 3)^2 / (3 + 9) / 4; squares of these are not in float32."""
    assert worth_of_mean(np.full(4, unit, np.float32)) == pytest.approx(1)
    assert worth_of_mean(np.array([1, 1, 3, 1], np.float32) * np.float32(unit)) == pytest.approx(0.75)
