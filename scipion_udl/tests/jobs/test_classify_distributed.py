"""Two processes that classify together find the classes of one."""

from __future__ import annotations

import csv

import numpy as np
import pytest

pytest.importorskip("torch")

import mrcfile

from scipion_udl.io import dialects
from scipion_udl.io.tables import read_tables
from scipion_udl.tests.engine_helpers import run, summary
from scipion_udl.tests.fork_helpers import ALONE, run_all, two_processes


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(folder of one process, of two, their printing): 160 particles of all views in four classes."""
    folder = tmp_path_factory.mktemp("classified")
    made = ["simulate", folder / "p", "--views", "random", "--phantom", "crane", "--count", 160, "--box", 32]
    assert run(*made, "--snr", 1, "--shift", 2, "--seed", 3) == 0
    words = ["classify", str(folder / "p" / "particles.star"), "--classes", "4", "--starts", "1", *ALONE]
    run_all([[*words, "-o", str(folder / "one")]])
    printed = two_processes(folder, run_all, [[*words, "-o", str(folder / "two")]])
    return folder / "one", folder / "two", printed


def particles_of(folder):
    tables = read_tables(str(folder / "classes.star"))
    return dialects.find_particles(str(folder / "classes.star"), tables)[0]


def test_every_particle_is_in_the_same_class(both):
    one, two = (particles_of(folder) for folder in both[:2])
    assert one.texts("rlnImageName") == two.texts("rlnImageName")
    assert np.array_equal(one.numbers("rlnClassNumber"), two.numbers("rlnClassNumber"))
    assert len(set(one.numbers("rlnClassNumber"))) > 1


def test_poses_averages_and_figures_are_those_of_one_process(both):
    one, two = (particles_of(folder) for folder in both[:2])
    for name in ("rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"):
        assert np.abs(one.numbers(name) - two.numbers(name)).max() < 0.01
    first, second = (mrcfile.read(folder / "averages.mrcs") for folder in both[:2])
    assert np.abs(first - second).max() < 1e-3 * np.abs(first).max()
    rows = [list(csv.DictReader((folder / "classes.csv").read_text("utf-8").splitlines())) for folder in both[:2]]
    for name in ("class", "particles", "resolution", "flagged"):
        assert [row[name] for row in rows[0]] == [row[name] for row in rows[1]]
    assert len({summary(folder)["classes_supported"] for folder in both[:2]}) == 1


def test_one_of_them_writes_and_speaks(both):
    folder, (out, _) = both[1], both[2]
    assert out.count("Results ") == 1
    assert {path.name for path in both[0].iterdir()} == {path.name for path in folder.iterdir()}
