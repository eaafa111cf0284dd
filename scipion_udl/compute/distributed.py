"""Several processes that share one run: each works on its part of the particles, and all come to the same results.

torchrun, or launch.py for several GPUs of one machine, starts the processes ("ranks"), and its environment tells each
of them which it is. A pass over particles is shared: every rank takes a part, sums are added up over the ranks, and
what was found for a particle is made known to all, so that between two passes all ranks know the same, bit for bit.
What is not worth sharing, or must not be done twice, the first rank does for all (:meth:`ProcessGroup.on_rank0`). Only
the first rank writes and speaks. Host memory travels through gloo, GPU memory through NCCL.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from scipion_udl.compute.pickled import packed, unpacked
from scipion_udl.compute.rank_errors import LostRank, ShortElsewhere
from scipion_udl.compute.sharing import cut, dealt
from scipion_udl.errors import UdlError, is_out_of_memory
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.output.no_folder import NoFolder
from scipion_udl.messages import message

_MEET = timedelta(minutes=10)  # until all processes must have started
_LEVELS = 64  # more than blocks ever lie in each other
_WAIT = timedelta(days=7)  # the first may train for hours; that a process has ended is noticed at once, not by this


class ProcessGroup:
    """The processes of a run, as one of them sees them; the only one where nothing else is said.

    rank: its number, from 0, of ``size``; local_rank, local_size: the same on this machine. Alone, no method
    communicates or copies anything. All other methods are collective: every rank must call them in the same order.
    They raise LostRank where another process has ended.
    """

    current: ClassVar[ProcessGroup | None] = None  # of this process, for what it says when it ends by an error
    _meetings: ClassVar[int] = 0  # the same number in all processes: what one leaves behind is not for the next

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, local_size: int = 1) -> None:
        self.rank, self.size, self.local_rank, self.local_size = rank, size, local_rank, local_size
        self._store: dist.Store | None = None
        self._alone = size == 1
        self._has_the_word: bool | None = None
        self._level = 0  # how many blocks that all leave together this process is in

    @classmethod
    def from_environment(cls) -> ProcessGroup:
        """The ranks that torchrun (or launch.py) has started, met; a single process where it has not.

        Reads RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT.

        Returns
        -------
        ProcessGroup
            As this process sees them.

        Raises
        ------
        UdlError
            Where these are incomplete, or the processes do not find each other.
        """
        size = _number("WORLD_SIZE", 1)
        if size <= 1:
            return cls()
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
        if missing:
            raise UdlError(message("ranks_incomplete", size=size, missing=", ".join(missing)))
        rank = _number("RANK", 0)
        ranks = cls(rank, size, _number("LOCAL_RANK", rank), _number("LOCAL_WORLD_SIZE", size))
        ranks._meet()
        return ranks

    def _meet(self) -> None:
        try:
            store = next(iter(dist.rendezvous("env://", self.rank, self.size, timeout=_MEET)))[0]
            ProcessGroup._meetings += 1
            self._store = dist.PrefixStore(f"scipion-udl/{ProcessGroup._meetings}", store)
            ProcessGroup.current = self
            both = torch.cuda.is_available() and dist.is_nccl_available()
            # Both at once: what lies on a GPU goes through NCCL, which only begins when there is such a thing.
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if both else "gloo",
                store=self._store,
                rank=self.rank,
                world_size=self.size,
                timeout=_WAIT,
            )
        except (RuntimeError, ValueError) as error:
            raise UdlError(message("ranks_do_not_meet", size=self.size, reason=error)) from error
        if threading.current_thread() is threading.main_thread():
            # Whoever starts ranks ends them so when one has failed: unfinished files must be cleared away all the same.
            signal.signal(signal.SIGTERM, _end)

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size == 1:
            return
        if kind is not None and not issubclass(kind, SystemExit):
            self.is_reporting_rank()  # before the others see that contact is lost
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL if kind is None else signal.SIG_IGN)  # it is ending already
        if kind is None or dist.get_backend() == "gloo":  # after an error NCCL would wait for the others
            with suppress(RuntimeError):
                dist.destroy_process_group()
        if kind is None:
            ProcessGroup.current = None

    def __reduce__(self) -> tuple[Callable[[], ProcessGroup], tuple[()]]:
        return _group_here, ()  # sent to another process, with a network say, they are the ranks as that one sees them

    @property
    def is_alone(self) -> bool:
        """Whether nothing is shared now: there is no other process, or this one is in a block of its own."""
        return self._alone

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def folder(self, out: OutputFolder) -> OutputFolder:
        """Where a rank writes.

        Parameters
        ----------
        out : OutputFolder
            That of the run.

        Returns
        -------
        OutputFolder
            ``out`` for the first rank; for others one that touches nothing.
        """
        return out if self.first else NoFolder(out.path)

    def is_reporting_rank(self) -> bool:
        """Whether this process is the first to tell of an error: one that all ranks come upon is told once.

        Returns
        -------
        bool
            The same whenever it is asked.
        """
        if self._store is None:
            return self.first
        if self._has_the_word is None:
            try:
                self._has_the_word = self._store.add("errors", 1) == 1
            except RuntimeError:  # whoever kept the store has ended, and told why
                self._has_the_word = False
        return self._has_the_word

    # Sharing of particles

    def share(self, indices: np.ndarray, unit: int = 1) -> np.ndarray:
        """This rank's part of the particles: see :func:`.sharing.cut`.

        Parameters
        ----------
        indices : (n,) int array
            The particles.
        unit : int, optional
            Parts end at multiples of it.

        Returns
        -------
        (m,) int array
            Its part.
        """
        return indices if self._alone else cut(indices, self.size, unit)[self.rank]

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all ranks, rank after rank, on every rank.

        Parameters
        ----------
        rows : (n, ...) array
            Those of this rank; of one dtype and shape behind the first axis on all ranks.

        Returns
        -------
        (N, ...) array
            All of them.
        """
        if self._alone:
            return rows
        own = torch.from_numpy(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).copy())
        with self._contact():
            self._all_well()
            counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
            dist.all_gather(counts, torch.tensor([len(own)]))
            longest = max(int(count) for count in counts)
            if not longest:
                return rows
            padded = torch.zeros(longest, dtype=torch.uint8)
            padded[: len(own)] = own
            everything = [torch.empty_like(padded) for _ in range(self.size)]
            self._all_well()
            dist.all_gather(everything, padded)
        parts = [part[: int(count)].numpy() for part, count in zip(everything, counts)]
        return np.concatenate(parts).view(rows.dtype).reshape(-1, *rows.shape[1:])

    def gather_all(self, content: Any) -> list[Any]:
        """What every rank has, rank after rank, on every rank.

        Parameters
        ----------
        content : Any
            Sent with pickle.

        Returns
        -------
        list
            One of each rank.
        """
        if self._alone:
            return [content]
        own = packed(content).numpy()
        ends = np.cumsum(self.gather(np.array([len(own)])))
        everything = self.gather(own)
        return [unpacked(torch.from_numpy(part.copy())) for part in np.split(everything, ends[:-1])]

    def deal(self, sizes: np.ndarray) -> np.ndarray:
        """This rank's part of some pieces of work: see :func:`.sharing.dealt`.

        Parameters
        ----------
        sizes : (n,) int array
            How much each is.

        Returns
        -------
        (m,) int array
            Numbers, from 0, ascending; all where it works alone.
        """
        return np.arange(len(sizes)) if self._alone else dealt(sizes, self.size)[self.rank]

    def gather_rows(self, arrays: Sequence[np.ndarray], indices: np.ndarray, unit: int = 1) -> None:
        """Make known to all what every rank has written for its share of the particles (see :func:`.sharing.cut`).

        Parameters
        ----------
        arrays : sequence of (N, ...) arrays
            One row a particle each; filled in place.
        indices : (n,) int array
            The particles that were shared, as rows of ``arrays``.
        unit : int, optional
            As it was when they were shared.
        """
        if self._alone:
            return
        own = self.share(indices, unit)
        for array in arrays:
            array[indices] = self.gather(array[own])

    # Sums and decisions

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that all ranks enter, and leave in the same way as regards memory.

        Within it every meeting begins with a word on whether all are well: a rank whose memory was not enough says so
        in the place of whatever the others meet for next. Blocks may lie in each other; the outermost that failed is
        left by all. Other errors end the run, as everywhere.

        Yields
        ------
        None
            Once, for the block.

        Raises
        ------
        ShortElsewhere
            Where memory was not enough for another rank, wherever this one was in the block; that one's own error
            leaves the block there.
        """
        if self._alone:
            yield
            return
        self._level += 1
        try:
            try:
                yield
            except ShortElsewhere:
                raise
            except (MemoryError, RuntimeError) as error:
                if is_out_of_memory(error):
                    with self._contact():
                        self._all_well(False)
                raise
            with self._contact():
                self._all_well()
        finally:
            self._level -= 1

    def is_of_outer(self, error: BaseException) -> bool:
        """Whether an error that has left a block is for one around it to mend.

        Parameters
        ----------
        error : BaseException
            The error.

        Returns
        -------
        bool
            True for a ShortElsewhere of a block that this rank is still in.
        """
        return isinstance(error, ShortElsewhere) and error.level <= self._level

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A block that this rank alone enters, the others being done: nothing is shared in it.

        Yields
        ------
        None
            Once, for the block.
        """
        before, self._alone = self._alone, True
        try:
            yield
        finally:
            self._alone = before

    def _all_well(self, here: bool = True) -> None:
        """Tell the other ranks whether memory was enough here, in a block of this level. Raises ShortElsewhere where it
        was not enough for another one, in this block or one around it."""
        if not self._level:
            return
        failed = torch.tensor([0 if here else _LEVELS - self._level])
        dist.all_reduce(failed, dist.ReduceOp.MAX)
        level = _LEVELS - int(failed)
        if level < _LEVELS and (here or level < self._level):
            raise ShortElsewhere(level)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over the ranks.

        Parameters
        ----------
        values : tensor
            Any shape, real or complex; the same shape on all ranks.

        Returns
        -------
        tensor of that shape
            The sum, without gradients.
        """
        if self._alone:
            return values
        whole = values.detach().clone(memory_format=torch.contiguous_format)
        with self._contact():
            self._all_well()
            dist.all_reduce(torch.view_as_real(whole) if whole.is_complex() else whole)
        return whole

    def agree(self, decision: bool) -> bool:
        """The first rank's decision. GPUs add up in any order, and a round more on one of them would be the end.

        Parameters
        ----------
        decision : bool
            What this rank would do.

        Returns
        -------
        bool
            What all do.
        """
        return self.on_rank0(lambda: decision)

    def on_rank0(self, work: Callable[[], Any]) -> Any:
        """Have the first rank alone do some work; the others wait. Inside of it nothing is shared.

        Parameters
        ----------
        work : callable
            Without arguments.

        Returns
        -------
        Any
            What it gives on the first rank, sent with pickle; tensors on a GPU come out on the other ranks' own.
        """
        if self._alone:
            return work()
        result = None
        if self.first:
            with self.alone():
                result = work()
        return self._broadcast(result)

    def broadcast_state(self, network: nn.Module) -> None:
        """Give a network the first rank's parameters and buffers.

        Parameters
        ----------
        network : torch.nn.Module
            The same on all ranks; filled in place.
        """
        if self._alone:
            return
        with self._contact():
            for value in network.state_dict().values():
                kept = value.contiguous()
                self._all_well()
                dist.broadcast(kept, 0)
                value.copy_(kept)

    def barrier(self) -> None:
        """Wait until all are here."""
        self.agree(True)

    def _broadcast(self, content: Any) -> Any:
        told = packed(content) if self.first else torch.zeros(0, dtype=torch.uint8)
        with self._contact():
            self._all_well()
            length = torch.tensor([len(told)])
            dist.broadcast(length, 0)
            if not self.first:
                told = torch.empty(int(length), dtype=torch.uint8)
            self._all_well()
            dist.broadcast(told, 0)
        if self.first:
            return content
        return unpacked(told)

    @contextmanager
    def _contact(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise LostRank(message("process_lost", processes=self.size)) from error

    def words(self, own: str) -> str:
        """What every rank says of itself (one line), in one sentence.

        Parameters
        ----------
        own : str
            What this rank says, one line.

        Returns
        -------
        str
            As in "2 processes: 2 x GPU ...".
        """
        if self._alone:
            return own
        lines = bytes(self.gather(np.frombuffer(f"{own}\n".encode(), np.uint8))).decode().splitlines()
        counts = (line if count == 1 else f"{count} x {line}" for line, count in Counter(lines).items())
        return f"{self.size} processes: {', '.join(counts)}"


def is_reporting_rank() -> bool:
    """Whether this process is to tell of the error that ends it: of several that share a run, one does.

    Returns
    -------
    bool
        True on one process of a run, or where there is no other.
    """
    if ProcessGroup.current is not None:
        return ProcessGroup.current.is_reporting_rank()
    return _number("WORLD_SIZE", 1) <= 1 or _number("RANK", 0) == 0


def _group_here() -> ProcessGroup:
    return ProcessGroup.current or ProcessGroup()


def _number(name: str, otherwise: int) -> int:
    try:
        return int(os.environ.get(name) or otherwise)
    except ValueError:
        raise UdlError(message("rank_not_a_number", name=name, value=os.environ[name])) from None


def _end(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)
