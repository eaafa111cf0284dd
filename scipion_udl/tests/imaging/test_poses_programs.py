"""Each form of a pose, checked on images with the program that owns it.

The particles are exact samples of a formula, so the aligned image may differ from the template only by that program's
own interpolation: half a pixel off gives 0.994, a wrong sign less than 0.8 (last test).
"""

import shutil

import numpy as np
import pytest

from scipion_udl.imaging.poses import Poses, to_matrices, to_xmipp
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.program_helpers import HAS_RELION, relion_aligned, worst_correlation, xmipp_aligned

PIXEL_SIZE = 1.7
CASES = {
    "rotation": Poses([35.0, -100.0]),
    "shift": Poses([0.0, 0.0], [[4.0, -2.5], [-3.0, 1.0]]),
    "both": Poses([35.0, -152.0], [[4.0, -2.5], [-1.25, 5.0]]),
}
MIRRORED = {
    "mirror": Poses([0.0], None, [True]),
    "mirror and all": Poses([35.0, -100.0], [[4.0, -2.5], [2.0, 3.0]], [True, True]),
}

needs_relion = pytest.mark.skipif(not HAS_RELION, reason="RELION is not installed")


@pytest.fixture
def emlib(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SCIPION_HOME", str(tmp_path_factory.mktemp("scipion")))
    monkeypatch.setenv("SCIPION_DOMAIN", "pwem")
    return pytest.importorskip("pwem.emlib")


def write_tables(folder, template, poses, applied=None, star=True):
    """Particles in the given poses, with tables that say ``applied`` (default: the truth)."""
    write_stack(str(folder / "particles.mrcs"), template.sample(poses), PIXEL_SIZE)
    source = open_particles(str(folder / "particles.mrcs"))
    n = len(source)
    write_aligned(
        source,
        applied or poses,
        np.ones(n),
        np.zeros(n, bool),
        star=str(folder / "aligned.star") if star else None,
        xmd=str(folder / "aligned.xmd"),
    )


@needs_relion
@pytest.mark.parametrize("box", [64, 65])
@pytest.mark.parametrize("case", CASES)
def test_relion_aligns_by_what_aligned_star_says(tmp_path, box, case):
    template = phantom("hook", box)
    write_tables(tmp_path, template, CASES[case])
    assert worst_correlation(relion_aligned(tmp_path / "aligned.star"), template.image()) > 0.9995


@needs_relion
def test_relion_finds_the_images_from_another_folder(tmp_path):
    write_tables(tmp_path, phantom("hook", 64), CASES["both"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(str(tmp_path / "aligned.star"), str(elsewhere / "aligned.star"))
    assert worst_correlation(relion_aligned(elsewhere / "aligned.star"), phantom("hook", 64).image()) > 0.9995


@needs_relion
@pytest.mark.parametrize("name", ["parti cles.mrcs", "particles.mrc"])
def test_relion_finds_stacks_of_inconvenient_names(tmp_path, name):
    template = phantom("hook", 64)
    write_stack(str(tmp_path / name), template.sample(CASES["both"]), PIXEL_SIZE)
    source = open_particles(str(tmp_path / name))
    write_aligned(source, CASES["both"], np.ones(2), np.zeros(2, bool), star=str(tmp_path / "aligned.star"))
    assert worst_correlation(relion_aligned(tmp_path / "aligned.star"), template.image()) > 0.9995


@pytest.mark.parametrize("box", [64, 65])
@pytest.mark.parametrize("case", [*CASES, *MIRRORED])
def test_xmipp_aligns_by_what_aligned_xmd_says(emlib, tmp_path, box, case):
    template = phantom("hook", box)
    write_tables(tmp_path, template, {**CASES, **MIRRORED}[case], star=False)
    assert worst_correlation(xmipp_aligned(tmp_path / "aligned.xmd"), template.image()) > 0.9995


def test_tables_go_from_here_to_xmipp_and_from_xmipp_to_here(emlib, tmp_path):
    """Xmipp writes a table of its own: its poses are what Xmipp applies, its other columns stay, and back again."""
    template, poses = phantom("hook", 64), MIRRORED["mirror and all"]
    write_stack(str(tmp_path / "particles.mrcs"), template.sample(poses), PIXEL_SIZE)
    psi, shift, flip = to_xmipp(poses)
    table = emlib.MetaData()
    for k in range(2):
        row = table.addObject()
        table.setValue(emlib.MDL_IMAGE, f"{k + 1:06d}@{tmp_path}/particles.mrcs", row)
        table.setValue(emlib.MDL_ANGLE_PSI, float(psi[k]), row)
        table.setValue(emlib.MDL_SHIFT_X, float(shift[k, 0]), row)
        table.setValue(emlib.MDL_SHIFT_Y, float(shift[k, 1]), row)
        table.setValue(emlib.MDL_FLIP, bool(flip[k]), row)
        table.setValue(emlib.MDL_ZSCORE, 0.25 + k, row)
    table.write(str(tmp_path / "theirs.xmd"))
    assert worst_correlation(xmipp_aligned(tmp_path / "theirs.xmd"), template.image()) > 0.9995
    source = open_particles(str(tmp_path / "theirs.xmd"))
    assert np.abs(to_matrices(source.poses()) - to_matrices(poses)).max() < 1e-5
    write_aligned(source, source.poses(), np.ones(2), np.zeros(2, bool), xmd=str(tmp_path / "ours.xmd"))
    ours = emlib.MetaData(str(tmp_path / "ours.xmd"))
    assert [ours.getValue(emlib.MDL_ZSCORE, row) for row in ours] == [0.25, 1.25]
    assert worst_correlation(xmipp_aligned(tmp_path / "ours.xmd"), template.image()) > 0.9995


@pytest.mark.parametrize("box", [64, 65])
@pytest.mark.parametrize("case", [*CASES, *MIRRORED])
def test_scipion_aligns_by_the_matrix(emlib, tmp_path, box, case):
    from pwem.emlib.image import ImageHandler

    template = phantom("hook", box)
    poses = {**CASES, **MIRRORED}[case]
    for particle, matrix in zip(template.sample(poses), to_matrices(poses)):
        write_stack(str(tmp_path / "in.mrc"), particle, PIXEL_SIZE)
        ImageHandler.applyTransform(
            str(tmp_path / "in.mrc"), str(tmp_path / "out.mrc"), matrix, (box, box), fillValue=0
        )
        aligned = StackReader(str(tmp_path / "out.mrc")).read()
        assert worst_correlation(aligned, template.image()) > 0.9995


def test_another_sign_would_be_noticed(emlib, tmp_path):
    template, poses = phantom("hook", 64), CASES["both"]
    for angle, shift in ((-1, 1), (1, -1), (-1, -1)):
        write_tables(tmp_path, template, poses, Poses(angle * poses.angle, shift * poses.shift), star=False)
        assert worst_correlation(xmipp_aligned(tmp_path / "aligned.xmd"), template.image()) < 0.8
