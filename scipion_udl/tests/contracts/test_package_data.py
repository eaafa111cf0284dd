"""What the program reads beside its code is in the package that is installed."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "scipion_udl"


def in_manifest(path: Path) -> bool:
    name = path.relative_to(ROOT).as_posix()
    for line in (ROOT / "MANIFEST.in").read_text().splitlines():
        command, *words = line.split()
        if command == "include" and any(fnmatch(name, word) for word in words):
            return True
        below = command == "recursive-include" and name.startswith(f"{words[0]}/")
        if below and any(fnmatch(path.name, word) for word in words[1:]):
            return True
    return False


@pytest.mark.skipif(not (ROOT / "MANIFEST.in").exists(), reason="an installed package has no MANIFEST.in")
def test_every_file_beside_the_code_is_in_the_manifest():
    beside = [
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "tests" not in path.relative_to(PACKAGE).parts
    ]
    assert {"page.html.j2", "style.css", "classes.js"} <= {path.name for path in beside}
    assert not [str(path.relative_to(ROOT)) for path in beside if not in_manifest(path)]
