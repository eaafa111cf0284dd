"""Files that outlive a loss of power: written out to the disk before they get a name, and the name after them.

A rename alone is complete or not done for all programs, but the system may write it to the disk before the content of
the file: after a crash the name would stand over an empty file.
"""

from __future__ import annotations

import errno
import os

_CANNOT = (errno.EINVAL, errno.ENOTSUP, errno.EROFS, errno.EACCES)  # disks that know no such thing for a folder


def new(path: str) -> str:
    """Let nothing bear the name of an unfinished file, so that no link leads what is written to it into another file.

    Parameters
    ----------
    path : str
        What is there is removed.

    Returns
    -------
    str
        ``path``, as it is.

    Raises
    ------
    OSError
        Where what is there cannot be removed.
    """
    try:
        os.remove(path)
    except FileNotFoundError:
        pass
    return path


def replace(source: str, target: str) -> None:
    """Give a complete file its name, also through a crash of the machine.

    Parameters
    ----------
    source : str
        Path of the file.
    target : str
        The name, on the same disk.

    Raises
    ------
    OSError
        Where it cannot be written out or renamed.
    """
    settle(source)
    os.replace(source, target)
    settle_names(os.path.dirname(target) or ".")


def settle(path: str) -> None:
    """Wait until the content of a file is on the disk.

    Parameters
    ----------
    path : str

    Raises
    ------
    OSError
        Where it has no place there.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def settle_names(folder: str) -> None:
    """Wait until the names in a folder are on the disk, where the disk can tell.

    Parameters
    ----------
    folder : str

    Raises
    ------
    OSError
        Where they have no place there.
    """
    try:
        settle(folder)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
