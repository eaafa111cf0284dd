"""Particles that come later: each is aligned by itself to an earlier run, and the averages grow."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment import aligner
from scipion_udl.imaging.poses import Poses, pose_errors
from scipion_udl.io.output.seal import sealed
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.io.truth import read_truth
from scipion_udl.models.checkpoint import load_model, save_model
from scipion_udl.tests.engine_helpers import (
    CPU,
    PIXEL_SIZE,
    correlation,
    errors_to_truth,
    image,
    named_poses,
    rms,
    run,
    simulate,
    subset_star,
    summary,
)
from scipion_udl.tests.particles.test_extent import particles as crowded

COUNT, BEFORE = 80, 300


@pytest.fixture(scope="module")
def later(particles, tmp_path_factory):
    """80 more particles of the view that ``particles`` show, in a folder of this process alone."""
    return simulate(tmp_path_factory.mktemp("joining") / "later", COUNT, 64, 0.1, seed=11)


@pytest.fixture(scope="module")
def joined(aligned, later):
    """These, joined to the alignment of the first ones."""
    out = later.parent / "joined"
    assert run("align", later / "particles.star", "-o", out, "--append-to", aligned, "--write-stack") == 0
    return out


@pytest.fixture(scope="module")
def in_batches(aligned, later):
    """The folders of the same particles, joined in three batches, one after the other, in another order."""
    folders, pool = [], aligned
    for number, rows in enumerate(np.array_split(np.random.default_rng(0).permutation(COUNT), [1, 40])):
        star = subset_star(later, later / f"batch{number}.star", rows)
        folders.append(later.parent / f"batch{number}")
        assert run("align", star, "-o", folders[-1], "--append-to", aligned, "--pool", pool) == 0
        pool = folders[-1]
    return folders


@pytest.fixture(scope="module")
def odd_aligned(tmp_path_factory):
    """The alignment of a few particles of 33 px."""
    folder = simulate(tmp_path_factory.mktemp("odd") / "particles", 3, 33, 5.0, max_shift=1)
    assert run("align", folder / "particles.star", "-o", folder.parent / "aligned", "--max-shift", 2) == 0
    return folder.parent / "aligned"


def scores(out):
    table = next(table for table in read_tables(str(out / "aligned.star")) if "rlnImageName" in table)
    return table.numbers("rlnParticleFigureOfMerit")


def poses_in_batches(folders):
    return {name: pose for folder in folders for name, pose in named_poses(folder / "aligned.star").items()}


def complaint(capsys, *arguments):
    """What `align` says of arguments that it does not take."""
    assert run("align", *arguments) == 1
    return capsys.readouterr().err


def test_a_pose_does_not_depend_on_what_comes_with_it(joined, in_batches):
    one, three = named_poses(joined / "aligned.star"), poses_in_batches(in_batches)
    assert one.keys() == three.keys() and len(one) == COUNT
    difference = np.array([three[name] for name in one]) - np.array(list(one.values()))
    assert np.abs(Poses(difference[:, 0]).angle).max() < 1e-3
    assert np.abs(difference[:, 1:]).max() < 1e-3


def test_joined_particles_are_as_accurate_as_those_of_the_run(particles, aligned, later, joined):
    errors = errors_to_truth(joined / "aligned.star", later)
    own = errors_to_truth(aligned / "aligned.star", particles)
    assert np.abs(errors.rotation).max() < 5
    assert np.abs(errors.rotation).mean() < 1.25 * np.abs(own.rotation).mean()
    assert rms(errors) < 1.25 * rms(own)


def test_joined_particles_lie_in_the_frame_of_the_run(particles, aligned, later, joined):
    found, true = [], []
    for folder, out in ((particles, aligned), (later, joined)):
        poses = named_poses(out / "aligned.star")
        names, truth = read_truth(str(folder / "truth.star"))
        found += [poses[name] for name in names]
        true += list(zip(truth.angle, *truth.shift.T))
    found, true = np.array(found), np.array(true)
    errors = pose_errors(Poses(found[:, 0], found[:, 1:]), Poses(true[:, 0], true[:, 1:]))
    # The turn and shift common to all were taken out together: those that were joined are not off by another one.
    assert abs(errors.rotation[BEFORE:].mean()) < 0.25
    assert np.abs(errors.shift[BEFORE:].mean(0)).max() < 0.08


def test_averages_are_of_all_particles_so_far(particles, aligned, later, joined):
    stack, first = StackReader(str(joined / "aligned.mrcs")).read(), StackReader(str(aligned / "aligned.mrcs")).read()
    expected = (stack.sum(0) + first.sum(0)) / (COUNT + BEFORE)
    assert np.allclose(image(joined / "average.mrcs"), expected, atol=1e-4)
    raw = [StackReader(str(folder / "particles.mrcs")).read() for folder in (particles, later)]
    assert np.allclose(image(joined / "average_before.mrcs"), np.concatenate(raw).mean(0), atol=1e-5)
    disc = np.hypot(*(np.indices((64, 64)) - 32)) < 25
    for half in ("half1", "half2"):
        assert 0.9 < correlation(image(joined / f"{half}.mrcs"), image(aligned / f"{half}.mrcs"), disc) < 0.999
    halves = (image(joined / "half1.mrcs") + image(joined / "half2.mrcs")) / 2
    assert correlation(halves, image(joined / "average.mrcs"), disc) > 0.97


def test_averages_do_not_depend_on_the_batches(joined, in_batches):
    for name in ("average", "average_before", "average_weighted", "half1", "half2"):
        assert np.allclose(image(joined / f"{name}.mrcs"), image(in_batches[-1] / f"{name}.mrcs"), atol=1e-4), name
    one, last = summary(joined), summary(in_batches[-1])
    assert one["resolution"] == pytest.approx(last["resolution"], rel=1e-3)
    assert (one["particles"], last["particles"]) == (COUNT, 40)
    assert one["pooled_particles"] == last["pooled_particles"] == COUNT + BEFORE
    assert (one["batches"], last["batches"]) == (2, 4)


def test_more_particles_resolve_more(aligned, joined):
    before, after = (np.loadtxt(out / "frc.csv", delimiter=",", skiprows=1)[:, 2] for out in (aligned, joined))
    near = (before > 0.3) & (before < 0.9)
    assert near.any()
    assert after[near].mean() > before[near].mean()
    assert summary(joined)["resolution"] < summary(aligned)["resolution"]


def test_scores_can_be_compared_with_those_of_the_run(aligned, later, joined):
    facts = summary(aligned)
    own = scores(aligned)
    assert facts["score_median"] == pytest.approx(np.median(own), abs=1e-5)
    assert facts["score_mad"] == pytest.approx(np.median(np.abs(own - np.median(own))), abs=1e-5)
    assert abs(np.median(scores(joined)) - facts["score_median"]) < facts["score_mad"]


def test_particles_that_are_none_score_far_below_all_others(aligned, later, tmp_path):
    table = later / "particles.star"
    random = np.random.default_rng(2)
    write_stack(str(tmp_path / "noise.mrcs"), random.normal(size=(20, 64, 64)).astype(np.float32), PIXEL_SIZE)
    text = subset_star(later, tmp_path / "noise.star", range(20)).read_text()
    (tmp_path / "noise.star").write_text(text.replace(str(table.parent / "particles.mrcs"), "noise.mrcs"))
    assert run("align", tmp_path / "noise.star", "-o", tmp_path / "out", "--append-to", aligned) == 0
    facts = summary(aligned)
    assert (scores(tmp_path / "out") < facts["score_median"] - 3 * 1.4826 * facts["score_mad"]).all()


def test_a_network_that_knows_nothing_does_no_harm(aligned, later, joined, tmp_path):
    network, card = load_model(str(aligned / "model.safetensors"), CPU)
    torch.manual_seed(0)
    save_model(str(tmp_path / "model.safetensors"), type(network)(**network.config), card)
    few = subset_star(later, tmp_path / "few.star", range(30))
    options = ("-o", tmp_path / "out", "--append-to", aligned, "--model", tmp_path / "model.safetensors")
    assert run("align", few, *options) == 0
    assert summary(tmp_path / "out")["network_only"]["within_5_degrees"] < 0.9  # it did not know them
    errors = np.abs(errors_to_truth(tmp_path / "out" / "aligned.star", later).rotation)
    known = named_poses(joined / "aligned.star")
    names = named_poses(tmp_path / "out" / "aligned.star")
    rotations = np.abs(Poses(np.array([pose[0] - known[name][0] for name, pose in names.items()])).angle)
    assert errors.max() < 5
    assert np.median(rotations) < 0.01  # most find the very same place
    assert rotations.max() < 1  # and all a place as good


def test_without_a_network_or_ctf_and_one_by_one(particles, later, tmp_path):
    stacks = {"first": StackReader(str(particles / "particles.mrcs")).read()[:10]}
    stacks["one"] = StackReader(str(later / "particles.mrcs")).read()[5:6]
    stacks["blank"] = np.full((2, 64, 64), 3.0)
    for name, images in stacks.items():
        write_stack(str(tmp_path / f"{name}.mrcs"), images.astype(np.float32), PIXEL_SIZE)
    first = tmp_path / "first"
    assert run("align", tmp_path / "first.mrcs", "-o", first, "--max-shift", 6) == 0
    assert run("align", tmp_path / "one.mrcs", "-o", tmp_path / "one", "--append-to", first) == 0
    assert (
        run("align", tmp_path / "blank.mrcs", "-o", tmp_path / "b", "--append-to", first, "--pool", tmp_path / "one")
        == 0
    )
    found = next(iter(named_poses(tmp_path / "one" / "aligned.star").values()))
    _, truth = read_truth(str(later / "truth.star"))
    frame = errors_frame(first, particles)
    rotation = Poses(np.array([found[0] - truth.angle[5] - frame])).angle[0]
    assert abs(rotation) < 5
    assert list(named_poses(tmp_path / "b" / "aligned.star").values()) == [(0.0, 0.0, 0.0)] * 2
    facts = summary(tmp_path / "b")
    assert (facts["pooled_particles"], facts["resolution"]) == (13, None)
    assert np.isfinite(image(tmp_path / "b" / "average.mrcs")).all()


def errors_frame(out, folder):
    """The turn, degrees, by which the frame of a run lies from that of the truth."""
    poses = [pose[0] for pose in named_poses(out / "aligned.star").values()]
    _, truth = read_truth(str(folder / "truth.star"))
    return float(np.degrees(np.angle(np.exp(1j * np.radians(poses - truth.angle[: len(poses)])).mean())))


def test_what_does_not_fit_is_said(aligned, particles, later, in_batches, odd_aligned, tmp_path, capsys):
    star, out = later / "particles.star", tmp_path / "out"
    for options, expected in (
        (("--append-to", later), "holds no alignment that particles can be joined to"),
        (("--append-to", odd_aligned), "have 33 px at 3 A/px, those of"),
        (("--append-to", aligned, "--mask-radius", 20), "--mask-radius is not what"),
        (("--append-to", aligned, "--ctf", "signed"), "is not what"),
        (("--append-to", aligned, "--no-refine"), "does not go with --append-to"),
        (("--append-to", aligned, "--truth", particles / "truth.star"), "does not go with --append-to"),
        (("--append-to", aligned, "--pool", odd_aligned), "was not joined to"),
        (("--pool", aligned), "give --append-to RUN, too"),
        (("--append-to", aligned, "--pool", in_batches[0]), "is among the particles of"),
    ):
        assert expected in complaint(capsys, star, "-o", out, *options), options
    assert "and 299 more are among the particles" in complaint(
        capsys, particles / "particles.star", "-o", out, "--append-to", aligned
    )
    again = later / "batch0.star"  # of which neither run nor batch before tells in its tables
    assert f"is among the particles of {in_batches[-1]} or of those that it was pooled with already" in complaint(
        capsys, again, "-o", out, "--append-to", aligned, "--pool", in_batches[-1]
    )
    assert "gives no defocus for them" in complaint(capsys, later / "particles.mrcs", "-o", out, "--append-to", aligned)
    assert not out.exists()


def test_a_run_whose_files_were_lost_is_refused(aligned, later, tmp_path, capsys):
    star, broken = later / "particles.star", tmp_path / "broken"
    shutil.copytree(aligned, broken)
    options = (star, "-o", tmp_path / "out", "--append-to", broken)
    (broken / "model.safetensors").unlink()
    assert "give it with --model" in complaint(capsys, *options)
    (broken / "half2.mrcs").unlink()
    assert "half2.mrcs is missing" in complaint(capsys, *options)
    facts = json.loads((broken / "joining.json").read_text())
    shutil.copy(aligned / "half2.mrcs", broken)
    shutil.copy(aligned / "model.safetensors", broken)
    changes = (
        {"max_shift": 1e9},
        {"mask_radius": float("nan")},
        {"clear_radius": 0.0},
        {"clear_radius": "far"},
        {"noise": facts["noise"][:3]},
        {"half_counts": [0, 0]},
        {"half_counts": [-20, 21]},
        {"power": None},
        {"levels": {}},
        {"finest": 0},
        {"score_weight": facts["score_weight"][:-1]},
        {"particles": "many"},
        {"model": 5},
        {"places": facts["places"][:-3]},
        {"places": ""},
        {"images": None},
        {"files": {}},
    )
    del facts["seal"]
    texts = [json.dumps(sealed(facts | change)) for change in changes]
    edited = [json.dumps(facts), json.dumps(sealed(facts) | {"particles": facts["particles"] + 1}), json.dumps([facts])]
    for text in (*texts, *edited, json.dumps({"box": facts["box"]}), "[" * 100000, ""):
        (broken / "joining.json").write_text(text)
        said = complaint(capsys, *options)
        assert "damaged, or" in said and "of another version" in said and "joining.json" in said, text[:200]
    (broken / "joining.json").write_text(json.dumps(sealed(facts)))
    for name in ("half1.mrcs", "average_before.mrcs"):
        whole = (broken / name).read_bytes()
        changed = bytearray(whole)
        changed[5000:5004] = b"\x00\x00\xc0\x7f"  # NaN
        (broken / name).write_bytes(changed)
        assert f"{name} was changed since the run wrote it" in complaint(capsys, *options)
        (broken / name).write_bytes(whole)
    network, card = load_model(str(broken / "model.safetensors"), CPU)
    save_model(str(broken / "model.safetensors"), network, replace(card, contrast="unknown"))
    assert "is not the model any more" in complaint(capsys, *options)
    assert not (tmp_path / "out").exists()


def test_the_pixel_size_of_the_run_is_asked_for(aligned, later, tmp_path, capsys):
    write_stack(str(tmp_path / "other.mrcs"), StackReader(str(later / "particles.mrcs")).read()[:2], 2.0)
    assert open_particles(str(tmp_path / "other.mrcs")).pixel_size == 2.0
    said = complaint(capsys, tmp_path / "other.mrcs", "-o", tmp_path / "out", "--append-to", aligned)
    assert "bring them to the same box and pixel size" in said


# the same particle under another name


@pytest.fixture
def spelled(particles, later, tmp_path, monkeypatch):
    """Call it with a way to spell names: a table of four of the particles of the first run, and two new ones, in a
    project of its own, which is the current folder."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    stack, new = str(particles / "particles.mrcs"), str(later / "particles.mrcs")
    os.symlink(particles, "linked")
    shutil.copy(stack, "moved.mrcs")
    shutil.copy(stack, "without.mrc")
    with open(stack, "rb") as file, gzip.open("packed.mrcs.gz", "wb", 1) as packed:
        shutil.copyfileobj(file, packed)
    names = {
        "absolute": lambda k: f"{k:06d}@{stack}",
        "relative": lambda k: f"{k:06d}@{os.path.relpath(stack)}",
        "with a point": lambda k: f"{k:06d}@./{os.path.relpath(stack)}",
        "by a link": lambda k: f"{k:06d}@linked/particles.mrcs",
        "without zeros": lambda k: f"{k}@{stack}",
        "of a stack for Xmipp": lambda k: f"{k}@{stack}:mrcs",
        "of a copy": lambda k: f"{k}@moved.mrcs",
        "of a copy by another ending": lambda k: f"{k}@without.mrc:mrcs",
        "of a packed copy": lambda k: f"{k}@packed.mrcs.gz",
    }

    def write(how):
        rows = [0, 1, 3, 299, 17, 5]
        optics, table = read_tables(str(particles / "particles.star"))
        table = table.rows(rows)
        table.set("rlnImageName", [f"1@{new}", f"2@{new}", *(names[how](row + 1) for row in rows[2:])])
        write_tables("spelled.star", [optics, table])
        return "spelled.star"

    return write


