"""MRC stacks: every mode, byte order and packing is read as mrcfile reads it; bad files get one sentence."""

import bz2
import gzip
import os
import subprocess
import sys
import warnings

import mrcfile
import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.io.stacks import StackReader, StackWriter, write_stack

MODES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16}


@pytest.fixture
def images():
    return np.random.default_rng(5).normal(0, 20, (7, 12, 12)).astype(np.float32)


def patch(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_and_byte_order_is_read(tmp_path, images, mode, order):
    data = np.abs(images).astype(np.dtype(MODES[mode]).newbyteorder(order))
    path = str(tmp_path / "s.mrcs")
    with mrcfile.new(path, data) as mrc:
        mrc.voxel_size = 1.25
    reader = StackReader(path)
    got = reader.read()
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert np.array_equal(got, data.astype(np.float32))
    assert reader.pixel_size == 1.25
    assert (reader.count, reader.shape) == (7, (12, 12))


def test_images_come_in_the_order_asked_for(tmp_path, images):
    path = str(tmp_path / "s.mrcs")
    write_stack(path, images, 1.0)
    wanted = np.array([6, 0, 0, 3, 4, 2])
    assert np.array_equal(StackReader(path).read(wanted), images[wanted])
    assert StackReader(path).read(np.array([], int)).shape == (0, 12, 12)


def test_a_long_run_is_read_in_pieces(tmp_path, images, monkeypatch):
    path = str(tmp_path / "s.mrcs")
    write_stack(path, images, 1.0)
    monkeypatch.setattr("scipion_udl.io.stacks.CHUNK_BYTES", 2 * 12 * 12 * 4)
    wanted = np.array([0, 1, 2, 3, 3, 3, 4, 5, 6])
    assert np.array_equal(StackReader(path).read(wanted), images[wanted])


@pytest.mark.parametrize("opener", [gzip.open, bz2.open])
def test_packed_files_are_unpacked_to_a_scratch_file_that_goes_away(tmp_path, images, opener, monkeypatch):
    plain, packed, scratch = tmp_path / "s.mrcs", tmp_path / "s.mrcs.packed", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    write_stack(str(plain), images, 1.5)
    with opener(packed, "wb") as file:
        file.write(plain.read_bytes())
    reader = StackReader(str(packed))
    assert np.array_equal(reader.read(np.array([2, 1])), images[[2, 1]])
    assert len(list(scratch.iterdir())) == 1
    del reader
    assert not list(scratch.iterdir())


def test_a_broken_packed_file_leaves_nothing_behind(tmp_path, images, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    packed = tmp_path / "s.mrcs.gz"
    packed.write_bytes(gzip.compress(images.tobytes())[:200])
    with pytest.raises(UdlError, match=r"s\.mrcs\.gz cannot be unpacked"):
        StackReader(str(packed))
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_header_without_map_word_and_stamp_is_read(tmp_path, images, order):
    path = str(tmp_path / "s.mrcs")
    with mrcfile.new(path, images.astype(np.dtype(np.float32).newbyteorder(order))):
        pass
    patch(path, 208, bytes(8))
    reader = StackReader(path)
    assert reader.odd_header
    assert np.array_equal(reader.read(), images)


def test_a_stack_that_says_it_is_a_crystal_is_still_a_stack(tmp_path, images):
    path = str(tmp_path / "s.mrc")
    with mrcfile.new(path, images) as mrc:
        mrc.header.ispg = 1
        mrc.header.mz = 7
    assert StackReader(path).count == 7
    assert not StackReader(path).looks_like_volume


@pytest.mark.parametrize(("name", "volume"), [("map.mrc", True), ("map.mrcs", False)])
def test_a_cube_looks_like_a_volume_unless_its_name_says_stack(tmp_path, name, volume):
    path = str(tmp_path / name)
    with mrcfile.new(path, np.zeros((8, 8, 8), np.float32)) as mrc:
        mrc.set_volume()
    assert StackReader(path).looks_like_volume is volume


def test_one_image_may_be_two_dimensional(tmp_path, images):
    path = str(tmp_path / "one.mrc")
    with mrcfile.new(path, images[0]):
        pass
    assert np.array_equal(StackReader(path).read(), images[:1])


def test_what_is_written_is_valid_and_says_its_pixel_size(tmp_path, images):
    path = str(tmp_path / "s.mrcs")
    write_stack(path, images, 2.08)
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        assert np.array_equal(mrc.data, images)
        assert mrc.is_image_stack()
        assert mrc.voxel_size.x == pytest.approx(2.08)
        assert mrc.header.dmean == pytest.approx(images.mean(), abs=1e-4)
        assert mrc.header.rms == pytest.approx(images.std(), rel=1e-4)
        assert (mrc.header.dmin, mrc.header.dmax) == (images.min(), images.max())


@pytest.mark.parametrize("shape", [(1, 12, 12), (12, 12)])
def test_one_image_keeps_the_shape_it_was_written_in(tmp_path, images, shape):
    path = str(tmp_path / "average.mrcs")
    write_stack(path, images[0].reshape(shape), 1.3)
    assert mrcfile.read(path).shape == shape
    assert mrcfile.validate(path)


def test_very_large_values_are_written_without_a_word(tmp_path, images):
    path, large = str(tmp_path / "a.mrc"), images[0].astype(np.float64) * 1e30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_stack(path, large, 1.0)
    with mrcfile.open(path) as mrc:
        assert float(mrc.header.rms) == pytest.approx(large.std(), rel=1e-4)


def test_a_stack_written_in_pieces_has_its_name_only_when_complete(tmp_path, images):
    path = tmp_path / "s.mrcs"
    with StackWriter(str(path), 7, 12, 1.0) as out:
        out.write(images[:3])
        assert not path.exists()
        out.write(images[3:])
    assert np.array_equal(mrcfile.read(path), images)
    assert os.listdir(tmp_path) == ["s.mrcs"]


def test_an_error_while_writing_leaves_the_old_file(tmp_path, images):
    path = tmp_path / "s.mrcs"
    write_stack(str(path), images, 1.0)
    with pytest.raises(RuntimeError), StackWriter(str(path), 7, 12, 1.0) as out:
        out.write(images[:3] + 1)
        raise RuntimeError
    with pytest.raises(ValueError, match="3 images were written, 7 announced"), StackWriter(str(path), 7, 12, 1) as out:
        out.write(images[:3])
    assert np.array_equal(mrcfile.read(path), images)
    assert os.listdir(tmp_path) == ["s.mrcs"]


def test_a_truncated_file_is_refused(tmp_path, images):
    path = str(tmp_path / "s.mrcs")
    write_stack(path, images, 1.0)
    os.truncate(path, 1024 + 5 * 12 * 12 * 4 + 100)
    with pytest.raises(UdlError, match=r"s\.mrcs is truncated: its header promises 7 images, 5 are whole"):
        StackReader(path)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_values_that_are_no_numbers_name_file_and_item(tmp_path, images, value, word):
    path = str(tmp_path / "s.mrcs")
    images[4, 3, 2] = value
    write_stack(path, images, 1.0)
    reader = StackReader(path)
    assert len(reader.read(np.arange(4))) == 4
    with pytest.raises(UdlError, match=rf"s\.mrcs: item 5 holds {word}"):
        reader.read(np.array([6, 4]))


def test_an_index_past_the_end_is_refused(tmp_path, images):
    path = str(tmp_path / "s.mrcs")
    write_stack(path, images, 1.0)
    with pytest.raises(UdlError, match="holds 7 images, there is no item 8"):
        StackReader(path).read(np.array([0, 7]))


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (12, 4, "Fourier transforms"),
        (12, 3, "Fourier transforms"),
        (12, 101, "MRC mode 101"),
        (0, -5, "no MRC file, or an empty one"),
        (8, 0, "no MRC file, or an empty one"),
        (88, 401, "stack of volumes"),
    ],
)
def test_headers_that_are_no_stack_of_images_are_refused(tmp_path, images, offset, value, message):
    path = str(tmp_path / "s.mrcs")
    write_stack(path, images, 1.0)
    patch(path, offset, np.int32(value).tobytes())
    with pytest.raises(UdlError, match=message):
        StackReader(path)


