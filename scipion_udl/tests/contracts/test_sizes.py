"""The house stays in rooms: folders of at most 20 modules, files of at most 500 lines, functions of at most 60."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
MODULES, LINES, FUNCTION = 20, 500, 60


def modules():
    """All modules of the package but its tests, and what makes a folder a package."""
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__init__.py" and "tests" not in path.relative_to(PACKAGE).parts
    ]


def test_no_folder_holds_more_modules_than_one_can_look_over():
    counts = Counter(str(path.parent.relative_to(PACKAGE)) for path in modules())
    assert counts["imaging"] > 5  # the package is looked through
    assert {folder: count for folder, count in counts.items() if count > MODULES} == {}


def test_no_file_is_longer_than_500_lines():
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {name: length for name, length in lengths.items() if length > LINES} == {}


def test_no_function_is_longer_than_60_lines():
    long = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION:
                    long[f"{path.relative_to(PACKAGE)}:{node.name}"] = length
    assert long == {}
