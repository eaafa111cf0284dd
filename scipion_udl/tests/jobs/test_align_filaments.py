"""`align --helix`: polarity, psi and place along the axis of segments of a helix, and the table in RELION."""

import json
import shutil
import subprocess

import mrcfile
import numpy as np
import pytest

from scipion_udl.cli import program
from scipion_udl.imaging.poses import wrap
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.io.truth import read_truth
from scipion_udl.simulation import helices
from scipion_udl.simulation.helices import DIAMETER, RISE

BOX, PIXEL = 64, 4.0
FILAMENT = ["--helix", "--rise", str(RISE * BOX * PIXEL), "--tube-diameter", str(DIAMETER * BOX * PIXEL)]
QUIET = ["--gpu", "none", "--threads", "1"]


def simulated(folder, snr, count=240):
    options = ["--phantom", "tail", "--count", count, "--snr", snr, "--box", BOX, "--pixel-size", PIXEL, "--shift", 3]
    assert program.main(["simulate", str(folder), *map(str, options)]) == 0
    return folder / "particles.star"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filaments")
    particles = simulated(folder / "set", 0.02)
    assert program.main(["align", str(particles), "-o", str(folder / "out"), *FILAMENT, *QUIET]) == 0
    return folder


def against_truth(folder):
    """Poses found and true (N) in one frame: the same way round, origins in register up to a rise."""
    found = open_particles(str(folder / "out" / "aligned.star")).poses()
    true = read_truth(str(folder / "set" / "truth.star"))[1]
    if (np.abs(wrap(found.angle - true.angle)) > 90).mean() > 0.5:  # which end points to +x is arbitrary
        found.angle, found.shift = wrap(found.angle + 180), -found.shift
    return found, true


def lies_along_x(path):
    """Whether an average is a band across the box from left to right."""
    image = mrcfile.read(str(path)).reshape(BOX, BOX).astype(np.float64)
    power, third = (image - np.median(image)) ** 2, BOX // 3
    return power[third:-third].sum() > 1.5 * power[:, third:-third].sum()


def test_polarity_and_psi_are_right(run):
    found, true = against_truth(run)
    error = wrap(found.angle - true.angle)
    assert (np.abs(error) < 90).mean() > 0.95
    assert np.sqrt(np.mean(wrap(error, 180.0) ** 2)) < 2  # less than the error of the priors


def test_segments_are_in_register_and_never_moved_by_more_than_half_the_rise(run):
    found, true = against_truth(run)
    rise = RISE * BOX
    assert np.abs(found.shift[:, 0]).max() <= rise / 2 + 1e-6
    off = found.shift[:, 0] - true.shift[:, 0]
    phase = np.angle(np.exp(2j * np.pi * off / rise).mean()) * rise / (2 * np.pi)
    assert (np.abs(wrap(off - phase, rise)) < rise / 4).mean() > 0.95  # by chance one half


def test_the_average_lies_along_x(run):
    assert lies_along_x(run / "out" / "average.mrcs")


def test_columns_of_tubes_stay_as_they_are(run):
    before, after = (
        next(t for t in read_tables(str(path)) if t.name == "particles")
        for path in (run / "set" / "particles.star", run / "out" / "aligned.star")
    )
    labels = [label for label in before.columns if "Prior" in label or "Flip" in label or "Helical" in label]
    assert len(labels) == 5
    assert all(before.columns[label] == after.columns[label] for label in labels)


def test_priors_that_are_not_used_are_told_of(tmp_path, capsys):
    table = str(simulated(tmp_path / "set", 1, count=24))
    assert program.main(["align", table, "-o", str(tmp_path / "out"), *QUIET]) == 0
    told = capsys.readouterr()
    assert "psi priors" in told.out + told.err
    assert "--helix" in told.out + told.err


