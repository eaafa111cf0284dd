"""`scipion-udl`: the command line. Only argparse is imported here; a command imports what it needs when it runs."""

from __future__ import annotations

import argparse
import codecs
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from scipion_udl.cli import printing
from scipion_udl.cli.commands import build_parser
from scipion_udl.cli.printing import write_error
from scipion_udl.constants import SPEAKS_AS
from scipion_udl.errors import KILLED, Ended, in_one_sentence
from scipion_udl.messages import Message

_SHARED = ("train", "align", "classify", "select")  # commands that several processes can work on together
_NAMES = "scipion_udl.names"  # of the handler of characters that cannot be encoded
_CONTINUED = ("train", "align", "classify")  # commands that take --continue


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    argparse itself ends the program with 2 for arguments it cannot take. Commands that can share their work are started
    once for every GPU of ``--gpu 0,1``; of several processes (torchrun) that share a run one tells of an error. What
    cannot be printed is left out, and the work is done.

    Parameters
    ----------
    argv : sequence of str, optional
        The words of the command line; None for those of this process.

    Returns
    -------
    int
        The exit code: 0, 1 for an error (one sentence on stderr), 130 when interrupted, 143 when asked to end by
        SIGTERM.
    """
    with printing.whatever_happens():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    print_any_name()
    args = build_parser().parse_args(argv)
    # Threads that wait must sleep: by default they spin, and two programs on one machine slow each other many times.
    # Read when torch is imported, which no command has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with _ends_in_order():
            code = _run(args, argv)
    except Exception as error:
        if args.debug:
            raise
        what = _in_one_sentence(args, error)
        return _complain(args, what, more=_kept(args) if what.code == "process_killed" else "")
    except KeyboardInterrupt as error:
        code = KILLED if isinstance(error, Ended) else 130
        return _complain(args, _in_one_sentence(args, error), code, _kept(args))
    return code


def print_any_name() -> None:
    """Let names be printed that are no text: a file system keeps bytes, which need not be UTF-8 (an old disk, a Windows
    share). They come out as they are; what the terminal's encoding lacks, as a number."""
    codecs.register_error(_NAMES, _as_bytes)
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_NAMES)


def _as_bytes(error: UnicodeError) -> tuple[str | bytes, int]:
    """How print goes on after a character that cannot be encoded: one that stands for a byte becomes that byte."""
    if isinstance(error, UnicodeEncodeError) and 0xDC80 <= ord(error.object[error.start]) <= 0xDCFF:
        return bytes([ord(error.object[error.start]) - 0xDC00]), error.start + 1
    return codecs.backslashreplace_errors(error)


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """Let SIGTERM end the command as an interruption does: what is unfinished is cleared away, what is done is kept.

    The signal may come at any moment, within an import say, which makes another error of it.
    """
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    asked = []

    def end(*_: object) -> None:
        asked.append(True)
        raise Ended

    if ours:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    except Exception:
        if asked:
            raise Ended from None
        raise
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _kept(args: argparse.Namespace) -> str:
    """What there is to go on from, where there is something."""
    if args.command not in _CONTINUED or not os.path.isdir(args.output):
        return ""
    by_job = SPEAKS_AS in os.environ
    again = "the job goes on from there when it is run again" if by_job else "--continue goes on from there"
    return f"; what was done is kept in {args.output}: {again}"


def _run(args: argparse.Namespace, argv: list[str]) -> int:
    from scipion_udl.compute import launch

    if launch.is_one_of_several():
        if args.command not in _SHARED and not launch.is_first():
            return 0  # what cannot be shared is done once
    elif args.command in _SHARED and launch.gpus_asked_for(args.gpu) > 1:
        return launch.start_ranks(argv, launch.gpus_asked_for(args.gpu))
    return args.run(args.settings.of(vars(args))) or 0  # a command that ends others tells their exit code


def _in_one_sentence(args: argparse.Namespace, error: BaseException) -> Message:
    return in_one_sentence(error, getattr(args, "output", None))


def _complain(args: argparse.Namespace, what: Message, code: int = 1, more: str = "") -> int:
    """One sentence on stderr, told by one of the processes that share a run; more: what is added to it. Returns the
    exit code."""
    from scipion_udl.compute import launch

    if launch.is_one_of_several():
        from scipion_udl.compute.distributed import is_reporting_rank

        if (what.code == "process_lost" and launch.is_watched()) or not is_reporting_rank():
            return code
    write_error(args.error_to, what)
    print(f"scipion-udl {os.environ.get(SPEAKS_AS) or args.command}: {what}{more}", file=sys.stderr, flush=True)
    return code
