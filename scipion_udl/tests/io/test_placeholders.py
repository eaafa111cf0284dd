"""Text that stands for an unknown value is never taken for a value; the rows that have one keep it."""

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table

BOX, COUNT = 10, 4


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes a STAR of 4 particles with more columns ({label: 4 texts}), 3.1 where ``optics`` ({label: texts}) is
    given; the header of the images says ``header`` angstrom."""
    monkeypatch.chdir(tmp_path)

    def make(columns=None, optics=None, header=1.0):
        write_stack("s.mrcs", np.random.default_rng(0).normal(size=(COUNT, BOX, BOX)), header)
        rows = {"rlnImageName": [f"{k + 1}@s.mrcs" for k in range(COUNT)], **(columns or {})}
        blocks = [("optics", optics), ("particles", rows)] if optics else [("", rows)]
        lines = []
        for name, block in blocks:
            lines += [f"data_{name}", "loop_", *(f"_{label}" for label in block)]
            lines += [" ".join(row) for row in zip(*block.values())] + [""]
        (tmp_path / "p.star").write_text("\n".join(lines))
        return "p.star"

    return make


@pytest.mark.parametrize("text", ["-999", "-999.000000", "-9999", "nan", "NaN", "None", "null", '""', "<NA>", ".", "?"])
def test_every_spelling_of_unknown_is_unknown(text):
    values = Table("", {"a": ["1.5", text]}, "t.star").known("a")
    assert values[0] == 1.5 and np.isnan(values[1])


@pytest.mark.parametrize("text", ["1.5A", "inf", "-inf", "abc"])
def test_text_that_is_neither_a_number_nor_unknown_is_refused_by_row(text):
    with pytest.raises(UdlError, match=r"row 2 has .* in column _a, not a number"):
        Table("", {"a": ["1.5", text]}, "t.star").known("a")


def test_the_optics_table_may_call_the_pixel_size_by_its_older_name(table):
    source = open_particles(table({"rlnOpticsGroup": ["1"] * 4}, {"rlnOpticsGroup": ["1"], "rlnPixelSize": ["1.6"]}))
    assert (source.pixel_size, source.pixel_size_known, source.warnings) == (1.6, True, [])


def test_the_optics_table_may_give_detector_and_magnification(table):
    optics = {"rlnOpticsGroup": ["1"], "rlnDetectorPixelSize": ["5.0"], "rlnMagnification": ["25000"]}
    assert open_particles(table({"rlnOpticsGroup": ["1"] * 4}, optics)).pixel_size == 2.0


def test_each_group_is_asked_under_its_own_label(table):
    """One group has the new label, the other a placeholder there and the old one."""
    optics = {"rlnOpticsGroup": ["1", "2"], "rlnImagePixelSize": ["1.6", "-999"], "rlnPixelSize": ["None", "1.6"]}
    source = open_particles(table({"rlnOpticsGroup": ["1", "2", "2", "1"]}, optics))
    assert (source.pixel_size, source.warnings) == (1.6, [])
    optics["rlnPixelSize"][1] = "1.9"
    with pytest.raises(UdlError, match="different pixel sizes"):
        open_particles(table({"rlnOpticsGroup": ["1", "2", "2", "1"]}, optics))


def test_a_group_without_pixel_size_has_that_of_the_others_and_is_told(table):
    for nothing in ("0.0", "-1", "-999.0", "nan"):
        optics = {"rlnOpticsGroup": ["1", "2"], "rlnImagePixelSize": ["1.6", nothing]}
        source = open_particles(table({"rlnOpticsGroup": ["1", "2", "2", "1"]}, optics))
        assert source.pixel_size == 1.6
        assert "no pixel size for 2 of 4 particles (the first: row 2)" in source.warnings[0]


def test_placeholders_alone_leave_the_word_to_the_header_and_to_the_option(table):
    optics = {"rlnOpticsGroup": ["1"], "rlnImagePixelSize": ["-999"]}
    assert open_particles(table({"rlnOpticsGroup": ["1"] * 4}, optics, 1.3)).pixel_size == pytest.approx(1.3)
    assert open_particles(table({"rlnOpticsGroup": ["1"] * 4}, optics, 0.0), 2.2).pixel_size == 2.2


def test_the_pixel_size_of_micrographs_counts_where_nothing_better_is_known(table):
    optics = {"rlnOpticsGroup": ["1"], "rlnMicrographPixelSize": ["1.6"]}
    groups = {"rlnOpticsGroup": ["1"] * 4}
    source = open_particles(table(groups, optics, 1.0))
    assert source.pixel_size == 1.6 and "micrographs alone" in source.warnings[0]
    assert open_particles(table(groups, optics, 3.2)).pixel_size == pytest.approx(3.2)  # a header of binned particles
    assert open_particles(table(groups, optics, 1.0), 3.2).pixel_size == 3.2


def test_a_class_that_is_not_known_is_no_class_of_its_number(table):
    source = open_particles(table({"rlnClassNumber": ["2", "-999", "1", "2"]}))
    assert source.classes().tolist() == [2, 0, 1, 2]
    assert "no class for 1 of 4 particles (the first: row 2)" in source.missing_classes()
    source = open_particles(table({"rlnClassNumber": ["-999"] * 4}))
    with pytest.raises(UdlError, match="no class number per particle"):
        source.classes()
    assert source.missing_classes() is None


def test_poses_that_are_not_known_are_none(table):
    """What RELION leaves in particles of coordinates picked by hand: an angle of -999."""
    source = open_particles(table({"rlnAnglePsi": ["-999.0"] * 4, "rlnAngleTilt": ["-999.0"] * 4}))
    assert source.poses() is None and not source.has_3d_angles and source.missing_poses() is None
    columns = {"rlnAnglePsi": ["30", "-999", "-20", "10"], "rlnOriginX": ["1", "2", "3", "None"]}
    source = open_particles(table(columns))
    poses = source.poses()
    assert poses.angle.tolist() == [30, 0, -20, 0]
    assert poses.shift[[1, 3]].tolist() == [[0, 0], [0, 0]]
    assert "no pose for 2 of 4 particles (the first: row 2)" in source.missing_poses()


def test_projection_directions_are_told_by_known_angles_alone(table):
    source = open_particles(table({"rlnAnglePsi": ["30"] * 4, "rlnAngleRot": ["0", "-999", "nan", "0"]}))
    assert not source.has_3d_angles
    assert open_particles(table({"rlnAngleRot": ["0", "-999", "12", "0"]})).has_3d_angles


def test_a_placeholder_in_a_column_that_nobody_reads_comes_back_as_it_was(table):
    source = open_particles(table({"rlnAutopickFigureOfMerit": ["-999.0", "None", "nan", "?"]}))
    assert source.table.columns["rlnAutopickFigureOfMerit"] == ["-999.0", "None", "nan", "?"]
