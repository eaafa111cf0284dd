"""Particles from stacks and tables: names, boxes, pixel sizes and poses, each by the rules of its form."""

import gzip
import os

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import rotations
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack

BOX = 10


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project folder with two stacks, the current folder being another one."""
    rng = np.random.default_rng(2)
    project = tmp_path / "project"
    (project / "Extract" / "job002").mkdir(parents=True)
    for name in ("a.mrcs", "b.mrcs"):
        write_stack(str(project / "Extract" / "job002" / name), rng.normal(size=(4, BOX, BOX)), 0.0)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return project


@pytest.fixture
def stack(tmp_path):
    def make(name="s.mrcs", pixel_size=1.5, shape=(3, BOX, BOX)):
        path = tmp_path / name
        write_stack(str(path), np.random.default_rng(1).normal(size=shape), pixel_size)
        return str(path)

    return make


def star(path, rows, labels=("rlnImageName",), optics=None, name="particles"):
    lines = []
    if optics:
        lines += ["data_optics", "loop_", *(f"_{label}" for label in optics[0]), *optics[1], ""]
    lines += [f"data_{name}", "loop_", *(f"_{label}" for label in labels), *rows, ""]
    path.write_text("\n".join(lines))
    return str(path)


OPTICS = (("rlnOpticsGroup", "rlnImagePixelSize"), ["1 1.400000"])


def test_a_bare_stack_names_its_images_absolutely(stack, monkeypatch, tmp_path):
    path = stack()
    monkeypatch.chdir(tmp_path)
    source = open_particles("s.mrcs")
    assert source.names[2] == f"000003@{path}"
    assert (len(source), source.box, source.pixel_size, source.pixel_size_known) == (3, BOX, 1.5, True)
    assert source.table is None
    assert source.poses() is None
    assert source.warnings == []
    assert source.read(np.array([2, 0])).shape == (2, BOX, BOX)


def test_an_mrc_stack_is_named_so_that_other_programs_take_it_for_one(stack):
    path = stack("s.mrc")
    assert open_particles(path).names[0] == f"000001@{path}:mrcs"


def test_a_packed_stack_is_read_with_a_word_of_warning(stack, tmp_path):
    plain = stack()
    packed = tmp_path / "p.mrcs.gz"
    packed.write_bytes(gzip.compress((tmp_path / "s.mrcs").read_bytes()))
    source = open_particles(str(packed))
    assert np.array_equal(source.read([1]), open_particles(plain).read([1]))
    assert "unpack it" in source.warnings[0]


@pytest.mark.parametrize("place", [".", "Import/job001", "Class2D/deep/down"])
def test_names_are_found_from_the_table_and_its_parents(folder, place):
    (folder / place).mkdir(parents=True, exist_ok=True)
    rows = ["2@Extract/job002/b.mrcs", "000001@Extract/job002/a.mrcs", "1@Extract/job002/b.mrcs"]
    source = open_particles(star(folder / place / "p.star", rows))
    assert source.names == rows
    a = open_particles(str(folder / "Extract/job002/a.mrcs")).read(np.arange(4))
    b = open_particles(str(folder / "Extract/job002/b.mrcs")).read(np.arange(4))
    assert np.array_equal(source.read(np.arange(3)), [b[1], a[0], b[0]])
    assert np.array_equal(source.read([2, 0, 0]), [b[0], b[1], b[1]])


def test_the_current_folder_comes_first(folder, monkeypatch):
    write_stack("a.mrcs", np.zeros((4, BOX, BOX)), 0.0)
    path = star(folder / "Extract/job002/p.star", ["1@a.mrcs"])
    assert not open_particles(path).read([0]).any()
    monkeypatch.chdir(folder)
    assert open_particles(path).read([0]).any()


def test_names_of_single_images_and_names_with_spaces(folder):
    write_stack(str(folder / "one.mrc"), np.ones((BOX, BOX)), 0.0)
    write_stack(str(folder / "my stack.mrcs"), np.full((2, BOX, BOX), 2.0), 0.0)
    source = open_particles(star(folder / "p.star", ["one.mrc", '"2@my stack.mrcs"', "1@one.mrc:mrcs"][:2]))
    assert source.names == ["one.mrc", "2@my stack.mrcs"]
    assert source.read([0, 1])[:, 0, 0].tolist() == [1.0, 2.0]


def test_one_image_under_two_names_is_noticed(folder):
    path = star(folder / "p.star", ["1@Extract/job002/a.mrcs", "2@Extract/job002/a.mrcs", "01@Extract/job002/a.mrcs"])
    with pytest.raises(UdlError, match=r"rows 1 and 3 name the same image 1@Extract/job002/a\.mrcs"):
        open_particles(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1@Extract/job002/c.mrcs"], r"row 1 names Extract/job002/c\.mrcs, which is neither under"),
        (["1@Extract/job002/a.mrcs", "5@Extract/job002/a.mrcs"], r"row 2 names item 5 of .*a\.mrcs, which has 4"),
        (["0@Extract/job002/a.mrcs"], r"row 1 names '0@Extract/job002/a\.mrcs'"),
        (["x@Extract/job002/a.mrcs"], "numbers from 1"),
        (["1@a.hdf"], "no MRC file"),
        (["Extract/job002/a.mrcs"], "as one image, but it holds 4"),
        ([], "table data_particles is empty"),
    ],
)
def test_rows_that_name_no_image_are_refused(folder, rows, message):
    with pytest.raises(UdlError, match=message):
        open_particles(star(folder / "p.star", rows))


def test_tables_that_list_no_images_or_too_many_kinds_are_refused(folder):
    with pytest.raises(UdlError, match="lists no images: no table has a column"):
        open_particles(star(folder / "p.star", ["1"], labels=["rlnAnglePsi"]))
    text = "data_c1\nloop_\n_image\n1@a.mrcs\n\ndata_c2\nloop_\n_image\n2@a.mrcs\n"
    (folder / "p.xmd").write_text(text)
    with pytest.raises(UdlError, match=r"lists images in 2 tables \(data_c1, data_c2"):
        open_particles(str(folder / "p.xmd"))


def test_images_that_do_not_fit_are_refused(stack, tmp_path):
    with pytest.raises(UdlError, match="12 x 10 pixels; square ones are needed"):
        open_particles(stack("r.mrcs", shape=(2, 10, 12)))
    stack("a.mrcs")
    stack("b.mrcs", shape=(2, 16, 16))
    with pytest.raises(UdlError, match=r"b\.mrcs holds images of 16 pixels and .*a\.mrcs of 10"):
        open_particles(star(tmp_path / "p.star", ["1@a.mrcs", "1@b.mrcs"]))
    with pytest.raises(UdlError, match="not there"):
        open_particles(str(tmp_path / "none.mrcs"))
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UdlError, match="of no kind that can be read"):
        open_particles(str(tmp_path / "x.txt"))


def test_a_volume_is_refused_as_a_stack(tmp_path):
    import mrcfile

    path = str(tmp_path / "map.mrc")
    with mrcfile.new(path, np.zeros((8, 8, 8), np.float32)) as mrc:
        mrc.set_volume()
    with pytest.raises(UdlError, match="is a volume"):
        open_particles(path)


def test_reading_names_the_item_that_is_not_there(stack):
    with pytest.raises(UdlError, match="lists 3 particles, there is no item 4"):
        open_particles(stack()).read([3])


# Pixel size: the table's, else the header's, else the option's.


def test_the_tables_pixel_size_comes_first(stack, tmp_path):
    stack("a.mrcs", pixel_size=1.5)
    path = star(tmp_path / "p.star", ["1@a.mrcs 1"], ["rlnImageName", "rlnOpticsGroup"], OPTICS)
    assert open_particles(path).pixel_size == 1.4
    source = open_particles(path, 3.0)
    assert source.pixel_size == 1.4
    assert "3 A of --pixel-size is not" in source.warnings[0]


def test_then_the_headers_and_then_the_option(stack):
    assert open_particles(stack(pixel_size=1.5), 3.0).pixel_size == 1.5
    source = open_particles(stack(pixel_size=0.0), 3.0)
    assert (source.pixel_size, source.pixel_size_known, source.warnings) == (3.0, True, [])


def test_no_pixel_size_is_a_warning_and_1_marked_unknown(stack):
    source = open_particles(stack(pixel_size=0.0))
    assert (source.pixel_size, source.pixel_size_known) == (1.0, False)
    assert "give --pixel-size" in source.warnings[0]


def test_a_header_of_1_is_doubted_and_yields_to_the_option(stack):
    assert "do not know it" in open_particles(stack(pixel_size=1.0)).warnings[0]
    source = open_particles(stack(pixel_size=1.0), 2.8)
    assert source.pixel_size == 2.8
    assert "placeholder" in source.warnings[0]


def test_a_pixel_size_that_is_none_is_refused(stack):
    with pytest.raises(UdlError, match="above 0"):
        open_particles(stack(), -1.0)


def test_relion_30_says_it_by_magnification_and_detector(stack, tmp_path):
    stack("a.mrcs", pixel_size=0.0)
    labels = ["rlnImageName", "rlnMagnification", "rlnDetectorPixelSize"]
    source = open_particles(star(tmp_path / "p.star", ["1@a.mrcs 50000 7"], labels, name=""))
    assert (source.form, source.pixel_size) == ("relion30", 1.4)
    unknown = open_particles(star(tmp_path / "p.star", ["1@a.mrcs 0 7"], labels, name=""))
    assert not unknown.pixel_size_known


def test_xmipp_says_it_by_sampling_rate(stack, tmp_path):
    stack("a.mrcs", pixel_size=0.0)
    source = open_particles(star(tmp_path / "p.xmd", ["1@a.mrcs 2.5"], ["image", "samplingRate"], name="noname"))
    assert (source.form, source.pixel_size) == ("xmipp", 2.5)


def test_optics_groups_of_different_scale_are_refused_unless_unused(stack, tmp_path):
    stack("a.mrcs")
    optics = (OPTICS[0], ["1 1.4", "2 1.1"])
    labels = ["rlnImageName", "rlnOpticsGroup"]
    with pytest.raises(UdlError, match=r"different pixel sizes \(1.1 and 1.4 A\)"):
        open_particles(star(tmp_path / "p.star", ["1@a.mrcs 1", "2@a.mrcs 2"], labels, optics))
    assert open_particles(star(tmp_path / "p.star", ["1@a.mrcs 2", "2@a.mrcs 2"], labels, optics)).pixel_size == 1.1
    with pytest.raises(UdlError, match="row 2 is of optics group 3, which data_optics lacks"):
        open_particles(star(tmp_path / "p.star", ["1@a.mrcs 1", "2@a.mrcs 3"], labels, optics))
    sizes = (("rlnOpticsGroup", "rlnImagePixelSize", "rlnImageSize"), ["1 1.4 10", "2 1.4 12"])
    with pytest.raises(UdlError, match="different image sizes"):
        open_particles(star(tmp_path / "p.star", ["1@a.mrcs 1", "2@a.mrcs 2"], labels, sizes))


def test_an_optics_table_of_another_box_is_doubted(stack, tmp_path):
    stack("a.mrcs")
    sizes = (("rlnOpticsGroup", "rlnImagePixelSize", "rlnImageSize"), ["1 1.4 20"])
    source = open_particles(star(tmp_path / "p.star", ["1@a.mrcs 1"], ["rlnImageName", "rlnOpticsGroup"], sizes))
    assert "says 20 pixels, the images have 10" in source.warnings[0]


def test_the_optics_table_may_come_last(stack, tmp_path):
    stack("a.mrcs")
    path = star(tmp_path / "p.star", ["1@a.mrcs 1"], ["rlnImageName", "rlnOpticsGroup"])
    with open(path, "a") as file:
        file.write("\ndata_optics\nloop_\n_rlnOpticsGroup #1 [comment]\n_rlnImagePixelSize #2\n1 1.4\n")
    assert open_particles(path).pixel_size == 1.4
    assert open_particles(path).form == "relion31"


# Poses, by the rules of each form.


def test_relion_31_poses_are_in_angstrom_and_before_the_turn(stack, tmp_path):
    stack("a.mrcs")
    labels = ["rlnImageName", "rlnOpticsGroup", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]
    path = star(tmp_path / "p.star", ["1@a.mrcs 1 90 2.8 0", "2@a.mrcs 1 0 0 -1.4"], labels, OPTICS)
    poses = open_particles(path).poses()
    assert poses.angle.tolist() == [90.0, 0.0]
    # 2 px to the right first, then rotated by 90 degrees: 2 px down
    assert np.allclose(poses.shift, [[0.0, 2.0], [0.0, -1.0]])
    assert not poses.mirror.any()
    assert not open_particles(path).has_3d_angles


def test_relion_30_poses_are_in_pixels_and_isflip_means_nothing(stack, tmp_path):
    stack("a.mrcs")
    labels = ["rlnImageName", "rlnAnglePsi", "rlnOriginX", "rlnOriginY", "rlnIsFlip"]
    poses = open_particles(star(tmp_path / "p.star", ["1@a.mrcs 30 1 2 1"], labels, name="")).poses()
    assert np.allclose(poses.shift[0], rotations(np.array([30.0]))[0] @ [1, 2])
    assert not poses.mirror.any()


def test_xmipp_poses_turn_the_other_way_and_may_be_mirrored(stack, tmp_path):
    stack("a.mrcs")
    labels = ["image", "anglePsi", "shiftX", "shiftY", "flip"]
    poses = open_particles(star(tmp_path / "p.xmd", ["1@a.mrcs 30 1 2 1", "2@a.mrcs 0 0 0 0"], labels)).poses()
    assert poses.angle.tolist() == [-30.0, 0.0]
    assert poses.shift.tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert poses.mirror.tolist() == [True, False]


@pytest.mark.parametrize(("tilt", "expected"), [("0", False), ("0.000000", False), ("12.5", True)])
def test_a_tilt_makes_it_a_3d_pose(stack, tmp_path, tilt, expected):
    stack("a.mrcs")
    labels = ["rlnImageName", "rlnAnglePsi", "rlnAngleTilt"]
    source = open_particles(star(tmp_path / "p.star", [f"1@a.mrcs 30 {tilt}", "2@a.mrcs 1 0"], labels, name=""))
    assert source.has_3d_angles is expected


def test_disabled_particles_are_mentioned(stack, tmp_path):
    stack("a.mrcs")
    source = open_particles(star(tmp_path / "p.xmd", ["1@a.mrcs 1", "2@a.mrcs -1"], ["image", "enabled"]))
    assert len(source) == 2
    assert any("1 particles" in warning and "disabled" in warning for warning in source.warnings)


def test_a_hundred_thousand_rows_are_quick(stack, tmp_path):
    import time

    stack("a.mrcs", shape=(1, BOX, BOX))
    n = 100_000
    path = tmp_path / "big.mrcs"
    write_stack(str(path), np.zeros((n, 2, 2)), 1.5)
    labels = ["rlnImageName", *(f"rlnColumn{k}" for k in range(20))]
    text = " ".join(["123.456000"] * 20)
    table = star(tmp_path / "p.star", [f"{k + 1:06d}@big.mrcs {text}" for k in range(n)], labels, name="")
    begin = time.process_time()
    assert len(open_particles(table)) == n
    assert time.process_time() - begin < 10
    assert os.path.getsize(table) > 2e7


def test_an_image_that_lies_beyond_4_gb_of_its_stack_is_read_from_there(stack, tmp_path):
    """Places are kept as numbers of 32 bits; bytes before them are counted in more."""
    box, count = 512, 5001
    path = stack("large.mrcs", shape=(1, box, box))
    image = np.arange(box * box, dtype=np.float32).reshape(box, box)
    with open(path, "r+b") as file:
        file.seek(8)
        file.write(count.to_bytes(4, "little"))
        file.truncate(1024 + count * image.nbytes)
        if os.fstat(file.fileno()).st_blocks * 512 > 2 * image.nbytes:
            pytest.skip("files have no holes here")
        file.seek(1024 + (count - 1) * image.nbytes)
        file.write(image.tobytes())
    source = open_particles(star(tmp_path / "p.star", [f"{count}@{path}", f"4099@{path}"]))
    assert source.item.dtype == np.int32
    np.testing.assert_array_equal(source.read([1, 0]), [np.zeros_like(image), image])
