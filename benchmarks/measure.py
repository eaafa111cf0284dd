"""Run a command and write what it took: ``python benchmarks/measure.py FIGURES.json COMMAND ...``

A small process of its own, for a process starts its life with the peak memory of the one that started it: measured from
the benchmark itself, which has torch in memory, nothing could take less than 300 MB. The exit code is the command's.

The peak memory is that of all processes of the command together. Of one process the system keeps it (ru_maxrss). While
there are several, what they hold is added up four times a second, pages that they share counted once (PSS; Linux only).
What was read is counted by the system (/proc/PID/io; Linux only): all that was asked for, and what came from the disk.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

EVERY = 0.25  # seconds


class Together(threading.Thread):
    """Watches a process and all that it started: ``peak``, the most that they held together, kB; 0 if never several."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0, threading.Event()

    def run(self) -> None:
        """Look again and again until ``ended``."""
        while not self.ended.wait(EVERY):
            pids = family(self.pid)
            if len(pids) > 1:
                self.peak = max(self.peak, sum(map(_held, pids)))


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        try:
            with open(f"/proc/{name}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        children.setdefault(parent, []).append(int(name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def _held(pid: int) -> int:
    """What a process holds, its share of what it shares with others, kB; 0 where it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def _read(pid: int) -> dict[str, float | None]:
    """What a process that has ended, and those that it waited for, read, MB; None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/io") as file:
            counts = dict(line.split(": ") for line in file)
        return {"read_mb": round(int(counts["rchar"]) / 1e6, 1), "disk_mb": round(int(counts["read_bytes"]) / 1e6, 1)}
    except (OSError, KeyError, ValueError):
        return {"read_mb": None, "disk_mb": None}


def main() -> int:
    """Wait for the command; write wall_s, cpu_s, memory_mb (peak), read_mb and disk_mb of all its processes."""
    figures, command = sys.argv[1], sys.argv[2:]
    start = time.monotonic()
    process = subprocess.Popen(command)
    together = Together(process.pid)
    together.start()
    signal.signal(signal.SIGTERM, lambda *_: process.kill())
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    read = _read(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    together.ended.set()
    process.returncode = os.waitstatus_to_exitcode(status)
    with open(figures, "w") as file:
        json.dump(
            {
                "wall_s": round(time.monotonic() - start, 2),
                "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
                "memory_mb": round(max(usage.ru_maxrss, together.peak) / 1024, 1),
                **read,
            },
            file,
        )
    return process.returncode if process.returncode >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
