"""`select`: from particles, or classes of any program, to the good ones, with nothing lost."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("torch")

from emtable import Table as OtherReader

from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.tests.engine_fixtures import shared
from scipion_udl.tests.engine_helpers import run, subset_star
from scipion_udl.tests.report.parsed_page import Page

COUNT, BOX, PIXEL_SIZE = 180, 40, 4.8
QUIET = ("--gpu", "none", "--threads", 1, "--quiet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A molecule in many views, a third of the picks junk, and its classes, none of which is at the edge of being
    chosen: in more noise, classes of so few particles are half junk."""

    def make(out):
        words = [
            "--count",
            COUNT,
            "--box",
            BOX,
            "--snr",
            1,
            "--pixel-size",
            PIXEL_SIZE,
            "--phantom",
            "crane",
            "--seed",
            3,
        ]
        words += ["--views", "uneven", "--realistic", "--junk", 0.35, "--junk-kinds", "empty", "blob", "--gpu", "none"]
        assert run("simulate", out / "set", *words) == 0
        assert run("classify", out / "set" / "particles.star", "-o", out / "classes", "--classes", 4, *QUIET) == 0

    return shared(tmp_path_factory, "select", make)


@pytest.fixture(scope="module")
def good(folder):
    """Whether each particle of the set is one, by the number of its image."""
    truth = read_tables(str(folder / "set" / "truth.star"))[0]
    return {number(name): kind == "none" for name, kind in zip(truth.texts("rlnImageName"), truth.texts("udlJunk"))}


def number(name: str) -> int:
    return int(name.partition("@")[0])


def numbers(path) -> set[int]:
    return {number(row.rlnImageName) for row in OtherReader(fileName=str(path), tableName="particles")}


