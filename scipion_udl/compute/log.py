"""What a run says: on the screen as much of it as was asked for, and all of it in run.log."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO


def command_line() -> str:
    """The command that the program was called with.

    Returns
    -------
    str
        As it may be typed again in a shell.
    """
    return shlex.join(["scipion-udl", *sys.argv[1:]])


class Say(Protocol):
    """Told one line a stage; detail: whether it is left out on the screen where nobody asks for everything."""

    def __call__(self, line: str, detail: bool = False) -> None:
        """Take a line, without a line break."""


class Log:
    """The lines of one run, with the seconds since it began before them.

    quiet: only warnings and the result are printed; verbose: everything is. write: adds text to run.log, None for
    nobody; clear: makes the screen free for a line; silent: nothing is said at all, as by all but the first of several
    processes. Several threads may speak.
    """

    def __init__(
        self,
        quiet: bool = False,
        verbose: bool = False,
        write: Callable[[str], None] | None = None,
        clear: Callable[[], None] = lambda: None,
        silent: bool = False,
    ) -> None:
        self.quiet, self.verbose, self.silent = quiet, verbose, silent
        self.started = time.monotonic()
        self._write, self._clear = write, clear

    def begin(self, command: str) -> None:
        """The line at the head of a run in run.log: when it began, and by which command.

        Parameters
        ----------
        command : str
            The command line.
        """
        self._note(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {command}\n")

    def say(self, line: str, detail: bool = False, always: bool = False) -> None:
        """Say a line of what happens.

        Parameters
        ----------
        line : str
            Without an end of line.
        detail : bool, optional
            Whether it is not of a stage but of what happens within it, which is for run.log alone.
        always : bool, optional
            Whether a quiet run prints it, too.
        """
        text = f"[{time.monotonic() - self.started:7.1f} s] {line}\n"
        self._note(text)
        if self.verbose or always or not (detail or self.quiet):
            self._print(text)

    def warn(self, sentence: str, detail: bool = False) -> None:
        """Say a warning, on stderr.

        Parameters
        ----------
        sentence : str
            Without an end of line.
        detail : bool, optional
            Whether it is for run.log alone, as one of many of a kind that are told together later.
        """
        text = f"Warning: {sentence}\n"
        self._note(text)
        if self.verbose or not detail:
            self._print(text, sys.stderr)

    def result(self, text: str) -> None:
        """The last words of the run, which are always printed.

        Parameters
        ----------
        text : str
            One or more lines.
        """
        self._note(f"{text}\n")
        self._print(f"{text}\n")

    def _note(self, text: str) -> None:
        if self._write is not None and not self.silent:
            self._write(text)

    def _print(self, text: str, stream: TextIO | None = None) -> None:
        if self.silent:
            return
        self._clear()
        stream = stream or sys.stdout
        stream.write(text)  # in one piece: several threads may speak
        stream.flush()
