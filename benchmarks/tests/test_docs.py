"""No picture is left that no page of the manual shows. Links are tested in tests/contracts/test_links.py."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGES.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s#]+)")


def test_every_picture_is_shown():
    shown = {(page.parent / target).resolve() for page in PAGES for target in LINK.findall(page.read_text())}
    pictures = sorted((ROOT / "docs" / "images").glob("*"))
    assert pictures
    assert [picture.name for picture in pictures if picture not in shown] == []
