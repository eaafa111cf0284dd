"""Processes that are forked from that of the tests, which has loaded what they need: one, or several of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from scipion_udl import cli
from scipion_udl.compute import launch

ALONE = ["--gpu", "none", "--threads", "1"]
COMMANDS = 16  # that several processes do one after the other, at most
PATIENCE = 120.0  # seconds: what takes longer hangs


def processes(folder: Path, work: Callable[..., None], *arguments: object, count: int = 2) -> tuple[str, str]:
    """(stdout, stderr) of ``count`` processes that share what ``work`` does, as launch.py would start them. All must
    end well; what they print is kept in ``folder``."""
    _ports.extend(launch._environments(count)[0]["MASTER_PORT"] for _ in range(COMMANDS))
    ranks = enumerate(launch._environments(count))
    started = [start(folder / f"rank{rank}", work, *arguments, environment=own) for rank, own in ranks]
    _ports.clear()  # they are the forks'
    codes = [end(process) for process in started]
    out, err = ("".join((folder / f"rank{k}.{name}").read_text() for k in range(count)) for name in ("out", "err"))
    assert codes == [0] * count, err
    return out, err


_ports: list[str] = []  # where the forks of :func:`processes` meet, one for each command


def command_together(words: list[str]) -> int:
    """The exit code of `scipion-udl` with these words, in one of several processes, or alone. For each command they
    meet at a port of its own: at that of the one before, its first process may still be listening."""
    if _ports:
        os.environ["MASTER_PORT"] = _ports.pop()
    return cli.main(words)


def launched(folder: Path, words: list[str], count: int, in_rank: Callable[[int], None]) -> tuple[int | None, str]:
    """(exit code, stderr of all) of `scipion-udl` with these words, started by launch.py in ``count`` processes;
    in_rank: what each of them, by its number, does before."""
    process = start(folder / "launched", _launch, words, count, in_rank)
    return end(process), (folder / "launched.err").read_text()


class _Forked:
    """Stands for subprocess.Popen in launch.py."""

    def __init__(self, command: list[str], env: Mapping[str, str], preexec_fn: Callable[[], None]) -> None:
        words = command[command.index("scipion_udl.cli") + 1 :]
        self._process = get_context("fork").Process(target=self._do, args=(words, env, preexec_fn))
        self._process.start()
        self.terminate, self.kill = self._process.terminate, self._process.kill

    in_rank: Callable[[int], None]

    def _do(self, words: list[str], env: Mapping[str, str], preexec_fn: Callable[[], None]) -> None:
        preexec_fn()
        os.environ.update(env)
        type(self).in_rank(int(env["RANK"]))
        sys.exit(cli.main(words))

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("scipion-udl", timeout)
        return self._process.exitcode


def _launch(words: list[str], count: int, in_rank: Callable[[int], None]) -> int:
    _Forked.in_rank = staticmethod(in_rank)
    launch.subprocess.Popen = _Forked
    launch.gpus_asked_for = lambda gpu: count
    return cli.main(words)


def run_all(commands: list[list[str]]) -> None:
    """Run `scipion-udl` with each of these command lines, which must end well; in several processes, if need be."""
    for command in commands:
        assert command_together(command) == 0, command


def start(
    said: Path, work: Callable[..., int | None], *arguments: object, environment: Mapping[str, str] | None = None
) -> BaseProcess:
    """A process that does ``work``, whose result is its exit code, and prints to ``said``.out and .err."""
    process = get_context("fork").Process(target=_do, args=(said, environment or {}, work, arguments))
    process.start()
    return process


def end(process: BaseProcess) -> int | None:
    """The exit code of such a process; below 0 by which signal it ended: SIGKILL where it hung."""
    process.join(PATIENCE)
    process.kill()
    process.join()
    return process.exitcode


def _do(said: Path, environment: Mapping[str, str], work: Callable[..., int | None], arguments: tuple) -> None:
    for number, name in ((1, "out"), (2, "err")):  # under pytest's own capture
        os.dup2(os.open(f"{said}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        setattr(sys, f"std{name}", open(number, "w", buffering=1, closefd=False))  # noqa: SIM115 (to the end)
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.exit(work(*arguments))
