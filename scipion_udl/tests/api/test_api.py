"""The functions of the package do what the commands do, to the bit, and print and write nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import scipion_udl
from scipion_udl import cli
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables
from scipion_udl.settings.commands import AlignSettings, ClassifySettings, SimulateSettings, TrainSettings
from scipion_udl.settings.keywords import keyword_of, keywords_of

README = Path(__file__).resolve().parents[3] / "README.md"
COUNT = 130
QUICK = {"threads": 1, "gpu": "none"}
NEAR = QUICK | {"max_shift": 3}  # the particles lie off centre by up to 2 px
WORDS = ["--threads", "1", "--gpu", "none"]
FUNCTIONS = ("align", "apply", "classify", "compare", "evaluate", "load_model", "simulate", "train")


@pytest.fixture(scope="module")
def made():
    """Particles of one view, enough to train on."""
    return scipion_udl.simulate(COUNT, 0.5, 32, 4.0, shift=2.0, seed=3)


@pytest.fixture(scope="module")
def model(made):
    return scipion_udl.train(made.images, 4.0, epochs=2, **QUICK)


@pytest.fixture(scope="module")
def found(made, model):
    return scipion_udl.align(made.images, 4.0, model=model, **NEAR)


@pytest.fixture
def stack(made, tmp_path, monkeypatch):
    """The particles as a file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_stack("some.mrcs", made.images, 4.0)
    return "some.mrcs"


def by_command(command, stack, *words):
    """The table that a command writes, as text values by label, and its folder."""
    assert cli.main([command, stack, "-o", "out", *WORDS, *map(str, words)]) == 0
    name = "classes" if command == "classify" else "aligned"
    source = open_particles(f"out/{name}.xmd")
    return source, read_tables(f"out/{name}.xmd")[0]


# as a package


def test_the_package_is_imported_without_torch_and_scipion():
    program = "import sys, scipion_udl; print({'torch', 'pwem', 'pyworkflow', 'scipion_udl.api'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_functions_are_those_of_the_package():
    for name in FUNCTIONS:
        assert getattr(scipion_udl, name).__module__ == "scipion_udl.api"
        assert name in dir(scipion_udl)
        assert name in scipion_udl.__all__
    with pytest.raises(AttributeError, match="no attribute 'algin'"):
        _ = scipion_udl.algin


def test_no_module_bears_the_name_of_a_function():
    """It would take its place once it is imported."""
    folder = Path(scipion_udl.__file__).parent
    assert [name for name in FUNCTIONS if (folder / name).exists() or (folder / f"{name}.py").exists()] == []


def test_type_checkers_are_told_of_all_that_the_package_has():
    stub = (Path(scipion_udl.__file__).parent / "__init__.pyi").read_text(encoding="utf-8")
    assert {*re.findall(r" as (\w+)$", stub, re.M)} == {*scipion_udl.__all__}


def test_the_lines_of_the_readme_align_an_array(made, monkeypatch, capsys):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # threads would wait for each other
    section = README.read_text(encoding="utf-8").partition("## From Python")[2]
    code = re.search(r"```python\n(.*?)```", section, re.S).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) == 3
    space = {"images": made.images[:2, 6:26, 6:26]}
    exec(code, space)
    assert len(space["result"].poses) == 2
    assert capsys.readouterr().out.strip()


# as the command line does it


def test_the_poses_of_an_array_are_those_of_the_command_line_to_the_bit(made, stack):
    result = scipion_udl.align(made.images, 4.0, name=stack, epochs=1, max_shift=3, **QUICK)
    source, table = by_command("align", stack, "--epochs", 1, "--max-shift", 3, "--write-stack")
    found = source.poses()
    result.to_xmd("own.xmd", stack=str(Path(stack).resolve()))
    again = read_tables("own.xmd")[0]
    for label in ("anglePsi", "shiftX", "shiftY", "flip", "maxCC", "udlAmbiguous", "udlOutlier"):
        assert list(again.texts(label)) == list(table.texts(label)), label
    assert np.allclose(found.angle, result.angle, atol=1e-5)
    for name, image in (("average", result.average), ("average_weighted", result.average_weighted)):
        assert np.array_equal(StackReader(f"out/{name}.mrcs").read()[0], image)
    aligned = StackReader("out/aligned.mrcs").read()
    assert np.array_equal(aligned, scipion_udl.apply(made.images, result))


