"""The XMD of the method's authors: read with what is wrong in its old files, written as every program reads it."""

import numpy as np
import pytest
from emtable import Table as EmTable

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.io.aligned import write_aligned, write_authors_xmd
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import read_tables

BOX = 10
COLUMNS = ["image", "shiftX", "shiftY", "anglePsi", "flip", "maxCC"]
LABELS = "".join(f" _{label}\n" for label in COLUMNS)
# As their program writes it: no line break behind the name of the table, numbers from 0, one digit for 3 images.
OLD = (
    "# XMIPP_STAR_1 * \n# \ndata_nonameloop_\n"
    + LABELS
    + "".join(
        f"{k}@s.mrcs\t0\t0\t{angle}\t0\t{cc}\n" for k, angle, cc in ((0, 10.5, 0.9), (1, 200.25, 0.8), (2, -30.0, 0.7))
    )
)
POSES = Poses([10.0, -170.5, 33.0], [[1.25, -3.5], [0.0, 0.0], [-2.0, 7.125]], [False, True, False])
SCORE = np.array([0.875, 0.5, 0.625])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a stack of three images, whose first pixel is 1, 2, 3."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).normal(size=(3, BOX, BOX))
    images[:, 0, 0] = [1, 2, 3]
    write_stack("s.mrcs", images, 1.5)
    return tmp_path


def opened(folder, text):
    (folder / "in.xmd").write_text(text)
    return open_particles(str(folder / "in.xmd"))


def test_an_old_file_of_theirs_is_read_right(folder):
    source = opened(folder, OLD)
    assert source.read([0, 1, 2])[:, 0, 0].tolist() == [1, 2, 3]
    assert source.poses().angle.tolist() == [-10.5, 159.75, 30.0]
    assert source.names == ["000001@s.mrcs", "000002@s.mrcs", "000003@s.mrcs"]
    assert "counts its images from 0" in " ".join(source.warnings)


def test_tables_made_from_it_count_from_one(folder):
    source = opened(folder, OLD)
    write_aligned(source, Poses.identity(3), SCORE, np.zeros(3, bool), star="a.star", xmd="a.xmd")
    for name in ("a.star", "a.xmd"):
        again = open_particles(name)
        assert again.read([0, 1, 2])[:, 0, 0].tolist() == [1, 2, 3]
        assert not any("from 0" in warning for warning in again.warnings)


def test_numbers_from_one_stay_as_they_are(folder):
    text = OLD.replace("0@s", "3@s")
    source = opened(folder, text)
    assert source.read([0, 1, 2])[:, 0, 0].tolist() == [3, 1, 2]
    assert not any("from 0" in warning for warning in source.warnings)


@pytest.mark.parametrize(
    "header",
    [
        "# XMIPP_STAR_1 * \n# \ndata_nonameloop_\n",
        "# XMIPP_STAR_1 *data_noname\nloop_\n",
        "# XMIPP_STAR_1 * # data_noname\nloop_\n",
        "# XMIPP_STAR_1 *loop_\n",
        "XMIPP_STAR_1 * loop_\n",
        "# XMIPP_STAR_1 *data_noname loop_\n",
        "# XMIPP_STAR_1 * \n# \ndata_noname\nloop_\n",
    ],
)
def test_a_line_break_may_lack_in_the_header(folder, header):
    (folder / "in.xmd").write_text(header + OLD.split("loop_\n")[1])
    (table,) = read_tables("in.xmd")
    assert table.name == "noname"
    assert list(table.columns) == COLUMNS
    assert len(table) == 3


def test_a_table_that_counts_both_ways_is_refused(folder):
    with pytest.raises(UdlError, match=r"row 2 names item 4 of .*s.mrcs, which has 3 \(the table has an image 0"):
        opened(folder, OLD.replace("1@s", "3@s"))
    with pytest.raises(UdlError, match=r"row 2 names 's\.mrcs' without a number"):
        opened(folder, OLD.replace("1@s", "s"))


def test_a_star_does_not_count_from_zero(folder):
    (folder / "in.star").write_text("data_\nloop_\n_rlnImageName\n0@s.mrcs\n1@s.mrcs\n")
    with pytest.raises(UdlError, match="numbers from 1"):
        open_particles("in.star")


def test_their_form_is_written_with_their_columns_alone(folder):
    write_authors_xmd(open_particles("s.mrcs"), POSES, SCORE, "out.xmd")
    lines = (folder / "out.xmd").read_text().splitlines()
    assert lines[0].strip() == "# XMIPP_STAR_1 *"
    table = EmTable(fileName="out.xmd")
    rows = list(table)
    assert table.getColumnNames() == COLUMNS
    assert [int(row.image.split("@")[0]) for row in rows] == [1, 2, 3]
    assert [float(row.maxCC) for row in rows] == SCORE.tolist()
    assert [float(row.anglePsi) for row in rows] == [-10.0, 170.5, -33.0]
    assert [int(row.flip) for row in rows] == [0, 1, 0]


def test_what_is_written_comes_back(folder):
    write_authors_xmd(open_particles("s.mrcs"), POSES, SCORE, "out.xmd")
    again = open_particles("out.xmd")
    assert again.warnings == []
    assert again.pixel_size == 1.5
    assert np.abs(to_matrices(again.poses()) - to_matrices(POSES)).max() < 1e-5


def test_xmipp_reads_what_is_written(folder, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SCIPION_HOME", str(tmp_path_factory.mktemp("scipion")))
    monkeypatch.setenv("SCIPION_DOMAIN", "pwem")
    emlib = pytest.importorskip("pwem.emlib")
    write_authors_xmd(open_particles("s.mrcs"), POSES, SCORE, "out.xmd")
    table = emlib.MetaData("out.xmd")
    rows = list(table)
    assert [emlib.label2Str(label) for label in table.getActiveLabels()] == COLUMNS
    assert [table.getValue(emlib.MDL_MAXCC, row) for row in rows] == pytest.approx(SCORE)
    assert [table.getValue(emlib.MDL_ANGLE_PSI, row) for row in rows] == pytest.approx([-10.0, 170.5, -33.0])
    assert [table.getValue(emlib.MDL_SHIFT_Y, row) for row in rows] == pytest.approx([-3.5, 0, 7.125])
    assert [table.getValue(emlib.MDL_FLIP, row) for row in rows] == [False, True, False]
    assert table.getValue(emlib.MDL_IMAGE, rows[2]).startswith("000003@")


def test_numbers_that_do_not_fit_are_a_fault_of_the_program(folder):
    with pytest.raises(ValueError, match="3 particles, 3 poses, 2 scores"):
        write_authors_xmd(open_particles("s.mrcs"), POSES, SCORE[:2], "out.xmd")


def test_the_correntropy_has_a_column_of_its_own(folder):
    source, nothing = open_particles("s.mrcs"), np.zeros(3, bool)
    write_aligned(source, Poses.identity(3), SCORE, nothing, star="a.star", xmd="a.xmd", correntropy=SCORE / 2)
    for name, score in (("a.star", "rlnParticleFigureOfMerit"), ("a.xmd", "maxCC")):
        again = open_particles(name)
        assert again.table.numbers("udlCorrentropy").tolist() == [0.4375, 0.25, 0.3125]
        assert again.table.numbers(score).tolist() == SCORE.tolist()
        write_aligned(again, Poses.identity(3), SCORE, nothing, star=f"b{name}.star", xmd=f"b{name}.xmd")
        for other in (f"b{name}.star", f"b{name}.xmd"):  # the old one is not that of the new poses
            assert "udlCorrentropy" not in open_particles(other).table
