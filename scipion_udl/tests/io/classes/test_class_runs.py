"""Classifications on disk: which table is meant, and where its averages lie."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.io.classes.class_runs import average_places, class_table, read_averages
from scipion_udl.io.stacks import write_stack


def stack(path, count=3):
    """Images that say by their grey value where they lie, from 1."""
    write_stack(str(path), np.ones((count, 4, 4)) * np.arange(1, count + 1)[:, None, None], 1.0)
    return str(path)


def test_a_folder_is_its_table_and_a_model_the_particles_beside_it(tmp_path):
    for name in ("classes.star", "run_it025_data.star"):
        (tmp_path / name).write_text("")
    assert class_table(str(tmp_path)) == str(tmp_path / "classes.star")
    for ending in ("model", "optimiser"):
        assert class_table(str(tmp_path / f"run_it025_{ending}.star")) == str(tmp_path / "run_it025_data.star")
    assert class_table("any.xmd") == "any.xmd"
    with pytest.raises(UdlError, match=r"run_it024_data\.star, which would, is not there"):
        class_table(str(tmp_path / "run_it024_model.star"))


def test_averages_of_a_run_are_those_that_its_summary_tells_of(tmp_path):
    stack(tmp_path / "averages.mrcs")
    told = [{"class": 4, "image": 1}, {"class": 5, "image": None}, {"class": 9, "image": 3}]
    (tmp_path / "summary.json").write_text(json.dumps({"classes": told, "left_out": {}}))
    found = read_averages(average_places(str(tmp_path / "selected.star"), [4, 5, 7, 9]))
    assert {number: image[0, 0] for number, image in found.items()} == {4: 1, 9: 3}
    assert average_places(str(tmp_path / "run_data.star"), [1, 2]) == {}  # which numbers its classes anew
    (tmp_path / "summary.json").write_text("{}")
    assert average_places(str(tmp_path / "selected.star"), [4]) == {}


@pytest.mark.parametrize(
    ("table", "images"),
    [("run_it025_data.star", "run_it025_classes.mrcs"), ("J7_020_particles.cs", "J7_020_class_averages.mrc")],
)
def test_averages_of_relion_and_cryosparc_stand_beside_their_particles_in_the_order_of_the_classes(
    tmp_path, table, images
):
    assert average_places(str(tmp_path / table), [1]) == {}
    path = stack(tmp_path / images)
    assert average_places(str(tmp_path / table), [0, 1, 3, 4]) == {1: (path, 0), 3: (path, 2)}
