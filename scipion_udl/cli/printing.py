"""What is printed: a command does its work also where nobody reads what it says, and where it cannot be written."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from scipion_udl.messages import Message


class _Screen:
    """A stream whose text is left out where it cannot be written: its reader went away, or its disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written; how much was given."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):  # ValueError: closed
            self._leave_out()
        return len(text)

    def flush(self) -> None:
        """Write out what was given so far, where it can be."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._leave_out()

    def _leave_out(self) -> None:
        """From now on nothing is printed, also of what the stream still holds."""
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def write_error(path: str | None, what: Message) -> None:
    """Write an error as JSON (code, values, text) for the program that started this one.

    Parameters
    ----------
    path : str, optional
        Where to; nobody asks without. Where there is something of that name already, nothing is written.
    what : Message
        The error.
    """
    if path is None:
        return
    with suppress(OSError), open(path, "x", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(what.entry(), file)


@contextmanager
def whatever_happens() -> Iterator[None]:
    """A block in which printing never fails: closed streams lead nowhere, and what cannot be written is left out.

    Yields
    ------
    None
        Once, for the block.
    """
    _occupy()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Screen(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _occupy() -> None:
    """Give the standard streams that were closed a place to lead to: or the next file that is opened would be one."""
    file = os.open(os.devnull, os.O_RDWR)
    while file <= 2:
        os.set_inheritable(file, True)
        file = os.open(os.devnull, os.O_RDWR)
    os.close(file)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (as long as the program runs)
