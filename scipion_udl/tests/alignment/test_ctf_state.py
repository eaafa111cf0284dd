"""Flipped, signed, or none: what the table says, what was asked for, and what the images tell."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl import api
from scipion_udl.alignment.averages import apply_poses
from scipion_udl.alignment.ctf_state import is_clear
from scipion_udl.imaging.poses import pose_errors
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.tests.engine_helpers import (
    PIXEL_SIZE,
    align_images,
    apart,
    ctf_asked,
    run,
    simulate,
    true_poses,
)

COUNT, BOX, SNR = 160, 48, 0.35
XMIPP = {"rlnDefocusU": "ctfDefocusU", "rlnDefocusV": "ctfDefocusV", "rlnCtfBfactor": "ctfBfactor"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("transfer")


@pytest.fixture(scope="module")
def flipped(folder):
    """Phase-flipped particles, their table says so."""
    return simulate(folder / "flipped", COUNT, BOX, SNR, max_shift=2.0)


@pytest.fixture(scope="module")
def signed(folder):
    """The same particles as the microscope left them, their table says so."""
    return simulate(folder / "signed", COUNT, BOX, SNR, max_shift=2.0, ctf=CtfSettings(signed=True))


@pytest.fixture(scope="module")
def model(flipped):
    return api.train(flipped / "particles.star", epochs=3, gpu="none", threads=1)


def rewritten(particles, path, says=None, shuffled=False):
    """The table of particles with another word on flipping (None: with none), or with defocus values mixed up."""
    lines = (particles / "particles.star").read_text().splitlines()
    label = next(k for k, line in enumerate(lines) if line.startswith("_rlnCtfDataArePhaseFlipped"))
    row = next(k for k, line in enumerate(lines) if line.split()[:1] and line.split()[0].startswith("opticsGroup1_"))
    values = lines[row].split()[:-1]
    lines[row] = " ".join(values if says is None else [*values, says])
    if says is None:
        lines[label] = ""
    if shuffled:
        rows = [k for k, line in enumerate(lines) if "@" in line]
        fields = [lines[k].split() for k in rows]
        order = np.random.default_rng(0).permutation(len(rows))
        for k, own, other in zip(rows, fields, order):
            lines[k] = " ".join([*own[:2], *fields[other][2:]])
    path.write_text("\n".join(lines) + "\n")
    return path


def without_a_word(particles, path, shuffled=False):
    """An XMD of the particles: Xmipp's tables do not say whether phases were flipped."""
    source = open_particles(str(rewritten(particles, path.with_suffix(".star"), "1", shuffled)))
    table = Table("noname", {"image": source.names})
    for relion, xmipp in XMIPP.items():
        table.set(xmipp, source.table.columns[relion])
    for label, value in {"ctfVoltage": "300", "ctfSphericalAberration": "2.7", "ctfQ0": "0.07"}.items():
        table.set(label, value)
    write_tables(str(path), [table], xmipp=True)
    return path


def ctf(notes):
    (note,) = (note for note in notes if note.startswith("CTF: "))
    return note


def aligned(images, **options):
    """The alignment of particles that lie off centre by up to 2 px."""
    return align_images(images, max_shift=3, **options)


def texts(found):
    return [warning.text for warning in found.warnings]


@pytest.fixture(scope="module")
def of_flipped(flipped, model):
    return aligned(flipped / "particles.star", model=model)


@pytest.fixture(scope="module")
def of_signed(signed, model):
    return aligned(signed / "particles.star", model=model)


def test_the_table_is_believed(of_flipped, of_signed):
    assert "phase-flipped particles" in ctf(of_flipped.notes)
    assert "the signed CTF" in ctf(of_signed.notes)
    for found in (of_flipped, of_signed):
        assert "as the table says" in ctf(found.notes)
        assert not [text for text in texts(found) if "--ctf" in text]


def test_signed_particles_are_aligned_as_well_as_flipped_ones(flipped, signed, of_flipped, of_signed):
    errors = [
        np.abs(pose_errors(found.poses, true_poses(folder)).rotation).mean()
        for found, folder in ((of_flipped, flipped), (of_signed, signed))
    ]
    assert errors[1] < 1.15 * errors[0]


def test_signed_particles_reach_the_resolution_of_flipped_ones(of_flipped, of_signed):
    assert of_signed.resolution == pytest.approx(of_flipped.resolution, rel=0.1)


