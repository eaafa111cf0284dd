"""Averages are disturbed so that each can be undone, and what comes again is told by matched classes."""

from __future__ import annotations

import numpy as np

from benchmarks import repeats


def test_disturbed_averages_keep_their_power_and_come_in_both_polarities():
    y, x = np.mgrid[-16:16, -16:16]
    image = np.exp(-((x - 4) ** 2 + y**2) / 20.0).astype(np.float32)
    found = repeats.disturbed(np.stack([image] * 12), seed=1)
    assert found.shape == (12, 32, 32) and found.dtype == np.float32
    assert {np.sign(one.sum()) for one in found} == {-1.0, 1.0}
    power = (found**2).sum((1, 2))
    assert np.abs(power / (image**2).sum() - 1).max() < 0.05  # rotated in the plane, nothing else
    assert np.abs(found[1] - found[0]).max() > 0.1


def test_particles_come_again_where_matched_classes_hold_them():
    first = {"a": 1, "b": 1, "c": 2, "d": 2, "e": 2}
    second = {"a": "7", "b": "7", "c": "3", "d": "3", "e": "7"}
    assert repeats.again_in_match(first, second).tolist() == [True, True, True, True, False]
