"""What is imported is there: also inside functions, in benchmarks, pages and examples, which no test may run."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OURS = ("scipion_udl", "benchmarks")


@lru_cache(None)
def module_of(name):
    """The file of a module by its name with dots, None where there is none."""
    path = ROOT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@lru_cache(None)
def defined_in(file):
    """The names that a module has: defined, assigned or imported, anywhere but in functions and classes."""
    names, todo = set(), list(ast.parse(file.read_text(encoding="utf-8")).body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(one.asname or one.name).partition(".")[0] for one in node.names}
        names |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        todo += [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt)]
    return names


def lacking(text):
    """The imports of a module's text, of our own packages, that lead nowhere."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            wanted = [(one.name, None) for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wanted = [(node.module, one.name) for one in node.names]
        else:
            continue
        for module, name in wanted:
            if module.split(".")[0] not in OURS:
                continue
            file = module_of(module)
            there = file is not None or ROOT.joinpath(*module.split(".")).is_dir()
            if there and name not in (None, "*") and module_of(f"{module}.{name}") is None:
                own = set() if file is None else defined_in(file)
                there = name in own or "__getattr__" in own or ROOT.joinpath(*module.split("."), name).is_dir()
            if not there:
                found.append(f"{module} {name or ''}".strip())
    return found


@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="an installed package has no benchmarks")
def test_every_import_of_our_own_leads_somewhere():
    folders = [*OURS, "docs", "examples", "tools"]
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 300
    wrong = {str(file.relative_to(ROOT)): lacking(file.read_text(encoding="utf-8")) for file in files}
    assert {name: found for name, found in wrong.items() if found} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from scipion_udl.nowhere import x",
        "import scipion_udl.imaging.nowhere",
        "from scipion_udl.imaging.poses import nothing",
        "def f():\n    from scipion_udl.jobs import nowhere",
    ],
)
def test_an_import_that_leads_nowhere_is_found(line):
    assert len(lacking(line)) == 1
    assert (
        lacking("from scipion_udl.imaging.poses import Poses\nfrom scipion_udl import align\nimport os.nowhere") == []
    )
