"""Simulated segments of filaments: the helix's own symmetry, its two ends, and what the table says of the tubes."""

import numpy as np
import pytest

from scipion_udl.cli import program
from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import number, read_tables
from scipion_udl.io.truth import read_truth
from scipion_udl.simulation.helices import APART, FOLD, PER_TUBE, PRIOR_ERROR, TWIST, Helix, HelixSimulation


def alike(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_a_rise_and_a_twist_leave_the_helix_as_it_is():
    helix = Helix(64)
    here = helix.project(np.array([10.0]), Poses(np.zeros(1)))
    onward = helix.project(np.array([10.0 + TWIST]), Poses(np.zeros(1), np.array([[-helix.rise, 0.0]])))
    assert alike(here, onward) > 0.9999
    assert alike(here, helix.project(np.array([10.0 + 360 / FOLD]), Poses(np.zeros(1)))) > 0.9999
    assert alike(here, helix.project(np.array([10.0 + TWIST]), Poses(np.zeros(1)))) < 0.999


def test_its_ends_differ():
    helix = Helix(64)
    image, turned = helix.image(), helix.image()[::-1, ::-1]
    rise = int(np.ceil(helix.rise))
    assert max(alike(image, np.roll(turned, (1, k), (0, 1))) for k in range(-rise, rise + 1)) < 0.95


def test_segments_lie_near_their_priors_and_rings_near_their_centres():
    simulation = HelixSimulation(Helix(64), 600, 0.1, 4.0, max_shift=3.0)
    off = np.abs(simulation.poses.shift)
    assert off[:, 0].max() <= simulation.template.rise / 2
    assert off[:, 1].max() <= 3
    turned = wrap(simulation.poses.angle - simulation._prior, 180.0)
    assert np.std(turned) == pytest.approx(PRIOR_ERROR, rel=0.1)
    tubes = simulation.backward.reshape(-1, PER_TUBE)
    assert (tubes == tubes[:, :1]).all()
    assert 0.2 < tubes[:, 0].mean() < 0.8


def test_the_table_tells_of_tubes_as_relion_does(tmp_path):
    out = tmp_path / "set"
    options = ["--phantom", "tail", "--count", "30", "--box", "32", "--pixel-size", "8", "--shift", "2"]
    assert program.main(["simulate", str(out), *options]) == 0
    table = next(t for t in read_tables(str(out / "particles.star")) if t.name == "particles")
    tube, length, psi = (
        np.array([number(text) for text in table.texts(label)])
        for label in ("rlnHelicalTubeID", "rlnHelicalTrackLengthAngst", "rlnAnglePsiPrior")
    )
    rise = Helix(32).rise * 8
    assert tube.tolist() == [1] * PER_TUBE + [2] * PER_TUBE + [3] * (30 - 2 * PER_TUBE)
    assert np.allclose(length, np.arange(30) % PER_TUBE * APART * rise, atol=1e-4)
    assert set(table.texts("rlnAngleTiltPrior")) == {"90.000000"}
    assert set(table.texts("rlnAnglePsiFlipRatio")) == {"0.500000"}
    names, poses = read_truth(str(out / "truth.star"))[:2]
    assert np.abs(wrap(poses.angle - psi, 180.0)).max() < 5 * PRIOR_ERROR
    assert len(open_particles(str(out / "particles.star"))) == len(names) == 30


def test_a_realistic_helix_is_refused_in_a_sentence(tmp_path, capsys):
    assert program.main(["simulate", str(tmp_path / "set"), "--phantom", "tail", "--realistic"]) != 0
    assert "--realistic" in capsys.readouterr().err
