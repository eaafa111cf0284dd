"""Particles of one set whose images hold their CTF in different ways, or whose defocus is not known: each
is taken by its own row and optics group, and nobody else pays for it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl import api
from scipion_udl.alignment.ctf_state import CtfState
from scipion_udl.imaging.ctf import evaluate_ctf
from scipion_udl.imaging.fourier import to_fourier, to_images
from scipion_udl.imaging.poses import Poses, pose_errors
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.pipelines import align_set
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.tests.engine_helpers import PIXEL_SIZE, align_images, apart, ctf_asked, simulate, true_poses

COUNT, BOX, SNR = 128, 48, 0.2
VIEW, NOISE, JUNK_BOX = 56, 60, 32
FLAGS = ("rlnCtfDataArePhaseFlipped", "rlnCtfDataAreCtfPremultiplied")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("groups")


@pytest.fixture(scope="module")
def halves(folder):
    """Two sets of the same view, by how their images hold the transfer: as the microscope leaves them, flipped, and
    multiplied by it; each of the three shows the same particles with the same noise."""
    found = {}
    for number in (1, 2):
        more = {"seed": number, "max_shift": 3.0}
        signed = simulate(folder / f"signed{number}", COUNT, BOX, SNR, ctf=CtfSettings(signed=True), **more)
        found["signed", number] = signed
        found["flipped", number] = simulate(folder / f"flipped{number}", COUNT, BOX, SNR, **more)
        source = open_particles(str(signed / "particles.star"))
        images = torch.from_numpy(source.read(np.arange(COUNT)))
        ctf = evaluate_ctf(read_defocus(source), BOX, PIXEL_SIZE)
        path = folder / f"multiplied{number}"
        path.mkdir()
        write_stack(str(path / "particles.mrcs"), to_images(to_fourier(images) * ctf, BOX).numpy(), PIXEL_SIZE)
        found["multiplied", number] = path
    return found


@pytest.fixture(scope="module")
def model(halves):
    return api.train(halves["signed", 1] / "particles.star", epochs=3, gpu="none", threads=1)


@pytest.fixture(scope="module")
def joined(folder, halves):
    """Writes a set of both halves, each of its kind and in an optics group of its own that says so, or says what
    ``says`` does; returns (table, truth)."""

    def make(name, kinds, says=None):
        place = folder / name
        place.mkdir()
        optics, rows, truth = None, None, None
        for number, kind in enumerate(kinds, 1):
            own_optics, own = read_tables(str(halves["signed", number] / "particles.star"))
            said = kind if says is None else says[number - 1]
            own_optics.set("rlnOpticsGroup", str(number))
            for label, meaning in zip(FLAGS, ("flipped", "multiplied")):
                own_optics.set(label, str(int(said == meaning)))
            own.set("rlnOpticsGroup", str(number))
            (known,) = read_tables(str(halves["signed", number] / "truth.star"))
            stack = place / f"{number}.mrcs"  # the same name in all sets, for names deal out the half sets
            stack.symlink_to(halves[kind, number] / "particles.mrcs")
            for table in (own, known):
                table.set("rlnImageName", [f"{k + 1:06d}@{stack}" for k in range(COUNT)])
            parts = ((optics, own_optics), (rows, own), (truth, known))
            optics, rows, truth = (new if old is None else together(old, new) for old, new in parts)
        write_tables(str(place / "particles.star"), [optics, rows])
        write_tables(str(place / "truth.star"), [truth])
        return place

    return make


def together(one, other):
    return Table(one.name, {label: one.columns[label] + other.columns[label] for label in one.columns})


@pytest.fixture(scope="module")
def aligned(model):
    """Aligns a set, with one disc for all sets: by default it is found through the CTF."""
    return lambda place: align_images(place / "particles.star", model=model, mask_radius=22, max_shift=4)


def error(found, place):
    """(mean error of the rotation in degrees, share the right way round) against the truth of a set."""
    off = np.abs(pose_errors(found.poses, true_poses(place)).rotation)
    return float(np.minimum(off, 180 - off).mean()), float((off < 90).mean())


@pytest.fixture(scope="module")
def alike(joined, aligned):
    """(what was found in the set with one convention for all, its error in degrees)"""
    place = joined("alike", ("signed", "signed"))
    found = aligned(place)
    return found, error(found, place)[0]


def note(notes):
    (found,) = (text for text in notes if text.startswith("CTF: "))
    return found


def texts(found):
    return [warning.text for warning in found.warnings]


@pytest.mark.parametrize("kinds", [("flipped", "multiplied"), ("multiplied", "multiplied")])
def test_images_of_any_kind_are_aligned_as_well_as_those_of_one(kinds, joined, aligned, alike, tmp_path):
    place = joined("_".join(kinds), kinds)
    found = aligned(place)
    off, right = error(found, place)
    assert right == 1
    assert off < 1.05 * alike[1]
    assert found.resolution == pytest.approx(alike[0].resolution, rel=0.06)
    assert not [text for text in texts(found) if "--ctf" in text]
    words = {"flipped": "phase-flipped", "multiplied": "multiplied by their CTF"}
    assert all(words[kind] in note(found.notes) for kind in kinds)
    found.to_star(tmp_path / "aligned.star")
    written, read = (read_tables(str(path))[1] for path in (tmp_path / "aligned.star", place / "particles.star"))
    assert all(written.columns[label] == column for label, column in read.columns.items())
    optics = [read_tables(str(path))[0].columns for path in (tmp_path / "aligned.star", place / "particles.star")]
    assert all(optics[0][label] == optics[1][label] for label in FLAGS)


@pytest.mark.parametrize(
    ("kinds", "says", "words"),
    [
        (("signed", "signed"), ("flipped", "signed"), "look not phase-flipped: its word stands; if it is wrong, give"),
        (("flipped", "signed"), ("signed", "flipped"), "look the other way about"),
    ],
)
def test_a_wrong_flag_of_a_group_stands_and_is_told(kinds, says, words, joined):
    """Asked of particles in their true poses."""
    place = joined("wrong_" + "_".join((*kinds, *says)), kinds, says)
    state, told = ctf_asked(open_particles(str(place / "particles.star")), true_poses(place))
    (warning,) = (text for text in told if "word stands" in text)
    assert words in warning
    assert "as the table says" in state.note()


def test_one_row_without_defocus_leaves_the_others_theirs(halves, aligned, folder):
    """They come out as in a set without that row."""
    place, value, outcomes, errors = folder / "lacks", "-999.0", [], []
    others = np.delete(np.arange(COUNT), 7)
    true = true_poses(halves["signed", 1])
    for name in ("with", "without"):
        own = place / name
        own.mkdir(parents=True)
        optics, rows = read_tables(str(halves["signed", 1] / "particles.star"))
        if name == "with":
            for label in ("rlnDefocusU", "rlnDefocusV"):
                rows.columns[label] = [value if k == 7 else text for k, text in enumerate(rows.columns[label])]
        else:
            rows = rows.rows(others)
        write_tables(str(own / "particles.star"), [optics, rows])
        outcomes.append(aligned(own))
        there = np.arange(COUNT) if name == "with" else others
        errors.append(np.abs(pose_errors(outcomes[-1].poses, true[there]).rotation).mean())
    found, expected = outcomes
    (warning,) = (text for text in texts(found) if "defocus" in text)
    assert f"no defocus for 1 of {COUNT} particles (the first: item 8, 000008@" in warning
    assert "the signed CTF" in note(found.notes)
    assert found.resolution == pytest.approx(expected.resolution, rel=0.06)  # a ring
    rotation, shift = apart(found.poses[others], expected.poses)
    assert rotation < 1.0  # a quarter of what they are off the truth at most
    assert shift < 0.2
    assert errors[0] < 1.03 * errors[1]
    found.to_star(place / "aligned.star")
    assert open_particles(str(place / "aligned.star")).table.columns["rlnDefocusU"][7] == value


@pytest.fixture(scope="module")
def with_junk(folder):
    """Two XMD that do not say whether phases were flipped (they were not), the second with the poses that particles
    have: the largest class is noise."""
    place = folder / "junk"
    place.mkdir()
    noise = np.random.default_rng(5).normal(size=(NOISE, JUNK_BOX, JUNK_BOX)).astype(np.float32)
    write_stack(str(place / "noise.mrcs"), noise, PIXEL_SIZE)
    names, u, number, poses = [], [], [], []
    for which, view in enumerate(("hook", "clamp"), 2):
        more = {"seed": 1, "max_shift": 1.0, "ctf": CtfSettings(signed=True)}
        rows = read_tables(str(simulate(place / view, VIEW, JUNK_BOX, 0.3, view, **more) / "particles.star"))[1]
        poses.append(true_poses(place / view))
        # Of one name in two folders, they would be dealt out to halves by where these lie.
        shutil.move(place / view / "particles.mrcs", place / f"{view}.mrcs")
        names += [f"{k + 1:06d}@{place / view}.mrcs" for k in range(VIEW)]
        u += rows.texts("rlnDefocusU")
        number += [str(which)] * VIEW
    names += [f"{k + 1:06d}@{place / 'noise.mrcs'}" for k in range(NOISE)]
    u += [u[k % len(u)] for k in range(NOISE)]
    table = Table("noname", {"image": names, "ctfDefocusU": u, "ctfDefocusV": u, "ref": number + ["1"] * NOISE})
    for label, value in {"Voltage": "300", "SphericalAberration": "2.7", "Q0": "0.07", "Bfactor": "50"}.items():
        table.set(f"ctf{label}", value)
    write_tables(str(place / "particles.xmd"), [table], xmipp=True)
    lie = np.zeros(len(names)), np.zeros((len(names), 2))
    lie[0][: 2 * VIEW] = np.concatenate([one.angle for one in poses])
    lie[1][: 2 * VIEW] = np.concatenate([one.shift for one in poses])
    none = np.zeros(len(names), bool)
    source = open_particles(str(place / "particles.xmd"), PIXEL_SIZE)
    write_aligned(source, Poses(*lie), np.zeros(len(names)), none, xmd=str(place / "given.xmd"))
    return place


def test_a_class_of_junk_does_not_settle_it_for_the_others(with_junk, monkeypatch):
    monkeypatch.setattr(align_set, "ENOUGH", NOISE)  # so few are told to be noise here
    asked, settle = [], CtfState.settle
    monkeypatch.setattr(CtfState, "settle", lambda state, names: settle(state, [asked.append(n) or n for n in names]))
    found = align_images(with_junk / "given.xmd", pixel_size=PIXEL_SIZE, by_class=True, max_shift=1, start_poses=True)
    assert [one.figures["signal_found"] for one in found.classes] == [False, None, None]
    assert asked == ["Class 2: ", "Class 3: "]
    assert "the signed CTF (as the images tell)" in note(found.notes)


def test_nor_does_it_in_classify(with_junk):
    options = {"pixel_size": PIXEL_SIZE, "classes": 4, "max_shift": 1, "gpu": "none", "threads": 1}
    found = api.classify(with_junk / "particles.xmd", **options)
    assert "the signed CTF (as the images tell)" in note(found.notes)


def test_a_star_that_is_silent_means_signed_in_classify_and_is_not_warned_of_where_it_is_right(halves, folder):
    place = folder / "silent"
    place.mkdir()
    optics, rows = read_tables(str(halves["signed", 1] / "particles.star"))
    optics.drop(FLAGS)
    write_tables(str(place / "particles.star"), [optics, rows])
    found = api.classify(place / "particles.star", classes=2, max_shift=4, gpu="none", threads=1)
    assert "the signed CTF (the table says nothing of flipped phases)" in note(found.notes)
    assert not [text for text in texts(found) if "--ctf" in text]