def test_files_that_are_something_else_are_refused(tmp_path):
    for name, content in (("a.mrcs", b""), ("b.mrcs", b"short"), ("c.mrcs", b"text " * 1000)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UdlError, match=f"{name} is no MRC file"):
            StackReader(str(tmp_path / name))
    with pytest.raises(UdlError, match="cannot be read: No such file"):
        StackReader(str(tmp_path / "missing.mrcs"))
    with pytest.raises(UdlError, match="cannot be written"):
        write_stack(str(tmp_path / "no" / "folder.mrcs"), np.zeros((1, 8, 8)), 1.0)


PEAK_PROGRAM = """
import sys
import warnings
import numpy as np
from scipion_udl.io.stacks import StackReader

def peak():
    # not ru_maxrss: a new process takes that over from the one that started it
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

reader = StackReader(sys.argv[1])
reader.read(np.arange(64))
before = peak()
for k in range(0, 1536, 64):
    reader.read(np.arange(k, k + 64))
print(peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the peak memory of a process in /proc")
def test_reading_a_large_stack_in_chunks_does_not_fill_the_memory(tmp_path):
    # 96 MiB of images, read chunk by chunk: resident memory may grow by a few chunks only.
    path = str(tmp_path / "large.mrcs")
    with StackWriter(path, 1536, 128, 1.0) as out:
        for _ in range(24):
            out.write(np.ones((64, 128, 128), np.float32))
    program = [sys.executable, "-c", PEAK_PROGRAM, path]
    grown = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert int(grown) < 20 * 1024
