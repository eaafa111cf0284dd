"""Whether files of a run are as the run has left them: digests of files, and a seal on what is written as JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable

from scipion_udl.errors import UdlError
from scipion_udl.messages import message

_CHUNK = 1 << 20
_LABELS = 220, 1024  # from which byte to which an MRC header has them, and their number
SEAL = "seal"


def file_digest(path: str) -> str:
    """A short text that tells the content of a file from all others.

    Of an MRC file it leaves out the labels in its header, which say when it was written.

    Parameters
    ----------
    path : str

    Returns
    -------
    str

    Raises
    ------
    OSError
        Where it cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        if path.endswith((".mrc", ".mrcs")):
            found.update(file.read(_LABELS[0]))
            file.seek(_LABELS[1])
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def data_digest(data: object) -> str:
    """A short text that tells data from all other, however it is laid out in a file.

    Parameters
    ----------
    data : object
        What JSON can hold.

    Returns
    -------
    str
    """
    return hashlib.blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=16).hexdigest()


def sealed(fields: dict) -> dict:
    """The fields of a JSON file, with a seal by which each change of one shows.

    Parameters
    ----------
    fields : dict

    Returns
    -------
    dict
    """
    return {**fields, SEAL: data_digest(json.loads(json.dumps(fields)))}


def opened(fields: dict) -> dict:
    """The fields of a JSON file without their seal.

    Parameters
    ----------
    fields : dict

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        Where one was changed, or there is no seal.
    """
    rest = {name: value for name, value in fields.items() if name != SEAL}
    if data_digest(rest) != fields.get(SEAL):
        raise ValueError("the seal")
    return rest


def file_digests(folder: str, names: Iterable[str]) -> dict[str, str]:
    """Digests of files, of those that are there.

    Parameters
    ----------
    folder : str
    names : iterable of str

    Returns
    -------
    dict of str to str
        By name.
    """
    paths = {name: os.path.join(folder, name) for name in names}
    return {name: file_digest(path) for name, path in paths.items() if os.path.isfile(path)}


def check_files(folder: str, digests: dict[str, str], advice: str) -> None:
    """Check that files are as a run has left them.

    Parameters
    ----------
    folder : str
    digests : dict of str to str
        By name.
    advice : str
        What to do, the end of the message.

    Raises
    ------
    UdlError
        Where a file is missing, cannot be read or is not as it was; names it.
    """
    for name, before in digests.items():
        path = os.path.join(folder, name)
        try:
            whole = file_digest(path) == before
        except OSError as error:
            missing = not os.path.exists(path)
            what = "is missing, and particles cannot be joined without it" if missing else f"cannot be read: {error}"
            raise UdlError(message("result_missing", path=path, what=what, advice=advice)) from None
        if not whole:
            raise UdlError(message("result_changed", path=path, advice=advice))
