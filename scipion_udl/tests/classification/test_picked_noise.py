"""Which classes are flagged once they are aligned: what halves agree on has a say, and what picking makes of noise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.classification.command import _judged


def aligned(signal, picked):
    return SimpleNamespace(figures={"signal_found": signal, "like_picked_noise": picked})


@pytest.mark.parametrize(
    ("before", "signal", "picked", "flagged"),
    [
        (False, True, False, False),  # a good class
        (True, True, False, False),  # it fits hardly better than noise, but halves agree on more than picking explains
        (True, None, False, True),
        (True, False, True, True),  # halves agree on no more than picking explains
        (False, False, True, True),  # the same, though its particles fit better than noise that was not picked
        (False, None, False, False),  # too few for their halves to tell
    ],
)
def test_halves_that_agree_save_a_class_unless_picking_explains_it(before, signal, picked, flagged):
    assert _judged(np.array([before]), [aligned(signal, picked)]).tolist() == [flagged]
