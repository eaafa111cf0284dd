"""The cost of classify is told stage by stage, of particles in several stacks whose truth is known."""

from __future__ import annotations

import csv

import mrcfile
import numpy as np
import pytest

from benchmarks import scale
from benchmarks.many_views.particles import Truth
from scipion_udl.io.particles import open_particles


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of a run on 120 particles of 32 px in two stacks."""
    folder = tmp_path_factory.mktemp("scale")
    words = ["--particles", "120", "--classes", "3", "--box", "32", "--snr", "1", "--chunk", "70", "--threads", "1"]
    assert scale.main([str(folder), *words]) == 0
    return folder


def test_particles_lie_in_several_stacks_of_half_precision(out):
    folder = out / scale.Case(120, 3, 32, 1.0).folder
    source, truth = open_particles(str(folder / "particles.star")), Truth.read(folder)
    assert [reader.count for reader in source.stacks] == [70, 50]
    assert list(source.names) == list(truth.names)
    with mrcfile.open(source.stacks[1].path, permissive=True) as mrc:
        assert mrc.data.dtype == np.float16
        assert np.array_equal(mrc.data[7].astype(np.float32), source.read([77])[0])
    one, other = (source.read(rows) for rows in (np.arange(50), 70 + np.arange(50)))
    assert np.abs(one - other).min((1, 2)).max() < np.abs(one - other).max()  # other noise, other views
    assert not np.array_equal(one, other)


def test_stages_add_up_to_the_run_and_figures_are_those_of_its_classes(out):
    (row,) = csv.DictReader((out / "scale.csv").open(newline=""))
    assert row["build"] == "this"
    assert 0 < sum(float(row[name]) for name in scale.STAGES) <= float(row["wall_s"])
    assert float(row["cpu_ms_particle"]) == pytest.approx(1000 * float(row["cpu_s"]) / 120, abs=0.01)
    stacks = 120 * 32 * 32 * 2 / 1e6
    assert float(row["read_mb"]) > stacks
    assert 0 < float(row["median"]) < 60
    assert (out / "scale.md").read_text().count("\n") == 3


def test_stages_of_a_log(tmp_path):
    lines = [
        "12 particles of 8 px",
        "Learning 2 classes from",
        "Classes at 9 A",
        "Classes at 6 A",
        "Aligning 2 classes",
    ]
    log = tmp_path / "run.log"
    log.write_text("".join(f"[ {k:4d}.0 s] {line}\n" for k, line in zip((1, 3, 6, 10, 15), lines)) + "Results  here\n")
    assert scale.stages(log, 21.5) == {"first look": 2.0, "learning": 7.0, "sorting": 5.0, "alignment": 6.5}


def test_a_sweep_changes_one_number_at_a_time():
    first = scale.Case(2000, 20, 64, 0.1)
    assert scale.cases(first, False) == [first]
    for case in scale.cases(first, True)[1:]:
        changed = [a != b for a, b in zip(vars(first).values(), vars(case).values())]
        assert sum(changed) == 1
    assert len(scale.cases(first, True)) == 9
