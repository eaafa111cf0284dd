"""What surrounds a method: who shares its work, who is told how far it is, and who hears what it has to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.compute.log import Say

Report = Callable[[str, int, int], None]


def nobody(*facts: object, **more: object) -> None:
    """Tell nobody.

    Parameters
    ----------
    *facts, **more : object
        What somebody else would be told.
    """


@dataclass(frozen=True)
class Context:
    """group: the processes that share a run; report: told (stage, done, total) as a pass goes on; say: told a line a
    stage. By itself a method works alone, and tells nobody."""

    group: ProcessGroup = field(default_factory=ProcessGroup)
    report: Report = nobody
    say: Say = nobody
