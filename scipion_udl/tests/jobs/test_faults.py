"""Whatever is wrong with the input ends in one sentence that says what to do, exit code 1, and nothing half done."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables
from scipion_udl.jobs import align as pipeline
from scipion_udl.simulation.particles import noise
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import PIXEL_SIZE, image, run, simulate

N = 40
NEAR = ("--max-shift", 3)  # few particles are soon aligned


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fails(folder, capsys):
    """Call it with a command line: its one sentence, once all that must hold has been looked at."""

    def check(*words: object) -> str:
        before = {path.name for path in folder.iterdir()}
        capsys.readouterr()
        assert run(*words) == 1
        error = capsys.readouterr().err
        lines = [line for line in error.splitlines() if not line.startswith("Warning: ")]
        assert len(lines) == 1, error
        assert lines[0].startswith(f"scipion-udl {words[0]}: ")
        assert "unexpected" not in lines[0]
        assert "Traceback" not in error
        assert {path.name for path in folder.iterdir()} == before, "something was left behind"
        return lines[0]

    return check


def particle_images(count: int = N, box: int = 48) -> np.ndarray:
    return phantom("hook", box).image() + noise(count, box, seed=1)


def write(images: np.ndarray, name: str = "p.mrcs", pixel_size: float = PIXEL_SIZE) -> str:
    write_stack(name, np.asarray(images, np.float32), pixel_size)
    return name


# the input


@pytest.mark.parametrize("command", ["train", "align"])
@pytest.mark.parametrize("name", ["missing.mrcs", "missing.star", "missing.xmd"])
def test_a_missing_file(fails, command, name):
    assert f"{name} is not there" in fails(command, name, "-o", "out")


def test_a_folder_instead_of_a_file(fails, folder):
    (folder / "data").mkdir()
    assert "data is a folder: give" in fails("align", "data", "-o", "out")


def test_a_pipe_instead_of_a_file(fails):
    os.mkfifo("p.mrcs")
    assert "p.mrcs is a pipe or a device" in fails("align", "p.mrcs", "-o", "out")
    write(particle_images(3), "r.mrcs")
    assert "p.mrcs is a pipe or a device" in fails("align", "r.mrcs", "-o", "out", "--reference", "p.mrcs")
    assert "p.mrcs is a pipe or a device" in fails("align", "r.mrcs", "-o", "out", "--model", "p.mrcs")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "data_particles\n\nloop_\n_rlnImageName #1\n",
        "data_\n\nloop_\n_rlnImageName #1\n_rlnDefocusU #2\n\n",
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnImagePixelSize #2\n1 1.0\n",
    ],
)
def test_an_empty_star(fails, folder, text):
    (folder / "p.star").write_text(text)
    assert "p.star" in fails("align", "p.star", "-o", "out")


def test_a_star_that_names_a_missing_stack(fails, folder):
    (folder / "p.star").write_text("data_\n\nloop_\n_rlnImageName #1\n000001@gone.mrcs\n")
    assert "gone.mrcs" in fails("align", "p.star", "-o", "out")


@pytest.mark.parametrize("left", [0, 100, 1024, 1024 + 48 * 48 * 4 * 30 + 7])
def test_a_truncated_stack(fails, folder, left):
    write(particle_images())
    os.truncate("p.mrcs", left)
    assert "p.mrcs" in fails("align", "p.mrcs", "-o", "out")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("item", [1, 33])
@pytest.mark.parametrize("command", ["train", "align"])
def test_a_pixel_that_is_no_number_is_named_by_its_item(fails, command, value, item):
    images = particle_images()
    images[item - 1, 5, 7] = value
    message = fails(command, write(images), "-o", "out", "--batch", 16)
    assert "p.mrcs" in message
    assert str(item) in message.replace("p.mrcs", "")


@pytest.mark.parametrize("command", ["train", "align"])
@pytest.mark.parametrize("count", [1, 3, 200])
def test_nothing_but_constant_images(fails, command, count):
    message = fails(command, write(np.full((count, 32, 32), 2.5)), "-o", "out")
    assert "constant" in message
    assert "p.mrcs" in message


def test_images_that_are_not_square(fails):
    assert "square" in fails("align", write(np.zeros((3, 32, 40))), "-o", "out")


def test_too_few_particles_to_train_on(fails):
    message = fails("train", write(particle_images()), "-o", "out")
    assert f"{N} particles" in message
    assert "128" in message


@pytest.mark.parametrize("box", [4, 8, 16])
def test_tiny_boxes_end_well_or_in_a_sentence(folder, capsys, box):
    code = run("align", write(noise(130, box)), "-o", "out", "--epochs", 1, "--max-shift", 1)
    error = capsys.readouterr().err
    assert code in (0, 1)
    assert "unexpected" not in error
    assert "Traceback" not in error


# the output


def test_an_existing_folder_is_refused_and_left_as_it_is(fails, folder):
    (folder / "out").mkdir()
    (folder / "out" / "mine.txt").write_text("precious")
    assert "--overwrite" in fails("align", write(particle_images()), "-o", "out")
    assert [path.name for path in (folder / "out").iterdir()] == ["mine.txt"]


def test_a_file_in_the_place_of_the_folder(fails, folder):
    (folder / "out").write_text("precious")
    assert "out is a file" in fails("align", write(particle_images()), "-o", "out")
    assert (folder / "out").read_text() == "precious"


def test_overwriting_replaces_results_and_nothing_else(folder):
    assert run("align", write(particle_images(2, 32)), "-o", "out", *NEAR) == 0
    (folder / "out" / "mine.txt").write_text("precious")
    first = image(folder / "out" / "average.mrcs")
    assert run("align", write(particle_images(3, 32)), "-o", "out", "--overwrite", *NEAR) == 0
    assert (folder / "out" / "mine.txt").read_text() == "precious"
    assert not np.array_equal(image(folder / "out" / "average.mrcs"), first)


def test_a_run_that_fails_half_way_leaves_no_results(folder, monkeypatch, capsys):
    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(pipeline.run_results, "write_alignment", fail)
    assert run("align", write(particle_images(2)), "-o", "out", *NEAR) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_overwriting_that_fails_costs_nothing(fails, folder):
    assert run("align", write(particle_images(2, 32)), "-o", "out", *NEAR) == 0
    before = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    for words in (["align", "gone.mrcs"], ["align", "out/aligned.star"], ["train", "gone.star"]):
        fails(*words, "-o", "out", "--overwrite")
        assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == before, words


def test_particles_are_not_overwritten_by_their_alignment(fails, folder):
    simulate(folder / "out", 5, 48, 0.5)
    assert "--overwrite would replace" in fails("align", "out/particles.star", "-o", "out", "--overwrite")
    assert (folder / "out" / "particles.mrcs").exists()


# processors


@pytest.mark.parametrize("command", ["train", "align"])
@pytest.mark.parametrize("gpu", ["0", "3"])
def test_a_gpu_that_is_absent(fails, monkeypatch, command, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    message = fails(command, write(particle_images()), "-o", "out", "--gpu", gpu)
    assert f"GPU {gpu[0]}" in message
    assert "--gpu none" in message


def test_a_gpu_that_makes_no_sense(fails):
    assert "not understood" in fails("align", write(particle_images()), "-o", "out", "--gpu", "fast")


# models and references


def test_a_missing_model(fails):
    assert "no model file gone.safetensors" in fails(
        "align", write(particle_images()), "-o", "out", "--model", "gone.safetensors"
    )


def test_a_model_that_is_something_else(fails):
    assert "not a model" in fails("align", write(particle_images()), "-o", "out", "--model", write(particle_images()))


def test_a_model_that_was_cut(fails, folder, model):
    (folder / "m.safetensors").write_bytes(model.read_bytes()[:-100])
    assert "m.safetensors" in fails("align", write(particle_images()), "-o", "out", "--model", "m.safetensors")


@pytest.mark.parametrize(("box", "pixel_size"), [(48, 3.0), (64, 2.0), (64, 1.0), (128, 3.0)])
@pytest.mark.parametrize("command", ["train", "align"])
def test_a_model_of_another_field_of_view(fails, model, command, box, pixel_size):
    write(particle_images(150, box), pixel_size=pixel_size)
    message = fails(command, "p.mrcs", "-o", "out", "--model", model)
    assert "192 A" in message
    assert f"{box} px at {pixel_size:g}" in message


def test_a_missing_reference(fails):
    assert "gone.mrc" in fails("align", write(particle_images()), "-o", "out", "--reference", "gone.mrc")


def test_a_reference_of_another_box(fails):
    write(phantom("hook", 64).image(), "r.mrc")
    message = fails("align", write(particle_images()), "-o", "out", "--reference", "r.mrc")
    assert "64" in message
    assert "48" in message


def test_a_reference_that_is_no_image_of_a_stack(fails):
    write(particle_images(3), "r.mrcs")
    assert "r.mrcs" in fails("align", write(particle_images()), "-o", "out", "--reference", "7@r.mrcs")
    assert "r.mrcs" in fails("align", "p.mrcs", "-o", "out", "--reference", "r.mrcs")


def test_a_constant_reference(fails):
    write(np.full((48, 48), 3.0), "r.mrc")
    assert "constant" in fails("align", write(particle_images()), "-o", "out", "--reference", "r.mrc")


def test_a_truth_of_other_particles(fails, folder):
    simulate(folder / "a", 150, 48, 0.5)
    simulate(folder / "b", 3, 48, 0.5)
    words = ["train", "a/particles.star", "-o", "out", "--truth"]
    assert "b/truth.star" in fails(*words, "b/truth.star")
    assert "gone.star" in fails(*words, "gone.star")


# what is kept


@pytest.fixture(scope="module")
def with_blanks(model, particles, tmp_path_factory):
    """(stack, output) of an alignment in which items 3 and 20 are constant."""
    folder = tmp_path_factory.mktemp("blanks")
    images = StackReader(str(particles / "particles.mrcs")).read(np.arange(N))
    images[2], images[19] = 0.0, 7.5
    write_stack(str(folder / "p.mrcs"), images, PIXEL_SIZE)
    out = folder / "out"
    assert run("align", folder / "p.mrcs", "-o", out, "--model", model, "--write-stack", "--max-shift", 6) == 0
    return images, out


def test_constant_images_are_kept_with_pose_0_and_score_0_and_flagged(with_blanks):
    _, out = with_blanks
    source = open_particles(str(out / "aligned.star"))
    assert len(source) == N
    table = next(table for table in read_tables(str(out / "aligned.star")) if "rlnImageName" in table)
    poses, scores, flags = source.poses(), table.numbers("rlnParticleFigureOfMerit"), table.numbers("udlAmbiguous")
    for item in (2, 19):
        assert (poses.angle[item], *poses.shift[item], scores[item], flags[item]) == (0, 0, 0, 0, 1)
    outliers = table.numbers("udlOutlier")
    assert outliers[[2, 19]].tolist() == [1, 1]
    assert outliers.sum() == json.loads((out / "summary.json").read_text())["outliers"] <= 4
    others = np.delete(np.arange(N), [2, 19])
    assert scores[others].min() > 0
    assert not flags[others].all()


def test_constant_images_are_told(with_blanks):
    _, out = with_blanks
    facts = json.loads((out / "summary.json").read_text())
    told = [warning for warning in facts["warnings"] if "constant" in warning]
    assert len(told) == 1
    assert "2 of 40" in told[0]
    assert "item 3" in told[0]


def test_constant_images_stay_in_the_stack_and_in_the_plain_mean(with_blanks):
    images, out = with_blanks
    stack = StackReader(str(out / "aligned.mrcs")).read()
    assert np.array_equal(stack[[2, 19]], images[[2, 19]])
    assert np.allclose(image(out / "average.mrcs"), stack.mean(0), atol=1e-5)
