"""Kills real processes of `scipion-udl`, and fails their writes, renames and reads; then continues them and compares.

Run as a program it prints what it did: see :func:`main`. Processes are forked from this one, which has loaded all that
they need and computed nothing, so that each costs what its own work costs.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scipion_udl import cli
from scipion_udl.io.output import lock
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.tests.fault_hooks import PATIENCE, Hooks

RUN_LOG = "run.log"  # grows while a run goes on
VARIES = {"seconds", "command"}  # of summary.json
LIST, SCRATCH = ".udl-files.json", ".unfinished"


@dataclass
class Case:
    """A command that is disturbed: ``words`` without the output folder; again: what is added to go on with it; before:
    words of an earlier run into the same folder; kills: its share of them."""

    name: str
    words: list[str]
    again: list[str]
    before: list[str] | None = None
    kills: float = 1.0

    @property
    def extra(self) -> list[str]:
        """What a run over an earlier one needs."""
        return ["--overwrite"] if self.before else []


# Watching it.


@dataclass
class Ended:
    """How a process ended: its exit code (below 0: by this signal), what it printed on stderr, and its events with the
    seconds when they came."""

    code: int
    errors: str
    events: list[tuple[float, str]] = field(default_factory=list)

    @property
    def sentences(self) -> list[str]:
        """Lines on stderr that are no warnings."""
        return [line for line in self.errors.splitlines() if line and not line.startswith("Warning: ")]


def launch(words: list[str], hooks: Hooks, log: Path, ends: tuple[int, ...]) -> int:
    """The process of `scipion-udl` with these words; ends: of pipes, that it does not use."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code = 99
    try:
        for end in ends:
            os.close(end)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{log}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        hooks.install()
        code = cli.main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 98
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(words: list[str], folder: Path, log: Path, kill: tuple[int, float, int] | None = None) -> Ended:
    """Run a command that writes into ``folder`` to its end; kill: after so many events, and so many seconds, send this
    signal."""
    pipe, writing = os.pipe()
    process = launch(words, Hooks(writing, str(folder)), log, (pipe,))
    os.close(writing)
    events, rest, start, due, sent = [], b"", time.monotonic(), None, False
    while True:
        now = time.monotonic()
        if kill and due is None and len(events) >= kill[0]:
            due = now + kill[1]
        if due is not None and not sent and now >= due:
            os.kill(process, kill[2])
            sent = True
        wait = max(0.0, due - now) if due is not None and not sent else 1.0
        if select.select([pipe], [], [], wait)[0]:
            data = os.read(pipe, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            events += [] if sent else [(time.monotonic() - start, line.decode()) for line in lines]
        if now - start > PATIENCE:
            os.kill(process, signal.SIGKILL)
            raise AssertionError(f"{words} hangs")
    os.close(pipe)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return Ended(code, Path(f"{log}.err").read_text(), events)


def run_failing(
    words: list[str], folder: Path, log: Path, branches: Callable[[int], bool], look: Callable[[str, Ended], None]
) -> Ended:
    """Run a command to its end, and beside it all those that fail in one operation (see fault_hooks.py): for each of
    them look is called with what failed and how it ended, while ``folder`` is as it left it."""
    (pipe, writing), (waiting, go) = os.pipe(), os.pipe()
    failing = log.with_name(f"{log.name}.failing")
    process = launch(words, Hooks(writing, str(folder), branches, waiting, failing), log, (pipe, go))
    os.close(writing)
    os.close(waiting)
    events: list[tuple[float, str]] = []
    with os.fdopen(pipe) as lines:
        for line in lines:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind != "failed":
                events.append((0.0, f"{kind} {rest}"))
                continue
            code, _, what = rest.partition(" ")
            look(what, Ended(int(code), Path(f"{failing}.err").read_text()))
            os.write(go, b"g")
    os.close(go)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return Ended(code, Path(f"{log}.err").read_text(), events)


def stage_of(event: str) -> str:
    """The stage that an event belongs to, in a few words."""
    kind, _, name = event.partition(" ")
    if kind == "stage":
        return name
    file = name.rpartition(" ")[0].removesuffix(".part")
    if file.startswith("checkpoint"):
        return "checkpoint"
    if file == LIST:
        return "list of files"
    return "renaming results" if kind == "replace" else "writing results"


# What must hold.


def broken(folder: Path) -> list[str]:
    """Files under a final name that are not whole."""
    found = []
    for path in folder.rglob("*"):
        if SCRATCH in path.parts or path.name.endswith(".part") or path.name in (lock.NAME, RUN_LOG) or path.is_dir():
            continue
        try:
            _open_whole(path)
        except Exception as error:
            found.append(f"{path.name}: {type(error).__name__} {error}")
    return found


def _open_whole(path: Path) -> None:
    kind = path.suffix
    if kind in (".mrcs", ".mrc"):
        StackReader(str(path)).read()
    elif kind in (".star", ".xmd"):
        tables = read_tables(str(path))
        assert tables, "no table"
        assert path.read_text().endswith("\n"), "cut"
    elif kind == ".safetensors":
        from safetensors import safe_open

        with safe_open(str(path), framework="np") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                file.get_tensor(name)
    elif kind == ".json":
        json.loads(path.read_text())
    elif kind == ".csv":
        with open(path, newline="") as file:
            assert len({len(row) for row in csv.reader(file)}) == 1, "rows of several lengths"
    elif kind == ".png":
        from PIL import Image

        Image.open(path).load()
    elif kind == ".html":
        assert path.read_text().rstrip().endswith("</html>"), "cut"
    else:
        raise AssertionError("unknown kind of file")


def content(folder: Path) -> dict[str, object]:
    """What a finished run left, file by file, without what may differ from run to run: times, and the command."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() and path.name != SCRATCH:
            continue
        if path.suffix in (".mrcs", ".mrc"):
            found[name] = StackReader(str(path)).read().tobytes(), path.stat().st_size
        elif path.name == "summary.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k not in VARIES}
        elif path.name == LIST:
            found[name] = sorted(json.loads(path.read_text())["files"])
        else:  # report and log hold times and the command
            found[name] = "" if path.suffix in (".html", ".log") or path.is_dir() else path.read_bytes()
    return found


def _bytes(folder: Path) -> list[tuple[str, bytes]]:
    """Every file of a folder, to the byte."""
    return [(str(p.relative_to(folder)), p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()]


class Bench:
    """Cases in a folder of their own, and what came of disturbing them."""

    def __init__(self, folder: Path, only: list[str] | None = None) -> None:
        self.folder, self.log = folder, folder / "log"
        self.cases = [case for case in _cases(folder) if only is None or case.name in only]
        _prepare(self, [word for case in self.cases for word in case.words])
        self.problems: list[str] = []
        self.stages: Counter = Counter()
        self.done: Counter = Counter()
        self.failed: Counter = Counter()  # by case and kind of operation
        self._whole: dict[str, tuple[dict, Ended]] = {}
        self._known: set[tuple] = set()  # what was left and gone on from already

    def plain(self, *words: object) -> None:
        """A command that must end well."""
        words = [str(word) for word in words]
        ended = run(words, self.folder / "none", self.log)
        assert ended.code == 0, (words, ended.errors)

    def words(self, case: Case, *more: str) -> list[str]:
        """The command line of a case."""
        if case.words[0] == "simulate":
            return ["simulate", str(self.out), *case.words[1:], *more]
        return [*case.words, "-o", str(self.out), *more]

    @property
    def out(self) -> Path:
        """The folder that all cases write into, so that names in tables are the same."""
        return self.folder / "out"

    def fresh(self, case: Case) -> None:
        """The output folder as it is before the case runs."""
        shutil.rmtree(self.out, ignore_errors=True)
        if case.before:
            kept = self._before(case)
            if not kept.exists():
                self.plain(*case.before, "-o", self.out)
                shutil.move(self.out, kept)
            shutil.copytree(kept, self.out)

    def whole(self, case: Case) -> tuple[dict, Ended]:
        """(content, how it went) of the case where nothing disturbs it."""
        if case.name not in self._whole:
            self.fresh(case)
            ended = run(self.words(case, *case.extra), self.out, self.log)
            assert ended.code == 0, ended.errors
            assert not (wrong := broken(self.out)), wrong
            self._whole[case.name] = content(self.out), ended
        return self._whole[case.name]

    def kill(self, case: Case, after: int, delay: float, sign: int) -> str | None:
        """Kill a run of the case and continue it; returns the stage that it was in, None where it had ended."""
        self.fresh(case)
        ended = run(self.words(case, *case.extra), self.out, self.log, kill=(after, delay, sign))
        if ended.code == 0:
            return None
        stage = stage_of(ended.events[-1][1]) if ended.events else "starting"
        what = f"{case.name}, {signal.Signals(sign).name} in {stage} (event {len(ended.events)})"
        if sign == signal.SIGKILL:
            self._hold(ended.code == -sign, what, f"code {ended.code}: {ended.errors}")
        else:
            one = len(ended.sentences) == 1 and "SIGTERM" in ended.errors
            early = ended.code == -sign and not ended.events  # before the program had begun
            self._hold(early or (ended.code == 143 and one), what, f"code {ended.code}: {ended.errors}")
            self._hold(not (self.out / SCRATCH).exists() or early, what, "unfinished files are left")
        self._go_on(case, what, case.extra if self._not_begun(case) else case.again)
        self.stages[f"{case.name}: {stage}"] += 1
        self.done[f"kills by {signal.Signals(sign).name}"] += 1
        return stage

    def faults(self, case: Case, most: int | None = None) -> None:
        """Every open, write, fsync, close and rename of a case fails once, and every read of images, whose stack
        vanishes there once, too; most: so many of the former, spread evenly, and no reads."""
        expected, ended = self.whole(case)
        told = sum(not event.startswith("stage ") for _, event in ended.events)
        numbers = None if most is None else {k * told // most for k in range(most)}
        self.fresh(case)
        words = self.words(case, *case.extra)
        ended = run_failing(
            words, self.out, self.log, lambda k: numbers is None or k in numbers, lambda *how: self._look(case, *how)
        )
        whole = f"{case.name}, the run beside which others failed"
        self._hold(ended.code == 0 and content(self.out) == expected, whole, f"code {ended.code}: {ended.errors}")

    def _look(self, case: Case, what: str, ended: Ended) -> None:
        """Judge a run in which an operation failed, and continue it."""
        for path in self.folder.rglob("*.away"):
            path.rename(path.with_suffix(""))
        kind, what = what.partition(" ")[0], f"{case.name}, {what} failed"
        self.failed[case.name, kind] += 1
        if kind == "vanish" and ended.code == 0:  # nothing was read of it any more
            self.done["vanished too late to be missed"] += 1
            self._hold(content(self.out) == self.whole_content(case), what, "other results")
            return
        self._hold(ended.code == 1, what, f"code {ended.code}: {ended.errors}")
        good = len(ended.sentences) == 1 and "Traceback" not in ended.errors and "unexpected" not in ended.errors
        self._hold(good, what, f"is told by: {ended.errors}")
        self._hold(not (self.out / SCRATCH).exists(), what, "unfinished files are left")
        more = case.extra if self._not_begun(case) else case.again
        state = (case.name, *more, *(_bytes(self.out) if self.out.exists() else ()))
        if state in self._known:
            self.done["left what had been continued already, to the byte"] += 1
            return
        if self._go_on(case, what, more):
            self._known.add(state)

    def _not_begun(self, case: Case) -> bool:
        """Whether the results of the earlier run are still all that the folder holds: then the run is to be begun
        again, as it was the first time."""
        return bool(case.before) and (self.out / LIST).read_bytes() == (self._before(case) / LIST).read_bytes()

    def _before(self, case: Case) -> Path:
        return self.folder / f"before_{case.name}"

    def _go_on(self, case: Case, what: str, more: list[str]) -> bool:
        for sentence in broken(self.out) if self.out.exists() else ():
            self.done["broken files"] += 1
            self._hold(False, what, f"left a broken file, {sentence}")
        ended = run(self.words(case, *more), self.out, self.log)
        self.done["continued" if ended.code == 0 else "not continued"] += 1
        if not self._hold(ended.code == 0, what, f"does not go on: {ended.errors}"):
            return False
        expected, found = self.whole_content(case), content(self.out)
        names = sorted(expected.keys() ^ found.keys())
        names += [name for name in expected.keys() & found.keys() if expected[name] != found[name]]
        self.done["differences"] += bool(names)
        return self._hold(not names, what, f"other results: {', '.join(names)}")

    def whole_content(self, case: Case) -> dict:
        """What the case leaves where nothing disturbs it."""
        return self._whole[case.name][0]

    def _hold(self, good: bool, what: str, otherwise: str) -> bool:
        if not good:
            self.problems.append(f"{what}: {otherwise.strip()}")
            print(f"PROBLEM {self.problems[-1]}", flush=True)
        return good

    def kills(self, case: Case, count: int, chance: random.Random) -> None:
        """``count`` kills of a case, spread evenly over its stages, by either signal."""
        _, ended = self.whole(case)
        events = [(0.0, "stage starting"), *ended.events]
        places: dict[str, list[int]] = {}
        for number, (_, event) in enumerate(events):
            places.setdefault(stage_of(event), []).append(number)
        order = list(places)
        for rotation in range(count):
            number = chance.choice(places[order[(2 * rotation + 1) * len(order) // (2 * count)]])
            last = number + 1 == len(events)
            gap = 0.05 if last else events[number + 1][0] - events[number][0]
            sign = (signal.SIGKILL, signal.SIGTERM)[rotation % 2]
            for delay in (chance.random() * gap, 0.0):
                if self.kill(case, number, delay, sign) is not None:
                    break
            else:
                self.done["had ended before"] += 1


_COMMON = ["--gpu", "none", "--threads", "1"]
_FEW = [*_COMMON, "--epochs", "3", "--max-shift", "1"]
_CLASSIFY = ["--classes", "2", "--starts", "1", "--max-shift", "1", *_COMMON]


def _cases(folder: Path) -> list[Case]:
    """All long commands on tiny particles; ``--continue`` goes on with those that train, others are run again."""
    data, run_of = folder / "data", folder / "run"
    particles, classes, packed = (str(data / name) for name in ("particles.star", "classes.star", "packed.mrcs.gz"))
    of_views, new_views = (str(folder / name / "particles.star") for name in ("views", "later_views"))
    new, model = str(folder / "later" / "particles.star"), str(run_of / "model.safetensors")
    aligned, truth = str(run_of / "aligned.star"), str(data / "truth.star")
    simulate = ["simulate", "--count", "60", "--snr", "0.3", "--box", "24", "--pixel-size", "3", "--clean"]
    earlier = ["align", particles, *_COMMON, "--epochs", "1", "--seed", "5", "--no-refine", "--write-stack"]
    join = ["classify", new_views, *_COMMON, "--append-to", str(folder / "classified")]
    return [
        Case("align", ["align", particles, *_FEW, "--write-stack"], ["--continue"]),
        Case("align without refinement", ["align", particles, *_FEW, "--no-refine"], ["--continue"]),
        Case("train", ["train", particles, *_FEW[:-2]], ["--continue"], None, 1.5),
        Case("by class", ["align", classes, *_FEW, "--by-class"], ["--continue"], None, 0.7),
        Case("align over an earlier run", ["align", particles, *_FEW], ["--continue"], earlier, 0.7),
        Case("join", ["align", new, *_COMMON, "--append-to", str(run_of), "--model", model], ["--continue"]),
        Case("classify", ["classify", of_views, *_CLASSIFY], ["--continue"]),
        Case("classify join", join, ["--continue"], None, 0.5),
        Case("align of a packed stack", ["align", packed, *_FEW, "--no-refine"], ["--continue"], None, 0.3),
        Case("align-pairs", ["align-pairs", particles, "--model", model, *_COMMON], ["--overwrite"], None, 0.3),
        Case("evaluate", ["evaluate", aligned, "--truth", truth, *_COMMON], ["--overwrite"]),
        Case("simulate", simulate, ["--overwrite"]),
    ]


def _prepare(bench: Bench, words: list[str]) -> None:
    """Make what the ``words`` of the cases name: particles, and runs on them."""
    folder = bench.folder
    data, views = folder / "data", folder / "views"

    def named(name: str) -> bool:
        return any(f"{word}{os.sep}".startswith(f"{folder / name}{os.sep}") for word in words)

    kind = ["--snr", 0.5, "--box", 24, "--pixel-size", 3, "--shift", 1, "--no-ctf"]
    bench.plain("simulate", data, "--count", 130, *kind)
    *others, table = read_tables(str(data / "particles.star"))
    table.set("rlnClassNumber", [str(1 + k % 2) for k in range(len(table))])
    write_tables(str(data / "classes.star"), [*others, table])
    (data / "packed.mrcs.gz").write_bytes(gzip.compress((data / "particles.mrcs").read_bytes()))
    if named("later"):
        bench.plain("simulate", folder / "later", "--count", 20, "--seed", 9, *kind)
    if named("run"):
        bench.plain("align", data / "particles.star", "-o", folder / "run", *_FEW, "--high-resolution-limit", 9)
    if named("views") or named("classified"):
        bench.plain("simulate", views, "--views", "random", "--count", 16, *kind)
    if named("classified"):
        bench.plain("classify", views / "particles.star", "-o", folder / "classified", *_CLASSIFY, "--no-refine")
        bench.plain("simulate", folder / "later_views", "--views", "random", "--count", 20, "--seed", 9, *kind)


def warm_up() -> None:
    """Load what the commands load, and compute nothing."""
    import matplotlib.pyplot
    import PIL.PngImagePlugin
    import safetensors.torch
    import torch
    import torch._dynamo  # optimizers load it

    from scipion_udl.jobs import align as pipeline
    from scipion_udl.jobs import append as joining
    from scipion_udl.jobs import classify as classify
    from scipion_udl.jobs import evaluate as evaluate_command
    from scipion_udl.jobs import simulate as command
    from scipion_udl.jobs import train as train_command
    from scipion_udl.report import figures, page

    torch.set_num_threads(1)
    del matplotlib, PIL, safetensors, evaluate_command, figures, joining, pipeline, page, train_command, command
    del classify


def main(arguments: list[str] | None = None) -> int:
    """Kill and fail as the options say, in a scratch folder; prints kills by stage, and all that does not hold. Returns
    1 where something does not."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", help="a folder to work in, which is removed first")
    parser.add_argument("--kills", type=int, default=200, help="of processes, over all commands")
    parser.add_argument("--faults", type=int, help="operations that fail, of each command (default: all)")
    parser.add_argument("--only", help="commands, by name, with commas between them")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    folder = Path(args.folder).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    warm_up()
    only = args.only.split(",") if args.only else None
    start, bench, chance = time.monotonic(), Bench(folder, only), random.Random(args.seed)
    weights = np.cumsum([0.0] + [case.kills for case in bench.cases])
    shares = np.diff((args.kills * weights / weights[-1]).round().astype(int))
    for case, share in zip(bench.cases, shares):
        bench.kills(case, int(share), chance)
        if args.faults != 0:
            bench.faults(case, args.faults)
        kinds = {kind: number for (name, kind), number in bench.failed.items() if name == case.name}
        failed = f"{sum(kinds.values())} failures ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))})"
        print(f"[{time.monotonic() - start:6.0f} s] {case.name}: {share} kills; {failed}", flush=True)
    for name, number in [*sorted(bench.stages.items()), *sorted(bench.done.items())]:
        print(f"{number:6d}  {name}")
    print(f"{bench.failed.total():6d}  operations failed")
    print(f"{len(bench.problems)} problems, {time.monotonic() - start:.0f} s")
    return 1 if bench.problems else 0


if __name__ == "__main__":
    sys.exit(main())
