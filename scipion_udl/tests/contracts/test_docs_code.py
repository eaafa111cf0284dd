"""What the gallery and the pages of the documentation import is there; `make docs` runs the gallery itself."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
SCRIPTS = sorted(DOCS.glob("gallery/*.py"))
PAGES = sorted(page for page in [ROOT / "README.md", *DOCS.rglob("*.md")] if page.exists())

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="an installed package has no docs")


def imported(text: str) -> Iterator[tuple[str, str]]:
    """(module, name) of what a text imports of the package, and of the functions that it calls as scipion_udl.name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scipion_udl"):
            yield from ((str(node.module), one.name) for one in node.names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "scipion_udl":
            yield "scipion_udl", node.attr


def missing(text: str) -> list[str]:
    wrong = []
    for module, name in imported(text):
        if not hasattr(import_module(module), name):
            try:
                import_module(f"{module}.{name}")
            except ImportError:
                wrong.append(f"{module}.{name}")
    return wrong


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_of_the_gallery_imports_what_is_there(script):
    text = script.read_text(encoding="utf-8")
    assert list(imported(text))
    assert not missing(text)


def test_there_are_six_scripts_or_more_with_pictures():
    assert len([script for script in SCRIPTS if "plt.subplots" in script.read_text(encoding="utf-8")]) >= 6


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_on_a_page_is_python_and_imports_what_is_there(page):
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M):
        assert not missing(textwrap.dedent(block))


def test_what_is_not_there_is_found():
    assert missing("import scipion_udl\nscipion_udl.algin(1)") == ["scipion_udl.algin"]
    assert missing("from scipion_udl.imaging.poses import Poses, Pose") == ["scipion_udl.imaging.poses.Pose"]
