"""Packed stacks are unpacked to scratch files, which go away with the process that made them: with one that was killed,
too, when the next one unpacks."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import threading
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

from scipion_udl.errors import UdlError
from scipion_udl.messages import message

_NAME = "scipion-udl-unpacked-"
_LOCK = "lock"
_CHUNK = 16 << 20
SPARE = 256 << 20  # bytes that stay free on the disk of the scratch files: others write there, too

_guard = threading.Lock()
_folders: dict[str, _Folder] = {}


def unpack(path: str, opener: Callable[..., Any], head: int, size: Callable[[str], int]) -> str:
    """Unpack a file to a scratch file, as far as its header says.

    No more than that is unpacked, and nothing where the disk lacks the room for it.

    Parameters
    ----------
    path : str
        Of the packed file.
    opener : callable
        Opens it, as gzip.open does.
    head : int
        Bytes of the header.
    size : callable
        Gives the bytes that the whole file has by its header, from the path of a file that has the header.

    Returns
    -------
    str
        Path of the scratch file.

    Raises
    ------
    UdlError
        Where the disk has no room, with both sizes, or where the file cannot be unpacked, with the reason.
    """
    scratch = None
    try:
        with opener(path, "rb") as packed:
            scratch = _new_file()
            with open(scratch, "wb") as plain:
                plain.write(packed.read(head))
                plain.flush()
                promised = size(scratch)
                _check_room(path, promised, os.path.dirname(scratch))
                _copy(packed, plain, promised - head)
        return scratch
    except BaseException as error:
        if scratch is not None:
            discard(scratch)
        if isinstance(error, (OSError, EOFError, ValueError, zlib.error)):
            raise UdlError(
                message("cannot_be_unpacked", path=path, reason=getattr(error, "strerror", None) or error)
            ) from None
        raise


def _copy(packed: BinaryIO, plain: BinaryIO, left: int) -> None:
    while left > 0:
        chunk = packed.read(min(_CHUNK, left))
        if not chunk:
            return
        plain.write(chunk)
        left -= len(chunk)
    while packed.read(_CHUNK):  # only at its end does a packed file say whether it is whole
        pass


def _check_room(path: str, promised: int, folder: str) -> None:
    free = shutil.disk_usage(folder).free
    if promised > free - SPARE:
        raise UdlError(
            message(
                "no_room_to_unpack",
                path=path,
                promised=promised / 1e9,
                folder=os.path.dirname(folder),
                free=free / 1e9,
            )
        )


def discard(file: str) -> None:
    """Remove a scratch file, and the folder with the last one.

    Parameters
    ----------
    file : str
        Path that :func:`unpack` gave.
    """
    with _guard:
        folder = _folders.get(os.path.dirname(os.path.dirname(file)))
        try:
            os.remove(file)
        except OSError:
            pass
        if folder is not None and folder.owner == os.getpid() and folder.is_empty():
            folder.remove()
            del _folders[os.path.dirname(folder.path)]


def _new_file() -> str:
    where = os.path.abspath(tempfile.gettempdir())
    with _guard:
        folder = _folders.get(where)
        if folder is None or folder.owner != os.getpid() or not os.path.isdir(folder.path):
            iterate(where)
            folder = _folders[where] = _Folder(where)
        file, name = tempfile.mkstemp(suffix=".mrcs", dir=folder.path)
        os.close(file)
        return name


class _Folder:
    """The scratch folder of a process, which holds a lock in it as long as it lives, however it ends."""

    def __init__(self, where: str) -> None:
        made = tempfile.mkdtemp(prefix=".scipion-udl-", dir=where)
        self.owner = os.getpid()
        self._lock = os.open(os.path.join(made, _LOCK), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path = os.path.join(where, _NAME + os.path.basename(made).rpartition("-")[2])
            os.rename(made, self.path)  # only now is it one that others may find, and sweep
        except OSError:  # a disk without locks: nobody could tell whether it is in use
            self.path = made

    def is_empty(self) -> bool:
        """Whether it holds nothing but its lock."""
        try:
            return set(os.listdir(self.path)) <= {_LOCK}
        except OSError:
            return True

    def remove(self) -> None:
        """Remove it, and give the lock back."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def iterate(where: str) -> None:
    """Remove the scratch folders that processes of this user have left and which live no more.

    Parameters
    ----------
    where : str
        The folder of scratch folders.
    """
    for name in os.listdir(where):
        path = os.path.join(where, name)
        if not name.startswith(_NAME):
            continue
        try:
            found = os.lstat(path)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:  # its process lives
            pass
        finally:
            os.close(lock)
