"""The benchmark of classes: every row of its table is of the view that its class says."""

import numpy as np
import pytest

from benchmarks.classes import errors, simulate_classes, text
from scipion_udl.imaging.poses import Poses, compose
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.truth import read_truth


def test_classes_come_from_their_folder_and_errors_forget_what_all_have_in_common(tmp_path):
    table = open_particles(str(simulate_classes(tmp_path, 2, 6, 32, 1.0)))
    folders = [name.split("/")[-2] for name in table.names]
    assert folders == [str(number) for number in table.classes()]
    assert sorted(folders) == ["1"] * 6 + ["2"] * 6
    assert folders != sorted(folders)  # in random order
    source = open_particles(str(tmp_path / "2" / "particles.star"))
    _, truth = read_truth(str(tmp_path / "2" / "truth.star"))
    moved = compose(Poses([30.0], [[2.0, -1.0]]), truth)
    moved.angle[0] += 12.0
    (tmp_path / "aligned").mkdir()
    write_aligned(source, moved, np.zeros(6), np.zeros(6, bool), str(tmp_path / "aligned" / "aligned.star"))
    found = errors(tmp_path / "aligned", tmp_path / "2")
    assert found["particles"] == 6
    assert found["mean"] < 4
    assert found["within_5"] == pytest.approx(5 / 6)
    row = {"class": 2, **found, "resolution": None, "mean_alone": 0.5, "resolution_alone": 7.0}
    assert "none claimed" in text([row])
    assert "0.50°, 7.0 Å" in text([row])
