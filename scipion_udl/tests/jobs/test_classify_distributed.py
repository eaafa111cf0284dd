"""Processes that classify together find the classes of one, and end together."""

from __future__ import annotations

import csv
import os
import signal
from functools import partial

import numpy as np
import pytest

pytest.importorskip("torch")

import mrcfile

from scipion_udl.classification.em import ClassFit
from scipion_udl.constants import MODEL
from scipion_udl.io import dialects
from scipion_udl.io.tables import read_tables
from scipion_udl.pipelines import classify_set
from scipion_udl.tests.engine_helpers import run, summary
from scipion_udl.tests.fork_helpers import ALONE, launched, processes, run_all

MOST_DIFFER = 0.001  # share of the particles: of 150 none
# Which process is killed, and where: while classes are learned, and once the network is there.
KILLED = {"learning": (1, ClassFit, "level"), "alignment": (0, classify_set, "deal_classes")}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The command without the output folder: 150 particles of all views in four classes."""
    folder = tmp_path_factory.mktemp("particles") / "p"
    made = ["simulate", folder, "--views", "random", "--phantom", "crane", "--count", 150, "--box", 32]
    assert run(*made, "--snr", 1, "--shift", 2, "--seed", 3) == 0
    return ["classify", str(folder / "particles.star"), "--classes", "4", "--starts", "1", *ALONE, "-o"]


@pytest.fixture(scope="module")
def one(words, tmp_path_factory):
    """The folder of a process alone."""
    folder = tmp_path_factory.mktemp("classified") / "one"
    run_all([[*words, str(folder)]])
    return folder


@pytest.fixture(scope="module", params=[2, 3])
def several(request, words, tmp_path_factory):
    """(folder of two or three processes, their printing)."""
    folder = tmp_path_factory.mktemp("classified")
    printed = processes(folder, run_all, [[*words, str(folder / "run")]], count=request.param)
    return folder / "run", printed


def particles_of(folder):
    tables = read_tables(str(folder / "classes.star"))
    return dialects.find_particles(str(folder / "classes.star"), tables)[0]


def assert_same_classes(first, second):
    first, second = particles_of(first), particles_of(second)
    assert first.texts("rlnImageName") == second.texts("rlnImageName")
    labels, others = first.numbers("rlnClassNumber"), second.numbers("rlnClassNumber")
    assert np.mean(labels != others) <= MOST_DIFFER
    assert len(set(labels)) > 1


def test_every_particle_is_in_the_same_class(one, several):
    assert_same_classes(one, several[0])


def test_poses_averages_and_figures_are_those_of_one_process(one, several):
    tables = particles_of(one), particles_of(several[0])
    for name in ("rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"):
        assert np.abs(tables[0].numbers(name) - tables[1].numbers(name)).max() < 0.01
    folders = one, several[0]
    first, second = (mrcfile.read(folder / "averages.mrcs") for folder in folders)
    assert np.abs(first - second).max() < 1e-3 * np.abs(first).max()
    rows = [list(csv.DictReader((folder / "classes.csv").read_text("utf-8").splitlines())) for folder in folders]
    for name in ("class", "particles", "resolution", "flagged"):
        assert [row[name] for row in rows[0]] == [row[name] for row in rows[1]]
    assert len({summary(folder)["classes_supported"] for folder in folders}) == 1


def test_one_of_them_writes_and_speaks(one, several):
    folder, (out, _) = several
    assert out.count("Results ") == 1
    assert {path.name for path in one.iterdir()} == {path.name for path in folder.iterdir()}


def die(victim, place, name, rank):
    """Have the process ``victim`` killed as soon as it comes to a function of ``place``."""
    assert hasattr(place, name)
    if rank == victim:
        setattr(place, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))


@pytest.mark.parametrize("stage", KILLED)
def test_a_killed_process_ends_all_in_a_sentence_and_continuing_comes_to_the_same_classes(stage, words, one, tmp_path):
    folder = tmp_path / "run"
    code, err = launched(tmp_path, [*words, str(folder)], 3, partial(die, *KILLED[stage]))
    said = f"process {KILLED[stage][0] + 1} of 3 was ended by signal 9 (out of memory?), and the others with it"
    network = stage == "alignment"  # is there to go on from
    said += f"; what was done is kept in {folder}: --continue goes on from there" if network else ""
    assert [line for line in err.splitlines() if line.startswith("scipion-udl")] == [f"scipion-udl classify: {said}"]
    assert code == 1
    assert (folder / MODEL).exists() == network
    assert not (folder / "classes.star").exists()
    processes(tmp_path, run_all, [[*words, str(folder), "--continue"]], count=3)
    assert_same_classes(one, folder)
