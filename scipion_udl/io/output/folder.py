"""The folder that a command writes into: never over somebody's results, never with half a file under a final name."""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Callable, Iterable
from types import TracebackType

from scipion_udl.errors import UdlError, in_one_sentence
from scipion_udl.io.output import durable, lock
from scipion_udl.io.output.file_names import WRITTEN
from scipion_udl.io.output.log_file import NAME as LOG
from scipion_udl.io.output.log_file import LogFile
from scipion_udl.messages import message

_SCRATCH = ".unfinished"
_LIST = ".udl-files.json"
_LAST = "summary.json"


class OutputFolder:
    """An output folder as a context manager.

    ``with OutputFolder(path) as out:`` write to ``out.scratch(name)``; ``out.publish(name)`` gives the file its final
    name ``out.final(name)``, and leaving the block without an error publishes the rest. Leaving it by an error removes
    what is unfinished; what was published stays (checkpoints, say), and a folder made here that is empty goes away.

    overwrite: an existing folder may be used; files that an earlier run left there (by its own list) are removed when
    the first new ones have their names, so that a run that comes to nothing costs nobody anything; others stay.
    resume: an existing folder is gone on with, nothing is removed. command: whose files they will be; what a run reads
    must not bear one of their names, whoever made it: see :meth:`spare`. What a run that was killed left unfinished
    goes away. Files for bookkeeping that are links are not followed: they give way to files. Raises UdlError for an
    existing folder without either, where the folder cannot be made, and where another program is writing into it: one
    that lives on after what had started it was killed, say.
    """

    def __init__(self, path: str, overwrite: bool = False, resume: bool = False, command: str | None = None) -> None:
        self.path = str(path)
        self.overwrite, self.resume = overwrite, resume
        self._names = WRITTEN[command] if command else ()
        self._spared: set[str] = set()  # places that must stay as they are
        self._begun = False  # whether there is a folder for unfinished files
        self._made = False
        self._pending: list[str] = []
        self._published: list[str] = []
        self._old: list[str] = []  # of an earlier run, to be removed
        self._passing: set[str] = set()
        self._lock = lock.FolderLock(self.path)
        self._log = LogFile(self.path)

    def __enter__(self) -> OutputFolder:
        self.check()
        try:
            self._made = not os.path.isdir(self.path)
            os.makedirs(self.path, exist_ok=True)
            if self._made:
                durable.settle_names(os.path.dirname(os.path.abspath(self.path)))
            self._lock.acquire()
        except OSError as error:
            raise UdlError(message("folder_cannot_be_made", path=self.path, reason=error.strerror)) from None
        self._published, self._old = self._listed("files"), self._replaced()
        if self.overwrite and not self.resume:
            self._published = []
        return self

    def _replaced(self) -> list[str]:
        """Files of earlier runs, by their list, that go away when this one has results."""
        whole = self.overwrite and not self.resume
        return list(dict.fromkeys(self._listed("old") + (self._listed("files") if whole else [])))

    def _begin(self) -> None:
        """Make the folder for unfinished files, empty. Not before anything is written: what a run that is refused found
        there stays."""
        if self._begun:
            return
        folder = os.path.join(self.path, _SCRATCH)
        try:
            if os.path.islink(folder):
                os.remove(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise UdlError(message("folder_cannot_be_made", path=folder, reason=error.strerror)) from None
        self._begun = True

    def start_anew(self, *checkpoints: str) -> None:
        """Where this run replaces an earlier one, remove what that left to go on from.

        It is noted, too, that the earlier results are not of this run, for a run that goes on with this one. Where none
        is replaced nothing is done.

        Parameters
        ----------
        *checkpoints : str
            Names of the files to go on from.
        """
        if self.resume or not self.overwrite:
            return
        for name in checkpoints:
            self._remove(name)
        self._save_list()

    def has(self, name: str) -> bool:
        """Whether a finished file is there that is not of an earlier run, which is being replaced.

        Parameters
        ----------
        name : str
            Its final name.

        Returns
        -------
        bool
        """
        return os.path.exists(self.final(name)) and name not in self._old

    def check(self) -> None:
        """Refuse a folder that may not be used; touches nothing.

        Raises
        ------
        UdlError
            For a folder without a name, a file of that name, and one that is there without ``overwrite`` or ``resume``.
        """
        if not self.path.strip():
            raise UdlError(message("folder_without_name"))
        if not os.path.lexists(self.path):
            return
        if not os.path.isdir(self.path):
            raise UdlError(message("folder_is_a_file", path=self.path))
        if not (self.overwrite or self.resume):
            raise UdlError(message("folder_exists", path=self.path))

    def spare(self, paths: Iterable[str | None]) -> None:
        """Refuse to overwrite what the run reads; what is named here once is never replaced.

        It may be asked before the folder is entered, and touches nothing.

        Parameters
        ----------
        paths : iterable of str or None
            Files that the run reads.

        Raises
        ------
        UdlError
            Where one of them bears the name of a file that it will write or remove, also by a link; names it.
        """
        old = self._old or self._replaced()
        written = [*dict.fromkeys((*self._names, *old))]
        own = {place: name for name in written for place in _places(self.final(name))}
        unfinished = os.path.join(os.path.realpath(self.path), _SCRATCH, "")
        for path in filter(None, paths):
            places = _places(path)
            self._spared.update(places)
            name = next((own[place] for place in places if place in own), None)
            if name in old:
                raise UdlError(message("input_would_be_replaced", path=path))
            if name or any(place.startswith(unfinished) for place in places):
                raise UdlError(message("input_among_results", path=path, folder=self.path))

    def log(self, text: str) -> None:
        """Add text to run.log, once :meth:`begin_log` was called; what comes before is kept until then.

        Parameters
        ----------
        text : str
            As it is.
        """
        self._log.write(text)

    def begin_log(self) -> None:
        """Begin to write run.log, once the run has told what it reads (see :meth:`spare`).

        Raises
        ------
        UdlError
            Where run.log is one of the files it reads.
        """
        self._keep_spared(LOG)
        self._log.begin()

    def final(self, name: str) -> str:
        """The path of a finished file.

        Parameters
        ----------
        name : str

        Returns
        -------
        str
        """
        return os.path.join(self.path, name)

    def scratch(self, name: str) -> str:
        """The path to write a file to until it is complete.

        Parameters
        ----------
        name : str
            Under which it will be published.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            For a name that the command is not known to write (see file_names.py).
        """
        if self._names and name not in self._names:
            raise ValueError(f"{name} is not among the files of this command")
        self._begin()
        if name not in self._pending:
            self._pending.append(name)
        return os.path.join(self.path, _SCRATCH, name)

    def publish(self, *names: str) -> None:
        """Give complete files their final names, the summary last, by which a run is known to be complete.

        The list comes first: of a run that is killed on the way, too, the next one knows what is whose. All of it holds
        through a crash of the machine.

        Parameters
        ----------
        *names : str

        Raises
        ------
        UdlError
            Where a file cannot be written out, or renamed; names it.
        """
        if not names:
            return
        new = [name for name in (*names, *[LOG] * self._log.begun) if name not in self._published]
        self._published += new
        try:
            for name in names:
                self._settle(name)
            self._save_list()
            for name in sorted(names, key=_LAST.__eq__):
                if name == _LAST:
                    durable.settle_names(self.path)
                self._rename(name)
            durable.settle_names(self.path)
        except BaseException:
            self._published = [n for n in self._published if n not in new or os.path.exists(self.final(n))]
            raise
        if self._old:
            for name in set(self._old) - set(names):
                if name == LOG and self._log.begun:
                    self._log.forget_earlier()
                else:
                    self._remove(name)
            self._old = []
            self._save_list()

    def _settle(self, name: str) -> None:
        try:
            durable.settle(os.path.join(self.path, _SCRATCH, name))
        except OSError as error:
            raise UdlError(message("cannot_be_written", path=self.final(name), reason=error.strerror)) from None

    def _rename(self, name: str) -> None:
        self._keep_spared(name)
        try:
            os.replace(os.path.join(self.path, _SCRATCH, name), self.final(name))
        except OSError as error:
            raise UdlError(message("cannot_be_written", path=self.final(name), reason=error.strerror)) from None
        if name in self._pending:
            self._pending.remove(name)

    def _keep_spared(self, name: str) -> None:
        """Raise UdlError where a file by this final name is one that the run reads."""
        if not self._spared.isdisjoint(_places(self.final(name))):
            raise UdlError(message("result_is_read", path=self.final(name)))

    def _remove(self, name: str) -> None:
        self._keep_spared(name)
        _remove(self.final(name))

    def tell(self, name: str, text: str) -> None:
        """Write a small file of how the run stands, complete or not at all, under its final name.

        It goes away when the run ends, but for one that was interrupted and leaves results to go on from. No disk, no
        harm: what cannot be written is left out.

        Parameters
        ----------
        name : str
        text : str
        """

        def write(path: str) -> None:
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)

        self.show(name, write)

    def show(self, name: str, write: Callable[[str], None]) -> None:
        """Write any file of how the run stands, as :meth:`tell` does.

        Parameters
        ----------
        name : str
            Its final name.
        write : callable
            Writes it to a path.
        """
        temporary = os.path.join(self.path, _SCRATCH, name)
        try:
            self._begin()
            self._keep_spared(name)
            write(temporary)
            os.replace(temporary, self.final(name))
            self._passing.add(name)
        except (OSError, UdlError):
            pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                kind = OSError  # until all have their names
                self.publish(*(n for n in list(self._pending) if os.path.exists(os.path.join(self.path, _SCRATCH, n))))
                kind = None
        except BaseException as failed:
            error = failed
            raise
        finally:
            try:
                self._log_error(error)
                self._clear(kind)
            except KeyboardInterrupt as interruption:  # asked to end when it was about to
                self._clear(type(interruption))
                raise

    def _log_error(self, error: BaseException | None) -> None:
        if error is not None:
            if not isinstance(error, (UdlError, OSError, KeyboardInterrupt, SystemExit)):
                self._log.write("".join(traceback.format_exception(error)))
            self._log.write(f"Error: {in_one_sentence(error, self.path)}\n")

    def _clear(self, kind: type[BaseException] | None) -> None:
        """Remove what goes away with the run; kind: of the error that ends it, None where it ends well."""
        # Not after an interruption that leaves something to go on from: then it says how far the run was.
        if kind is None or issubclass(kind, Exception) or not self._holds_more():
            for name in self._passing:
                _remove(self.final(name))
        self._log.end(kind is None or (self.resume and not self._made))
        if self._begun:
            shutil.rmtree(os.path.join(self.path, _SCRATCH), ignore_errors=True)
        self._lock.release()
        if kind is not None and self._made and not self._published:
            _remove(self.final(_LIST))
            try:
                os.rmdir(self.path)
            except OSError:
                pass  # something else was written there meanwhile: it stays

    def _holds_more(self) -> bool:
        """Whether the folder holds anything but what goes away with the run."""
        return bool(set(os.listdir(self.path)) - self._passing - {_SCRATCH, lock.NAME, LOG})

    def _listed(self, kind: str) -> list[str]:
        """The files that the folder's list names: "files" of the last run, "old" ones that it was to replace."""
        try:
            with open(os.open(self.final(_LIST), os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
                names = list(json.load(file).get(kind, []))
        except (OSError, ValueError, AttributeError, TypeError):
            return []
        # a list is a file like any other: nothing outside this folder is ever removed by it
        return [name for name in names if isinstance(name, str) and os.path.basename(name) == name]

    def _save_list(self) -> None:
        if not self._published and not os.path.exists(self.final(_LIST)):
            return
        temporary = os.path.join(self.path, _SCRATCH, _LIST)
        self._begin()
        try:
            with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
                json.dump({"files": self._published} | ({"old": self._old} if self._old else {}), file)
            durable.replace(temporary, self.final(_LIST))
        except OSError as error:
            raise UdlError(message("folder_not_writable", path=self.path, reason=error.strerror)) from None


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass


def _places(path: str) -> tuple[str, str]:
    """Where a name stands, folders that are links followed, and where what it names is, all links followed."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name), os.path.realpath(path)
