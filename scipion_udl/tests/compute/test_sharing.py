"""How work is cut into parts: nothing twice, nothing left out, about the same for all."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.compute.sharing import cut, dealt


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 5, 640])
def test_parts_hold_every_particle_once_and_end_at_whole_chunks(n, count):
    parts = cut(np.arange(n), count, 64)
    assert len(parts) == count
    assert np.array_equal(np.concatenate(parts), np.arange(n))
    assert all(part[0] % 64 == 0 for part in parts if len(part))
    assert np.ptp([-(-len(part) // 64) for part in parts]) <= 1


def test_classes_are_dealt_out_so_that_nobody_waits_long():
    sizes = np.random.default_rng(1).integers(10, 400, 60)
    parts = dealt(sizes, 3)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(60))
    load = [sizes[part].sum() for part in parts]
    assert np.ptp(load) < 0.02 * sum(load)


def test_fewer_classes_than_processes_leave_some_idle():
    parts = dealt(np.array([5, 9]), 3)
    assert sorted(map(len, parts)) == [0, 1, 1]
