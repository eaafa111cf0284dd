"""Runs the Scipion tests by Scipion's own runner: ``python -m scipion_udl.tests.run_by_scipion [WORD ...]``.

Each class has a command of its own, for ``scipion tests --run`` tells by no exit code that a test has failed. With
words, only the classes whose names hold one of them are run. The exit code is 1 where any failed, or is not found.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

RUNNER = [sys.executable, "-m", "scipion", "tests"]
HERE = Path(__file__).parent


def classes_here() -> list[str]:
    """The classes with tests in the flat files of this folder, as Scipion names them."""
    found = []
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(_is_test(part) for part in node.body):
                found.append(f"scipion_udl.tests.{path.stem}.{node.name}")
    return found


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test")


def classes_of_scipion() -> list[str]:
    """The classes that ``scipion tests --show --grep udl`` lists, which are those that it can load."""
    done = subprocess.run([*RUNNER, "--show", "--grep", "udl"], capture_output=True, text=True, check=True)
    return sorted(set(re.findall(r"\bscipion_udl\.tests\.\w+\.\w+$", done.stdout, flags=re.M)))


def main(words: list[str]) -> int:
    """Run the classes, and return the exit code."""
    here, listed = classes_here(), classes_of_scipion()
    problems = [f"not found by Scipion: {name}" for name in here if name not in listed]
    asked = [name for name in listed if not words or any(word in name for word in words)]
    for name in asked:
        print(f"== scipion tests {name}", flush=True)
        if subprocess.run([*RUNNER, name], check=False).returncode:
            problems.append(f"failed: {name}")
    print("\n".join(["", *problems, f"{len(asked)} of {len(listed)} classes run, {len(problems)} problems"]))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
