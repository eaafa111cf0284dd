"""Scipion's runs, and the engine that they start, in forks of the process of the tests.

A run starts Python twice, once for the protocol and once for the engine, and each spends a second or two of processor
time on imports before it works. The tests have imported all of it; a fork has it at once. It also looks more often
whether its steps are done, for which Scipion takes seconds. Runs through a queue, and those that Scipion's own windows
and commands start, are started as Scipion starts them.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import runpy
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from subprocess import CalledProcessError
from types import SimpleNamespace
from unittest import mock

from pyworkflow.protocol import Protocol, executor
from pyworkflow.utils import process as pw_process

from scipion_udl import Plugin
from scipion_udl.engine_env import engine_problem

pw_launch = importlib.import_module("pyworkflow.protocol.launch")  # the package has a function of that name
_start_anew = pw_launch._run
_call_anew = pw_process.check_call
JOBS = ("align", "append", "classify", "compare", "evaluate", "select", "simulate", "simulate_views", "train")
# What the engine imports by and by; torch imports its compiler where the first optimiser is made.
HEAVY = ("torch", "torch._dynamo", "jinja2", *(f"scipion_udl.jobs.{name}" for name in JOBS))
PAUSE = 0.2  # seconds between two looks at the steps of a run
WAITING = ""  # a command of the engine, in whose place a run waits


@contextmanager
def in_forks() -> Iterator[None]:
    """Runs that are launched meanwhile are forks of this process."""
    engine_problem(Plugin.getEnginePython())  # asked once, and known to the forks
    has_engine()
    with mock.patch.object(pw_launch, "_run", _start), mock.patch.object(pw_process, "check_call", _call):
        yield


@contextmanager
def engine_waits(command: str) -> Iterator[None]:
    """Runs that are launched meanwhile wait where they start this command of the engine, until somebody kills them."""
    with mock.patch.object(sys.modules[__name__], "WAITING", command):
        yield


@functools.lru_cache(maxsize=None)
def has_engine() -> bool:
    """Whether the engine is in this environment, and can be forked: where there is a GPU it cannot. Imports it."""
    if not importlib.util.find_spec("torch"):
        return False
    for name in HEAVY:
        importlib.import_module(name)
    return not sys.modules["torch"].cuda.is_available()


def _fork(work: Callable[[], object], before: Callable[[], None] = lambda: None) -> int:
    """Do ``work`` in a fork of this process, whose ID is returned; its exit code is what work returns (0 for None)."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        before()
        code = int(work() or 0)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _start(command: str, wait: bool, *streams: object) -> int:
    """In place of Scipion's way to start a run; returns its process ID."""
    words = shlex.split(command)
    if len(words) < 2 or os.path.basename(words[1]) != "pw_protocol_run.py":
        return _start_anew(command, wait, *streams)

    def work() -> None:
        sys.argv = words[1:]
        Protocol._stepsCheckSecs, executor.time = PAUSE, SimpleNamespace(sleep=lambda _: time.sleep(PAUSE))
        runpy.run_path(words[1], run_name="__main__")

    process = _fork(work)
    if wait:
        os.waitpid(process, 0)
    return process


def _call(command: str, env: Mapping[str, str] | None = None, cwd: str | None = None, **options: object) -> int:
    """In place of the call by which a run starts the engine. Raises CalledProcessError as that one does."""
    words = shlex.split(command)
    program = shlex.split(Plugin.getEngineProgram())
    is_engine = words[: len(program)] == program
    if is_engine and words[len(program)] == WAITING:
        return _call_anew(["sleep", "600"])
    if not is_engine or cwd is not None or not has_engine():
        return _call_anew(command, env=env, cwd=cwd, **options)
    status = _call_engine(words[len(program) :], env or {})
    if status:
        raise CalledProcessError(status, command)
    return 0


def _call_engine(words: list[str], env: Mapping[str, str]) -> int:
    """The exit code of the engine with these words, below 0 by which signal it ended."""

    def before() -> None:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(getattr(sys, name).fileno(), number)
            setattr(sys, name, open(number, "w", buffering=1, encoding="utf-8", closefd=False))  # noqa: SIM115
        os.environ.clear()
        os.environ.update(env)

    def work() -> int:
        from scipion_udl import cli

        return cli.main(words)

    _, status = os.waitpid(_fork(work, before), 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
