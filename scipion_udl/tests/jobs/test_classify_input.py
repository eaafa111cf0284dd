"""Bad input of `classify` ends in one sentence and leaves nothing; short memory and odd sets are gone through."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl import api, cli
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.io.output.seal import opened, sealed
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.models.checkpoint import ModelCard, save_model
from scipion_udl.models.polar_network import PolarNetwork
from scipion_udl.particles.disc import TIGHT
from scipion_udl.particles.whitening import Whitening
from scipion_udl.pipelines import classify_set as pipeline
from scipion_udl.pipelines.appending import appendable_classes as joining

BOX, PIXEL_SIZE, COUNT = 32, 6.0, 48
QUICK = ("--no-refine", "--starts", 1)


def classify(*options: object) -> int:
    """The exit code of `classify` with these words, in this process."""
    words = [str(option) for option in ("classify", *options, "--gpu", "none", "--threads", 1)]
    try:
        return cli.main(words)
    except SystemExit as end:
        return end.code


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with few particles of many views (v), their classes (run), a network of one view (one.safetensors)."""
    folder = tmp_path_factory.mktemp("few_views")
    words = f"--views random --phantom boot --count {COUNT} --snr 1 --box {BOX} --pixel-size {PIXEL_SIZE} --shift 2"
    assert cli.main(["simulate", str(folder / "v"), *words.split()]) == 0
    assert classify(folder / "v/particles.star", "-o", folder / "run", "--classes", 3, *QUICK) == 0
    settings = SpectraSettings.for_box(BOX)
    network = PolarNetwork(radii=settings.radii, angles=settings.angles)
    config = {"radii": settings.radii, "angles": settings.angles}
    card = ModelCard("judl", "polar", config, vars(settings), BOX, PIXEL_SIZE)
    save_model(str(folder / "one.safetensors"), network, card)
    return folder


@pytest.fixture
def fails(tmp_path, monkeypatch, capsys):
    """Call it with a command line: its one sentence, once it is sure that nothing is left behind."""
    monkeypatch.chdir(tmp_path)

    def check(*words: object) -> str:
        before = sorted(tmp_path.iterdir())
        capsys.readouterr()
        assert classify(*words, "-o", "out") in (1, 2)
        errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warning: ")]
        assert len(errors) == 1, errors
        assert errors[0].startswith("scipion-udl classify: ")
        assert "unexpected" not in errors[0]
        assert sorted(tmp_path.iterdir()) == before, "something was left behind"
        return errors[0]

    return check


def write(path: Path, images: np.ndarray, pixel_size: float = PIXEL_SIZE) -> Path:
    write_stack(str(path), np.asarray(images, np.float32), pixel_size)
    return path


def particle_images(data: Path) -> np.ndarray:
    return StackReader(str(data / "v/particles.mrcs")).read()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classes", 0], "'0' must be 1 or more"),
        (["--classes", -3], "must be 1 or more"),
        (["--classes", "many"], "is not a whole number"),
        (["--classes", 13], "48 particles with an image, too few for 13 classes"),
        (["--classes", 10**9], "too few for 1000000000 classes"),
        (["--training-subset", 0], "must be 1 or more"),
        (["--starts", 0], "must be 1 or more"),
        (["--classes", 3, "--max-shift", 16.5], "--max-shift 16.5 is more than half the box, 16 px"),
        (["--classes", 3, "--max-shift", -1], "must be at least 0"),
        (["--classes", 3, "--max-shift", "nan"], "must be a finite number"),
        (["--classes", 3, "--high-resolution-limit", 150], "too few to align by"),
        (["--classes", 3, "--ctf", "sideways"], "sideways"),
        (["--model", "gone.safetensors"], "There is no model file gone.safetensors"),
        (["--append-to", "gone"], "gone is not the folder of a finished classify run"),
        (["--append-to", "gone", "--model", "m.safetensors"], "leave --model out"),
    ],
)
def test_impossible_options(data, fails, options, message):
    assert message in fails(data / "v/particles.star", *options)


def test_a_network_of_one_view_and_a_folder_of_another_command(data, fails):
    particles = data / "v/particles.star"
    assert "is a model of one view, not of classes" in fails(particles, "--model", data / "one.safetensors")
    assert "is not the folder of a finished classify run" in fails(particles, "--append-to", data / "v")


