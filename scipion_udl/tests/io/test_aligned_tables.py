"""aligned.star and aligned.xmd: the input's form and columns, new poses, nothing stale."""

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import Optics, open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import read_tables

BOX = 12
POSES = Poses([10.0, -170.5, 180.0], [[1.25, -3.5], [0.0, 0.0], [-2.0, 7.125]])
SCORE = np.array([0.5, 0.25, 0.125])
AMBIGUOUS = np.array([False, True, False])

STAR31 = """
data_particles

loop_
_rlnCoordinateX #1
_rlnImageName #2
_rlnAnglePsi #3
_rlnAngleRot #4
_rlnAngleTilt #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnAngleTiltPrior #8
_rlnIsFlip #9
_rlnOpticsGroup #10
_rlnDefocusU #11
_rlnCtfBfactor #12
10 000001@s.mrcs 1 2 3 4 5 6 0 1 0 0.000000
0.5 000002@s.mrcs 1 2 3 4 5 6 0 2 0.5000 1.421115e+05
1e3 000003@s.mrcs 1 2 3 4 5 6 0 1 "" x

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnVoltage #3
_rlnImagePixelSize #4
a 1 300 1.60000
b 2 200 1.60000
"""
STAR30 = """
data_images

loop_
_rlnImageName
_rlnVoltage
_rlnDefocusU
1@s.mrcs 200 15301.1
2@s.mrcs 200 15302.1
3@s.mrcs 200 15303.10
"""
XMD = """# XMIPP_STAR_1 *
#
data_noname
loop_
 _itemId
 _image
 _enabled
 _shiftX
 _anglePsi
 _ctfDefocusU
 _ctfVoltage
 _ctfQ0
 _zScore
 11 000001@s.mrcs 1 4 5 10000 200 0.07 0.30
 12 000002@s.mrcs 1 4 5 11000 200 0.07 0.300
 15 000003@s.mrcs 1 4 5 12000 120 0.07 0.3
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stack(str(tmp_path / "s.mrcs"), np.random.default_rng(0).normal(size=(3, BOX, BOX)), 1.6)

    def make(text=None, ending="star"):
        if text is None:
            return open_particles(str(tmp_path / "s.mrcs"))
        path = tmp_path / f"in.{ending}"
        path.write_text(text)
        return open_particles(str(path))

    return make


def written(source, tmp_path, poses=POSES, said=None, **options):
    source.optics = said or Optics()
    star, xmd = str(tmp_path / "aligned.star"), str(tmp_path / "aligned.xmd")
    warnings = write_aligned(source, poses, SCORE, AMBIGUOUS, star=star, xmd=xmd, **options)
    return {table.name: table for table in read_tables(star)}, read_tables(xmd)[0], warnings


def agrees(path, poses=POSES):
    found = open_particles(str(path)).poses()
    assert np.abs(to_matrices(found) - to_matrices(poses)).max() < 1e-5


@pytest.mark.parametrize("text", [None, STAR31, STAR30, XMD])
def test_the_poses_come_back_from_either_table(source, tmp_path, text):
    written(source(text, "xmd" if text == XMD else "star"), tmp_path)
    agrees(tmp_path / "aligned.star")
    agrees(tmp_path / "aligned.xmd")


@pytest.mark.parametrize("text", [None, STAR31, STAR30, XMD])
def test_outliers_have_a_column_and_those_of_an_earlier_alignment_have_not(source, tmp_path, text):
    ending = "xmd" if text == XMD else "star"
    star, xmd, _ = written(source(text, ending), tmp_path, outlier=np.array([True, False, True]))
    particles = next(table for table in star.values() if "rlnImageName" in table)
    assert particles.texts("udlOutlier") == xmd.texts("udlOutlier") == ["1", "0", "1"]
    again = open_particles(str(tmp_path / f"aligned.{ending}"))
    write_aligned(again, POSES, SCORE, AMBIGUOUS, star=str(tmp_path / "b.star"), xmd=str(tmp_path / "b.xmd"))
    assert "udlOutlier" not in (tmp_path / "b.star").read_text() + (tmp_path / "b.xmd").read_text()
    agrees(tmp_path / "b.star")


def test_other_columns_come_back_character_for_character(source, tmp_path):
    star, _, _ = written(source(STAR31), tmp_path)
    columns = star["particles"].columns
    assert columns["rlnCoordinateX"] == ["10", "0.5", "1e3"]
    assert columns["rlnImageName"] == ["000001@s.mrcs", "000002@s.mrcs", "000003@s.mrcs"]
    assert columns["rlnDefocusU"] == ["0", "0.5000", '""']
    assert columns["rlnCtfBfactor"] == ["0.000000", "1.421115e+05", "x"]
    assert star["optics"].columns["rlnImagePixelSize"] == ["1.60000", "1.60000"]
    assert star["optics"].columns["rlnVoltage"] == ["300", "200"]


def test_old_poses_are_gone_and_the_user_is_told(source, tmp_path):
    star, xmd, warnings = written(source(STAR31), tmp_path)
    assert "rlnIsFlip" not in star["particles"]
    assert {*star["particles"].texts("rlnAngleRot"), *star["particles"].texts("rlnAngleTilt")} == {"0.000000"}
    assert all(label in warnings[0] for label in ("rlnAngleRot", "rlnAngleTilt", "rlnIsFlip"))
    assert "angleRot" not in xmd
    star, xmd, warnings = written(source(XMD, "xmd"), tmp_path)
    assert "left out" in warnings[0]
    assert "shiftX, anglePsi" in warnings[0]
    assert xmd.columns["shiftX"][0] == "1.250000"


def test_score_and_flag_are_there(source, tmp_path):
    star, xmd, _ = written(source(STAR31), tmp_path)
    assert star["particles"].columns["rlnParticleFigureOfMerit"] == ["0.500000", "0.250000", "0.125000"]
    assert xmd.columns["maxCC"] == ["0.500000", "0.250000", "0.125000"]
    assert star["particles"].columns["udlAmbiguous"] == xmd.columns["udlAmbiguous"] == ["0", "1", "0"]


def test_the_form_of_the_input_is_kept(source, tmp_path):
    star, _, _ = written(source(STAR30), tmp_path)
    assert list(star) == ["images"]
    assert "rlnOriginX" in star["images"]
    assert "rlnOriginXAngst" not in star["images"]
    star, xmd, _ = written(source(XMD, "xmd"), tmp_path)
    assert list(star) == ["optics", "particles"]
    assert xmd.columns["itemId"] == ["11", "12", "15"]
    assert xmd.columns["zScore"] == ["0.30", "0.300", "0.3"]


def test_a_30_table_without_pixel_size_gets_the_headers(source, tmp_path):
    star, _, _ = written(source(STAR30), tmp_path)
    assert star["images"].columns["rlnDetectorPixelSize"] == ["1.600000"] * 3
    assert open_particles(str(tmp_path / "aligned.star")).pixel_size == 1.6


def test_a_bare_stack_gets_all_that_relion_asks_for(source, tmp_path):
    star, xmd, warnings = written(source(), tmp_path)
    assert star["optics"].columns == {
        "rlnOpticsGroupName": [f"opticsGroup1_1.6A_{BOX}px_300kV_2.7mm_0.1"],
        "rlnOpticsGroup": ["1"],
        "rlnVoltage": ["300.000000"],
        "rlnSphericalAberration": ["2.700000"],
        "rlnAmplitudeContrast": ["0.100000"],
        "rlnImagePixelSize": ["1.600000"],
        "rlnImageSize": [str(BOX)],
        "rlnImageDimensionality": ["2"],
    }
    assert xmd.columns["samplingRate"] == ["1.600000"] * 3
    assert len(warnings) == 1
    assert all(word in warnings[0] for word in ("300 kV", "2.7 mm", "0.1", "--voltage, --cs and --amplitude-contrast"))


def test_what_the_user_says_of_the_microscope_is_used_without_a_warning(source, tmp_path):
    star, _, warnings = written(source(), tmp_path, said=Optics(200.0, 1.4, 0.07))
    assert star["optics"].columns["rlnVoltage"] == ["200.000000"]
    assert star["optics"].columns["rlnSphericalAberration"] == ["1.400000"]
    assert warnings == []


def test_an_incomplete_optics_table_is_completed(source, tmp_path):
    star, _, warnings = written(source(STAR31), tmp_path)
    assert star["optics"].columns["rlnImageSize"] == [str(BOX)] * 2
    assert star["optics"].columns["rlnSphericalAberration"] == ["2.700000"] * 2
    assert "spherical aberration 2.7 mm, amplitude contrast 0.1" in warnings[1]
    assert "voltage" not in warnings[1].split(";")[0]


def test_an_xmds_microscope_becomes_optics_groups(source, tmp_path):
    star, _, warnings = written(source(XMD, "xmd"), tmp_path)
    assert star["particles"].columns["rlnOpticsGroup"] == ["1", "1", "2"]
    assert star["optics"].columns["rlnVoltage"] == ["200", "120"]
    assert star["particles"].columns["rlnDefocusU"] == ["10000", "11000", "12000"]
    assert "assumed in the STAR that is written: spherical aberration 2.7 mm;" in warnings[1]


def test_a_stars_microscope_goes_into_the_xmd(source, tmp_path):
    _, xmd, _ = written(source(STAR31), tmp_path)
    assert xmd.columns["ctfVoltage"] == ["300", "200", "300"]
    _, xmd, _ = written(source(STAR30), tmp_path)
    assert xmd.columns["ctfVoltage"] == ["200", "200", "200"]
    assert xmd.columns["ctfDefocusU"] == ["15301.1", "15302.1", "15303.10"]


def test_mirrored_particles_refuse_the_star_but_not_the_xmd(source, tmp_path):
    poses = Poses(POSES.angle, POSES.shift, [True, False, False])
    with pytest.raises(UdlError, match="cannot hold mirrored particles"):
        write_aligned(source(), poses, SCORE, AMBIGUOUS, star=str(tmp_path / "aligned.star"))
    assert not (tmp_path / "aligned.star").exists()
    write_aligned(source(), poses, SCORE, AMBIGUOUS, xmd=str(tmp_path / "aligned.xmd"))
    agrees(tmp_path / "aligned.xmd", poses)


def test_with_the_aligned_stack_mirrored_particles_can_be_given_to_relion(source, tmp_path):
    poses = Poses(POSES.angle, POSES.shift, [True, False, False])
    stack = str(tmp_path / "aligned.mrcs")
    write_stack(stack, np.zeros((3, BOX, BOX)), 1.6)
    star, _, warnings = written(source(), tmp_path, poses, aligned_stack=stack)
    assert star["particles"].columns["rlnImageName"][2] == f"000003@{stack}"
    agrees(tmp_path / "aligned.star", Poses.identity(3))
    agrees(tmp_path / "aligned.xmd", poses)
    assert "aligned stack" in warnings[-1]


def test_results_that_do_not_fit_are_a_fault_of_the_program(source, tmp_path):
    with pytest.raises(ValueError, match="3 particles, 1 poses"):
        write_aligned(source(), Poses([0.0]), SCORE, AMBIGUOUS)
    with pytest.raises(ValueError, match="finite"):
        write_aligned(source(), POSES, np.array([0, np.nan, 0]), AMBIGUOUS)


def test_an_aligned_table_can_be_aligned_again(source, tmp_path):
    written(source(STAR31), tmp_path)
    first = open_particles(str(tmp_path / "aligned.star"))
    second = Poses([1.0, 2.0, 3.0])
    star, _, _ = written(first, tmp_path, second)
    agrees(tmp_path / "aligned.star", second)
    assert list(star["particles"].columns).count("rlnAnglePsi") == 1
