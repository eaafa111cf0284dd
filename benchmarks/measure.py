"""Run a command and write what it took: ``python benchmarks/measure.py FIGURES.json COMMAND ...``

A small process of its own, for a process starts its life with the peak memory of the one that started it: measured from
the benchmark itself, which has torch in memory, nothing could take less than 300 MB. The exit code is the command's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time


def main() -> int:
    """Wait for the command; write wall_s, cpu_s of all its processes, and memory_mb, the peak ru_maxrss of any."""
    figures, command = sys.argv[1], sys.argv[2:]
    start = time.monotonic()
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: process.kill())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    with open(figures, "w") as file:
        json.dump(
            {
                "wall_s": round(time.monotonic() - start, 2),
                "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
                "memory_mb": round(usage.ru_maxrss / 1024, 1),
            },
            file,
        )
    return process.returncode if process.returncode >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
