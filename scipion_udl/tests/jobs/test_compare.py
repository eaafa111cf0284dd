"""`compare`: classifications of the same particles, by tables of any program, against each other."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

pytest.importorskip("torch")

from emtable import Table as OtherReader

from scipion_udl.io.classes.class_runs import same_particles
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import run
from scipion_udl.tests.report.parsed_page import Page

COUNT, BOX, PIXEL_SIZE = 120, 16, 3.0
SIZES = (50, 40, 30)
TRUE = np.repeat([1, 2, 3], SIZES)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a stack of images."""
    monkeypatch.chdir(tmp_path)
    write_stack("p.mrcs", np.random.default_rng(0).normal(size=(COUNT, BOX, BOX)), PIXEL_SIZE)
    return tmp_path


def star(name, label, rows=None, stack="p.mrcs", more="a"):
    """A table as RELION writes it, of these rows (from 0), with a column of somebody's."""
    rows = np.arange(COUNT) if rows is None else np.asarray(rows)
    lines = ["data_optics", "", "loop_", "_rlnOpticsGroup #1", "_rlnImagePixelSize #2", f"1 {PIXEL_SIZE}", ""]
    lines += [
        "data_particles",
        "",
        "loop_",
        "_rlnImageName #1",
        "_rlnClassNumber #2",
        "_rlnOpticsGroup #3",
        "_other #4",
    ]
    lines += [f"{row + 1:06d}@{stack} {label[row]} 1 {more}{row}" for row in rows]
    with open(name, "w") as file:
        file.write("\n".join([*lines, ""]))
    return name


def summary(out="out"):
    with open(f"{out}/summary.json") as file:
        return json.load(file)


