"""What one of several processes is told of the others: that one has ended, or has too little memory."""

from __future__ import annotations

from scipion_udl.errors import UdlError


class LostRank(UdlError):
    """Another process of this run has ended before its work was done."""


class ShortElsewhere(MemoryError):
    """Memory was not enough in another process of this run, in a block of this ``level``: see
    :meth:`scipion_udl.compute.distributed.ProcessGroup.together`."""

    def __init__(self, level: int) -> None:
        super().__init__("out of memory in another process of this run")
        self.level = level
