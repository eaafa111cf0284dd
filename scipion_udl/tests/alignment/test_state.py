"""Looking elsewhere changes those particles alone that rotated far and fit better there."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.alignment.state import State


def test_only_what_turned_far_and_fits_better_is_taken_over():
    state = State.start(np.array([0.0, 0.0, 0.0, 170.0, 0.0]))
    state.score[:] = 0.5
    usable = np.array([0, 1, 2, 3])
    asked = []

    def search(trial):
        trial.angle[:] = [90.0, 90.0, 2.0, -170.0, 90.0]  # far, far, near, 20 degrees across the end of the circle

    def settle(trial, far):
        asked.append(far.tolist())
        trial.score[far] = [0.9, 0.1, 0.6]
        trial.shift[far] = 1.0

    assert state.take_better(usable, 10.0, search, settle) == 2
    assert asked == [[0, 1, 3]]
    assert state.angle.tolist() == [90.0, 0.0, 0.0, -170.0, 0.0]
    assert state.shift[:, 0].tolist() == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert state.score.tolist() == [0.9, 0.5, 0.5, 0.6, 0.5]
