"""The style sheet of the report: every text can be read on every ground, in the light and in the dark scheme (WCAG)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from scipion_udl.imaging.poses import Poses
from scipion_udl.report import figures
from scipion_udl.report.page import build_page
from scipion_udl.tests.report.class_sets import class_data, class_entries

DRAWN = True

SHEET = re.sub(r"/\*.*?\*/", "", (Path(figures.__file__).parent / "style.css").read_text("utf-8"), flags=re.S)
LEAST = 4.5  # WCAG 2, 1.4.3, level AA, of text of any size
ON_PICTURES = {".bar"}  # white, with a dark rim, on the grey values of an image
DARK = re.search(r"@media screen and \(prefers-color-scheme:dark\) \{ :root \{(.*?)\}", SHEET, re.S)[1]
LIGHT = re.search(r":root \{(.*?)\}", SHEET, re.S)[1]


def variables(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{6})", block))


SCHEMES = {"light": variables(LIGHT), "dark": variables(LIGHT) | variables(DARK)}


def luminance(colour: str) -> float:
    """Relative luminance of a colour #rrggbb, 0 to 1, as WCAG 2 defines it."""
    values = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def declared(properties: str) -> dict[str, set[str]]:
    """The values of properties in the rules of the sheet, each with the selectors that give it."""
    found: dict[str, set[str]] = {}
    for selector, block in re.findall(r"([^{}]+)\{([^{}]*)\}", SHEET):
        for value in re.findall(rf"(?:^|[;\s])(?:{properties}):\s*([^;]+)", block):
            found.setdefault(value.strip(), set()).add(selector.strip())
    return found


def names(values: dict[str, set[str]]) -> set[str]:
    """The variables among values; whatever else there is must be on a picture, or nothing."""
    own = {value: selectors for value, selectors in values.items() if selectors - ON_PICTURES - {".frame"}}
    own.pop("none", None)
    assert all(re.fullmatch(r"var\(--[a-z-]+\)", value) for value in own), own
    return {value[6:-1] for value in own}


TEXTS = names(declared("color"))
FILLS = names({v: w for v, w in declared("fill").items() if any("text" in one for one in w)})
GROUNDS = names({v: w for v, w in declared("background|background-color").items() if ".column i" not in w})


def test_contrast_is_that_of_the_standard():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # known to fail by a hair


def test_the_sheet_was_read():
    assert {"ink", "muted", "blue", "teal", "amber-ink"} <= TEXTS
    assert {"muted", "teal"} <= FILLS
    assert {"paper", "pale", "amber-pale", "red-pale"} <= GROUNDS
    assert set(variables(DARK)) == set(variables(LIGHT))
    assert SCHEMES["dark"]["paper"] != SCHEMES["light"]["paper"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_can_be_read_on_every_ground(scheme):
    colours = SCHEMES[scheme]
    found = {(t, g): contrast(colours[t], colours[g]) for t in TEXTS | FILLS for g in GROUNDS}
    assert {pair: round(value, 2) for pair, value in found.items() if value < LEAST} == {}


def test_print_is_always_light():
    assert SHEET.count("prefers-color-scheme") == 1
    assert "@media screen and (prefers-color-scheme:dark)" in SHEET


def test_figures_take_their_colours_from_the_sheet():
    light = SCHEMES["light"]
    assert {name: colour for colour, name in figures.IN_PAGES.items()}.items() <= light.items()
    with figures.style():
        svg = figures.to_svg(figures.rose_figure(Poses.identity(3)), "rose")
    svg += build_page(class_data(class_entries(2)))
    assert not re.findall(r"(?:fill|stroke): (?!none|var\(--)[^;\"]+", svg)
    texts = set(re.findall(r'<text style="fill: var\(--([a-z-]+)', svg))
    assert texts and texts <= TEXTS