SPELLINGS = (
    "absolute",
    "relative",
    "with a point",
    "by a link",
    "without zeros",
    "of a stack for Xmipp",
    "of a copy",
    "of a copy by another ending",
    "of a packed copy",
)


@pytest.mark.parametrize("how", SPELLINGS)
def test_no_particle_counts_twice_under_another_name(aligned, spelled, capsys, how):
    said = complaint(capsys, spelled(how), "-o", "out", "--append-to", aligned)
    assert "and 3 more are among the particles of" in said
    assert "item 3" in said  # the first two are new
    assert not os.path.exists("out")


def test_other_particles_of_the_same_names_are_no_copies(particles, aligned, later, tmp_path, monkeypatch):
    """Every project has an Extract/particles.mrcs: what a name says depends on where it is read."""
    for folder, source in (("one", particles), ("two", later)):
        (tmp_path / folder / "Extract").mkdir(parents=True)
        shutil.copy(source / "particles.mrcs", tmp_path / folder / "Extract")
    for folder, count, more in (("one", 3, ("--max-shift", 5)), ("two", 2, ("--append-to", "../one/out"))):
        monkeypatch.chdir(tmp_path / folder)
        rows = "".join(f"{k + 1}@Extract/particles.mrcs\n" for k in range(count))
        (tmp_path / folder / "p.star").write_text(f"data_\n\nloop_\n_rlnImageName #1\n{rows}")
        assert run("align", "p.star", "-o", "out", *more) == 0
    assert summary(tmp_path / "two" / "out")["pooled_particles"] == 5


