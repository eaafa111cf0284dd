"""Flipped, signed, or none: what the table says, what was asked for, and what the images tell."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.ctf_mode import is_clear
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.tests.engine_helpers import difference, errors_to_truth, run, simulate, summary

COUNT, BOX, SNR = 192, 64, 0.2
XMIPP = {"rlnDefocusU": "ctfDefocusU", "rlnDefocusV": "ctfDefocusV", "rlnCtfBfactor": "ctfBfactor"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("transfer")


@pytest.fixture(scope="module")
def flipped(folder):
    """Phase-flipped particles, their table says so."""
    return simulate(folder / "flipped", COUNT, BOX, SNR)


@pytest.fixture(scope="module")
def signed(folder):
    """The same particles as the microscope left them, their table says so."""
    return simulate(folder / "signed", COUNT, BOX, SNR, ctf=CtfSettings(signed=True))


@pytest.fixture(scope="module")
def model(folder, flipped):
    assert run("train", flipped / "particles.star", "-o", folder / "model", "--epochs", "3") == 0
    return folder / "model" / "model.safetensors"


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


def aligned(table, out, model, *more):
    assert run("align", table, "-o", out, "--model", model, *more) == 0
    return out


def transfer(out):
    (note,) = (note for note in summary(out)["notes"] if note.startswith("CTF: "))
    return note


@pytest.fixture(scope="module")
def of_flipped(folder, flipped, model):
    return aligned(flipped / "particles.star", folder / "of_flipped", model)


@pytest.fixture(scope="module")
def of_signed(folder, signed, model):
    return aligned(signed / "particles.star", folder / "of_signed", model)


def test_the_table_is_believed(of_flipped, of_signed):
    assert "phase-flipped particles" in transfer(of_flipped)
    assert "the signed CTF" in transfer(of_signed)
    for out in (of_flipped, of_signed):
        assert "as the table says" in transfer(out)
        assert not [text for text in summary(out)["warnings"] if "--ctf" in text]


def test_signed_particles_are_aligned_as_well_as_flipped_ones(flipped, signed, of_flipped, of_signed):
    errors = [
        np.abs(errors_to_truth(out / "aligned.star", folder).rotation).mean()
        for out, folder in ((of_flipped, flipped), (of_signed, signed))
    ]
    assert errors[1] < 1.15 * errors[0]


def test_signed_particles_reach_the_resolution_of_flipped_ones(of_flipped, of_signed):
    claims = [summary(out)["resolution"] for out in (of_flipped, of_signed)]
    assert claims[1] == pytest.approx(claims[0], rel=0.1)


def test_the_average_stays_the_plain_mean(of_signed, signed):
    """Of signed particles it lacks what the corrected one has."""
    from scipion_udl.alignment.averages import apply_poses
    from scipion_udl.io.stacks import StackReader

    source = open_particles(str(of_signed / "aligned.star"))
    images = torch.from_numpy(source.read(np.arange(COUNT)))
    mean = apply_poses(images, torch.zeros(COUNT), source.poses()).mean(0).numpy()
    found = StackReader(str(of_signed / "average.mrcs")).read(np.arange(1))[0]
    assert np.corrcoef(mean.ravel(), found.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("kind", ["flipped", "signed"])
def test_the_images_tell_where_the_table_does_not(kind, request, model, tmp_path):
    table = without_a_word(request.getfixturevalue(kind), tmp_path / "silent.xmd")
    out = aligned(table, tmp_path / "out", model)
    assert {"flipped": "phase-flipped particles", "signed": "the signed CTF"}[kind] in transfer(out)
    assert "as the images tell" in transfer(out)
    angle, shift = difference(out / "aligned.star", request.getfixturevalue(f"of_{kind}") / "aligned.star")
    assert angle < 1e-3
    assert shift < 1e-3


@pytest.mark.parametrize("kind", ["flipped", "signed"])
def test_a_star_without_a_word_means_not_flipped(kind, request, model, tmp_path):
    """As RELION reads it; the images may only contradict."""
    out = aligned(rewritten(request.getfixturevalue(kind), tmp_path / "silent.star"), tmp_path / "out", model)
    assert "the signed CTF (the table says nothing of flipped phases)" in transfer(out)
    warned = [text for text in summary(out)["warnings"] if "--ctf" in text]
    assert len(warned) == (kind == "flipped")
    assert all("they look phase-flipped: its word stands; if it is wrong, give --ctf flipped" in w for w in warned)


def test_defocus_values_of_other_particles_are_left_out(flipped, model, tmp_path):
    disc = ("--mask-radius", 20)  # which else is found through the CTF
    out = aligned(without_a_word(flipped, tmp_path / "mixed.xmd", shuffled=True), tmp_path / "out", model, *disc)
    assert "not taken into account" in transfer(out)
    assert any("do not fit the images" in text for text in summary(out)["warnings"])
    plain = aligned(flipped / "particles.star", tmp_path / "plain", model, "--ctf", "none", *disc)
    angle, shift = difference(out / "aligned.star", plain / "aligned.star")
    assert angle < 1e-3
    assert shift < 1e-3


@pytest.mark.parametrize(("kind", "says", "give"), [("flipped", "0", "flipped"), ("signed", "1", "signed")])
def test_a_table_that_says_the_contrary_is_believed_with_a_warning(kind, says, give, request, model, tmp_path):
    out = aligned(rewritten(request.getfixturevalue(kind), tmp_path / "wrong.star", says), tmp_path / "out", model)
    assert "as the table says" in transfer(out)
    assert any(f"--ctf {give}" in text for text in summary(out)["warnings"])


def test_what_is_asked_for_is_done(signed, of_signed, model, tmp_path):
    out = aligned(rewritten(signed, tmp_path / "wrong.star", "1"), tmp_path / "out", model, "--ctf", "signed")
    assert "as was asked for" in transfer(out)
    angle, _ = difference(out / "aligned.star", of_signed / "aligned.star")
    assert angle < 1e-3


def test_without_defocus_it_is_as_with_ctf_none(flipped, model, tmp_path):
    bare = aligned(flipped / "particles.mrcs", tmp_path / "bare", model)
    assert not [note for note in summary(bare)["notes"] if "CTF: " in note]
    none = aligned(flipped / "particles.star", tmp_path / "none", model, "--ctf", "none")
    found, expected = (open_particles(str(out / "aligned.star")).poses() for out in (bare, none))
    assert np.abs(found.angle - expected.angle).max() < 1e-3


@pytest.mark.parametrize("mode", ["flipped", "signed"])
def test_a_transfer_that_the_table_does_not_give_is_an_error(flipped, model, tmp_path, capsys, mode):
    assert run("align", flipped / "particles.mrcs", "-o", tmp_path / "out", "--model", model, "--ctf", mode) == 1
    assert f"--ctf {mode} needs the defocus" in capsys.readouterr().err


def test_a_few_odd_particles_speak_clearly_for_nothing():
    gain = torch.zeros(200)
    gain[0] = 100  # one particle
    assert not is_clear(gain)
    assert is_clear(torch.full((200,), 0.5) + 0.1 * torch.randn(200, generator=torch.Generator().manual_seed(0)))
    assert not is_clear(torch.full((200,), 0.01))  # sure, and of no account