@pytest.mark.parametrize("options", [["--mirror"], ["--no-refine"], ["--reference", "template.mrc"], ["--rise", "1"]])
def test_what_does_not_go_with_filaments_is_refused(run, options, capsys):
    options = [str(run / "set" / word) if word.endswith(".mrc") else word for word in options]
    table = str(run / "set" / "particles.star")
    assert program.main(["align", table, "-o", str(run / "no"), "--helix", *options, *QUIET]) != 0
    assert options[0] in capsys.readouterr().err


def test_nothing_is_joined_to_a_run_of_filaments(run, tmp_path, capsys):
    table = str(simulated(tmp_path / "later", 1, count=24))
    assert program.main(["align", table, "-o", str(tmp_path / "out"), "--append-to", str(run / "out"), *QUIET]) != 0
    assert "was aligned with --helix" in capsys.readouterr().err


def test_a_helix_of_one_view_is_not_taken_for_mixed_views(tmp_path, monkeypatch):
    monkeypatch.setattr(helices, "TWIST", 0.0)
    monkeypatch.setattr(
        helices.HelixSimulation, "show", lambda self, rows, poses: self.template.project(np.zeros(len(rows)), poses)
    )
    table = simulated(tmp_path / "set", 0.1, count=600)
    assert program.main(["align", str(table), "-o", str(tmp_path / "out"), *FILAMENT, *QUIET]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["codes"] == []
    assert 8 <= summary["resolution"] < RISE * BOX * PIXEL


def known_polarity(folder, snr):
    """A table whose priors tell which way round each tube lies."""
    table = simulated(folder / "set", snr, count=96)
    tables, true = read_tables(str(table)), read_truth(str(folder / "set" / "truth.star"))[1]
    psi = np.array([float(text) for text in tables[1].texts("rlnAnglePsiPrior")])
    psi = np.where(np.abs(wrap(psi - true.angle)) > 90, wrap(psi + 180), psi)
    tables[1].set("rlnAnglePsiPrior", [f"{value:.6f}" for value in psi])
    tables[1].set("rlnAnglePsiFlipRatio", "0.000000")
    write_tables(str(folder / "set" / "known.star"), tables)
    return folder / "set" / "known.star"


def test_a_polarity_that_is_known_stays(tmp_path):
    table = known_polarity(tmp_path, 0.01)
    assert program.main(["align", str(table), "-o", str(tmp_path / "out"), *FILAMENT, *QUIET]) == 0
    found, true = against_truth(tmp_path)
    assert (np.abs(wrap(found.angle - true.angle)) < 90).all()


def test_options_of_filaments_alone_are_refused(run, capsys):
    table = str(run / "set" / "particles.star")
    assert program.main(["align", table, "-o", str(run / "no"), "--rise", "40", *QUIET]) != 0
    assert "--helix" in capsys.readouterr().err


def test_a_table_without_priors_is_refused(tmp_path, capsys):
    assert program.main(["simulate", str(tmp_path / "set"), "--count", "20", "--box", "32"]) == 0
    table = str(tmp_path / "set" / "particles.star")
    assert program.main(["align", table, "-o", str(tmp_path / "out"), "--helix", *QUIET]) != 0
    assert "rlnAnglePsiPrior" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("relion_refine"), reason="RELION is not installed")
def test_relion_classifies_helical_segments_of_the_table_and_turns_them_as_we_do(run, tmp_path):
    command = ["relion_refine", "--i", run / "out" / "aligned.star", "--o", tmp_path / "run", "--iter", 1, "--K", 1]
    command += ["--helix", "--helical_outer_diameter", DIAMETER * BOX * PIXEL, "--bimodal_psi", "--sigma_psi", 1]
    command += ["--helical_rise_initial", RISE * BOX * PIXEL, "--particle_diameter", 240, "--psi_step", 12]
    command += ["--ctf", "--ctf_phase_flipped", "--pad", 1, "--dont_check_norm", "--offset_range", 2, "--j", 1]
    done = subprocess.run([*map(str, command)], cwd=run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert lies_along_x(tmp_path / "run_it001_classes.mrcs")
