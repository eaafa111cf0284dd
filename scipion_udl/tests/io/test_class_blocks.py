"""Files of classes with a block of images for each: one table in which every image has its class."""

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack

CLASSES = ("classes", ["ref", "image", "classCount"], ["1 1@averages.mrcs 2", "2 2@averages.mrcs 1"])


@pytest.fixture
def xmd(tmp_path, monkeypatch):
    """``xmd(block, ...)`` writes (name, labels, rows) as classes.xmd beside its images."""
    monkeypatch.chdir(tmp_path)
    write_stack("particles.mrcs", np.random.default_rng(0).normal(size=(6, 10, 10)), 1.0)
    write_stack("averages.mrcs", np.zeros((2, 10, 10)), 1.0)

    def make(*blocks):
        lines = ["# XMIPP_STAR_1 *", "#"]
        for name, labels, rows in blocks:
            lines += [f"data_{name}", "loop_", *(f" _{label}" for label in labels), *rows]
        (tmp_path / "classes.xmd").write_text("\n".join(lines) + "\n")
        return "classes.xmd"

    return make


@pytest.mark.parametrize("name", ["class{:06d}_images", "class_{}", "class{:03d}", "class_{:04d}_images"])
def test_the_number_in_the_name_of_a_block_is_the_class_of_its_images(xmd, name):
    labels = ["image", "ref", "itemId"]  # the column may say anything
    first = (name.format(1), labels, ["3@particles.mrcs 7 3", "1@particles.mrcs 7 1"])
    tenth = (name.format(10), labels, ["6@particles.mrcs 7 6"])
    source = open_particles(xmd(CLASSES, first, tenth))
    assert source.classes().tolist() == [1, 1, 10]
    assert source.item.tolist() == [2, 0, 5]
    assert source.warnings == [] or "pixel" in source.warnings[0]


def test_the_alignment_of_the_blocks_comes_along_and_aligned_xmd_has_one_table(xmd):
    labels = ["image", "anglePsi", "shiftX", "shiftY", "flip", "samplingRate"]
    blocks = [
        ("class000001_images", labels, ["1@particles.mrcs 30 1 2 0 2.5"]),
        ("class000002_images", labels, ["2@particles.mrcs -60 0 0 1 2.5"]),
    ]
    source = open_particles(xmd(CLASSES, *blocks))
    assert source.pixel_size == 2.5
    assert source.poses().angle.tolist() == [-30, 60]
    write_aligned(source, Poses.identity(2), np.ones(2), np.zeros(2, bool), xmd="aligned.xmd", star="aligned.star")
    assert open_particles("aligned.xmd").classes().tolist() == [1, 2]
    assert open_particles("aligned.star").classes().tolist() == [1, 2]


def test_one_class_and_empty_classes(xmd):
    one = ("class000003_images", ["image"], ["2@particles.mrcs"])
    empty = ("class000004_images", ["image"], [])
    assert open_particles(xmd(CLASSES, one, empty)).classes().tolist() == [3]
    with pytest.raises(UdlError, match="blocks of its classes are empty"):
        open_particles(xmd(CLASSES, empty))


def test_columns_that_some_blocks_lack_are_named(xmd):
    blocks = [
        ("class000001_images", ["image", "weight"], ["1@particles.mrcs 0.5"]),
        ("class000002_images", ["image"], ["2@particles.mrcs"]),
    ]
    source = open_particles(xmd(*blocks))
    assert "weight" not in source.table and "have the columns weight: they are left out" in source.warnings[0]


def test_lists_of_images_that_are_no_classes_are_still_to_be_chosen_from(xmd):
    blocks = [("left", ["image"], ["1@particles.mrcs"]), ("right", ["image"], ["2@particles.mrcs"])]
    with pytest.raises(UdlError, match="lists images in 2 tables"):
        open_particles(xmd(*blocks))
