"""report.html: complete, self-contained, and honest about what is not known."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from scipion_udl.imaging.poses import Poses
from scipion_udl.report.data import ReportData
from scipion_udl.report.page import build_page, example_indices, write_report
from scipion_udl.tests.report.parsed_page import HOSTILE, Page

DRAWN = True

BOX = 48


@pytest.fixture(scope="module")
def data() -> ReportData:
    rng = np.random.default_rng(3)
    n = 300
    summary = {
        "version": "0.1.0", "command": "scipion-udl align particles.star -o out", "input": "/data/particles.star",
        "particles": n, "box": BOX, "pixel_size": 2.5, "pixel_size_known": True, "device": "cpu", "seconds": 75.2,
        "seed": 1, "model": "trained here", "method": "judl", "refined": True, "signal_found": True,
        "resolution": 9.87, "resolution_note": "Shared below 30 A only.", "score_mean": 0.3, "ambiguous": 7,
        "shift_rms": 4.44, "training": {"epochs": 3, "converged": True}, "warnings": [], "notes": [],
        "network_only": {"score_mean": 0.21},
    }  # fmt: skip
    frequency = np.arange(BOX // 2 + 1) / (BOX * 2.5)
    training = [{"epoch": k, "stage": "network", "loss": 1 / k, "validation": 1.1 / k} for k in (1, 2, 3)]
    examples = [(f"{k:06d}@p.mrcs", 0.1 * k, *rng.normal(size=(2, BOX, BOX))) for k in range(1, 7)]
    return ReportData(
        summary, *rng.normal(size=(2, BOX, BOX)), (frequency, np.exp(-frequency * 20)), True, training,
        Poses(rng.uniform(-180, 180, n), rng.normal(0, 3, (n, 2))), rng.normal(0.3, 0.05, n), np.arange(n) < 7,
        examples,
    )  # fmt: skip


@pytest.fixture(scope="module")
def text(data) -> str:
    """The page of it."""
    return build_page(data)


def test_page_asks_for_nothing_outside_itself(text):
    for tag, attributes in Page(text).tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name, value in attributes.items():
            if name.split(":")[-1] in ("src", "href", "srcset", "data", "action"):
                assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value[:60])
            assert not name.startswith("on")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_hostile_text_is_shown_not_run(data):
    summary = {key: HOSTILE if isinstance(value, str) else value for key, value in data.summary.items()}
    summary |= {"warnings": [HOSTILE], "notes": [HOSTILE], "training": {HOSTILE: HOSTILE}}
    summary |= {"network_only": {"a": [HOSTILE]}}
    training = [{"epoch": 1, "stage": HOSTILE, "loss": 1.0}, {"epoch": 2, "stage": "b", "loss": 0.5, HOSTILE: 3}]
    examples = [(HOSTILE, *example[1:]) for example in data.examples]
    text = build_page(replace(data, summary=summary, training=training, examples=examples))
    page = Page(text)
    assert not any(tag == "script" or "onload" in attributes for tag, attributes in page.tags)
    assert all(attributes["src"].startswith("data:") for tag, attributes in page.tags if tag == "img")
    assert HOSTILE in page.text


def test_the_true_error_is_shown_and_explained_where_a_truth_was_given(data, text):
    assert "true error" not in Page(text).text
    training = [{**row, "true_error": 30 / row["epoch"]} for row in data.training]
    told = Page(build_page(replace(data, training=training))).text
    assert "true error (°)" in told
    assert "training does not use it" in told


def test_warnings_stand_before_everything_else(data, text):
    page = Page(build_page(replace(data, summary={**data.summary, "warnings": ["The contrast looks inverted."]})))
    assert page.text.index("The contrast looks inverted.") < page.text.index("Mean score")
    assert "No warnings." not in page.text
    assert "No warnings." in Page(text).text


def test_a_claimed_resolution_is_shown_with_what_it_rests_on(data, text):
    told = Page(text).text
    assert "9.87 Å" in told
    assert "refined apart from each other" in told
    assert "Shared below 30 A only." in told
    told = Page(build_page(replace(data, frc_independent=False))).text
    assert "not refined apart" in re.sub(r"\s+", " ", told)


def test_noise_claims_no_resolution(data):
    summary = {**data.summary, "resolution": None, "signal_found": False, "resolution_note": "Noise only."}
    page = Page(build_page(replace(data, summary=summary)))
    assert "No common signal was found" in page.text
    assert "No resolution is claimed" in page.text
    assert "9.87" not in page.text
    assert "where the half-set FRC falls to 0.143." not in page.text


def test_unknown_pixel_size_gives_no_lengths_in_angstrom(data, text):
    assert 'class="bar"' in text
    summary = {**data.summary, "pixel_size": 1.0, "pixel_size_known": False, "resolution": 9.87}
    unknown = build_page(replace(data, summary=summary))
    assert 'class="bar"' not in unknown
    assert "9.87 px" in Page(unknown).text
    assert "Å per pixel" not in unknown


def test_scale_bar_is_as_long_as_it_says(text):
    width, length = re.search(r'class="bar" style="width:([\d.]+)%">(\d+) Å', text).groups()
    assert float(width) / 100 * BOX * 2.5 == pytest.approx(float(length), rel=1e-3)


def test_page_without_the_optional_parts(data):
    poor = ReportData(
        {"input": "one.mrcs"}, data.average_before, np.zeros((BOX, BOX)), None, False, None, Poses.identity(1),
        np.zeros(1), np.ones(1, bool),
    )  # fmt: skip
    text = Page(build_page(poor)).text
    assert "There is no FRC curve" in text
    assert "No resolution is claimed" in text
    assert "No network was trained" in text


@pytest.mark.parametrize("n", [1, 5000])
def test_any_number_of_particles(data, n):
    rng = np.random.default_rng(n)
    poses = Poses(rng.uniform(-180, 180, n), rng.normal(0, 3, (n, 2)))
    page = build_page(replace(data, poses=poses, score=rng.random(n), ambiguous=np.zeros(n, bool)))
    assert len(page) < 2_000_000
    Page(page)


def test_ids_are_unique(text):
    ids = [attributes["id"] for _, attributes in Page(text).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    assert used and used <= set(ids)


def test_written_whole_or_not_at_all(data, tmp_path):
    write_report(tmp_path / "report.html", data)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").endswith("</html>\n")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_examples_are_the_best_and_the_worst():
    score = np.array([0.1, 0.9, 0.5, 0.3, 0.7])
    assert list(example_indices(score, 2)) == [1, 4, 3, 0]
    assert list(example_indices(score, 9)) == [1, 4, 3, 0]
    assert list(example_indices(score[:1])) == [0]
    assert len(example_indices(score[:0])) == 0


def test_best_examples_come_first_whatever_their_order(data):
    text = Page(build_page(replace(data, examples=data.examples[::-1]))).text
    order = [text.index(f"{k:06d}@p.mrcs") for k in (6, 5, 4, 3, 2, 1)]
    assert order == sorted(order)
    assert text.index("Lowest scores") < text.index("000003@p.mrcs")
