"""The page of a selection: chosen and not chosen, each with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("matplotlib")
from scipion_udl.report.data import SelectionData
from scipion_udl.report.selection_page import build_selection_page, write_selection_report
from scipion_udl.tests.report.class_sets import class_entries
from scipion_udl.tests.report.parsed_page import Page

DRAWN = True


@pytest.fixture
def data():
    entries = [
        replace(
            one,
            before=None, frc=None, examples=[],
            figures={name: value for name, value in one.figures.items() if name != "view"}
            | {"chosen": good, "why": "" if good else "quality", "kept": 5 if good else 0},
        )
        for one in class_entries(6)
        for good in [one.figures["class"] % 3 > 0]
    ]  # fmt: skip
    summary = {"input": "run/classes.star", "pixel_size": 2.0, "warnings": [], "classes": [e.figures for e in entries]}
    return SelectionData(summary, entries, "run/classes.star", (20, 100), [("below the quality", 80), ("none", 0)])


def test_chosen_classes_stand_before_those_that_are_not(data):
    page = Page(build_selection_page(data))
    shown = [int(own["data-class"]) for own in page.all_of("figure") if "data-class" in own]
    assert shown == [1, 2, 4, 5, 3, 6]
    assert [own["value"] for own in page.all_of("input") if "checked" in own] == ["1", "2", "4", "5"]
    assert "scipion-udl select run/classes.star --classes 1,2,4,5 -o mine" in page.text
    assert page.text.count("Not chosen: quality.") == 2
    chosen, rest = page.text.index("Chosen classes"), page.text.index("Classes that are not chosen")
    assert chosen < page.text.index("Class 5", chosen) < rest < page.text.index("Class 3", rest)


def test_what_was_left_out_is_counted(data):
    text = Page(build_selection_page(data)).text
    assert "20 20.0 %" in text
    assert "80 80.0 % below the quality" in text
    assert "view" not in [own["value"] for own in Page(build_selection_page(data)).all_of("option")]


@pytest.mark.parametrize("every", [True, False])
def test_a_group_of_none_is_left_out(data, every, tmp_path):
    for one in data.classes:
        one.figures["chosen"] = every
    write_selection_report(tmp_path / "report.html", data)
    text = Page((tmp_path / "report.html").read_text("utf-8")).text
    assert ("Chosen classes" in text, "Classes that are not chosen" in text) == (every, not every)
    assert every or "--classes NUMBERS" in text
