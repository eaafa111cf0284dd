"""Classes in report.html: what is shown, sorted by and chosen is what summary.json says, and a hundred of them fit."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from scipion_udl.messages import message
from scipion_udl.report.class_cells import ticks
from scipion_udl.report.class_drawings import class_tree, frc_curve, size_bars
from scipion_udl.report.page import build_page
from scipion_udl.report.pictures import for_the_eye, lowpass
from scipion_udl.tests.report.class_sets import class_data, class_entries
from scipion_udl.tests.report.parsed_page import HOSTILE, Page

DRAWN = True

MEGABYTES = 6


@pytest.fixture(scope="module")
def entries():
    return class_entries(12)


@pytest.fixture(scope="module")
def page(entries):
    return Page(build_page(class_data(entries)))


def cells(page: Page) -> dict[int, dict]:
    return {int(own["data-class"]): own for own in page.all_of("figure") if "data-class" in own}


def test_each_average_stands_alone_and_every_picture_says_what_it_shows(page, entries):
    images = page.all_of("img")
    assert all(own["alt"].strip() and own["src"].startswith("data:image/png;base64,") for own in images)
    averages = [own["alt"] for own in images if own["alt"].startswith("Average of class")]
    assert averages == [f"Average of class {one.figures['class']}" for one in entries]


def test_what_classes_are_sorted_by_is_what_was_found(page, entries):
    found = cells(page)
    for one in entries:
        f, own = one.figures, found[one.figures["class"]]
        told = {name: float(own[f"data-{name}"]) for name in ("size", "resolution", "view", "superclass", "quality")}
        assert told == {
            "size": f["particles"], "resolution": f["crossing"], "view": f["view"], "superclass": f["superclass"],
            "quality": f["quality"],
        }  # fmt: skip


def test_orders_are_offered_for_what_is_known(page, entries):
    assert [own["value"] for own in page.all_of("option")] == [
        *("class", "size", "resolution", "view", "superclass", "quality")
    ]
    signs = {own["value"]: int(own["data-sign"]) for own in page.all_of("option")}
    assert signs == {"class": 1, "size": -1, "resolution": 1, "view": 1, "superclass": 1, "quality": -1}
    known = ("class", "particles", "resolution", "score_mean", "signal_found")  # as `align --by-class` tells
    bare = [replace(one, figures={name: one.figures[name] for name in known}) for one in entries]
    other = Page(build_page(class_data(bare)))
    assert [own["value"] for own in other.all_of("option")] == ["class", "size", "resolution"]
    assert "data-quality" not in cells(other)[1]
    ticks = {int(own["value"]): "checked" in own for own in other.all_of("input", name="class")}
    assert ticks == {one["class"]: one["signal_found"] for one in (entry.figures for entry in bare)}


def test_the_command_names_the_ticked_classes_without_a_script(page, entries):
    good = [one.figures for one in entries if one.figures["quality"] >= 0.5]
    assert 0 < len(good) < len(entries)
    ticked = [int(own["value"]) for own in page.all_of("input", name="class") if "checked" in own]
    assert ticked == [f["class"] for f in good]
    numbers = ",".join(map(str, ticked))
    assert f"scipion-udl select classes1 --classes {numbers} -o good" in page.text
    assert f"{len(good)} of 12 classes ticked" in page.text
    assert page.all_of("noscript")


@pytest.mark.parametrize(("flag", "tick"), [("", True), ("noise", True), ("no_particle", False), ("outside", False)])
def test_a_class_that_shows_no_particle_is_not_ticked_whatever_its_quality(entries, flag, tick):
    two = [replace(one, figures=one.figures | {"quality": 0.9, "flag": "", "flagged": False}) for one in entries[:2]]
    two[0].figures.update(flag=flag, flagged=bool(flag))
    assert ticks(two) == [tick, True]


def test_where_every_class_is_flagged_none_is_ticked_as_select_chooses_none(entries):
    noise = [replace(one, figures=one.figures | {"quality": 0.9, "flagged": True, "flag": "noise"}) for one in entries]
    page = Page(build_page(class_data(noise)))
    assert not [own for own in page.all_of("input") if "checked" in own]
    assert "--classes NUMBERS -o good" in page.text


def test_the_command_can_be_pasted_whatever_the_folder_is_called(entries):
    name = "my run; rm '$HOME' <b>"
    page = Page(build_page(class_data(entries, name)))
    (own,) = page.all_of("code", id="command")
    assert shlex.split(own["data-before"] + "1" + own["data-after"]) == [
        *("scipion-udl", "select", name, "--classes", "1", "-o", "good")
    ]


def test_tick_boxes_and_controls_have_names(page):
    boxes = page.all_of("input")
    assert [own["aria-label"] for own in boxes] == [f"Choose class {k}" for k in range(1, 13)]
    labelled = {own.get("for") for own in page.all_of("label")}
    assert all(own["id"] in labelled for own in page.all_of("select"))
    pictures = [own for tag, own in page.tags if own.get("role") == "img"]
    assert len(pictures) > 12
    assert all(own["aria-label"].strip() for own in pictures)
    assert len(page.all_of("summary")) == 12


def test_without_a_script_nothing_is_hidden_but_the_controls_that_need_one(page):
    hidden = [own for _, own in page.tags if "hidden" in own]
    assert hidden and all("tools" in own["class"] for own in hidden)
    assert not any(name.startswith("on") for _, own in page.tags for name in own)


def test_quality_reasons_and_the_share_outside_are_told(entries):
    one = next(entry for entry in entries if entry.figures["quality"] < 0.5)
    one = replace(one, figures=one.figures | {"inside": 0.25, "warnings": [HOSTILE], "reasons": ["class_few", "later"]})
    markup = build_page(class_data([one]))
    text = Page(markup).text
    few = str(message("class_few"))
    assert f"{few[0].upper()}{few[1:]}." in text
    assert "later" not in text  # a code that this version does not know
    assert "signal outside of the particle 75%" in text
    assert f"{one.figures['quality']:.3f}" in text
    assert "Flagged: its particles fit no better than noise would." in text
    assert HOSTILE in text and HOSTILE not in markup


def test_the_best_and_the_worst_particles_are_those_by_score(entries):
    page = Page(build_page(class_data(entries[:1])))
    scores = sorted((score for _, score, _ in entries[0].examples), reverse=True)
    text = page.text[page.text.index("Highest scores") :]
    best, worst = text[: text.index("Lowest scores")], text[text.index("Lowest scores") :]
    assert re.findall(r"(0\.\d{3}) item", best) == [f"{score:.3f}" for score in scores[:3]]
    assert re.findall(r"(0\.\d{3}) item", worst)[:3] == [f"{score:.3f}" for score in scores[3:]]


def test_a_hundred_classes_fit_into_six_megabytes():
    markup = build_page(class_data(class_entries(100, 200)))
    assert len(markup.encode()) <= MEGABYTES * 1_000_000
    assert len(cells(Page(markup))) == 100


def test_ids_are_unique(page):
    ids = [own["id"] for _, own in page.tags if "id" in own]
    assert len(ids) == len(set(ids))


def test_a_curve_goes_through_its_frc_and_is_marked_where_it_crosses():
    frc = np.linspace(1, 0, 41)[1:]
    svg = str(frc_curve(frc, 80.0, 8.0, "Å", "class 3"))
    points = np.array([p.split(",") for p in re.search(r'class="graph" d="M([^"]+)"', svg)[1].split("L")], float)
    assert len(points) == 40
    assert np.ptp(np.diff(points[:, 1])) < 0.11  # a straight line stays one
    assert (np.diff(points[:, 1]) > 0).all()  # falling is downwards
    crossing = float(re.search(r'class="crossing" d="M([\d.]+)', svg)[1])
    assert crossing == pytest.approx(points[9, 0], abs=0.1)  # 80 / 8 A: the tenth Fourier pixel
    assert "class 3: falls to 0.143 at 8 Å" in svg
    assert len(str(frc_curve(np.ones(1000), 80.0, None, "Å", "it"))) < 2500
    assert "does not fall" in str(frc_curve(np.full(40, np.nan), 80.0, None, "Å", "it"))


MERGES = [[1, 3, 0.05, 2], [0, 2, 0.1, 2], [4, 5, 0.3, 4]]  # classes 5 and 9, then 4 and 7, then all four


def test_a_tree_joins_classes_as_high_as_they_are_unlike_and_says_in_words_what_goes_together():
    svg = str(class_tree([4, 5, 7, 9], [1, 2, 1, 2], MERGES, 0.175))
    leaves = re.findall(r"<title>Class (\d+), superclass (\d+)</title>", svg)
    assert leaves == [("5", "2"), ("9", "2"), ("4", "1"), ("7", "1")]  # no branches cross
    branches = re.findall(r'class="(same|apart)" d="M([\d.]+),([\d.]+)V([\d.]+)H([\d.]+)V([\d.]+)"', svg)
    assert [kind for kind, *_ in branches] == ["same", "same", "apart"]
    points = np.array([numbers for _, *numbers in branches], float)
    feet, heights = points[0, 1], points[:, 2]
    np.testing.assert_allclose((feet - heights) / (feet - heights[2]), [0.05 / 0.3, 0.1 / 0.3, 1], atol=2e-3)
    assert points[2, [1, 4]].tolist() == heights[:2].tolist()  # it stands upon the other two
    limit = float(re.search(r'class="limit" d="M[\d.]+,([\d.]+)', svg)[1])
    assert (feet - limit) / (feet - heights[2]) == pytest.approx(0.175 / 0.3, abs=2e-3)
    assert [float(text) for text in re.findall(r'text-anchor="end">([\d.]+)<', svg)] == [1, 0.825]
    assert "Tree of 4 classes" in svg and "superclass 1: 4, 7; superclass 2: 5, 9." in svg
    assert re.findall(r'class="group"[^>]*>(\d+)<', svg) == ["2", "1"]


def test_the_tree_stands_in_the_page_where_there_is_one(entries):
    data = class_data(entries[:4])
    assert "Tree of" not in build_page(data)
    for one, group in zip(entries, (1, 2, 1, 2)):
        one.figures["superclass"] = group
    data.summary["superclasses"] = {"limit": 0.175, "merges": MERGES}
    page = Page(build_page(data))
    labels = [own["aria-label"] for own in page.all_of("svg") if own.get("class") == "tree"]
    assert labels == ["Tree of 4 classes by the view that they show. superclass 1: 1, 3; superclass 2: 2, 4."]
    assert not class_tree([1], [1], [], 0.175)


def test_bars_are_as_high_as_classes_are_large_the_largest_first():
    bars = size_bars([4, 5, 9], [50, 200, 100], [True, True, False], "are good")
    assert [(one["number"], one["percent"], one["ticked"]) for one in bars["columns"]] == [
        (5, 100, True), (9, 50, False), (4, 25, True)
    ]  # fmt: skip
    assert bars["title"] == "200 particles in class 5 down to 50 in class 4"
    assert size_bars([], [], [], "")["columns"] == []


@pytest.mark.parametrize("box", [96, 97, 200])
def test_a_small_copy_shows_the_same_at_the_same_place(box):
    y, x = np.indices((box, box)) - box // 2
    image = np.exp(-((x - box / 8) ** 2 + (y + box / 16) ** 2) / (box / 16) ** 2)
    small = for_the_eye(image)
    assert small.shape == (64, 64)
    v, u = np.unravel_index(small.argmax(), small.shape)
    assert (u - 32, v - 32) == pytest.approx((8, -4), abs=1)
    assert small.max() == pytest.approx(lowpass(image, 12).max(), rel=0.03)
    assert for_the_eye(image[:48, :48]).shape == (48, 48)
