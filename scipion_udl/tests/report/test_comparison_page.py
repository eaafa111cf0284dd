"""The page of a comparison: every class beside those it is matched with, and all figures as they are."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from scipion_udl.report.comparison_figures import NAMED, matrices_figure
from scipion_udl.report.comparison_page import build_comparison_page, write_comparison_report
from scipion_udl.report.data import ComparisonData
from scipion_udl.tests.report.parsed_page import Page

DRAWN = True


def row(number: int, again: float | None, match: int | None, alone: bool = False, run: int = 1) -> dict:
    other = 3 - run
    return {
        "run": run, "class": number, "particles": 100 * number, "comes_again": again, "together": again,
        "in_common": 0.2 if alone else 0.7, "alone": alone, "consensus": 5, f"match_{other}": match,
        f"comes_again_{other}": again, f"together_{other}": again, f"in_common_{other}": 0.7, f"parts_{other}": [],
    }  # fmt: skip


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    classes = [row(1, 0.9, 2), row(2, 0.25, None, alone=True), row(3, None, None), row(2, 0.8, 1, run=2)]
    classes[0]["parts_2"] = [2, 5]
    summary = {
        "input": "a/one", "pixel_size": 2.0, "warnings": ["<b>few</b>"], "least_in_common": 0.25, "particles": 1234,
        "runs": [{"run": k, "name": f"{k}.star", "particles": 9999, "classes": 3} for k in (1, 2)],
        "pairs": [{"runs": [1, 2], "particles": 1234, "only_first": 7, "only_second": 0, "adjusted_rand": 0.4567,
                   "in_matched_classes": None}],
        "consensus": {"compared": 1000, "all": 600, "most": 300, "none": 100}, "classes": classes,
    }  # fmt: skip
    figure = matrices_figure("run 1", np.array([1, 2, 3]), [("run 2", np.array([2]), np.ones((3, 1)))])
    averages = [{1: rng.normal(size=(8, 8)), 2: rng.normal(size=(8, 8))}, {2: rng.normal(size=(8, 8))}]
    return ComparisonData(summary, averages, figure)


def test_classes_stand_beside_their_matches_the_largest_first(data):
    page = Page(build_comparison_page(data))
    places = [page.text.index(f"Class {k}: {words}") for k, words in ((3, "not known"), (2, "25%"), (1, "90%"))]
    assert places == sorted(places)
    assert [own["alt"] for own in page.all_of("img")] == [
        f"Average of class {k} of run {n}" for k, n in ((2, 1), (1, 1), (2, 2), (2, 1))
    ]  # the last is that of the class which its run alone has
    assert "Came apart in run 2: classes 2, 5." in page.text
    assert page.text.count("Run 2: no match") == 2


def test_figures_are_told_as_they_are_and_unknown_ones_as_such(data, tmp_path):
    write_comparison_report(tmp_path / "report.html", data)
    html = (tmp_path / "report.html").read_text("utf-8")
    text = Page(html).text
    for words in ("0.457", "7 in 1, 0 in 2", "60.0 %", "not known", "is below 0.25"):
        assert words in text, words
    assert "47% of the particles of run 1" in text  # (0.9 * 100 + 0.25 * 200) / 300
    assert "<b>few" not in html


def test_many_classes_are_not_named_one_by_one():
    few, many = (
        matrices_figure("run 1", np.arange(k), [("run 2", np.arange(k), np.eye(k))] * 4) for k in (NAMED, NAMED + 1)
    )
    assert [len(figure.axes[0].get_xticks()) for figure in (few, many)] == [NAMED, 0]
    assert len(few.axes) == 6  # two rows of three places, the last two empty
    assert [axes.axison for axes in few.axes] == [True] * 4 + [False] * 2
