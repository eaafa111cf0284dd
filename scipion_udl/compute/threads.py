"""Work that is done side by side on the processor, a piece a thread: chunks of particles, or classes.

The products of one piece are small. Sharing each of them among the cores takes longer than it saves, many times longer
where waking a thread is slow; so each core has a piece of its own. What comes of a piece is the same for any number of
threads, but for last digits where there are fewer pieces than cores and each has several.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
CLASSES = 16  # side by side at most: each that is aligned holds up to a quarter of a gigabyte
AHEAD = 2  # pieces a thread that are begun before the first is asked for


def side_by_side(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    device: torch.device,
    most: int | None = None,
    given_up: threading.Event | None = None,
) -> Iterator[Result]:
    """Work on items in threads, without gradients; on other devices than the CPU one after the other.

    Parameters
    ----------
    work : callable
        Makes a result of an item.
    items : iterable
        What is worked on.
    device : torch.device
        Where.
    most : int, optional
        Items at a time at most, where each holds much memory or there are few; they share the cores.
    given_up : threading.Event, optional
        Set once nobody waits for the rest any more, so that work that takes long can look at it and end.

    Yields
    ------
    Result
        What ``work`` makes of each item, in their order.
    """

    def one(item: Item) -> Result:
        with torch.no_grad():  # a thread does not know of that of another
            return work(item)

    if device.type != "cpu":
        yield from map(one, items)
        return
    threads = torch.get_num_threads()
    workers = min(threads, most or threads)
    torch.set_num_threads(max(1, threads // workers))
    try:
        with ThreadPoolExecutor(workers) as pool:
            begun: deque = deque()
            try:
                for item in items:
                    begun.append(pool.submit(one, item))
                    if len(begun) > AHEAD * workers:
                        yield begun.popleft().result()
                while begun:
                    yield begun.popleft().result()
            except BaseException:
                if given_up is not None:
                    given_up.set()
                for future in begun:
                    future.cancel()
                raise
    finally:
        torch.set_num_threads(threads)


@contextmanager
def threads_stay() -> Iterator[None]:
    """Leave the number of torch's threads as it was.

    Yields
    ------
    None
        Once.
    """
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