def rows_of(out="out", number=1):
    with open(f"{out}/compare.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["run"] == str(number)]


def test_the_same_classes_under_other_numbers_and_in_another_order_are_the_same(folder):
    renamed = np.array([0, 7, 2, 5])[TRUE]
    star("one.star", TRUE)
    star("two.star", renamed, np.random.default_rng(1).permutation(COUNT))
    assert run("compare", "one.star", "two.star", "-o", "out", "--quiet") == 0
    (pair,) = summary()["pairs"]
    assert (pair["adjusted_rand"], pair["particles"], pair["in_matched_classes"]) == (1, COUNT, 1)
    assert [(row["class"], row["match_2"], row["comes_again"]) for row in rows_of()] == [
        ("1", "7", "1.0"), ("2", "2", "1.0"), ("3", "5", "1.0")
    ]  # fmt: skip
    assert summary()["consensus"] == {"compared": COUNT, "all": COUNT, "most": 0, "none": 0}
    assert summary()["warnings"] == []
    assert {row["comes_again_sd"] for row in rows_of()} == {""}  # of one other run it is not known


def test_what_comes_again_what_came_apart_and_what_one_run_alone_has(folder):
    """The second run cuts class 1 in two and deals class 3 to the others."""
    other = TRUE.copy()
    other[25:50] = 4
    other[90:] = np.tile([1, 2, 4], 10)
    star("one.star", TRUE)
    star("two.star", other)
    assert run("compare", "one.star", "two.star", "-o", "out", "--quiet") == 0
    one, two, three = rows_of()
    assert one["parts_2"] == "1 4"
    assert float(one["comes_again_2"]) == 0.5
    assert two["match_2"] == "2"
    assert float(two["comes_again"]) == float(two["together"]) == 1
    assert float(two["in_common"]) == 0.8  # 40 of 50
    assert (three["alone"], one["alone"]) == ("1", "0")
    assert float(three["in_common"]) < 0.25
    assert summary()["pairs"][0]["adjusted_rand"] == pytest.approx(0.5, abs=0.1)
    assert summary()["codes"] == []  # that is more than chance
    assert [row["parts_1"] for row in rows_of(number=2)] == ["", "", ""]
    page = Page((folder / "out" / "report.html").read_text("utf-8"))
    assert "Came apart in run 2: classes 1, 4." in page.text
    assert "No other run has it." in page.text
    assert run("compare", "one.star", "two.star", "-o", "free", "--quiet", "--least-in-common", "0.1") == 0
    assert {row["alone"] for row in rows_of("free")} == {"0"}


def test_the_consensus_is_written_beside_the_rows_of_the_first_run(folder):
    first, second, third = (TRUE.copy() for _ in range(3))
    first[0], second[1], third[:2] = 2, 3, [1, 1]  # particle 0 is wrong in the first run, 1 in the second
    third[2] = second[2] = first[2] = 1
    second[3], third[3] = 2, 3  # and of the fourth each says something else
    third += 10
    star("one.star", first)
    star("two.star", second)
    star("three.star", third)
    assert run("compare", "one.star", "two.star", "three.star", "-o", "out", "--quiet") == 0
    before, after = (
        list(OtherReader(fileName=name, tableName="particles")) for name in ("one.star", "out/compare.star")
    )
    for row, found in zip(before, after):
        assert row._asdict().items() <= found._asdict().items()
    assert [int(row.udlConsensusClass) for row in after[:5]] == [1, 1, 1, 0, 1]
    assert [float(row.udlConsensusShare) for row in after[:5]] == [0.6667, 0.6667, 1, 0.3333, 1]
    assert {int(row.udlConsensusClass) == TRUE[k] for k, row in enumerate(after) if k != 3} == {True}
    assert summary()["consensus"] == {"compared": COUNT, "all": COUNT - 3, "most": 2, "none": 1}
    assert sum(int(row["consensus"]) for row in rows_of()) == COUNT - 1
    assert len(summary()["pairs"]) == 3
    # What was written can be read again, as a classification of its own.
    assert open_particles("out/compare.star").classes().tolist() == first.tolist()
    assert open_particles("out/compare.xmd").classes().tolist() == first.tolist()


def test_only_particles_that_both_runs_hold_are_compared(folder):
    star("one.star", TRUE, range(100))
    star("two.star", TRUE, range(20, COUNT))
    assert run("compare", "one.star", "two.star", "-o", "out", "--quiet") == 0
    (pair,) = summary()["pairs"]
    assert [pair[name] for name in ("particles", "only_first", "only_second", "adjusted_rand")] == [80, 20, 20, 1]
    table = list(OtherReader(fileName="out/compare.star", tableName="particles"))
    assert [int(row.udlConsensusClass) for row in table] == [0] * 20 + TRUE[20:100].tolist()
    assert summary()["consensus"]["compared"] == 80
    assert summary()["codes"] == []  # 80 of 100 are enough


def test_few_particles_in_common_and_classes_by_chance_are_warned_of(folder, capsys):
    rng = np.random.default_rng(2)
    star("one.star", TRUE, range(80))
    star("two.star", rng.permutation(TRUE), range(50, COUNT))
    star("same.star", np.ones(COUNT, int))
    assert run("compare", "one.star", "two.star", "same.star", "-o", "out") == 0
    assert {"compared_in_part", "compared_by_chance", "one_class_to_compare"} <= set(summary()["codes"])
    assert "one.star and two.star have 30 particles in common" in capsys.readouterr().err


def cs(name, label, uid, stack="p.mrcs", items=None):
    """A file as cryoSPARC writes it, of these uids."""
    kinds = [
        ("uid", "<u8"),
        ("blob/path", "S40"),
        ("blob/idx", "<u4"),
        ("blob/shape", "<u4", 2),
        ("blob/psize_A", "<f4"),
    ]
    rows = np.zeros(len(uid), [*kinds, ("alignments2D/class", "<u4")])
    rows["uid"], rows["blob/path"], rows["blob/shape"], rows["blob/psize_A"] = uid, stack.encode(), BOX, PIXEL_SIZE
    rows["blob/idx"] = np.arange(len(uid)) if items is None else items
    rows["alignments2D/class"] = label - 1
    with open(name, "wb") as file:
        np.save(file, rows)
    return name


def test_particles_of_cryosparc_are_known_again_by_their_uid(folder):
    """A job that writes the particles anew keeps the uid of each, and neither file nor place."""
    rng = np.random.default_rng(3)
    uid, order = rng.integers(1, 2**63, COUNT, dtype=np.uint64), rng.permutation(COUNT)
    write_stack("again.mrcs", rng.normal(size=(COUNT, BOX, BOX)), PIXEL_SIZE)
    cs("J1_particles.cs", TRUE, uid)
    cs("J2_particles.cs", TRUE[order], uid[order], "again.mrcs")
    assert run("compare", "J1_particles.cs", "J2_particles.cs", "-o", "out", "--quiet") == 0
    assert summary()["pairs"][0]["adjusted_rand"] == 1
    table = list(OtherReader(fileName="out/compare.star", tableName="particles"))
    assert [int(row.udlConsensusClass) for row in table] == TRUE.tolist()
    # With a table of another program they are known by the image.
    star("three.star", TRUE)
    assert run("compare", "three.star", "J1_particles.cs", "-o", "mixed", "--quiet") == 0
    assert summary("mixed")["pairs"][0]["adjusted_rand"] == 1
    assert run("compare", "three.star", "J2_particles.cs", "-o", "other", "--quiet") == 1
    # uids of which none is another's say nothing: by the image, again.
    sources = [open_particles(cs(f"{k}.cs", TRUE, uid + np.uint64(k))) for k in range(2)]
    assert len(np.unique(np.concatenate(same_particles(sources)))) <= COUNT


def test_classes_of_xmipp_and_relion_are_compared_with_their_averages(folder):
    averages = np.stack([phantom(name, BOX).image() for name in ("hook", "clamp", "hammer")])
    write_stack("averages.mrcs", averages, PIXEL_SIZE)
    lines = ["# XMIPP_STAR_1 *", "data_classes", "loop_", " _ref", " _image"]
    lines += [f"{k} {k}@averages.mrcs" for k in (1, 2, 3)]
    for k in (1, 2, 3):
        lines += [f"data_class{k:06d}_images", "loop_", " _image"]
        lines += [f"{row + 1}@p.mrcs" for row in np.flatnonzero(k == TRUE)]
    (folder / "classes.xmd").write_text("\n".join([*lines, ""]))
    star("run_it025_data.star", 4 - TRUE)
    write_stack("run_it025_classes.mrcs", averages[::-1], PIXEL_SIZE)
    (folder / "run_it025_model.star").write_text("")
    assert run("compare", "classes.xmd", "run_it025_model.star", "-o", "out", "--quiet") == 0
    assert summary()["pairs"][0]["adjusted_rand"] == 1
    assert [row["match_2"] for row in rows_of()] == ["3", "2", "1"]
    page = Page((folder / "out" / "report.html").read_text("utf-8"))
    shown = [own["alt"] for own in page.all_of("img")]
    assert shown == [f"Average of class {k} of run {n}" for k in (1, 2, 3) for n, k in ((1, k), (2, 4 - k))]
    table = list(OtherReader(fileName="out/compare.xmd", tableName="noname"))
    assert [int(row.udlConsensusClass) for row in table] == TRUE.tolist()


def test_mirrored_particles_go_into_a_table_that_can_hold_them(folder):
    lines = ["# XMIPP_STAR_1 *", "data_noname", "loop_", " _image", " _ref", " _anglePsi", " _flip"]
    lines += [f"{row + 1}@p.mrcs {TRUE[row]} 10 {row % 2}" for row in range(COUNT)]
    (folder / "mirrored.xmd").write_text("\n".join([*lines, ""]))
    star("one.star", TRUE)
    assert run("compare", "mirrored.xmd", "one.star", "-o", "out", "--quiet") == 0
    assert not (folder / "out" / "compare.star").exists()
    assert "star_cannot_mirror" in summary()["codes"]
    table = list(OtherReader(fileName="out/compare.xmd", tableName="noname"))
    assert [(int(row.udlConsensusClass), int(row.flip)) for row in table] == [(TRUE[k], k % 2) for k in range(COUNT)]


def test_averages_that_cannot_be_read_are_a_warning(folder):
    star("run_it001_data.star", TRUE)
    (folder / "run_it001_classes.mrcs").write_bytes(b"no stack")
    star("two.star", TRUE)
    assert run("compare", "run_it001_data.star", "two.star", "-o", "out", "--quiet") == 0
    assert summary()["codes"] == ["averages_not_shown"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["one.star"], "one.star alone has nothing to be compared with"),
        (["one.star", "./one.star"], "./one.star is given twice"),
        (["one.star", "none.star"], "none.star has no class number per particle"),
        (["one.star", "p.mrcs"], "p.mrcs has no class number per particle"),
        (["one.star", "other.star"], "other.star has no particle in common with one.star"),
        (["one.star", "gone.star"], "gone.star"),
        (["one.star", "."], "holds no classes.star"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence_and_leaves_nothing(folder, capsys, words, sentence):
    star("one.star", TRUE)
    write_stack("q.mrcs", np.zeros((COUNT, BOX, BOX)), PIXEL_SIZE)
    star("other.star", TRUE, stack="q.mrcs")
    text = (folder / star("none.star", TRUE)).read_text().replace("rlnClassNumber", "rlnRandomSubset")
    (folder / "none.star").write_text(text)
    assert run("compare", *words, "-o", "out") == 1
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert len([line for line in error.splitlines() if line.startswith("scipion-udl compare:")]) == 1
    assert not (folder / "out").exists()


def test_a_limit_that_is_no_share_is_refused(folder, capsys):
    with pytest.raises(SystemExit):
        run("compare", "one.star", "two.star", "-o", "out", "--least-in-common", "2")
    assert "--least-in-common: '2' must be from 0 to 1" in capsys.readouterr().err
