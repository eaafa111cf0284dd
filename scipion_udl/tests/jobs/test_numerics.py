"""Numbers of every kind that a stack may hold, and boxes of every kind: the same poses."""

import mrcfile
import numpy as np
import pytest

from scipion_udl.imaging.poses import pose_errors
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import align_images, correlation, image, run, simulate

COUNT, BOX = 8, 32


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = simulate(tmp_path_factory.mktemp("sim") / "sim", COUNT, BOX, 2.0, max_shift=2.0)
    return StackReader(str(folder / "particles.mrcs")).read()


def aligned(folder, data):
    """The alignment of images (n, D, D) of any type, in a stack of always the same name."""
    folder.mkdir()
    with mrcfile.new(folder / "particles.mrcs") as stack, np.errstate(over="ignore"):
        stack.set_data(np.asarray(data))
        stack.set_image_stack()
        stack.voxel_size = 3.0
    return align_images(folder / "particles.mrcs", max_shift=3)


@pytest.fixture(scope="module")
def plain(images, tmp_path_factory):
    return aligned(tmp_path_factory.mktemp("plain") / "float32", images)


@pytest.mark.parametrize("kind", ["float16", "int16"])
def test_coarser_numbers_give_the_same_poses(images, plain, tmp_path, kind):
    data = images.astype(np.float16) if kind == "float16" else np.round(images * 1000).astype(np.int16)
    errors = pose_errors(aligned(tmp_path / kind, data).poses, plain.poses)
    assert np.abs(errors.rotation).max() < 0.2
    assert np.abs(errors.shift).max() < 0.02


@pytest.mark.parametrize("power", [100, -80])
def test_very_large_and_tiny_values_give_the_same_poses_and_an_average_of_that_scale(images, plain, tmp_path, power):
    """Times 2**100, about 1e30, and 2**-80, about 1e-24: squares of these no single precision holds."""
    out = aligned(tmp_path / "scaled", images * np.float32(2.0) ** power)
    errors = pose_errors(out.poses, plain.poses)
    assert np.abs(errors.rotation).max() < 1e-3
    assert np.abs(errors.shift).max() < 1e-3
    average, usual = (found.average.astype(np.float64) for found in (out, plain))
    np.testing.assert_allclose(average * 2.0**-power, usual, rtol=1e-3, atol=1e-4)
    assert [str(told) for told in out.warnings] == [str(told) for told in plain.warnings]


@pytest.mark.parametrize("box", [29, 401])
def test_boxes_small_and_large_odd_and_prime(tmp_path, box):
    folder = simulate(tmp_path / "sim", 3, box, 5.0, "clamp", max_shift=0.04 * box, ctf=None)
    assert run("align", folder / "particles.star", "-o", tmp_path / "out", "--reference", folder / "template.mrc") == 0
    found, view = image(tmp_path / "out" / "average.mrcs"), phantom("clamp", box).image()
    inner = np.hypot(*(np.indices((box, box)) - box // 2)) < 0.4 * box
    assert correlation(found, view, inner) > 0.9
    assert open_particles(str(tmp_path / "out" / "aligned.star")).box == box
