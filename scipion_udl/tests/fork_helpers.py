"""Processes that are forked from that of the tests, which has loaded already what they need; two that share a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from scipion_udl import cli
from scipion_udl.compute import launch

ALONE = ["--gpu", "none", "--threads", "1"]
PATIENCE = 120.0  # seconds: what takes longer hangs


def two_processes(folder: Path, work: Callable[..., None], *arguments: object) -> tuple[str, str]:
    """(stdout, stderr) of two processes that share what ``work`` does, as launch.py would start them. Both must end
    well; what they print is kept in ``folder``."""
    ranks = enumerate(launch._environments(2))
    both = [start(folder / f"rank{rank}", work, *arguments, environment=own) for rank, own in ranks]
    codes = [end(process) for process in both]
    out, err = ("".join((folder / f"rank{k}.{name}").read_text() for k in (0, 1)) for name in ("out", "err"))
    assert codes == [0, 0], err
    return out, err


def run_all(commands: list[list[str]]) -> None:
    """Run `scipion-udl` with each of these command lines, which must end well."""
    for command in commands:
        assert cli.main(command) == 0, command


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
