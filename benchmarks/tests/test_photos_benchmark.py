"""The benchmark on photographs: errors by the photograph that a pair is from, and parts that share none."""

import numpy as np
import pytest

from benchmarks.photos import PHOTOGRAPHS, by_photograph, shipped_photographs, table
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.io.truth import truth_table


def test_errors_are_joined_by_image_and_told_by_photograph(tmp_path):
    names = [f"{k + 1:06d}@/x/p.mrcs" for k in range(8)]
    truth = truth_table(names, Poses(np.zeros(8)))
    truth.set("udlPhotograph", ["a.png"] * 4 + ["b.png"] * 4)
    write_tables(str(tmp_path / "truth.star"), [truth])
    second = [7, 1, 5, 3]  # in another order than the truth
    pairs = Table("particles", {"rlnImageName": [names[k] for k in second]})
    pairs.set("udlAngleError", ["-40", "2", "20", "-4"])
    write_tables(str(tmp_path / "pairs.star"), [pairs])
    rows = {row["photograph"]: row for row in by_photograph(tmp_path / "pairs.star", tmp_path / "truth.star")}
    assert rows["all"]["mean"] == pytest.approx(16.5)
    assert (rows["a.png"]["mean"], rows["a.png"]["within_5"]) == (3.0, 1.0)
    assert (rows["b.png"]["median"], rows["b.png"]["within_30"]) == (30.0, 0.5)
    assert "b.png" in table(list(rows.values()))


def test_shipped_photographs_are_there_and_in_one_part_only(tmp_path):
    pytest.importorskip("skimage")
    folder = shipped_photographs(tmp_path / "photographs")
    for part, names in PHOTOGRAPHS.items():
        assert sorted(path.name for path in (folder / part).iterdir()) == sorted(names)
    assert not set(PHOTOGRAPHS["train2017"]) & set(PHOTOGRAPHS["val2017"])
