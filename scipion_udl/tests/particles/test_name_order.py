"""Numbers of particles by their names: without their folders, unless a name stands in several, and in little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np

from scipion_udl.io.star import characters
from scipion_udl.io.star.columns import ImageNames
from scipion_udl.particles.name_order import halves_by_name, ranks

NAMES = ["000001@a/s.mrcs", "2@b/s.mrcs", "000001@b/s.mrcs", "3@t.mrcs", "3@t.mrcs"]


def test_a_folder_counts_only_where_a_name_stands_in_several():
    here, moved = ranks(NAMES, 0), ranks([name.replace("b/", "c/") for name in NAMES], 0)
    assert (here == moved).tolist() == [True, True, False, True, True]
    assert len(set(here.tolist())) == 4  # one image that is named twice has one number
    assert (ranks(NAMES, 1) != here).all()
    assert (ranks(NAMES[::-1], 0) == here[::-1]).all()
    assert ranks(["1@a/s.mrcs"], 0) == ranks(["0001@b/s.mrcs"], 0)
    assert set(halves_by_name([f"{k}@s.mrcs" for k in range(40)]).tolist()) == {0, 1}


def test_names_are_no_objects_of_which_all_are_there_at_once(monkeypatch):
    count = 20_000
    monkeypatch.setattr(characters, "TOGETHER", 1000)
    names = ImageNames(np.arange(count) + 1, [(6, "Extract/job012/s.mrcs")], np.zeros(count, np.uint8))
    tracemalloc.start()
    try:
        numbers = ranks(names, 0)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(np.unique(numbers)) == count
    assert most < 40 * count
