"""Which classes are flagged once they are aligned: what halves agree on has a say, and what picking makes of noise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.classification.flags import NOISE
from scipion_udl.pipelines.settle_flags import settle_flags

RUN = SimpleNamespace(particles=SimpleNamespace(disc=SimpleNamespace(mask_radius=10.0, edge=4.0), scale=1.0))


def aligned(signal, picked):
    figures = {"signal_found": signal, "like_picked_noise": picked, "resolution": 8.0 if signal else None}
    return SimpleNamespace(figures=figures, images={})


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
    one = aligned(signal, picked)
    flags = settle_flags(RUN, np.array([NOISE if before else ""], object), [one])
    assert flags.tolist() == [NOISE if flagged else ""]
    assert (one.figures["resolution"] is not None) is (signal is True and not flagged)
