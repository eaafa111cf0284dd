"""Public functions whose docstring is not in NumPy form: python tools/docstrings.py [FOLDER ...]

A public function or method of the engine names each of its parameters under Parameters, says what it gives under
Returns (or Yields), and tells under Raises of a UdlError that it raises itself. A method that overrides a documented
one needs no text of its own, as long as it takes the same parameters: readers and the site show the other's. One that
means something else has its own.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Dict, List, Tuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "scipion_udl"
# The Scipion side and the pipeliner's, whose methods have the names and parameters that these give them.
OTHERS = {"ccpem", "convert", "protocols", "templates", "tests", "viewers"}
OTHER_MODULES = {"__init__.py", "bibtex.py", "engine_env.py", "objects.py", "plugin.py", "wizards.py"}
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def modules() -> Iterator[tuple[str, Path]]:
    """The modules of the engine, each with the folder that it is counted in."""
    for path in sorted(PACKAGE.rglob("*.py")):
        first = path.relative_to(PACKAGE).parts[0]
        if first not in OTHERS and first not in OTHER_MODULES and path.name != "__init__.py":
            yield first, path


def public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions and methods, properties among them."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                    yield f"{node.name}.{part.name}", part


Classes = Dict[str, Tuple[List[str], Dict[str, ast.FunctionDef]]]


def classes() -> Classes:
    """The names of the bases, and the methods, of each class of the engine, by its name."""
    return classes_of(ast.parse(path.read_text(encoding="utf-8")) for _, path in modules())


def classes_of(trees: Iterable[ast.Module]) -> Classes:
    """The same of the classes of some modules."""
    found: Classes = {}
    for node in (node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)):
        bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
        names = [getattr(base, "id", getattr(base, "attr", "")) for base in bases]
        found[node.name] = names, {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    return found


def overridden(name: str, known: Classes) -> ast.FunctionDef | None:
    """The documented method that the method ``Class.method`` overrides; None where there is none."""
    owner, _, method = name.rpartition(".")
    bases, _ = known.get(owner, ([], {}))
    for base in bases:
        found = known.get(base, ([], {}))[1].get(method)
        if found is not None and ast.get_docstring(found):
            return found
        further = overridden(f"{base}.{method}", known)
        if further is not None:
            return further
    return None


def _is_value(node: ast.FunctionDef) -> bool:
    """Whether it is a property, which is described as a value is, or one of several signatures of a function."""
    return bool(_decorators(node) & {"property", "cached_property", "setter", "overload"})


def _decorators(node: ast.FunctionDef) -> set[str]:
    return {getattr(one, "id", getattr(one, "attr", "")) for one in node.decorator_list}


def sections(text: str) -> dict[str, str]:
    """The sections of a docstring in NumPy form, by their headings."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.cleandoc(text) + "\n", flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def lacking(node: ast.FunctionDef) -> list[str]:
    """What the docstring of a function lacks."""
    told = sections(ast.get_docstring(node) or "")
    headed = re.findall(r"^(\*{0,2}\w.*?)(?: :.*)?$", told.get("Parameters", ""), re.M)
    described = {name.strip().lstrip("*") for line in headed for name in line.split(",")}
    missing = [name for name in _parameters(node) if name not in described]
    if _gives(node) and not told.keys() & {"Returns", "Yields"}:
        missing.append("Returns")
    if _raises(node) and "UdlError" not in told.get("Raises", ""):
        missing.append("Raises")
    return missing


def _parameters(node: ast.FunctionDef) -> list[str]:
    given = node.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return [one.arg for one in every if one is not None and one.arg not in ("self", "cls") and one.arg[0] != "_"]


def inherits(node: ast.FunctionDef, name: str, known: Classes) -> bool:
    """Whether a method without a docstring has that of one that it overrides, which takes the same parameters."""
    other = None if ast.get_docstring(node) else overridden(name, known)
    return other is not None and _parameters(other) == _parameters(node)


def _gives(node: ast.FunctionDef) -> bool:
    returned = node.returns
    return returned is not None and not (isinstance(returned, ast.Constant) and returned.value is None)


def _raises(node: ast.FunctionDef) -> bool:
    """Whether it raises a UdlError itself."""
    errors = (one.exc for one in ast.walk(node) if isinstance(one, ast.Raise))
    return any(isinstance(one, ast.Call) and getattr(one.func, "id", "") == "UdlError" for one in errors)


def to_do() -> dict[str, list[str]]:
    """The functions that are not yet done, by folder, each with what it lacks."""
    found: dict[str, list[str]] = {}
    known = classes()
    for folder, path in modules():
        listed = found.setdefault(folder, [])
        for name, node in public(ast.parse(path.read_text(encoding="utf-8"))):
            documented = ast.get_docstring(node) or _decorators(node) & {"overload", "setter"}
            missing = (lacking(node) if not _is_value(node) else []) if documented else ["a docstring"]
            if missing and not inherits(node, name, known):
                listed.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name} lacks {', '.join(missing)}")
    return found


def main(folders: list[str]) -> int:
    """Print what is not yet done, in these folders or in all; returns the exit code."""
    found = to_do()
    told = [line for folder in folders or found for line in found[folder]]
    print("\n".join(told) or "Docstrings: every public function of the engine is in NumPy form.")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
