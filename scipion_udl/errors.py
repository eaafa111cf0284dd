"""The one kind of error that is meant for the user, and who decides whether it ends the work."""

from __future__ import annotations

from typing import Callable


class UdlError(Exception):
    """Something the user can mend. Its text is one sentence: which file, which item, what is wrong, what to do."""


# What a reader does with a fault that it could go on after: it gets the kind of the fault and one sentence. The checks
# of `scipion-udl check` collect them; everybody else refuses the first.
Complain = Callable[[str, str], None]


def refuse(kind: str, sentence: str) -> None:
    """Raise the sentence as UdlError, whatever kind of fault it is."""
    raise UdlError(sentence)
