"""Start a command once for every GPU that was asked for, on this machine. Without torch, which takes seconds to load.

torchrun does the same, and also for several machines; started by this, errors stay one sentence.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from scipion_udl.errors import KILLED, Ended, UdlError
from scipion_udl.messages import message

MOMENT = 2.0  # seconds in which processes that have lost contact clear up: none is told to end in the midst of it
GRACE = 15.0  # seconds that processes get to end by themselves when one has failed
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux
_WATCHED = "SCIPION_UDL_WATCHED"  # in the environment of processes that :func:`start_ranks` has started


def gpus_asked_for(gpu: str) -> int:
    """How many GPUs a value of --gpu names.

    Parameters
    ----------
    gpu : str
        The value.

    Returns
    -------
    int
        2 for "0,1"; 0 for none and auto and what is no list of numbers.
    """
    words = str(gpu).replace(",", " ").split()
    return len(words) if all(word.isdigit() for word in words) else 0


def is_one_of_several() -> bool:
    """Whether torchrun or :func:`start_ranks` has started this process as one of several.

    Returns
    -------
    bool
        By WORLD_SIZE in the environment.
    """
    return os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1")


def is_first() -> bool:
    """Whether this process writes and speaks: alone, or the first of several.

    Returns
    -------
    bool
        By RANK in the environment.
    """
    return not is_one_of_several() or os.environ.get("RANK", "0") == "0"


def is_watched() -> bool:
    """Whether :func:`start_ranks` has started this process: it sees which of them is killed, and says so.

    Returns
    -------
    bool
        By the environment.
    """
    return is_one_of_several() and _WATCHED in os.environ


def start_ranks(arguments: Sequence[str], count: int) -> int:
    """Run ``scipion-udl`` in several processes that share the work.

    Where one fails the others are ended. They end with this process, too.

    Parameters
    ----------
    arguments : sequence of str
        Those of the command line.
    count : int
        How many processes.

    Returns
    -------
    int
        The exit code: 0 where all went well, else that of a process that failed, 130 where the user has interrupted it.

    Raises
    ------
    UdlError
        Where a process was killed.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "scipion_udl.cli", *arguments],
            env={**os.environ, **variables},
            preexec_fn=_end_with_parent if sys.platform.startswith("linux") else None,
        )
        for variables in _environments(count)
    ]
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        return _wait(processes)
    except Ended:
        raise
    except KeyboardInterrupt:  # a terminal has told the others as well
        _until(processes, GRACE)
        return 130
    finally:
        _end_all(processes)
        signal.signal(signal.SIGTERM, before)


def _environments(count: int) -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common[_WATCHED] = 1
    if sys.platform.startswith("linux"):  # the name of a machine that is in no network leads nowhere
        common["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    common["TORCH_CPP_LOG_LEVEL"] = os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR")  # lost contact is told in a sentence
    return [{k: str(v) for k, v in {**common, "RANK": n, "LOCAL_RANK": n}.items()} for n in range(count)]


def _wait(processes: list[subprocess.Popen]) -> int:
    """Until all have ended, or the first has failed: its exit code."""
    while True:
        codes = [process.poll() for process in processes]
        if any(codes):
            _until(processes, MOMENT)
            codes = [process.poll() for process in processes]
            signals = [_signal_of(code) for code in codes]
            if not any(signals):
                return max(code or 0 for code in codes)
            rank, number = next((rank, number) for rank, number in enumerate(signals) if number)
            raise UdlError(message("process_killed", number=rank + 1, processes=len(codes), signal=number))
        if all(code == 0 for code in codes):
            return 0
        time.sleep(0.05)


def _signal_of(code: int | None) -> int:
    """The signal that ended a process with this exit code; 0 for none."""
    return int(signal.SIGTERM) if code == KILLED else max(-(code or 0), 0)


def _until(processes: list[subprocess.Popen], seconds: float) -> None:
    end = time.monotonic() + seconds
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))


def _end_all(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    _until(processes, GRACE)
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def _terminated(number: int, frame: object) -> None:
    raise Ended


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