def test_the_poses_of_a_file_are_those_of_the_command_line_to_the_bit(made, stack):
    """Of a few that may be mirrored, and are not trained on."""
    write_stack(stack, made.images[:24], 4.0)
    result = scipion_udl.align(stack, mirror=True, **NEAR, seed=2)
    _, table = by_command("align", stack, "--mirror", "--seed", 2, "--max-shift", 3)
    result.to_xmd("own.xmd")
    again = read_tables("own.xmd")[0]
    for label in ("image", "anglePsi", "shiftX", "shiftY", "flip", "maxCC"):
        assert list(again.texts(label)) == list(table.texts(label)), label


def test_the_classes_are_those_of_the_command_line_to_the_bit(made, stack):
    few = made.images[:24]
    write_stack(stack, few, 4.0)
    result = scipion_udl.classify(few, 4.0, classes=2, name=stack, **NEAR)
    _, table = by_command("classify", stack, "--classes", 2, "--max-shift", 3)
    assert result.label.tolist() == [int(text) for text in table.texts("ref")]
    result.to_xmd("own.xmd", stack=str(Path(stack).resolve()))
    again = read_tables("own.xmd")[0]
    for label in ("image", "anglePsi", "shiftX", "shiftY", "flip", "maxCC"):
        assert list(again.texts(label)) == list(table.texts(label)), label
    assert np.array_equal(StackReader("out/averages.mrcs").read(), result.averages)
    sorted_ = scipion_udl.classify(few, 4.0, model=result.model, name=stack, **NEAR)
    assert sorted_.averages.shape == result.averages.shape


def test_the_particles_are_those_of_the_command_line_to_the_bit(tmp_path, made):
    options = ["--count", str(COUNT), "--snr", "0.5", "--box", "32", "--pixel-size", "4", "--shift", "2", "--seed", "3"]
    assert cli.main(["simulate", str(tmp_path / "set"), *options]) == 0
    assert np.array_equal(StackReader(str(tmp_path / "set/particles.mrcs")).read(), made.images)


def test_a_model_is_that_of_the_command_line_to_the_bit(stack, model, tmp_path):
    assert cli.main(["train", stack, "-o", "out", *WORDS, "--epochs", "2"]) == 0
    ours = scipion_udl.train(stack, epochs=2, **QUICK)
    theirs = scipion_udl.load_model("out/model.safetensors")
    for one, other in zip(ours.network.parameters(), theirs.network.parameters()):
        assert torch.equal(one, other)
    assert {row["epoch"] for row in ours.history} >= {1, 2}


# what is given and what is returned


def test_poses_are_true_and_evaluate_says_so(made, found):
    result = scipion_udl.evaluate(found, made)
    assert result["rotation_mean"] < 5
    assert result.rotation.shape == (COUNT,)
    rotated = Poses(found.angle + 90.0, found.shift, found.mirror)
    assert np.abs(rotated.angle - found.angle).max() > 45
    wrong = Poses(np.random.default_rng(0).uniform(-180, 180, COUNT), found.shift)
    assert scipion_udl.evaluate(wrong, made.poses)["rotation_mean"] > 45


def test_a_tensor_is_aligned_as_an_array_and_neither_is_changed(made, model, found):
    tensor = torch.from_numpy(made.images.copy())
    other = scipion_udl.align(tensor, 4.0, model=model, **NEAR)
    assert np.array_equal(other.angle, found.angle)
    assert np.array_equal(tensor.numpy(), made.images)
    moved = scipion_udl.apply(tensor, other)
    assert isinstance(moved, torch.Tensor)
    assert np.array_equal(moved.numpy(), scipion_udl.apply(made.images, found))


def test_applied_poses_bring_the_particles_onto_the_average(made, found):
    moved = scipion_udl.apply(made.images, found)
    assert np.allclose(moved.mean(0), found.average, atol=1e-5)
    assert np.array_equal(scipion_udl.apply(made.images, Poses.identity(COUNT)), made.images)


def test_a_saved_model_aligns_as_the_one_in_memory(made, model, found, tmp_path):
    model.save(tmp_path / "m.safetensors")
    for given in (tmp_path / "m.safetensors", scipion_udl.load_model(tmp_path / "m.safetensors")):
        again = scipion_udl.align(made.images, 4.0, model=given, **NEAR)
        assert np.array_equal(again.angle, found.angle)
    assert again.model.card.network == "polar"