def rows(out) -> list[dict]:
    with open(out / "selection.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def chosen(folder, tmp_path_factory):
    """What is chosen of them where nothing is said."""
    out = tmp_path_factory.mktemp("chosen") / "out"
    assert run("select", folder / "classes", "-o", out, *QUIET) == 0
    return out


def test_good_particles_are_kept_junk_is_dropped_and_nothing_is_lost(chosen, good):
    selected, rest = numbers(chosen / "selected.star"), numbers(chosen / "rest.star")
    assert not selected & rest
    assert selected | rest == set(good)
    kept = np.mean([one in selected for one, is_good in good.items() if is_good])
    dropped = np.mean([one in rest for one, is_good in good.items() if not is_good])
    assert kept >= 0.95
    assert dropped >= 0.9
    found = rows(chosen)
    assert sum(int(row["kept"]) for row in found) == len(selected)
    assert sum(int(row["particles"]) for row in found) == COUNT
    assert all(row["reasons"] for row in found)
    told = [row for row in found if row["chosen"] == "1"]
    assert len(StackReader(str(chosen / "averages.mrcs")).read()) == len(told)
    page = Page((chosen / "report.html").read_text("utf-8"))
    assert {own["value"] for own in page.all_of("input") if "checked" in own} == {row["class"] for row in told}
    assert f"{len(selected)} {len(selected) / COUNT:.1%}".replace("%", " %") in page.text


def test_no_view_has_more_particles_than_were_asked_for_the_best_are_kept_and_the_rest_is_there(folder, good, tmp_path):
    few = 5
    for name, words in (("all", ()), ("few", ("--balance", few)), ("auto", ("--balance", "auto"))):
        assert run("select", folder / "classes", "-o", tmp_path / name, *words, *QUIET) == 0
    every = {int(row["class"]): int(row["superclass"]) for row in rows(tmp_path / "all")}
    facts = json.loads((folder / "classes" / "summary.json").read_text())["classes"]
    assert every == {one["class"]: one["superclass"] for one in facts}
    before = of_views(tmp_path / "all" / "selected.star", every)
    most = {"few": few, "auto": int(np.median([len(own) for own in before.values()]))}
    for name, limit in most.items():
        out = tmp_path / name
        kept = of_views(out / "selected.star", every)
        for view, own in before.items():
            best = sorted(own.values(), reverse=True)[:limit]
            assert sorted(kept[view].values(), reverse=True) == best
        assert not numbers(out / "selected.star") & numbers(out / "rest.star")
        assert numbers(out / "selected.star") | numbers(out / "rest.star") == set(good)
        left = sum(max(len(own) - limit, 0) for own in before.values())
        summary = json.loads((out / "summary.json").read_text())
        assert (summary["left_out"]["balance"], summary["most_of_a_superclass"]) == (left, limit)
        assert summary["chosen"] == sum(min(len(own), limit) for own in before.values())
        assert "balanced" in [one["code"] for one in summary["messages"]]
        listed = rows(out)
        assert sum(int(row["beyond_balance"]) for row in listed) == left
        assert sum(int(row["kept"]) for row in listed) == summary["chosen"]
        assert (out / "report.html").read_text("utf-8").count("beyond what one view may have") == (2 if left else 0)
    assert all(row["beyond_balance"] == "" for row in rows(tmp_path / "all"))


def test_classes_of_a_run_that_told_no_superclasses_are_grouped_as_that_run_would(folder, tmp_path):
    shutil.copytree(folder / "classes", tmp_path / "old")
    summary = json.loads((tmp_path / "old" / "summary.json").read_text())
    told = {one["class"]: one.pop("superclass") for one in summary["classes"]}
    summary.pop("superclasses")
    (tmp_path / "old" / "summary.json").write_text(json.dumps(summary))
    assert run("select", tmp_path / "old", "-o", tmp_path / "out", *QUIET) == 0
    assert {int(row["class"]): int(row["superclass"]) for row in rows(tmp_path / "out")} == told
    assert "Classes were judged before" in (tmp_path / "out" / "run.log").read_text()


def of_views(path, superclasses: dict[int, int]) -> dict[int, dict[int, float]]:
    """The quality of each particle of a table, by its image, by the superclass of its class."""
    found: dict[int, dict[int, float]] = {}
    for row in OtherReader(fileName=str(path), tableName="particles"):
        own = found.setdefault(superclasses[int(row.rlnClassNumber)], {})
        own[number(row.rlnImageName)] = float(row.udlQuality)
    return found


@pytest.mark.parametrize("most", ["0", "many", "1.5"])
def test_a_balance_that_is_no_number_of_particles_is_refused(folder, tmp_path, most, capfd):
    with pytest.raises(SystemExit, match="2"):
        run("select", folder / "classes", "-o", tmp_path / "out", "--balance", most)
    assert f"--balance: '{most}'" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_of_the_report_chooses_the_ticked_classes(folder, tmp_path):
    page = Page((folder / "classes" / "report.html").read_text("utf-8"))
    (code,) = page.all_of("code", id="command")
    ticked = [own["value"] for own in page.all_of("input") if "checked" in own]
    words = shlex.split(code["data-before"] + ",".join(ticked) + code["data-after"])
    at = [folder / "classes" if word.endswith("classes") and word[:1] != "-" else word for word in words[2:-1]]
    assert run("select", *at, tmp_path / "out", *QUIET) == 0
    assert [row["class"] for row in rows(tmp_path / "out") if row["chosen"] == "1"] == ticked


def test_the_table_has_the_quality_by_which_particles_were_chosen(folder, tmp_path):
    out = tmp_path / "out"
    assert run("select", folder / "classes", "-o", out, "--min-quality", 0.8, *QUIET) == 0
    for name, fits in (("selected", lambda q: q >= 0.8), ("rest", lambda q: q >= 0)):
        table = OtherReader(fileName=str(out / f"{name}.star"), tableName="particles")
        assert all(fits(float(row.udlQuality)) and 0 <= float(row.udlClassProbability) <= 1 for row in table)


def test_one_command_leads_from_particles_to_good_ones(folder, good, tmp_path):
    some, table = subset_star(folder / "set", tmp_path / "some.star", range(100)), tmp_path / "good.star"
    assert run("select", some, "-o", table, *QUIET) == 0
    assert numbers(table) == numbers(tmp_path / "good" / "selected.star")
    kept = np.mean([one in numbers(table) for one, is_good in good.items() if is_good and one <= 100])
    assert kept > 0.9
    assert (tmp_path / "good" / "classes" / "report.html").is_file()


def test_classes_of_another_program_are_judged_and_their_table_stays_as_it_was(folder, good, tmp_path):
    optics, particles = read_tables(str(folder / "classes" / "classes.star"))
    particles.drop([label for label in particles.columns if label.startswith("udl")])
    particles.set("theirColumn", [f"{k:04d}" for k in range(len(particles))])
    write_tables(str(tmp_path / "run_it025_data.star"), [optics, particles])
    (tmp_path / "run_it025_model.star").write_text("")
    out = tmp_path / "out"
    assert run("select", tmp_path / "run_it025_model.star", "-o", out, *QUIET) == 0
    chosen = numbers(out / "selected.star")
    groups = [int(row["superclass"]) for row in rows(out)]
    assert set(groups) == set(range(1, max(groups) + 1))
    assert np.mean([one in chosen for one, is_good in good.items() if is_good]) >= 0.95
    assert np.mean([one not in chosen for one, is_good in good.items() if not is_good]) >= 0.9
    before = {number(name): k for k, name in enumerate(particles.texts("rlnImageName"))}
    found = read_tables(str(out / "selected.star"))[1]
    for label in particles.columns:
        expected = [particles.texts(label)[before[number(name)]] for name in found.texts("rlnImageName")]
        assert list(found.texts(label)) == expected, label


def test_relion_finds_model_and_particles_of_what_was_chosen(chosen):
    out = chosen
    model = OtherReader(fileName=str(out / "run_model.star"), tableName="model_classes")
    data = [int(row.rlnClassNumber) for row in OtherReader(fileName=str(out / "run_data.star"), tableName="particles")]
    told = [row for row in rows(out) if row["chosen"] == "1"]
    assert np.bincount(data, minlength=len(told) + 1)[1:].tolist() == [int(row["kept"]) for row in told]
    for k, (row, one) in enumerate(zip(model, told), 1):
        item, _, stack = row.rlnReferenceImage.partition("@")
        assert (int(item), stack) == (k, str((out / "averages.mrcs").resolve()))
        assert float(row.rlnEstimatedResolution) == pytest.approx(float(one["resolution"] or one["crossing"]), rel=1e-3)
    optimiser = next(iter(OtherReader(fileName=str(out / "run_optimiser.star"), tableName="optimiser_general")))
    assert optimiser.rlnModelStarFile == str((out / "run_model.star").resolve())
    assert optimiser.rlnExperimentalDataStarFile == str((out / "run_data.star").resolve())


@pytest.mark.skipif(not shutil.which("relion_refine"), reason="RELION is not installed")
def test_relion_refines_what_was_chosen_from_its_classes(chosen, tmp_path):
    out = chosen
    count = sum(row["chosen"] == "1" for row in rows(out))
    command = ["relion_refine", "--i", out / "selected.star", "--ref", out / "averages.star", "--K", count, "--iter", 1]
    command += ["--o", tmp_path / "run", "--particle_diameter", 150, "--ctf", "--skip_align", "--j", 1]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert len(open_particles(str(tmp_path / "run_it001_data.star"))) == len(numbers(out / "selected.star"))


def test_another_choice_out_of_what_was_judged_is_the_one_that_would_have_been_made_at_once(folder, tmp_path):
    run("select", folder / "classes", "-o", tmp_path / "all", "--min-quality", 0, *QUIET)
    for name, words in (("again", (tmp_path / "all" / "selected.star",)), ("at_once", (folder / "classes",))):
        assert run("select", *words, "-o", tmp_path / name, "--min-quality", 0.9, *QUIET) == 0
    again, at_once = (tmp_path / name for name in ("again", "at_once"))
    assert 0 < len(numbers(again / "selected.star")) < COUNT
    assert numbers(again / "selected.star") == numbers(at_once / "selected.star")
    there = {row["class"] for row in rows(tmp_path / "all") if row["chosen"] == "1"}  # a flagged class is not
    assert len(there) > 1
    assert rows(again) == [row for row in rows(at_once) if row["class"] in there]
    images = [StackReader(str(out / "averages.mrcs")).read() for out in (again, at_once)]
    np.testing.assert_array_equal(*images)


def test_a_selection_as_relion_numbers_it_is_not_taken_for_that_of_other_classes(folder, tmp_path):
    """run_data.star counts the chosen classes from 1, the figures beside it are by the numbers of the input."""
    source = open_particles(str(folder / "classes" / "classes.star"))
    last = int(np.unique(source.classes())[-1])
    run("select", folder / "classes", "-o", tmp_path / "two", "--classes", f"2,{last}", *QUIET)
    assert run("select", tmp_path / "two" / "run_model.star", "-o", tmp_path / "out", "--classes", "1,2", *QUIET) == 0
    judged = (tmp_path / "out" / "run.log").read_text()
    assert "Classes were judged before" not in judged
    assert [row["class"] for row in rows(tmp_path / "out")] == ["1", "2"]
    assert "Classes were judged before" in (tmp_path / "two" / "run.log").read_text()


def test_classes_and_selection_go_to_cryosparc(folder, tmp_path):
    """By the rules of pyem's csparc2star: class from 0, shift in pixels, pose in radians, particles known by uid."""
    out, again = tmp_path / "out", tmp_path / "again"
    assert run("select", folder / "classes", "-o", out, "--write-cs", *QUIET) == 0
    found = np.load(out / "selected.cs")
    rest = np.load(out / "rest.cs")
    assert len(set(found["uid"]) | set(rest["uid"])) == COUNT
    table = read_tables(str(out / "selected.star"))[1]
    assert (found["blob/idx"] + 1).tolist() == [number(name) for name in table.texts("rlnImageName")]
    assert (found["alignments2D/class"] + 1).tolist() == table.numbers("rlnClassNumber").tolist()
    np.testing.assert_allclose(found["alignments2D/class_posterior"], table.numbers("udlClassProbability"), atol=1e-4)
    np.testing.assert_allclose(np.degrees(found["alignments2D/pose"]), table.numbers("rlnAnglePsi"), atol=1e-3)
    shift = table.numbers("rlnOriginXAngst") / found["alignments2D/psize_A"]
    np.testing.assert_allclose(found["alignments2D/shift"][:, 0], shift, atol=1e-3)
    np.testing.assert_allclose(found["ctf/df1_A"], table.numbers("rlnDefocusU"), rtol=1e-5)
    classes = sorted(set(table.numbers("rlnClassNumber").astype(int).tolist()))
    assert run("select", out / "selected.cs", "-o", again, "--classes", classes[0], *QUIET) == 0
    own = np.load(again / "selected.cs")
    assert own.dtype == found.dtype  # every field as it came
    assert (own == found[found["alignments2D/class"] == classes[0] - 1]).all()


def test_coordinates_and_duplicates_come_from_the_micrographs(folder, tmp_path):
    out = tmp_path / "out"
    assert run("select", folder / "classes", "-o", out, "--recentre", "--min-distance", 40, *QUIET) == 0
    places = [
        (row.rlnMicrographName, float(row.rlnCoordinateX) * PIXEL_SIZE, float(row.rlnCoordinateY) * PIXEL_SIZE)
        for row in OtherReader(fileName=str(out / "coordinates.star"), tableName="coordinates")
    ]
    assert len(places) == len(numbers(out / "selected.star"))
    for name in {name for name, *_ in places}:
        own = np.array([place for one, *place in places if one == name])
        apart = np.hypot(*(own[:, None] - own[None]).transpose(2, 0, 1)) + 1e6 * np.eye(len(own))
        assert apart.min() >= 39.9


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--classes", "2,99"), "has no class 99: it has"),
        (("--classes", "5-2"), "ends before it begins"),
        (("--classes", "1", "--auto"), "not allowed with"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(folder, tmp_path, capsys, words, sentence):
    try:
        assert run("select", folder / "classes", "-o", tmp_path / "out", *words, *QUIET) != 0
    except SystemExit as ended:
        assert ended.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out" / "selected.star").exists()


def test_results_and_inputs_are_never_written_over(folder, tmp_path, capsys):
    table = tmp_path / "good.star"
    table.write_text("mine")
    assert run("select", folder / "classes", "-o", table, *QUIET) == 1
    assert "exists" in capsys.readouterr().err
    assert table.read_text() == "mine"
    own = tmp_path / "selected.star"
    shutil.copy(folder / "classes" / "classes.star", own)
    before = own.read_bytes()
    assert run("select", own, "-o", tmp_path, "--overwrite", *QUIET) == 1
    assert own.read_bytes() == before
    classes = shutil.copytree(folder / "classes", tmp_path / "run")
    left = {path: path.read_bytes() for path in classes.iterdir() if path.is_file()}
    assert run("select", classes, "-o", classes, "--overwrite", *QUIET) == 1  # its results are what is read
    assert {path: path.read_bytes() for path in classes.iterdir() if path.is_file()} == left
    assert run("select", own, "-o", own, "--overwrite", *QUIET) == 1
    assert own.read_bytes() == before


def test_a_folder_without_classes_and_nothing_chosen_are_told(folder, tmp_path, capsys):
    assert run("select", folder / "set", "-o", tmp_path / "a", *QUIET) == 1
    assert "holds no classes.star" in capsys.readouterr().err
    assert run("select", folder / "classes", "-o", tmp_path / "b", "--min-particles", 1000, *QUIET) == 0
    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    assert summary["chosen"] == 0
    assert "nothing_chosen" in [one["code"] for one in summary["messages"]]
    assert len(numbers(tmp_path / "b" / "rest.star")) == COUNT
    assert not (tmp_path / "b" / "selected.star").exists()
