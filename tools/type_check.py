"""mypy against a baseline: the number of errors that each module may have, which only falls.

    python tools/type_check.py            # fails where a module has more errors than tools/type_errors.txt allows
    python tools/type_check.py --update   # writes the numbers of today; refused where there are more than before

mypy itself, and what it looks at, is configured in pyproject.toml.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASELINE = Path(__file__).with_name("type_errors.txt")
ERROR = re.compile(r"^(?P<file>[^:]+\.py):\d+: error: ")


def read_baseline(path: Path) -> Counter[str]:
    """The number of errors allowed in each file, from lines of a count and a file name. Others may have none."""
    rows = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return Counter({name: int(count) for count, name in rows})


def write_baseline(path: Path, found: Counter[str]) -> None:
    """Write the counts that are not 0, by file name, so that two branches that changed different files merge."""
    path.write_text("".join(f"{found[name]:4d} {name}\n" for name in sorted(+found)), encoding="utf-8")


def errors_by_file(lines: Iterable[str]) -> dict[str, list[str]]:
    """mypy's messages that are errors, by file; notes and the closing summary are left out."""
    found: dict[str, list[str]] = {}
    for line in lines:
        match = ERROR.match(line)
        if match:
            found.setdefault(match["file"], []).append(line)
    return found


def run_mypy() -> dict[str, list[str]]:
    """The errors that mypy finds, by file.

    Exits with mypy's own message where it could not do its work, as with a syntax error or a faulty configuration.
    """
    command = [sys.executable, "-m", "mypy", "--no-pretty", "--no-color-output", "--hide-error-context"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"mypy failed.\n{done.stdout}{done.stderr}")
    return errors_by_file(done.stdout.splitlines())


def compare(found: dict[str, list[str]], allowed: Counter[str]) -> tuple[list[str], int]:
    """What is to be said of modules with more errors than they may have, and how many errors fewer the others have."""
    complaints, fewer = [], 0
    for name in sorted(found.keys() | allowed.keys()):
        errors = found.get(name, [])
        if len(errors) > allowed[name]:
            complaints += [*errors, f"{name}: {len(errors)} type errors, of which {allowed[name]} are known"]
        fewer += max(0, allowed[name] - len(errors))
    return complaints, fewer


def main(arguments: list[str] | None = None) -> int:
    """Check, or update the baseline; returns the exit code."""
    parser = argparse.ArgumentParser(description="mypy against a baseline of known errors that only falls.")
    parser.add_argument("--update", action="store_true", help="write today's numbers, if they are no more than before")
    update = parser.parse_args(arguments).update
    found, allowed = run_mypy(), read_baseline(BASELINE)
    counts = Counter({name: len(errors) for name, errors in found.items()})
    if update:
        if counts.total() > allowed.total():
            print(f"{counts.total()} type errors, {allowed.total()} before: the baseline is not raised.")
            return 1
        write_baseline(BASELINE, counts)
        print(f"Type errors: {counts.total()} ({allowed.total()} before).")
        return 0
    complaints, fewer = compare(found, allowed)
    print(*complaints, sep="\n", end="\n" if complaints else "")
    print(f"Type errors: {counts.total()} in {len(counts)} modules; {allowed.total()} are known.")
    if complaints:
        print("Please correct the new ones (or, where a module has moved, update the baseline as below).")
    if fewer:
        print("Fewer than known in some modules: lower the baseline with `python tools/type_check.py --update`.")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