def test_a_table_is_written_whole_and_read_again(found, tmp_path):
    found.to_star(tmp_path / "a.star", stack="particles.mrcs")
    table = read_tables(str(tmp_path / "a.star"))[1]
    assert table.texts("rlnImageName")[1] == "000002@particles.mrcs"
    assert np.allclose([float(text) for text in table.texts("rlnAnglePsi")], found.angle, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["a.star"]


def test_nothing_is_printed_or_written_and_threads_stay(made, model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    scipion_udl.train(made.images, 4.0, epochs=1, **QUICK)
    scipion_udl.align(made.images[:20], 4.0, model=model, **NEAR)
    scipion_udl.classify(made.images[:20], 4.0, classes=2, **NEAR)
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == before + 1
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_to_who_asks(made, model):
    told = []
    scipion_udl.align(made.images[:30], 4.0, model=model, progress=lambda *facts: told.append(facts), **NEAR)
    assert ("reading", 30, 30) in told


def test_warnings_come_with_the_result(made):
    result = scipion_udl.align(made.images[:2], **NEAR)
    assert any("pixel_size" in told.text for told in result.warnings)
    assert any("too few to train" in str(told) for told in result.warnings)
    assert "too_few_for_training" in [told.code for told in result.warnings]


# errors


@pytest.mark.parametrize(
    "function, kind",
    [
        ("align", AlignSettings),
        ("classify", ClassifySettings),
        ("train", TrainSettings),
        ("simulate", SimulateSettings),
    ],
)
def test_an_option_is_a_keyword_by_its_name(function, kind):
    names = {one.name for one in keywords_of(kind)}
    assert {"seed", "pixel_size"} <= names
    assert not names & {"output", "overwrite", "resume", "quiet"}
    with pytest.raises(TypeError, match=rf"{function}\(\) has no option sead: did you mean seed\?"):
        getattr(scipion_udl, function)(*([] if function == "simulate" else [np.zeros((3, 32, 32))]), sead=1)


def test_options_have_the_names_of_the_command_line_and_older_ones_go_on_working(made):
    for name in ("high_resolution_limit", "finest"):
        with pytest.raises(ValueError, match=re.escape("high_resolution_limit: '0' must be above 0")):
            scipion_udl.align(made.images, 4.0, **{name: 0})
    words = {keyword_of(one) for one in keywords_of(ClassifySettings)}
    assert {"training_subset", "polarity", "high_resolution_limit"} <= words
    assert not words & {"teach", "contrast", "finest"}


@pytest.mark.parametrize(
    "options, what",
    [
        ({"max_shift": -1}, "max_shift: '-1' must be at least 0"),
        ({"seed": 1.5}, "seed: '1.5' is not a whole number"),
        ({"ctf": "yes"}, "ctf: 'yes' is none of"),
        ({"mirror": "no"}, "mirror: 'no' is neither True nor False"),
    ],
)
def test_a_value_that_the_option_does_not_take_is_one_sentence(made, options, what):
    with pytest.raises(ValueError, match=re.escape(what)):
        scipion_udl.align(made.images, 4.0, **options)


def test_what_is_of_files_is_no_keyword(made):
    for name in ("output", "overwrite", "write_stack", "join", "resume", "quiet"):
        with pytest.raises(TypeError, match=f"no option {name}"):
            scipion_udl.align(made.images, 4.0, **{name: True})


def test_images_that_are_none_and_numbers_that_do_not_fit_are_one_sentence(made, model):
    with pytest.raises(UdlError, match=r"shape \(32, 32\)"):
        scipion_udl.align(made.images[0], 4.0)
    bad = made.images.copy()
    bad[6, 0, 0] = np.nan
    with pytest.raises(UdlError, match=r"Image 7 of array .*NaN"):
        scipion_udl.align(bad, 4.0, **QUICK)
    with pytest.raises(UdlError, match="training needs at least"):
        scipion_udl.train(made.images[:20], 4.0, **QUICK)
    with pytest.raises(UdlError, match=f"{COUNT} images and 3 poses"):
        scipion_udl.apply(made.images, Poses.identity(3))
    with pytest.raises(UdlError, match=f"3 poses and {COUNT} true"):
        scipion_udl.evaluate(Poses.identity(3), made)
    with pytest.raises(UdlError, match="not of classes"):
        scipion_udl.classify(made.images, 4.0, model=model, **QUICK)
    with pytest.raises(ValueError, match="leave classes out"):
        scipion_udl.classify(made.images, 4.0, model=model, classes=3)
    with pytest.raises(UdlError, match="has 16 px"):
        scipion_udl.align(made.images, 4.0, reference=np.eye(16), **QUICK)
