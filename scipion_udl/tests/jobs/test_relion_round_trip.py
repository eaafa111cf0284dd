"""Simulate, align, let RELION transform the particles by aligned.star, average: the same image as our average.

For tables of RELION 3.0 and 3.1 form, even and odd boxes, with and without the alignment of an earlier program.
"""

import shutil
import subprocess

import numpy as np
import pytest

from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.tests.engine_helpers import align_images, simulate

pytestmark = pytest.mark.skipif(not shutil.which("relion_stack_create"), reason="RELION is not installed")

COUNT = 3
STALE = {"rlnAnglePsi": "77.0", "rlnAngleTilt": "0.0", "rlnAngleRot": "0.0"}
ORIGIN = {"3.0": ("rlnOriginX", "rlnOriginY"), "3.1": ("rlnOriginXAngst", "rlnOriginYAngst")}


def as_30(optics, particles):
    """A 3.1 table as RELION 3.0 has it: microscope and pixel size in every row."""
    columns = dict(particles.columns)
    del columns["rlnOpticsGroup"]
    for label in ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"):
        columns[label] = optics.columns[label] * COUNT
    columns["rlnMagnification"] = ["10000"] * COUNT
    columns["rlnDetectorPixelSize"] = optics.columns["rlnImagePixelSize"] * COUNT
    return Table("", columns)


def write_input(simulation, path, form, stale):
    """The particles of a simulation as a table of this form, with or without an earlier alignment."""
    optics, table = read_tables(str(simulation / "particles.star"))
    if stale:
        for label, text in {**STALE, **dict(zip(ORIGIN[form], ("4.5", "-3.25")))}.items():
            table.set(label, text)
    write_tables(str(path), [as_30(optics, table)] if form == "3.0" else [optics, table])


@pytest.fixture(scope="module", params=[40, 41], ids=["even box", "odd box"])
def aligned(request, tmp_path_factory):
    """(simulation, what aligned it: an even box as a 3.0 table that was aligned before, an odd one as it came)."""
    folder = tmp_path_factory.mktemp("run")
    simulation = simulate(folder / "sim", COUNT, request.param, 20.0, max_shift=3.0)
    even = request.param % 2 == 0
    write_input(simulation, folder / "in.star", "3.0" if even else "3.1", stale=even)
    return simulation, align_images(folder / "in.star", max_shift=4)


@pytest.mark.parametrize("stale", [False, True], ids=["new", "aligned before"])
@pytest.mark.parametrize("form", ["3.0", "3.1"])
def test_relion_averages_to_our_average(aligned, tmp_path, form, stale):
    simulation, found = aligned
    write_input(simulation, tmp_path / "in.star", form, stale)
    source = open_particles(str(tmp_path / "in.star"))
    star = tmp_path / "aligned.star"
    write_aligned(source, found.poses, np.ones(COUNT), np.zeros(COUNT, bool), star=str(star))
    read = open_particles(str(star)).poses()
    assert np.abs(Poses(read.angle - found.poses.angle).angle).max() < 1e-4
    assert np.abs(read.shift - found.poses.shift).max() < 1e-4
    tables = read_tables(str(star))
    assert len(tables) == (1 if form == "3.0" else 2)
    assert set(ORIGIN[form]) < set(tables[-1].columns)
    assert not set(ORIGIN["3.1" if form == "3.0" else "3.0"]) & set(tables[-1].columns)
    command = ["relion_stack_create", "--i", "aligned.star", "--o", "turned", "--apply_transformation"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    rotated = StackReader(str(tmp_path / "turned.mrcs")).read().mean(0)
    before = source.read(np.arange(COUNT)).mean(0)
    assert np.corrcoef(rotated.ravel(), found.average.ravel())[0, 1] >= 0.99
    assert np.corrcoef(before.ravel(), found.average.ravel())[0, 1] < 0.9  # it was not there from the start
