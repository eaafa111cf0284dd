"""Work side by side: in order, on threads that are given back, and no longer than anybody waits for it."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.compute.threads import side_by_side
from scipion_udl.tests.engine_helpers import CPU


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_pieces_come_in_order_without_gradients_and_threads_are_given_back() -> None:
    weight = torch.ones(3, requires_grad=True)

    def work(item: int) -> torch.Tensor:
        time.sleep(0.01 * (item % 3))
        return (weight * item).sum()

    found = list(side_by_side(work, range(20), CPU))
    assert [float(value) for value in found] == [3.0 * k for k in range(20)]
    assert not any(value.requires_grad for value in found)
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(("most", "each"), [(None, 1), (2, 2), (1, 4), (8, 1)])
def test_pieces_share_the_cores(most: int | None, each: int) -> None:
    at_once, most_seen, lock = 0, 0, threading.Lock()

    def work(item: int) -> int:
        nonlocal at_once, most_seen
        with lock:
            at_once += 1
            most_seen = max(most_seen, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1
        return torch.get_num_threads()

    assert set(side_by_side(work, range(12), CPU, most)) == {each}
    assert most_seen == min(most or 4, 4)


def test_after_an_error_the_rest_is_given_up() -> None:
    given_up, begun = threading.Event(), []

    def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise ValueError("no such piece")
        assert item == 0 or given_up.wait(20)

    with pytest.raises(ValueError, match="no such piece"):
        list(side_by_side(work, range(100), CPU, given_up=given_up))
    assert len(begun) <= 12
    assert torch.get_num_threads() == 4
