"""run.log: what a run says, written as it goes on, so that a run that is killed has left it, too."""

from __future__ import annotations

import os

NAME = "run.log"


class LogFile:
    """The file run.log of a folder, which a run adds its lines to.

    What is written before :meth:`begin` is kept until then: a run looks through its input first, and touches nothing
    before. No disk, no harm: what cannot be written is left out, and the run goes on.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self.path = folder, os.path.join(folder, NAME)
        self._early: list[str] = []
        self._file: int | None = None
        self._start = 0  # bytes that earlier runs have written
        self._before: set[tuple[str, int, int]] = set()
        self._ended = False

    @property
    def begun(self) -> bool:
        """Whether this run writes into the file."""
        return self._file is not None

    def begin(self) -> None:
        """Open the file, at its end where there is one of an earlier run. A link by its name gives way to a file."""
        try:
            self._before = self._files()
            if os.path.islink(self.path) or (os.path.isfile(self.path) and os.stat(self.path).st_nlink > 1):
                os.remove(self.path)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
            self._start = os.fstat(self._file).st_size
        except OSError:
            self._ended = True
        early, self._early = self._early, []
        self.write("\n" * bool(self._start) + "".join(early))

    def write(self, text: str) -> None:
        """Add text as it is. It is with the system at once, so that it outlives the program.

        Parameters
        ----------
        text : str
        """
        if self._file is None:
            if not self._ended:
                self._early.append(text)
            return
        try:
            os.write(self._file, text.encode("utf-8", "surrogateescape"))
        except OSError:
            pass

    def forget_earlier(self) -> None:
        """Leave out what earlier runs have written, whose results are being replaced."""
        if self._file is None or not self._start:
            return
        try:
            own = os.pread(self._file, os.fstat(self._file).st_size - self._start, self._start)
            part = f"{self.path}.part"
            file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
            os.write(file, own.lstrip(b"\n"))
            os.replace(part, self.path)
            os.close(self._file)
            self._file, self._start = file, 0
        except OSError:
            pass

    def end(self, keep: bool) -> None:
        """Close the file.

        Parameters
        ----------
        keep : bool
            Whether it stays in any case; otherwise it is put back to what it was before this run where the run has left
            nothing else in the folder.
        """
        self._ended, self._early = True, []
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            if keep or self._files() != self._before:
                os.fsync(file)
            elif self._start:
                os.ftruncate(file, self._start)
            else:
                os.remove(self.path)
        except OSError:
            pass
        os.close(file)

    def _files(self) -> set[tuple[str, int, int]]:
        """What tells the files of the folder, but this one and those for bookkeeping, from what they are later on."""
        with os.scandir(self._folder) as entries:
            kept = [entry for entry in entries if entry.name[0] != "." and entry.name != NAME]
            return {(entry.name, entry.inode(), entry.stat(follow_symlinks=False).st_mtime_ns) for entry in kept}
