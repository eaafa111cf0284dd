"""Every link of the documentation leads somewhere: to a file of the checkout, and to a heading of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
LINK = re.compile(r"!?\[(?:[^][]|\[[^]]*\])*\]\(([^)\s#]*)(?:#([^)\s]*))?\)", re.S)
NAMED = re.compile(r"docs/[\w/]+\.md")

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="an installed package has no docs")


def made() -> list[str]:
    """What of docs/ is made when the site is built, as .gitignore tells."""
    return [line for line in (ROOT / ".gitignore").read_text().splitlines() if line.startswith("docs/")]


def is_made(path: Path) -> bool:
    name = path.relative_to(ROOT).as_posix()
    return any(name == one or (one.endswith("/") and name.startswith(one)) for one in made())


def pages() -> list[Path]:
    found = [*ROOT.glob("*.md"), ROOT / "benchmarks/README.md", *DOCS.rglob("*.md")]
    return [page for page in sorted(found) if not is_made(page)]


def without_code(text: str) -> str:
    text = re.sub(r"^(```|:::).*?^\1\s*$", "", text, flags=re.S | re.M)
    text = re.sub(r"^ {4,}.*$", "", text, flags=re.M) if text.startswith("#") else text
    return re.sub(r"`[^`\n]*`", lambda match: match.group(0).replace("](", "] ("), text)


def headings(page: Path) -> set[str]:
    """The places of a page, as GitHub and the site name them."""
    found = re.findall(r"^#{1,6} +(.+?) *$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page):
    wrong = []
    for target, place in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if "://" in target or target.startswith("mailto:"):
            continue
        path = Path(os.path.normpath(page.parent / target)) if target else page
        if is_made(path):
            continue
        if not path.exists() or (place and path.suffix == ".md" and place not in headings(path)):
            wrong.append(f"{target}#{place}" if place else target)
    assert not wrong


def test_pages_that_code_names_are_there():
    wrong = []
    for path in [*ROOT.glob("scipion_udl/**/*.py"), *ROOT.glob("benchmarks/**/*.py"), ROOT / "Makefile"]:
        for name in NAMED.findall(path.read_text(encoding="utf-8")):
            if not (ROOT / name).exists():
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert not wrong


def test_every_page_of_the_site_is_reached_from_the_first():
    """Sphinx says so too, where it is installed: a page in no list of contents is found by nobody."""
    reached, left = set(), [DOCS / "index.md"]
    while left:
        page = left.pop()
        if page in reached or not page.exists():
            continue
        reached.add(page)
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M):
            for line in block.splitlines():
                name = re.sub(r"^.*<(.+)>$", r"\1", line.strip())
                if name and not name.startswith(":"):
                    left.append(Path(os.path.normpath(page.parent / f"{name}.md")))
    assert {page for page in pages() if DOCS in page.parents} <= reached
