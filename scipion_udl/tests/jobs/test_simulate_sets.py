"""What `simulate` leaves on disk: a set for each template of a folder, clean stacks, and how to make it all again."""

import json
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from scipion_udl import cli
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.validation.pose_errors import join, located_truth

BOX = 32
SMALL = ["--count", "6", "--shift", "3"]


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def draw(path, name):
    path.parent.mkdir(parents=True)
    image = phantom(name, BOX).image()
    Image.fromarray((40 + 180 * image / image.max()).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def centers(tmp_path):
    for number, name in (("2", "hook"), ("10", "clamp")):
        draw(tmp_path / "centers" / number / "ori.png", name)
    (tmp_path / "centers" / "notes").mkdir()
    return tmp_path / "centers"


def images(path):
    return StackReader(str(path)).read()


def error_of(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_each_template_of_a_folder_gives_a_set_of_its_own_view(tmp_path, centers, capsys):
    out = tmp_path / "out"
    assert run("simulate", out, "--centers", centers, *SMALL, "--pixel-sizes", "2:2.08", "--pixel-size", "4") == 0
    assert "2 sets of 6 particles" in capsys.readouterr().out
    folders = {path.name for path in out.iterdir() if path.is_dir()}
    assert folders == {"2", "10"}
    for number, name, size in (("2", "hook", 2.08), ("10", "clamp", 4.0)):
        names = {path.name for path in (out / number).iterdir() if not path.name.startswith(".")}
        assert names == {"particles.mrcs", "particles.star", "truth.star", "template.mrc", "parameters.json"}
        source = open_particles(str(out / number / "particles.star"))
        assert (len(source), source.box) == (6, BOX)
        assert source.pixel_size == pytest.approx(size)
        template = images(out / number / "template.mrc")[0]
        like = {n: np.corrcoef(template.ravel(), phantom(n, BOX).image().ravel())[0, 1] for n in ("hook", "clamp")}
        assert like[name] > 0.98 > max(value for n, value in like.items() if n != name)


def test_numbers_may_begin_with_0(tmp_path, capsys):
    draw(tmp_path / "centers" / "0" / "ori.png", "hook")
    options = ["--centers", tmp_path / "centers", "--shift", "3", "--pixel-sizes", "0:2.5", "--count", "1"]
    assert run("simulate", tmp_path / "out", *options) == 0
    assert "1 set of 1 particle, one of each" in capsys.readouterr().out
    assert open_particles(str(tmp_path / "out" / "0" / "particles.star")).pixel_size == pytest.approx(2.5)


def test_no_two_sets_share_poses_or_noise(tmp_path, centers):
    assert run("simulate", tmp_path / "out", "--centers", centers, *SMALL, "--clean", "--no-ctf") == 0
    angles = [located_truth(str(tmp_path / "out" / n / "truth.star"))[1].angle for n in ("2", "10")]
    assert np.abs(angles[0] - angles[1]).min() > 1e-3
    noise = [images(tmp_path / "out" / n / "particles.mrcs") - images(tmp_path / "out" / n / "clean.mrcs")
             for n in ("2", "10")]  # fmt: skip
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05


def test_the_clean_stack_is_the_noisy_one_without_its_noise(tmp_path):
    out = tmp_path / "out"
    assert run("simulate", out, "--count", "60", "--shift", "3", "--box", BOX, "--snr", "0.2", "--clean") == 0
    clean, noisy = images(out / "clean.mrcs"), images(out / "particles.mrcs")
    assert clean.var(axis=(1, 2)) == pytest.approx(0.2, rel=1e-3)
    noise = noisy - clean
    assert noise.var() == pytest.approx(1, rel=0.02)
    assert abs(np.corrcoef(noise.ravel(), clean.ravel())[0, 1]) < 0.02
    particles, cleaned = (open_particles(str(out / f"{name}.star")) for name in ("particles", "clean"))
    for label in ("rlnDefocusU", "rlnCtfBfactor"):
        assert particles.table.texts(label) == cleaned.table.texts(label)
    # one truth for both, found by image
    located, truth = located_truth(str(out / "truth.star"))
    poses = [truth[join(source.locations(), located)[1]] for source in (particles, cleaned)]
    assert len(poses[0]) == len(poses[1]) == 60
    assert np.array_equal(poses[0].angle, poses[1].angle)
    assert np.array_equal(poses[0].shift, poses[1].shift)


def test_asking_for_the_clean_stack_leaves_the_noisy_one_as_it_is(tmp_path):
    for name, more in (("with", ["--clean"]), ("without", [])):
        assert run("simulate", tmp_path / name, *SMALL, "--box", BOX, *more) == 0
    one, other = (images(tmp_path / name / "particles.mrcs") for name in ("with", "without"))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "options",
    [
        ["--phantom", "clamp", "--box", BOX, "--snr", "0.3", "--ssnr", "20:3", "--seed", "7", "--signed"],
        ["--no-ctf", "--snr", "inf", "--box", "33", "--subpixel", "--pixel-size", "2.5"],
        ["--defocus", "1", "1.5", "--b-factor", "80", "--voltage", "200", "--box", BOX],
    ],
)
def test_a_set_is_made_again_from_its_parameters(tmp_path, monkeypatch, options):
    assert run("simulate", tmp_path / "one", *SMALL, *options) == 0
    facts = json.loads((tmp_path / "one" / "parameters.json").read_text())
    program, *words = shlex.split(facts["command"])
    assert program == "scipion-udl"
    assert words[1] == str(tmp_path / "one")
    words[1] = str(tmp_path / "two")
    monkeypatch.chdir("/")
    assert run(*words) == 0
    assert np.array_equal(images(tmp_path / "one" / "particles.mrcs"), images(tmp_path / "two" / "particles.mrcs"))
    again = json.loads((tmp_path / "two" / "parameters.json").read_text())
    assert again["options"] == facts["options"]
    assert (again["version"], again["seed"]) == (facts["version"], facts["seed"])


def test_one_set_of_a_folder_is_made_again_alone(tmp_path, centers, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("simulate", "out", "--centers", "centers", *SMALL) == 0
    words = shlex.split(json.loads((tmp_path / "out" / "10" / "parameters.json").read_text())["command"])[1:]
    words[1] = "alone"
    assert run(*words) == 0
    one, other = (images(tmp_path / name / "particles.mrcs") for name in ("out/10", "alone"))
    assert np.array_equal(one, other)
    options = json.loads((tmp_path / "out" / "parameters.json").read_text())["options"]
    assert options["centers"] == str(centers)


def test_a_folder_is_not_replaced_without_overwrite(tmp_path, centers, capsys):
    out = tmp_path / "out"
    assert run("simulate", out, "--centers", centers, *SMALL) == 0
    capsys.readouterr()
    assert run("simulate", out, "--centers", centers, *SMALL, "--seed", "5") == 1
    assert "exists already" in error_of(capsys)
    assert run("simulate", out, "--centers", centers, *SMALL, "--seed", "5", "--overwrite") == 0
    assert json.loads((out / "2" / "parameters.json").read_text())["seed"] == 7
    shutil.rmtree(centers / "10")  # its old set must not pass for one of the next
    capsys.readouterr()
    assert run("simulate", out, "--centers", centers, *SMALL, "--overwrite") == 1
    assert f"{out / '10'} is a set of an earlier run" in error_of(capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--centers", "nowhere"], "nowhere is not there"),
        (["--centers", "centers/notes"], "holds no template"),
        (["--centers", "centers", "--pixel-sizes", "3:2.0"], "names 3, and there is no centers/3"),
        (["--centers", "centers", "--pixel-sizes", "2:2.0"], "give 10:A too"),
        (["--centers", "centers", "--shift", "20"], "do not fit a box of 32"),
        (["--pixel-sizes", "1:2.0"], "give --pixel-size"),
        (["--ssnr", "10:4", "--snr", "inf"], "leaves none"),
    ],
)
def test_wrong_values_end_in_one_sentence_and_leave_nothing(tmp_path, centers, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert run("simulate", "out", "--count", "3", *options) == 1
    assert message in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_a_numbered_folder_without_its_template_is_named(tmp_path, centers, capsys):
    (centers / "3").mkdir()
    assert run("simulate", tmp_path / "out", "--centers", centers, *SMALL) == 1
    assert f"{centers / '3' / 'ori.png'} is not there" in error_of(capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--ssnr", "10"], "such as 10:4"), (["--ssnr", "10:0"], "must be above 0"), (["--pixel-sizes", "2.0"], "1:2.08")],
)
def test_pairs_of_numbers_are_told_how_to_be_written(capsys, options, message):
    with pytest.raises(SystemExit):
        run("simulate", "out", *options)
    assert message in error_of(capsys)


def test_pairs_of_photographs_are_made_again_from_their_parameters(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(2):
        grey = np.random.default_rng(k).normal(128, 40, (12, 12)).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).resize((96, 96), Image.Resampling.BICUBIC).save(folder / f"{k}.png")
    options = ["--photos", folder, "--box", BOX, "--shift", "2", "--noise", "salt-pepper", "--share", "0.2"]
    assert run("simulate", tmp_path / "one", *options) == 0
    facts = json.loads((tmp_path / "one" / "parameters.json").read_text())
    assert facts["options"]["noise"] == "salt-pepper"
    assert "defocus" not in facts["options"]
    words = shlex.split(facts["command"])[1:]
    words[1] = str(tmp_path / "two")
    assert run(*words) == 0
    assert np.array_equal(images(tmp_path / "one" / "particles.mrcs"), images(tmp_path / "two" / "particles.mrcs"))


@pytest.mark.parametrize(
    "option",
    [
        ["--clean"],
        ["--ssnr", "10:4"],
        ["--pixel-sizes", "1:2"],
        ["--no-ctf"],
        ["--signed"],
        ["--defocus", "0.5", "2"],
        ["--voltage", "300"],
        ["--cs", "0"],
        ["--amplitude-contrast", "0.1"],
        ["--b-factor", "0"],
    ],
)
def test_options_of_views_are_refused_with_photographs(tmp_path, capsys, option):
    assert run("simulate", tmp_path / "out", "--photos", tmp_path, *option) == 1
    assert f"{option[0]} is not for photographs" in error_of(capsys)


@pytest.mark.parametrize(
    "option", [["--part", "train2017"], ["--patches", "1"], ["--flat", "0"], ["--noise", "none"], ["--share", "0"]]
)
def test_options_of_photographs_are_refused_without_them(tmp_path, capsys, option):
    assert run("simulate", tmp_path / "out", *SMALL, *option) == 1
    assert f"{option[0]} is for --photos" in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_what_was_not_given_is_in_the_parameters_too(tmp_path):
    assert run("simulate", tmp_path / "out", *SMALL, "--box", BOX, "--cs", "0") == 0
    options = json.loads((tmp_path / "out" / "parameters.json").read_text())["options"]
    assert (options["defocus"], options["voltage"], options["cs"]) == ([0.5, 2.0], 300.0, 0.0)
    assert (options["amplitude_contrast"], options["b_factor"]) == (0.07, 50.0)
    assert "share" not in options