def test_going_on_with_other_particles_or_options_is_refused(particles, aligned, later, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(aligned, out)
    again = ("-o", out, "--continue", "--write-stack")
    (tmp_path / "particles").mkdir()
    images = StackReader(str(particles / "particles.mrcs")).read()
    images[[7, 8]] = images[[8, 7]]
    write_stack(str(tmp_path / "particles" / "particles.mrcs"), images, PIXEL_SIZE)
    text = (particles / "particles.star").read_text().replace(str(particles), str(tmp_path / "particles"))
    (tmp_path / "particles" / "particles.star").write_text(text)
    assert "was learned from other particles" in complaint(capsys, tmp_path / "particles" / "particles.star", *again)
    star = particles / "particles.star"
    for option in (
        ("--high-resolution-limit", 20),
        ("--mask-radius", 20),
        ("--method", "udl"),
        ("--seed", 99),
        ("--ctf", "none"),
    ):
        said = complaint(capsys, star, *again, *option)
        assert "begin anew with --overwrite" in said, option


def test_joined_particles_are_seen_within_the_discs_of_the_run(model, tmp_path, monkeypatch):
    """Neighbours that narrowed the disc of a crowded set narrow it for the particles that come later, few as they are
    and without any neighbours, too."""
    crowd, few = (
        crowded(n, snr_height=2.0, neighbours=share, seed=seed).numpy()
        for n, share, seed in ((32, 0.8, 1), (6, 0.0, 2))
    )
    write_stack(str(tmp_path / "crowd.mrcs"), crowd, PIXEL_SIZE)
    write_stack(str(tmp_path / "few.mrcs"), few, PIXEL_SIZE)
    discs = []
    align = aligner.Aligner.__init__

    def begin(self, particles, *arguments, **named):
        discs.append((particles.disc.mask, particles.disc.radius))
        align(self, particles, *arguments, **named)

    monkeypatch.setattr(aligner.Aligner, "__init__", begin)
    first = tmp_path / "first"
    assert run("align", tmp_path / "crowd.mrcs", "-o", first, "--model", model, "--max-shift", 3) == 0
    left = json.loads((first / "joining.json").read_text())
    assert left["clear_radius"] == pytest.approx(20, abs=5)
    assert run("align", tmp_path / "few.mrcs", "-o", tmp_path / "joined", "--append-to", first) == 0
    assert discs[0][1] < left["mask_radius"]
    assert torch.equal(discs[0][0], discs[1][0])
    assert json.loads((tmp_path / "joined" / "joining.json").read_text())["clear_radius"] == left["clear_radius"]
