"""No command changes a byte of what it reads: an input that bears the name of an output is refused."""

from __future__ import annotations

import argparse
import os
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.cli.commands import build_parser
from scipion_udl.io.output import lock
from scipion_udl.io.output.file_names import WRITTEN
from scipion_udl.io.stacks import write_stack
from scipion_udl.simulation.particles import noise
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import run, simulate

BOX, N = 32, 4
FEW = ["--gpu", "none", "--max-shift", "1", "--reference", "good/template.mrc"]  # noise is soon aligned to an image
TABLES, STACKS, MODELS = (".star", ".xmd", ".cs"), (".mrcs", ".mrc"), (".safetensors",)
# Of each command: the words before what stands in, the ones behind it, and the endings of files that may stand there.
ROLES = {
    "align": [
        ([], [], (*TABLES, *STACKS)),
        (["good/particles.star", "--model"], [], MODELS),
        (["good/particles.star", "--truth"], [], TABLES),
        (["good/particles.star", "--reference"], [], (*STACKS, ".png")),
    ],
    "train": [
        ([], [], (*TABLES, *STACKS)),
        (["good/particles.star", "--model"], [], MODELS),
        (["good/particles.star", "--truth"], [], TABLES),
    ],
    "classify": [
        ([], [], (*TABLES, *STACKS)),
        (["good/particles.star", "--model"], [], MODELS),
        (["good/particles.star", "--references"], [], (*TABLES, *STACKS)),
    ],
    "select": [([], [], (*TABLES, *STACKS))],
    "compare": [(["good/particles.star"], [], TABLES)],
    "align-pairs": [
        ([], ["--model", "good/m.safetensors"], (*TABLES, *STACKS)),
        (["good/particles.star"], ["--model", "good/m.safetensors"], (*TABLES, *STACKS)),
        (["good/particles.star", "--model"], [], MODELS),
        (["good/particles.star", "--model", "good/m.safetensors", "--truth"], [], TABLES),
    ],
    "evaluate": [
        ([], [], (*TABLES, *STACKS)),
        (["good/particles.star", "--truth"], [], TABLES),
        (["good/particles.star", "--reference"], [], (*STACKS, ".png")),
    ],
    "simulate": [
        (["--count", "3", "--template"], [], (*STACKS, ".png")),
        (["--count", "3", "--views", "random", "--volume"], [], STACKS),
        (["--count", "3", "--views", "random", "--second-share", "0.5", "--second"], [], STACKS),
    ],
    "relion": [
        (["--in_parts"], [], (*TABLES, *STACKS)),
        (["--in_parts", "good/particles.star", "--truth"], [], TABLES),
    ],
}
CONTINUED = ("align", "train", "classify")
ROWS = [
    (command, before, behind, name, how)
    for command, roles in ROLES.items()
    for before, behind, endings in roles
    for name in WRITTEN[command]
    if name.endswith(endings)
    for how in ["--overwrite", *(["--continue"] if command in CONTINUED else [])]
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with particles, and a file for every ending."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("files") / "good"
    simulate(folder, N, BOX, 0.5)
    write_stack(str(folder / "s.mrcs"), noise(N, BOX, seed=1), 2.0)
    write_stack(str(folder / "s.mrc"), phantom("hook", BOX).image(), 2.0)
    Image.fromarray(np.eye(BOX, dtype=np.uint8)).save(folder / "s.png")
    for kind in ("xmd", "cs", "safetensors"):  # they are refused before anything of them is read
        (folder / f"s.{kind}").write_bytes(b"not read")
    return folder


@pytest.fixture
def folder(good, tmp_path, monkeypatch):
    """The current folder: "good" with the files, and an empty "out"."""
    shutil.copytree(good, tmp_path / "good")
    table = tmp_path / "good" / "particles.star"
    table.write_text(table.read_text().replace(str(good), str(tmp_path / "good")))
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything(folder):
    """Every file below a folder, to the byte; links as what they are."""
    return {
        path: os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def words(command, before, behind, given, how):
    if command == "relion":
        return [command, "--o", "out/", *before, given]
    where = ["out"] if command == "simulate" else []
    to = [] if command == "simulate" else ["-o", "out"]
    return [command, *where, *before, given, *behind, *to, how]


def one_of_each():
    """A row of the table for each command, role and way: these are tried with links, too."""
    rows = {}
    for row in ROWS:
        rows.setdefault((row[0], *row[1], row[4]), row)
    return list(rows.values())


@pytest.mark.parametrize(("command", "before", "behind", "name", "how"), ROWS)
def test_an_input_by_the_name_of_an_output_is_refused_before_anything_is_done(
    folder, capsys, command, before, behind, name, how
):
    kind = os.path.splitext(name)[1]
    shutil.copy(folder / "good" / ("particles.star" if kind == ".star" else f"s{kind}"), folder / "out" / name)
    left = everything(folder)
    assert run(*words(command, before, behind, f"out/{name}", how)) == 1
    error = capsys.readouterr().err
    assert f"out/{name} is read by this run and would be replaced" in error
    found = everything(folder)
    if command == "relion":
        found = {path: content for path, content in found.items() if "RELION_JOB" not in path.name}
    assert found == left


@pytest.mark.parametrize(("command", "before", "behind", "name", "how"), one_of_each())
@pytest.mark.parametrize("to", ["input", "output"])
def test_a_link_is_the_file_that_it_leads_to(folder, capsys, to, command, before, behind, name, how):
    kind = os.path.splitext(name)[1]
    file = folder / "good" / ("particles.star" if kind == ".star" else f"s{kind}")
    if to == "input":  # an input elsewhere is a link into the folder
        shutil.copy(file, folder / "out" / name)
        os.symlink(f"out/{name}", folder / f"elsewhere{kind}")
        given = f"elsewhere{kind}"
    else:
        os.symlink(f"../good/{file.name}", folder / "out" / name)
        given = f"out/{name}"
    left = everything(folder)
    assert run(*words(command, before, behind, given, how)) == 1
    assert "is read by this run and would be replaced" in capsys.readouterr().err
    assert {path: text for path, text in everything(folder).items() if "RELION_JOB" not in path.name} == left


@pytest.mark.parametrize("command", ["align", "train", "classify", "select", "evaluate", "align-pairs", "relion"])
def test_a_stack_that_a_table_names_may_not_bear_the_name_of_an_output_either(folder, capsys, command):
    name = next((name for name in WRITTEN[command] if name.endswith(".mrcs")), "pairs.star.mrcs")
    if command in ("train", "evaluate", "align-pairs"):  # write no stacks: nothing can go wrong there
        assert not any(written.endswith(STACKS) for written in WRITTEN[command])
        return
    shutil.copy(folder / "good" / "particles.mrcs", folder / "out" / name)
    table = (folder / "good" / "particles.star").read_text().replace("good/particles.mrcs", f"out/{name}")
    (folder / "named.star").write_text(table)
    left = everything(folder)
    assert run(*words(command, ["--in_parts"] if command == "relion" else [], [], "named.star", "--overwrite")) == 1
    assert "is read by this run and would be replaced" in capsys.readouterr().err
    assert {path: text for path, text in everything(folder).items() if "RELION_JOB" not in path.name} == left


@pytest.mark.parametrize("join", ["--append-to", "--pool"])
def test_the_run_that_is_joined_to_is_not_written_over(folder, capsys, join):
    assert run("align", "good/s.mrcs", "-o", "first", *FEW) == 0
    given = ["--append-to", "first"] if join == "--append-to" else ["--append-to", "first", "--pool", "pooled"]
    out = "first" if join == "--append-to" else "pooled"
    if join == "--pool":
        write_stack("new.mrcs", noise(N, BOX, seed=2), 2.0)
        assert run("align", "new.mrcs", "-o", "pooled", "--append-to", "first", "--gpu", "none") == 0
    write_stack("more.mrcs", noise(N, BOX, seed=3), 2.0)
    for how in ("--overwrite", "--continue"):
        left = everything(folder)
        assert run("align", "more.mrcs", "-o", out, *given, how) == 1
        assert "would replace" in capsys.readouterr().err.replace("would be replaced", "would replace")
        assert everything(folder) == left


@pytest.mark.parametrize("given", ["good/particles.star", "good/s.mrcs", "good/particles.mrcs"])
def test_the_list_of_check_is_written_over_nothing_that_is_read(folder, capsys, given):
    left = everything(folder)
    for name in ("good/particles.star", "good/particles.mrcs", "good/s.mrcs"):
        assert run("check", given, "--list", name) == 1
        assert "give the list a name of its own" in capsys.readouterr().err
    os.symlink("good/s.mrcs", "found.csv")
    assert run("check", "found.csv", "--list", "found.csv") == 1
    os.remove("found.csv")
    os.symlink("good/s.mrcs", "found.csv.part")  # an unfinished file that is a link is not followed
    run("check", given, "--list", "found.csv", "--quick")
    os.remove("found.csv")
    assert everything(folder) == left


def test_files_for_bookkeeping_that_are_links_are_not_followed(folder):
    left = everything(folder / "good")
    for name in (lock.NAME, ".udl-files.json", "checkpoint.safetensors.part"):
        os.symlink("../good/s.mrcs", f"out/{name}")
    os.symlink("../good", "out/.unfinished")
    assert run("align", "good/s.mrcs", "-o", "out", "--overwrite", *FEW) == 0
    assert everything(folder / "good") == left
    assert not [path for path in (folder / "out").iterdir() if path.is_symlink()]


def test_a_lock_that_is_another_name_of_a_file_does_not_empty_it(folder):
    left = everything(folder / "good")
    os.link("good/s.mrcs", f"out/{lock.NAME}")
    assert run("align", "good/s.mrcs", "-o", "out", "--overwrite", *FEW) == 0
    assert everything(folder / "good") == left


def test_the_note_of_a_relion_job_does_not_go_into_a_file_that_it_links_to(folder, monkeypatch):
    left = everything(folder / "good")
    for name in ("note.txt", "particles.star.part", "run_classes.mrcs.part"):
        os.symlink("../good/particles.star", f"out/{name}")
    assert run("relion", "--o", "out/", "--in_parts", "good/particles.star", "--j", "1", *FEW) == 0
    assert everything(folder / "good") == left
    assert "particles aligned by scipion-udl" in (folder / "out" / "note.txt").read_text()


def test_particles_that_lie_among_unfinished_files_stay(folder, capsys):
    shutil.copytree("good", "out/.unfinished")
    left = everything(folder)
    assert run("align", "out/.unfinished/s.mrcs", "-o", "out", "--overwrite") == 1
    assert "give another folder" in capsys.readouterr().err
    assert everything(folder) == left


WRITE_NOTHING = {"check", "diameter", "gpus"}


def test_every_command_is_among_those_that_were_tried():
    commands = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    assert set(commands.choices) == {*ROLES, *WRITE_NOTHING}
    assert set(WRITTEN) == set(ROLES)


# What else a command reads, and the test below that tries it.
ELSEWHERE = {
    "align": {"--append-to", "--pool"},
    "classify": {"--append-to"},
    "simulate": {"--centers", "--photos"},
    "check": {"INPUT"},
    "diameter": {"INPUT"},
}
NO_INPUT = {"OUT", "NAME", "none|auto|IDS", "FILE.csv", "FILE.json", "JOB/"}


def test_every_option_that_takes_a_file_is_among_those_that_were_tried():
    commands = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    for command, parser in commands.choices.items():
        taken = {
            next((word for word in action.option_strings if word.startswith("--")), action.metavar)
            for action in parser._actions
            if action.nargs != 0 and action.type in (None, str) and not action.choices
            if action.metavar not in NO_INPUT
        }
        options = {before[-1] for before, _, _ in ROLES.get(command, []) if before and before[-1].startswith("--")}
        tried = options | ELSEWHERE.get(command, set())
        positional = {word for word in taken if not word.startswith("--")}
        assert taken - positional <= tried, command
        plain = [before for before, _, _ in ROLES.get(command, []) if not before or not before[-1].startswith("--")]
        assert len(positional - tried) == len(plain), command


def test_the_classes_that_are_joined_to_are_not_written_over(folder, capsys):
    words = ["--classes", "1", "--no-refine", "--gpu", "none", "--threads", "1"]
    assert run("classify", "good/s.mrcs", "-o", "first", *words) == 0
    write_stack("more.mrcs", noise(N, BOX, seed=3), 2.0)
    left = everything(folder)
    for how in ("--overwrite", "--continue"):
        assert run("classify", "more.mrcs", "-o", "first", "--append-to", "first", how, "--gpu", "none") == 1
        assert "first" in capsys.readouterr().err
        assert everything(folder) == left


@pytest.mark.parametrize("option", ["--centers", "--photos"])
def test_pictures_of_a_folder_that_is_written_into_stay(folder, option):
    from PIL import Image

    place = folder / "out" / ("1/ori.png" if option == "--centers" else "photo.jpg")
    place.parent.mkdir(exist_ok=True)
    picture = np.random.default_rng(0).integers(0, 255, (4 * BOX, 4 * BOX), dtype=np.uint8)
    Image.fromarray(picture).save(place)
    left = everything(folder)
    count = ["--count", "4", "--box", str(BOX)]
    assert run("simulate", "out", option, "out", *count, "--overwrite", "--gpu", "none") == 0
    assert {path: content for path, content in everything(folder).items() if path in left} == left


@pytest.mark.parametrize("command", sorted(WRITE_NOTHING))
def test_commands_that_only_tell_write_nothing(folder, command):
    left = everything(folder)
    for given in ["good/particles.star", "good/s.mrcs"] if command != "gpus" else [None]:
        assert run(command, *([given] if given else []), *(["--gpu", "none"] if command == "diameter" else [])) == 0
    assert everything(folder) == left


def test_a_passthrough_file_by_the_name_of_an_output_is_refused(folder, capsys):
    """What it tells of the particles is read, though nobody named it."""
    uid = np.arange(N, dtype=np.uint64)
    own = np.zeros(N, [("uid", "<u8"), ("ctf/df1_A", "<f4")])
    beside = np.zeros(N, [("uid", "<u8"), ("blob/path", "S40"), ("blob/idx", "<u4"), ("blob/psize_A", "<f4")])
    own["uid"], beside["uid"], beside["blob/path"], beside["blob/idx"] = uid, uid, b"good/particles.mrcs", uid
    beside["blob/psize_A"] = 2.0
    for name, rows in (("particles.cs", own), ("aligned.cs", beside)):
        with open(f"out/{name}", "wb") as file:
            np.save(file, rows, allow_pickle=False)
    left = everything(folder)
    assert run("align", "out/particles.cs", "-o", "out", "--overwrite", "--gpu", "none") == 1
    assert "aligned.cs is read by this run and would be replaced" in capsys.readouterr().err
    assert everything(folder) == left