@pytest.mark.parametrize(("box", "pixel_size"), [(48, PIXEL_SIZE), (BOX, 3.0)])
def test_particles_of_another_field_of_view(data, fails, tmp_path, box, pixel_size):
    other = write(tmp_path / "other.mrcs", np.random.default_rng(1).normal(size=(20, box, box)), pixel_size)
    for options in (["--model", data / "run/model.safetensors"], ["--append-to", data / "run"]):
        message = fails(other, *options)
        assert f"{box} px at {pixel_size:g} A/px" in message
        assert f"{BOX} px at {PIXEL_SIZE:g} A/px" in message


def test_binned_particles_do_not_join(data, fails, tmp_path):
    other = write(tmp_path / "other.mrcs", np.random.default_rng(1).normal(size=(20, 2 * BOX, 2 * BOX)), PIXEL_SIZE / 2)
    message = fails(other, "--append-to", data / "run")
    assert f"images of {2 * BOX} px, the averages of {data / 'run'} are of {BOX} px" in message


def test_too_few_blank_and_impossible_images(data, fails, tmp_path):
    images = particle_images(data)
    for count in (1, 2):
        path = write(tmp_path / f"{count}.mrcs", images[:count])
        assert f"{count}.mrcs has {count} particles" in fails(path, "--classes", 1)
    assert "are constant" in fails(write(tmp_path / "flat.mrcs", np.full((20, BOX, BOX), 3.0)), "--classes", 2)
    images[7, 3, 3] = np.nan
    message = fails(write(tmp_path / "nan.mrcs", images), "--classes", 2)
    assert "nan.mrcs" in message
    assert "8" in message
    images[:] = particle_images(data)
    images[2:] = 1.5
    assert "2 particles with an image" in fails(write(tmp_path / "two.mrcs", images), "--classes", 2)


FILES = ("model.safetensors", "averages.mrcs", "half2.mrcs", "summary.json", "frc.csv", "joining_classes.json")


