"""Pages of the site that are files outside of docs/, with their links led to where the site has what they name."""

from __future__ import annotations

import os
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
# A file of the checkout: the page that shows it.
PAGES = {
    "README.md": "install.md",
    "CHANGES.md": "changes.md",
    "CONTRIBUTING.md": "developers/contributing.md",
    "benchmarks/README.md": "benchmarks_programs.md",
}
_LINK = re.compile(r"(?<!!)\[((?:[^][]|\[[^]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def write() -> None:
    """Write the pages of PAGES that are no page of docs/ themselves."""
    for name, page in PAGES.items():
        if name == "README.md":
            continue
        text = relinked((ROOT / name).read_text(encoding="utf-8"), (ROOT / name).parent, DOCS / page)
        if not (DOCS / page).exists() or (DOCS / page).read_text(encoding="utf-8") != text:
            (DOCS / page).write_text(text, encoding="utf-8")


def relinked(text: str, folder: Path, page: Path) -> str:
    """A text of Markdown from ``folder`` with its links as ``page`` of the site needs them.

    Links to files that the site does not show become their text. Raises ValueError for one that leads nowhere.
    """

    def led(match: re.Match[str]) -> str:
        words, target, place = match.group(1), match.group(2), match.group(3) or ""
        if "://" in target or target.startswith("mailto:"):
            return match.group(0)
        path = Path(os.path.normpath(folder / target))
        if not path.exists() and path.relative_to(DOCS).parts[0] not in ("examples", "reference", "developers"):
            raise ValueError(f"{page}: a link leads to {target}, which is not there")
        shown = PAGES.get(path.relative_to(ROOT).as_posix())
        if shown is None and (DOCS not in path.parents or path.suffix not in (".md", ".rst", ".png", ".svg")):
            return words
        return f"[{words}]({os.path.relpath(DOCS / shown if shown else path, page.parent)}{place})"

    return _LINK.sub(led, text)


def relink_page(app: object, name: str, source: list[str]) -> None:
    """The same for a page of docs/ that Sphinx has read; connected to its event ``source-read``."""
    page = DOCS / f"{name}.md"
    if page.exists():
        source[0] = relinked(source[0], page.parent, page)
