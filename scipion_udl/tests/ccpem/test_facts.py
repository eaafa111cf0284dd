"""What the jobs of CCP-EM's pipeliner show of a run is what the run has found."""

from __future__ import annotations

import json

from scipion_udl.ccpem.facts import class_table, metadata, references, selection_table, summary_of
from scipion_udl.messages import message

SUMMARY = {
    "particles": 120,
    "pixel_size": 5.0,
    "resolution": None,
    "warnings": ["careful"],
    "classes": [
        {"class": 1, "particles": 80, "resolution": 8.25, "crossing": 7.5, "quality": 0.9, "flag": "", "reasons": []},
        {"class": 4, "particles": 40, "resolution": None, "crossing": None, "quality": 0.1, "flag": "noise",
         "reasons": ["class_beside_particle", "class_unlike_others"]},
    ],
}  # fmt: skip


def test_classes_are_a_row_each_in_words(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    headers, rows = class_table(summary_of(tmp_path))
    assert list(headers) == [
        "class",
        "particles",
        "resolution (A)",
        "halves agree to (A)",
        "quality",
        "flag",
        "against it",
    ]
    assert rows[0] == ["1", "80", "8.25", "7.5", "0.9", "", ""]
    against = f"{message('class_beside_particle')}; {message('class_unlike_others')}"
    assert rows[1] == ["4", "40", "", "", "0.1", "noise", against]


def test_an_alignment_of_one_view_has_no_table():
    assert class_table({"classes": None})[1] == class_table({})[1] == []


def test_metadata_are_values_that_are_known():
    told = metadata(SUMMARY)
    assert told == {
        "particles": 120,
        "pixel_size": 5.0,
        "warnings": ["careful"],
        "classes": 2,
        "class_particles": [80, 40],
    }
    chosen = [{**one, "chosen": one["class"] == 4} for one in SUMMARY["classes"]]
    assert metadata({**SUMMARY, "classes": chosen})["chosen_classes"] == [4]


def test_the_table_of_a_selection_says_yes_and_no(tmp_path):
    (tmp_path / "selection.csv").write_text('class,chosen,why\n1,1,\n2,0,"quality, say"\n')
    assert selection_table(tmp_path) == (["class", "chosen", "why"], [["1", "yes", ""], ["2", "no", "quality, say"]])


def test_the_papers_of_the_method_are_cited():
    found = references()
    assert [one["year"] for one in found] == ["2023", "2022"]
    assert found[0]["doi"] == "10.1016/j.jsb.2023.107940"
    assert found[0]["authors"][0] == "Chen, Yu-Xuan"
    assert all(one["title"] and one["journal"] for one in found)