@pytest.mark.parametrize("damage", FILES)
def test_an_earlier_run_that_is_damaged_is_not_joined(data, fails, tmp_path, damage):
    shutil.copytree(data / "run", tmp_path / "old")
    whole = (tmp_path / "old" / damage).read_bytes()
    (tmp_path / "old" / damage).write_bytes(whole[: len(whole) // 3])
    message = fails(data / "v/particles.star", "--append-to", tmp_path / "old")
    assert f"{tmp_path / 'old' / damage} was changed" in message or f"{tmp_path / 'old' / damage} is damaged" in message


EDITS = {
    "a count that is none": ("summary.json", lambda one: one["classes"][0].update(usable=None)),
    "fewer than nothing": ("summary.json", lambda one: one["classes"][0].update(particles=-100)),
    "a few more": ("summary.json", lambda one: one["classes"][0].update(particles=one["classes"][0]["particles"] + 1)),
    "a score that is text": ("summary.json", lambda one: one["classes"][0].update(score_mean="x")),
    "batches that are text": ("summary.json", lambda one: one.update(batches="x")),
    "classes that are none": ("summary.json", lambda one: one.update(classes=None)),
    "no list of classes": ("summary.json", lambda one: one.pop("classes")),
    "noise below 0": ("joining_classes.json", lambda one: one["noise"].__setitem__(3, -1.0)),
    "a level that is no number": ("joining_classes.json", lambda one: one.update(level=["x", 1])),
    "no seal": ("joining_classes.json", lambda one: one.pop("seal")),
    "no files": ("joining_classes.json", lambda one: one.update(files={})),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_earlier_run_that_was_edited_is_not_joined(data, fails, tmp_path, edit):
    shutil.copytree(data / "run", tmp_path / "old")
    name, change = EDITS[edit]
    facts = json.loads((tmp_path / "old" / name).read_text())
    change(facts)
    (tmp_path / "old" / name).write_text(json.dumps(facts))
    assert f"{tmp_path / 'old' / name} " in fails(data / "v/particles.star", "--append-to", tmp_path / "old")


@pytest.mark.parametrize("name", ["averages.mrcs", "averages_before.mrcs", "averages_weighted.mrcs", "frc.csv"])
def test_an_earlier_run_whose_images_were_changed_is_not_joined(data, fails, tmp_path, name):
    shutil.copytree(data / "run", tmp_path / "old")
    path = tmp_path / "old" / name
    if name == "frc.csv":
        path.write_text("")
    else:
        stack = StackReader(str(path)).read()
        stack[0, 3, 3] = np.nan
        write(path, stack)
    assert f"{path} was changed" in fails(data / "v/particles.star", "--append-to", tmp_path / "old")


def result(out: Path) -> tuple[np.ndarray, object]:
    """(class of each particle, its poses)."""
    source = open_particles(str(out / "classes.star"))
    return source.table.numbers("rlnClassNumber").astype(int), source.poses()


def test_one_class_holds_all(data, tmp_path):
    assert classify(data / "v/particles.star", "-o", tmp_path / "out", "--classes", 1, *QUICK) == 0
    label, _ = result(tmp_path / "out")
    assert (label == 1).all()
    assert len(label) == COUNT


@pytest.mark.parametrize("options", [{}, {"no_refine": True}])
def test_a_particle_may_be_as_wide_as_the_box(data, options):
    words = {"classes": 2, "starts": 1, "mask_radius": 16, "gpu": "none", "threads": 1}
    found = api.classify(data / "v/particles.star", **words, **options)
    assert (np.bincount(found.label)[1:] > 4).all()


def test_particles_that_join_classes_have_the_diameter_of_the_run(data, tmp_path, capsys):
    small = tmp_path / "small"
    words = ("--classes", 2, "--mask-radius", 12, "--ctf", "none", *QUICK)
    assert classify(data / "v/particles.star", "-o", small, *words) == 0
    join = ("--append-to", small, "-o", tmp_path / "joined")
    later = write(tmp_path / "later.mrcs", particle_images(data)[:20, ::-1])  # no images of the run
    assert classify(later, *join, "--mask-radius", 14) == 1
    assert "--mask-radius is not what" in capsys.readouterr().err
    assert classify(later, *join) == 0
    found = json.loads((tmp_path / "joined/summary.json").read_text())
    assert (found["mask_radius"], found["diameter_from"]) == (12.0, "run")


@pytest.mark.parametrize("clear", [9.0, None])
def test_particles_that_join_classes_are_seen_within_the_disc_of_the_run(data, tmp_path, monkeypatch, clear):
    """Which ended where its neighbours began, whether those that come have neighbours or not."""
    shutil.copytree(data / "run", tmp_path / "old")
    path = tmp_path / "old" / "joining_classes.json"
    facts = opened(json.loads(path.read_text()))
    assert facts["clear_radius"] is None
    facts |= {"clear_radius": clear, "mask_radius": 12.0, "ctf": "none", "levels": {}}
    path.write_text(json.dumps(sealed(facts)))
    seen = []

    def aligned(run, *_):
        seen.append((run.particles.disc.clear_radius, run.particles.disc.radius))
        raise UdlError("far enough")

    monkeypatch.setattr(pipeline, "append_to_classes", aligned)
    later = write(tmp_path / "later.mrcs", particle_images(data)[:20, ::-1])
    assert classify(later, "--append-to", tmp_path / "old", "-o", tmp_path / "joined") == 1
    assert seen == [(clear or np.inf, TIGHT * 12 - 2 if clear else 12.0)]


def test_a_header_that_promises_gigabytes_takes_none(tmp_path):
    """Averages of a run whose headers tell of an extension of 2 GB that is not there."""
    write(tmp_path / "averages.mrcs", np.ones((2, 16, 16), np.float32))
    content = bytearray((tmp_path / "averages.mrcs").read_bytes())
    content[92:96] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "averages.mrcs").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UdlError, match="averages"):
        joining._stack(str(tmp_path), "averages.mrcs")
    assert tracemalloc.get_traced_memory()[1] < 10**8
    tracemalloc.stop()


def test_very_large_and_tiny_values_change_nothing(data, tmp_path):
    found = []
    for factor in (1.0, 1e30, 1e-30):
        path = write(tmp_path / "p.mrcs", factor * particle_images(data))
        words = {"model": data / "run/model.safetensors", "no_refine": True, "gpu": "none", "threads": 1}
        found.append(api.classify(path, **words))
    for one in found[1:]:
        assert np.array_equal(one.label, found[0].label)
        assert np.abs((one.angle - found[0].angle + 180) % 360 - 180).max() < 1e-3
        assert np.abs(one.shift - found[0].shift).max() < 1e-3


def test_noise_alone_ends_well_and_says_so(tmp_path):
    images = np.random.default_rng(1).normal(size=(60, 25, 25))
    assert classify(write(tmp_path / "p.mrcs", images), "-o", tmp_path / "out", "--classes", 3, *QUICK) == 0
    facts = json.loads((tmp_path / "out/summary.json").read_text())
    assert any(warning.startswith("No classes were found") for warning in facts["warnings"])
    assert facts["flagged_particles"] == 60
    assert all(one["flagged"] for one in facts["classes"])


# memory


class Short:
    """Stands for the whitening of particles, which has memory for so many at a time."""

    def __init__(self, most: int) -> None:
        self.whiten, self.most, self.seen = Whitening.of_normal, most, []

    def __call__(self, whitening: Whitening, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        if len(images) > self.most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
        return self.whiten(whitening, images)


@pytest.fixture
def short(monkeypatch):
    """Memory for 9 particles at a time."""
    short = Short(9)
    monkeypatch.setattr(Whitening, "of_normal", lambda *given: short(*given))
    return short


def test_short_memory_lowers_the_batch_and_changes_no_result(data, tmp_path, short):
    words = (data / "v/particles.star", "--classes", 3, *QUICK, "--batch", 32)
    assert classify(*words, "-o", tmp_path / "short") == 0
    assert short.seen[:3] == [32, 16, 8]
    told = [w for w in json.loads((tmp_path / "short/summary.json").read_text())["warnings"] if "Memory" in w]
    assert told == [f"Memory was not enough: it goes on with {n} particles at a time (--batch)." for n in (16, 8)]
    model = "model.safetensors"
    assert (tmp_path / "short" / model).read_bytes() == (data / "run" / model).read_bytes()
    (label, poses), (expected, others) = result(tmp_path / "short"), result(data / "run")
    assert np.array_equal(label, expected)
    assert np.array_equal(poses.angle, others.angle)


def test_memory_for_not_one_particle_ends_in_a_sentence(data, fails, short):
    short.most = 0
    assert "even for one particle at a time" in fails(data / "v/particles.star", "--classes", 3, *QUICK)


def test_blank_images_are_in_the_smallest_class_where_none_is_flagged(data, tmp_path):
    images = particle_images(data)
    images[[3, 30]] = 2.0
    assert classify(write(tmp_path / "p.mrcs", images), "-o", tmp_path / "out", "--classes", 3, *QUICK) == 0
    classes = json.loads((tmp_path / "out/summary.json").read_text())["classes"]
    assert not any(one["flagged"] for one in classes)
    label, _ = result(tmp_path / "out")
    sizes = np.bincount(label)[1:]
    assert (np.diff(sizes) <= 0).all()
    assert label[3] == label[30]
    without = np.bincount(np.delete(label, [3, 30]))[1:]
    assert without[label[3] - 1] == without.min()


def table(data: Path, path: Path, rows: list[int] | np.ndarray, blank: int = 0, unit: float = 1.001) -> Path:
    """A table, ``path``, of particles that show what these do, in another unit of grey, the last ``blank`` of them
    constant, with their defocus. They are other particles, unless the unit is 1."""
    images = unit * particle_images(data)[rows]
    images[len(rows) - blank :] = 3.0
    write(path.with_suffix(".mrcs"), images)
    optics, particles = read_tables(str(data / "v/particles.star"))
    particles = particles.rows(np.asarray(rows))
    particles.set("rlnImageName", [f"{k:06d}@{path.with_suffix('.mrcs')}" for k in range(1, len(rows) + 1)])
    write_tables(str(path), [optics, particles])
    return path


def test_a_particle_that_joins_comes_out_the_same_whatever_comes_with_it(data, tmp_path):
    """Noise, grey values and what CTF is relative to are those of the earlier run, also where a single
    particle comes, or those of the least defocus alone, or a blank image."""
    together = table(data, tmp_path / "all.star", range(COUNT))
    keep = ("--append-to", data / "run", "--keep-classes")
    assert classify(together, "-o", tmp_path / "all", *keep) == 0
    label, poses = result(tmp_path / "all")
    defocus = read_tables(str(data / "v/particles.star"))[1].numbers("rlnDefocusU")
    for items in ([5], [5, 17, 40], np.argsort(defocus)[:6]):
        few = table(data, tmp_path / "few.star", [*items, 0], blank=1)
        assert classify(few, "-o", tmp_path / "few", *keep, "--overwrite") == 0
        own, lie = result(tmp_path / "few")
        assert np.array_equal(own[:-1], label[items])
        assert np.abs((lie.angle[:-1] - poses.angle[items] + 180) % 360 - 180).max() < 1e-3
        assert np.abs(lie.shift[:-1] - poses.shift[items]).max() < 1e-3


def test_blank_images_that_join_change_no_average_before_and_are_not_in_doubt(data, tmp_path):
    blank = table(data, tmp_path / "blank.star", [0, 1], blank=2)
    assert classify(blank, "-o", tmp_path / "blank", "--append-to", data / "run") == 0
    facts, earlier = (json.loads((f / "summary.json").read_text()) for f in (tmp_path / "blank", data / "run"))
    assert facts["batches"] == 2
    for name, more in (("particles", 2), ("ambiguous", 0), ("usable", 0)):
        assert sum(one[name] for one in facts["classes"]) == sum(one[name] for one in earlier["classes"]) + more
    folders = (data / "run", tmp_path / "blank")
    before, after = (StackReader(str(folder / "averages_before.mrcs")).read() for folder in folders)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("option", [("--classes", 3), ("--training-subset", 20), ("--starts", 1), ("--no-refine",)])
def test_who_joins_learns_no_classes(data, fails, option):
    assert f"leave {option[0]} out" in fails(data / "v/particles.star", "--append-to", data / "run", *option)


def test_no_particle_joins_twice(data, fails, tmp_path):
    assert "counts twice" in fails(data / "v/particles.star", "--append-to", data / "run")
    more, others = (table(data, tmp_path / f"{unit}.star", range(4), unit=unit) for unit in (1.1, 1.2))
    assert classify(more, "-o", tmp_path / "joined", "--append-to", data / "run") == 0
    for earlier in (more, data / "v/particles.star"):
        assert "counts twice" in fails(earlier, "--append-to", tmp_path / "joined")
    for items, unit in (([3, 5], 1.0), ([1], 1.1)):
        copy = table(data, tmp_path / "copy.star", items, unit=unit)
        assert "the same image, from another file" in fails(copy, "--append-to", tmp_path / "joined")
    assert classify(others, "-o", tmp_path / "again", "--append-to", tmp_path / "joined") == 0


def test_a_run_that_is_refused_leaves_the_model_of_the_one_before(data, tmp_path, capsys):
    shutil.copytree(data / "run", tmp_path / "run")
    model = tmp_path / "run/model.safetensors"
    for words in (
        ("--max-shift", 500),
        ("--classes", 399),
        ("--training-subset", 3),
        ("--append-to", tmp_path / "run"),
    ):
        assert classify(data / "v/particles.star", "-o", tmp_path / "run", "--overwrite", *words) == 1
        assert model.read_bytes() == (data / "run/model.safetensors").read_bytes()
    assert "is the run to join" in capsys.readouterr().err


def test_a_run_goes_on_with_what_it_began_with_alone(data, tmp_path, capsys):
    shutil.copytree(data / "run", tmp_path / "run")
    words = (data / "v/particles.star", "-o", tmp_path / "run", *QUICK, "--continue")
    others = {
        "--seed": 7,
        "--high-resolution-limit": 24,
        "--mask-radius": 9,
        "--max-shift": 1,
        "--starts": 3,
        "--ctf": "none",
    }
    for other in (("--classes", 2), *(("--classes", 3, *other) for other in others.items())):
        assert classify(*words, *other) == 1
        assert "begin anew with --overwrite" in capsys.readouterr().err
    particles = table(data, tmp_path / "particles.star", range(COUNT))
    assert classify(particles, *words[1:], "--classes", 3) == 1  # of the same name, and as many
    assert "was learned from other particles" in capsys.readouterr().err
    copies = table(data, tmp_path / "moved.star", range(COUNT), unit=1.0)
    assert classify(copies, *words[1:], "--classes", 3) == 0  # a project that was moved


def test_a_value_that_no_sum_bears_is_named(data, fails, tmp_path, capsys):
    images = particle_images(data)
    images[4, 7, 7] = 3e38
    path = write(tmp_path / "p.mrcs", images)
    assert "item 5" in fails(path, "--classes", 3, *QUICK)
    capsys.readouterr()
    assert cli.main(["check", str(path)]) == 1  # which tells what would stop a run
    told = " ".join(capsys.readouterr().out.split())
    assert "Pixel values ERROR" in told
    assert "holds values beyond 1e+34" in told


def test_nothing_finer_than_asked_for_is_compared_with_a_model(data):
    words = {"model": data / "run/model.safetensors", "no_refine": True, "gpu": "none", "threads": 1}
    fine, coarse = (
        api.classify(data / "v/particles.star", **words, **more).angle for more in ({}, {"high_resolution_limit": 24})
    )
    assert not np.array_equal(fine, coarse)
