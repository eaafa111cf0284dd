"""The one kind of error that is meant for the user, and who decides whether it ends the work."""

from __future__ import annotations

import os
from typing import Callable

from scipion_udl.messages import Message, message

KILLED = 143  # exit code of a program that was asked to end: 128 + SIGTERM


class UdlError(Exception):
    """Something the user can mend. Its text is one sentence: which file, which item, what is wrong, what to do.

    Given the sentence, or better, the message that it is made by: what an error is of is told by its code.
    """

    def __init__(self, said: str = "") -> None:
        super().__init__(said)
        self._said = said

    @property
    def message(self) -> Message:
        """What it says; a sentence without a code of its own has "other"."""
        return self._said if isinstance(self._said, Message) else message("other", what=self._said)


class Ended(KeyboardInterrupt):
    """Another program, a queue say, asks this one to end (SIGTERM)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the machine or of a GPU was not enough.

    torch has a class of its own for a full GPU, and says a full machine in the text of a RuntimeError.

    Parameters
    ----------
    error : BaseException
        What was raised.

    Returns
    -------
    bool
        True for both, and for MemoryError.
    """
    text = str(error)
    lacks = "out of memory" in text or "can't allocate memory" in text
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and lacks)


def in_one_sentence(error: BaseException, folder: str | None = None) -> Message:
    """What ends a program, for the user: the machine's limits by name, what no command foresaw as ours to mend.

    folder: that the program writes into, for a full disk does not say which file it was.

    Parameters
    ----------
    error : BaseException
        What was raised.
    folder : str, optional
        That the program writes into, for a full disk does not say which file it was.

    Returns
    -------
    Message
        That of a UdlError; for all else one that says what kind of thing it was.
    """
    if isinstance(error, UdlError):
        return error.message
    if isinstance(error, (Ended, SystemExit)):  # as one of several processes that share a run is
        return message("ended")
    if isinstance(error, KeyboardInterrupt):
        return message("interrupted")
    text = " ".join(str(error).split()) or "no further message"
    if is_out_of_memory(error):
        return message("not_enough_memory")
    if isinstance(error, OSError):
        place = error.filename or f"a file in {folder or 'use'}"
        return message("disk_error", place=place, reason=error.strerror or text)
    return message("unexpected_error", kind=type(error).__name__, what=text)


def no_file(path: str) -> str | None:
    """What is wrong with a path that is to be a file to read.

    Parameters
    ----------
    path : str
        The path.

    Returns
    -------
    str or None
        The beginning of a sentence; None where it is a file.
    """
    if os.path.isfile(path):
        return None
    if os.path.isdir(path):
        return f"{path} is a folder"
    if os.path.exists(path):
        return f"{path} is a pipe or a device, which cannot be read again and again"
    return f"{path} is not there"


# What a reader does with a fault that it could go on after: it gets the kind of the fault and one sentence. The checks
# of `scipion-udl check` collect them; everybody else refuses the first.
OnIssue = Callable[[str, Message], None]


def raise_issue(kind: str, sentence: Message) -> None:
    """Raise the sentence as UdlError, whatever kind of fault it is.

    Parameters
    ----------
    kind : str
        Of the fault; not made use of.
    sentence : Message
        What is wrong.

    Raises
    ------
    UdlError
        Always, with the sentence.
    """
    raise UdlError(sentence)
