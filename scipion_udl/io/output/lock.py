"""One program at a time writes into a folder: the others wait a little, and are refused then."""

from __future__ import annotations

import os
import socket
import sys

import filelock

from scipion_udl.errors import UdlError
from scipion_udl.messages import message

NAME = ".udl-lock"
PATIENCE = 20.0  # seconds: a program that was asked to end needs some to leave things in order
_LOOK = 0.2  # seconds between two attempts


class FolderLock:
    """The right to write into a folder that is there. The system takes it back from a program that ends, however."""

    def __init__(self, folder: str) -> None:
        self._folder, self._path = folder, os.path.join(folder, NAME)
        self._lock = filelock.FileLock(self._path, fallback_to_soft=False)
        self._held = False

    def acquire(self) -> None:
        """Take the lock, after a wait where another program has it.

        Where the folder cannot be written to, nothing is done, and where its disk knows no locks, the user is told.

        Raises
        ------
        UdlError
            Where another program still has it after ``PATIENCE`` seconds; says who.
        """
        if self._held:
            return
        try:
            self._drop_links()
            self._lock.acquire(timeout=PATIENCE, poll_interval=_LOOK)
        except filelock.Timeout:
            raise UdlError(message("folder_in_use", folder=self._folder, holder=self._holder())) from None
        except OSError:
            if not os.access(self._path, os.W_OK):
                return
            print(f"Warning: {message('disk_without_locks', folder=self._folder)}", file=sys.stderr, flush=True)
        self._held = True
        file = os.open(self._path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        os.close(file)

    def _drop_links(self) -> None:
        """A link by the name of the lock, or another name of somebody's file, gives way: what is written goes nowhere
        else. Raises OSError where it cannot be removed."""
        if os.path.lexists(self._path) and (os.path.islink(self._path) or os.stat(self._path).st_nlink > 1):
            os.remove(self._path)

    def _holder(self) -> str:
        """Who holds the lock, in words."""
        try:
            with open(self._path, "rb") as file:
                return file.read(200).decode(errors="replace") or "a process that is beginning"
        except OSError:
            return "a process that is ending"

    def release(self) -> None:
        """Give it back and leave no file."""
        if not self._held:
            return
        try:
            os.remove(self._path)
        except OSError:
            pass
        self._lock.release()
        self._held = False