def test_the_average_stays_the_plain_mean(of_signed):
    """Of signed particles it lacks what the corrected one has."""
    images = torch.from_numpy(of_signed.source.read(np.arange(COUNT)))
    mean = apply_poses(images, torch.zeros(COUNT), of_signed.poses).mean(0).numpy()
    assert np.corrcoef(mean.ravel(), of_signed.average.ravel())[0, 1] > 0.999


def test_the_images_tell_where_the_table_does_not(signed, of_signed, model, tmp_path):
    """Where nobody says, particles are taken as phase-flipped at first: these are aligned anew."""
    found = aligned(without_a_word(signed, tmp_path / "silent.xmd"), model=model, pixel_size=PIXEL_SIZE)
    assert "the signed CTF" in ctf(found.notes)
    assert "as the images tell" in ctf(found.notes)
    angle, shift = apart(found.poses, of_signed.poses)
    assert angle < 1e-3
    assert shift < 1e-3


def test_images_that_say_what_was_assumed_change_nothing(flipped, tmp_path):
    state, told = asked(without_a_word(flipped, tmp_path / "silent.xmd"), flipped)
    assert "phase-flipped particles" in state.note()
    assert "as the images tell" in state.note()
    assert not told


def asked(table, folder):
    """(state, what was told) of the table's particles, asked in their true poses."""
    return ctf_asked(open_particles(str(table), PIXEL_SIZE), true_poses(folder))


@pytest.mark.parametrize("kind", ["flipped", "signed"])
def test_a_star_without_a_word_means_not_flipped(kind, request, tmp_path):
    """As RELION reads it; the images may only contradict."""
    folder = request.getfixturevalue(kind)
    state, told = asked(rewritten(folder, tmp_path / "silent.star"), folder)
    assert "the signed CTF (the table says nothing of flipped phases)" in state.note()
    warned = [text for text in told if "--ctf" in text]
    assert len(warned) == (kind == "flipped")
    assert all("they look phase-flipped: its word stands; if it is wrong, give --ctf flipped" in w for w in warned)


@pytest.fixture(scope="module")
def without(flipped, model):
    """The flipped particles without regard to the CTF, within a disc that else is found through it."""
    return aligned(flipped / "particles.star", model=model, ctf="none", mask_radius=15)


def test_defocus_values_of_other_particles_are_left_out(flipped, model, without, tmp_path):
    table = without_a_word(flipped, tmp_path / "mixed.xmd", shuffled=True)
    found = aligned(table, model=model, pixel_size=PIXEL_SIZE, mask_radius=15)
    assert "not taken into account" in ctf(found.notes)
    assert any("do not fit the images" in text for text in texts(found))
    angle, shift = apart(found.poses, without.poses)
    assert angle < 1e-3
    assert shift < 1e-3


@pytest.mark.parametrize(("kind", "says", "give"), [("flipped", "0", "flipped"), ("signed", "1", "signed")])
def test_a_table_that_says_the_contrary_is_believed_with_a_warning(kind, says, give, request, tmp_path):
    folder = request.getfixturevalue(kind)
    state, told = asked(rewritten(folder, tmp_path / "wrong.star", says), folder)
    assert "as the table says" in state.note()
    assert {"0": "the signed CTF", "1": "phase-flipped particles"}[says] in state.note()
    assert any(f"--ctf {give}" in text for text in told)


def test_what_is_asked_for_is_done(signed, of_signed, model, tmp_path):
    found = aligned(rewritten(signed, tmp_path / "wrong.star", "1"), model=model, ctf="signed")
    assert "as was asked for" in ctf(found.notes)
    assert apart(found.poses, of_signed.poses)[0] < 1e-3


def test_without_defocus_it_is_as_with_ctf_none(flipped, model, without):
    bare = aligned(flipped / "particles.mrcs", model=model, mask_radius=15)
    assert not [note for note in bare.notes if "CTF: " in note]
    assert np.abs(bare.poses.angle - without.poses.angle).max() < 1e-3


@pytest.mark.parametrize("mode", ["flipped", "signed"])
def test_a_transfer_that_the_table_does_not_give_is_an_error(flipped, tmp_path, capsys, mode):
    assert run("align", flipped / "particles.mrcs", "-o", tmp_path / "out", "--ctf", mode) == 1
    assert f"--ctf {mode} needs the defocus" in capsys.readouterr().err


def test_a_few_odd_particles_speak_clearly_for_nothing():
    gain = torch.zeros(200)
    gain[0] = 100  # one particle
    assert not is_clear(gain)
    assert is_clear(torch.full((200,), 0.5) + 0.1 * torch.randn(200, generator=torch.Generator().manual_seed(0)))
    assert not is_clear(torch.full((200,), 0.01))  # sure, and of no account
