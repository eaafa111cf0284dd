"""Work on chunks of particles side by side, on the processor: a chunk a thread.

The products of one chunk are small. Sharing each of them among the cores takes longer than it saves, many times longer
where waking a thread is slow; so each core has a chunk of its own. What comes of a chunk is the same for any number of
threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # chunks a thread that are begun before the first is asked for


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> Iterator[Result]:
    """What ``work`` makes of each item, in their order, without gradients; on other devices one after the other."""

    def one(item: Item) -> Result:
        with torch.no_grad():  # a thread does not know of that of another
            return work(item)

    threads = torch.get_num_threads()
    if device.type != "cpu":
        yield from map(one, items)
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            begun: deque = deque()
            for item in items:
                begun.append(pool.submit(one, item))
                if len(begun) > AHEAD * threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
    finally:
        torch.set_num_threads(threads)
