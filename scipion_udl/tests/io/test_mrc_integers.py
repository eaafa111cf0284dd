"""Whole numbers that an MRC file's mode calls signed and that are not: read as they were meant, and told."""

import mrcfile
import numpy as np
import pytest

from scipion_udl.io.other_programs import image_warnings
from scipion_udl.io.stacks import StackReader

IMOD = (1146047817).to_bytes(4, "little")
N, BOX = 5, 24


@pytest.fixture
def views():
    """Images (5, 24, 24) of a blob in noise, from 0 to 255 about 128."""
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    blob = 60 * np.exp(-(x**2 + y**2) / 40)
    return np.clip(128 + blob + np.random.default_rng(1).normal(0, 20, (N, BOX, BOX)), 0, 255).round()


@pytest.fixture
def stack(tmp_path):
    """``stack(values, kind, ...)``: a reader of an MRC file with these values; low, high: what its header says of them
    (None: of what was written), flags: of IMOD's stamp (None: no stamp), order: of the bytes."""

    def make(values, kind, low=None, high=None, flags=None, order="<"):
        path = str(tmp_path / "s.mrcs")
        with mrcfile.new(path, values.astype(np.dtype(kind).newbyteorder(order)), overwrite=True) as mrc:
            if low is not None:
                mrc.header.dmin, mrc.header.dmax = low, high
        if flags is not None:
            with open(path, "r+b") as file:
                file.seek(152)
                stamp = IMOD + flags.to_bytes(4, "little")
                file.write(stamp if order == "<" else IMOD[::-1] + flags.to_bytes(4, "big"))
        return StackReader(path)

    return make


def as_bytes(values):
    """What lies in the file of unsigned bytes, as the signed ones that mrcfile writes."""
    return values.astype(np.uint8).view(np.int8)


@pytest.mark.parametrize(
    "header",
    [
        {"low": 0, "high": 255, "flags": 0},
        {"low": 3, "high": 251},
        {"low": 0, "high": 0, "flags": 0},  # no statistics, IMOD's stamp
        {"low": 0, "high": -1, "flags": 4},
        {"low": 0, "high": 255, "flags": 1},  # a stamp that contradicts the values
        {"low": 0, "high": 0},  # the header says nothing: the images themselves
        {"low": 0, "high": 255, "flags": 0, "order": ">"},
        {"low": 0, "high": 0, "flags": 0, "order": ">"},
    ],
)
def test_unsigned_bytes_are_read_as_such_and_told(stack, views, header):
    reader = stack(as_bytes(views), np.int8, **header)
    np.testing.assert_array_equal(reader.read(), views)
    (warning,) = image_warnings([reader])
    assert "bytes from 0 to 255" in warning and "RELION, Xmipp and mrcfile read them as signed" in warning


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"low": 0, "high": 0},
        {"low": 0, "high": 0, "flags": 1},
        {"low": -60, "high": 70, "flags": 0},  # a stamp left from a file that was rewritten
        {"low": np.nan, "high": np.nan},
    ],
)
def test_signed_bytes_stay_signed(stack, views, header):
    values = np.round((views - 128) / 2)
    reader = stack(values, np.int8, **header)
    np.testing.assert_array_equal(reader.read(), values)
    assert image_warnings([reader]) == []


@pytest.mark.parametrize(
    "header", [{"low": 0, "high": 65000}, {"low": 0, "high": 0}, {"low": 0, "high": 0, "order": ">"}]
)
def test_counts_above_32767_in_mode_1_are_read_as_such(stack, views, header):
    counts = 250 * views
    order = header.get("order", "<")
    stored = counts.astype(f"{order}u2").view(f"{order}i2")
    reader = stack(stored, np.int16, **header)
    np.testing.assert_array_equal(reader.read(), counts)
    assert "from 0 to 65535" in image_warnings([reader])[0]
    signed = stack(100 * (views - 128), np.int16)
    np.testing.assert_array_equal(signed.read(), 100 * (views - 128))


def test_one_sentence_tells_of_many_stacks(stack, views):
    reader = stack(as_bytes(views), np.int8, 0, 255)
    (warning,) = image_warnings([reader] * 4)
    assert "s.mrcs and 3 more" in warning


def test_a_header_that_promises_a_giant_image_costs_nothing(tmp_path, stack, views):
    """65536 x 65536 bytes: the file holds none of them."""
    stack(as_bytes(views), np.int8, 0, 0)
    path = tmp_path / "s.mrcs"
    data = bytearray(path.read_bytes())
    data[0:8] = (65536).to_bytes(4, "little") * 2
    path.write_bytes(data)
    complaints = []
    assert StackReader(str(path), lambda kind, sentence: complaints.append(sentence)).whole == 0
    assert "truncated" in complaints[0]
