"""The one kind of error that is meant for the user, and who decides whether it ends the work."""

from __future__ import annotations

import os
from typing import Callable

KILLED = 143  # exit code of a program that was asked to end: 128 + SIGTERM


class UdlError(Exception):
    """Something the user can mend. Its text is one sentence: which file, which item, what is wrong, what to do."""


class Ended(KeyboardInterrupt):
    """Another program, a queue say, asks this one to end (SIGTERM)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the machine or of a GPU was not enough: torch has a class of its own for a full GPU, and
    says a full machine in the text of a RuntimeError."""
    text = str(error)
    lacks = "out of memory" in text or "can't allocate memory" in text
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and lacks)


def in_one_sentence(error: BaseException, folder: str | None = None) -> str:
    """What ends a program, for the user: the machine's limits by name, what no command foresaw as ours to mend.

    folder: that the program writes into, for a full disk does not say which file it was.
    """
    if isinstance(error, UdlError):
        return str(error)
    if isinstance(error, (Ended, SystemExit)):  # as one of several processes that share a run is
        return "ended by a signal (SIGTERM)"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = " ".join(str(error).split()) or "no further message"
    if is_out_of_memory(error):
        return "there is not enough memory for this; try a smaller --batch, or bin the particles to a smaller box"
    if isinstance(error, OSError):
        place = error.filename or f"a file in {folder or 'use'}"
        return f"{place} cannot be read or written: {error.strerror or text}"
    return (
        f"unexpected {type(error).__name__}: {text}; please report it with the output of the same command with --debug"
    )


def no_file(path: str) -> str | None:
    """What is wrong with a path that is to be a file to read, as the beginning of a sentence; None where it is one."""
    if os.path.isfile(path):
        return None
    if os.path.isdir(path):
        return f"{path} is a folder"
    if os.path.exists(path):
        return f"{path} is a pipe or a device, which cannot be read again and again"
    return f"{path} is not there"


# What a reader does with a fault that it could go on after: it gets the kind of the fault and one sentence. The checks
# of `scipion-udl check` collect them; everybody else refuses the first.
Complain = Callable[[str, str], None]


def refuse(kind: str, sentence: str) -> None:
    """Raise the sentence as UdlError, whatever kind of fault it is."""
    raise UdlError(sentence)
