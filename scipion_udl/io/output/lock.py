"""One program at a time writes into a folder: the others wait a little, and are refused then."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time

from scipion_udl.errors import UdlError

NAME = ".udl-lock"
PATIENCE = 20.0  # seconds: a program that was asked to end needs some to leave things in order
_LOOK = 0.2
WITHOUT = (
    "{folder} is on a disk that knows no locks: two runs into it at one time would spoil each other's results, and "
    "nothing keeps them apart."
)
_HELD = (errno.EWOULDBLOCK, errno.EACCES)  # anything else: this disk knows no locks, and all goes on without


class FolderLock:
    """The right to write into a folder that is there. The system takes it back from a program that ends, however."""

    def __init__(self, folder: str) -> None:
        self._folder, self._path = folder, os.path.join(folder, NAME)
        self._file: int | None = None
        self._known = True  # whether the disk knows locks

    def acquire(self) -> None:
        """Take it; where the folder cannot be written to, nothing is done, and where its disk knows no locks, the user
        is told. Raises UdlError where another program still has it after ``PATIENCE`` seconds."""
        deadline = time.monotonic() + PATIENCE
        while self._file is None:
            try:
                file = self._open()
            except OSError:
                return
            held = self._holder(file)
            if held is None and self._is_current(file):
                self._file = file
                os.ftruncate(file, 0)
                os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
                if not self._known:
                    print(f"Warning: {WITHOUT.format(folder=self._folder)}", file=sys.stderr, flush=True)
                return
            os.close(file)
            if held is not None and time.monotonic() > deadline:
                raise UdlError(
                    f"{self._folder} is being written to by another run ({held}): wait until that has ended, or end "
                    "it, and run this again"
                )
            time.sleep(_LOOK)

    def _open(self) -> int:
        """The file of the lock. A link by its name gives way to a file: what is written goes nowhere else. Raises
        OSError where there can be none."""
        if os.path.islink(self._path):
            os.remove(self._path)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        if os.fstat(file).st_nlink > 1:  # another name of a file of somebody's
            os.close(file)
            os.remove(self._path)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        return file

    def _holder(self, file: int) -> str | None:
        """Who holds the lock of an open file, in words; None where this program does now."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                return os.pread(file, 200, 0).decode(errors="replace") or "a process that is beginning"
            self._known = False
        return None

    def _is_current(self, file: int) -> bool:
        """Whether an open file still is the one in the folder: who had the lock before has removed it at its end."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self._path))
        except OSError:
            return False

    def release(self) -> None:
        """Give it back and leave no file."""
        if self._file is None:
            return
        try:
            os.remove(self._path)
        except OSError:
            pass
        os.close(self._file)
        self._file = None
