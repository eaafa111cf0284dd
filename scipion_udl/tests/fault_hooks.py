"""What watches a process of `scipion-udl` from within, and fails its file operations, each once.

A run is not begun anew for each operation: in front of it the process splits in two. The one that came last finds the
operation failing, in a copy of the output folder that has the folder's name, and goes on to its end; the other waits
until what that left has been looked at, puts its own folder back, and goes on to the next operation.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

from scipion_udl.compute.progress import Progress
from scipion_udl.io.output import lock
from scipion_udl.particles import reader

PATIENCE = 300.0  # seconds: what takes longer hangs
ASIDE = "aside"  # what the folder of the process that waits is called meanwhile, behind its name
_NO_PLACE = errno.ENOSPC


class Hooks:
    """Tells stages and file operations of a process to ``pipe`` (a line each): of files within ``folder`` open, write,
    fsync, close and replace; read of stacks.

    branches: which of these operations fail, by their number in the run (from 0; -1 for all reads), None for none;
    ``go``: a pipe from which a byte comes when the process may go on; log: where those that fail write what they say.
    """

    def __init__(
        self,
        pipe: int,
        folder: str,
        branches: Callable[[int], bool] | None = None,
        go: int | None = None,
        log: Path | None = None,
    ) -> None:
        self.pipe, self.folder, self.branches, self.go, self.log = pipe, os.path.realpath(folder), branches, go, log
        self.counts: Counter = Counter()
        self.number = 0
        self.open, self.replace, self.preadv, self.fsync = builtins.open, os.replace, os.preadv, os.fsync
        self.note = Progress._note

    def install(self) -> None:
        """Put the hooks in place of what the program calls."""
        builtins.open = io.open = self._open
        os.replace, os.preadv, os.fsync = self._replace, self._preadv, self._fsync
        hooks = self

        def note(progress: Progress, stage: str, done: int, total: int, unit: str) -> None:
            hooks.tell(f"stage {re.sub(r'^Class [0-9]+, |, round [0-9]+', '', stage)}")
            hooks.note(progress, stage, done, total, unit)

        Progress._note = note
        if self.branches is not None:  # a process that splits has one thread
            reader.ThreadPoolExecutor = _AtOnce

    def tell(self, line: str) -> None:
        """One line to whoever watches."""
        os.write(self.pipe, f"{line}\n".encode())

    def fails(self, kind: str, path: str) -> bool:
        """Count an operation; whether it is to fail here."""
        name = os.path.basename(path) if path != self.folder else "the folder"
        number = self.counts[kind, name]
        self.counts[kind, name] += 1
        place = -1  # reads are not counted among them
        if kind not in ("read", "vanish"):
            self.tell(f"{kind} {name} {number}")
            place, self.number = self.number, self.number + 1
        return self.branches is not None and self.branches(place) and self._split(f"{kind} {number} of {name}")

    def ours(self, path: object) -> bool:
        """Whether a file is of the output folder, but for what shows how it stands, which nothing depends on."""
        path = os.path.realpath(path) if isinstance(path, (str, os.PathLike)) else ""
        shown = os.path.basename(path).startswith(("progress.json", "classes_so_far."))
        return (path + os.sep).startswith(self.folder + os.sep) and not shown

    def _open(self, file: object, mode: str = "r", *more: object, **options: object) -> object:
        if not (set(mode) & set("wax+") and self.ours(file)):
            return self.open(file, mode, *more, **options)
        if self.fails("open", file):
            raise OSError(_NO_PLACE, os.strerror(_NO_PLACE), file)
        return _File(self.open(file, mode, *more, **options), self, str(file))

    def _replace(self, source: str, target: str) -> None:
        if self.ours(target) and self.fails("replace", target):
            raise OSError(_NO_PLACE, os.strerror(_NO_PLACE), source)
        self.replace(source, target)

    def _fsync(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if self.ours(path) and self.fails("fsync", path):
            raise OSError(_NO_PLACE, os.strerror(_NO_PLACE))
        self.fsync(descriptor)

    def _preadv(self, descriptor: int, buffers: list, offset: int) -> int:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not self.ours(path):
            if self.fails("read", path):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if self.fails("vanish", path):
                os.rename(path, f"{path}.away")
            elif os.path.exists(f"{path}.away"):  # an unpacked copy lies elsewhere, where nobody else brings it back
                os.rename(f"{path}.away", path)
        return self.preadv(descriptor, buffers, offset)

    # Splitting

    def _split(self, what: str) -> bool:
        """Whether this is the process in which the operation fails."""
        aside = f"{self.folder}.{ASIDE}"
        if os.path.isdir(self.folder):
            os.rename(self.folder, aside)
            subprocess.run(["cp", "-a", aside, self.folder], check=True)  # in another process: this one's calls count
        process = os.fork()
        if not process:
            self.branches, self.tell = None, lambda line: None
            self._move_files(aside)
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(f"{self.log}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            return True
        self.tell(f"failed {_wait(process)} {what}")
        os.read(self.go, 1)
        shutil.rmtree(self.folder, ignore_errors=True)
        if os.path.isdir(aside):
            os.rename(aside, self.folder)
        return False

    def _move_files(self, aside: str) -> None:
        """Let all open files of the folder be those of the copy."""
        for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
            try:
                path = os.readlink(f"/proc/self/fd/{descriptor}")
            except OSError:  # of the listing itself
                continue
            if not path.startswith(aside + os.sep) or not os.path.exists(path):
                continue
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~(os.O_CREAT | os.O_TRUNC | os.O_EXCL)
            own = os.open(self.folder + path[len(aside) :], flags)
            os.lseek(own, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
            os.dup2(own, descriptor)
            os.close(own)
            if os.path.basename(path) == lock.NAME:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _wait(process: int) -> int:
    """The exit code of a process; below 0 where a signal ended it, SIGKILL after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.002)


class _AtOnce:
    """Stands for a thread that works ahead: what it is given is done at once, and errors come when it is asked."""

    def __init__(self, threads: int) -> None:
        pass

    def __enter__(self) -> _AtOnce:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, work: Callable, *arguments: object) -> Future:
        """What comes of ``work``."""
        done: Future = Future()
        try:
            done.set_result(work(*arguments))
        except Exception as error:
            done.set_exception(error)
        return done


class _File:
    """A file that is written to; what fails leaves half of what it had to write, as a full disk does."""

    def __init__(self, file: object, hooks: Hooks, path: str) -> None:
        self._file, self._hooks, self._path = file, hooks, path

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator:
        return iter(self._file)

    def write(self, data: object) -> int:
        """Write, or half of it."""
        if self._hooks.fails("write", self._path):
            half = data[: len(data) // 2] if isinstance(data, (str, bytes)) else memoryview(data).cast("B")[:8]
            self._file.write(half)
            raise OSError(_NO_PLACE, os.strerror(_NO_PLACE))  # without a name, as from the system
        return self._file.write(data)

    def close(self) -> None:
        """Close, or find that what was held back has no place."""
        if self._file.closed:
            return
        fails = self._hooks.fails("close", self._path)
        self._file.close()
        if fails:
            os.truncate(self._path, os.path.getsize(self._path) // 2)
            raise OSError(_NO_PLACE, os.strerror(_NO_PLACE))
