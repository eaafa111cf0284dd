"""Unpacked copies of packed stacks: none outlives its process, and none fills the disk."""

from __future__ import annotations

import bz2
import gzip
import os
import signal
import struct
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.io import unpacking
from scipion_udl.io.stacks import StackReader, write_stack

N, BOX = 20, 16


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A packed stack, scratch files beside it in "scratch"."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    write_stack(str(tmp_path / "s.mrcs"), np.random.default_rng(0).normal(size=(N, BOX, BOX)), 2.0)
    path = tmp_path / "s.mrcs.gz"
    path.write_bytes(gzip.compress((tmp_path / "s.mrcs").read_bytes()))
    return path


def scratch(packed):
    return os.listdir(packed.parent / "scratch")


HOLDER = """
import sys, tempfile, time
tempfile.tempdir = sys.argv[2]
from scipion_udl.io.stacks import StackReader
reader = StackReader(sys.argv[1])
print("in", flush=True)
time.sleep(600)
"""


def hold(packed):
    """Another process that has it unpacked."""
    words = [sys.executable, "-c", HOLDER, str(packed), str(packed.parent / "scratch")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"in\n"
    return process


def test_what_a_killed_process_left_goes_away_with_the_next_one_that_unpacks(packed):
    first, other = hold(packed), hold(packed)
    try:
        assert len(scratch(packed)) == 2
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert len(scratch(packed)) == 2
        reader = StackReader(str(packed))
        assert len(scratch(packed)) == 2  # its own, and that of the process that lives
        assert reader.read().shape == (N, BOX, BOX)
    finally:
        other.kill()
        other.wait()
    del reader
    StackReader(str(packed))
    assert scratch(packed) == []


def test_folders_of_others_are_not_touched(packed):
    others = packed.parent / "scratch" / "scipion-udl-unpacked-mine"
    others.mkdir()
    (others / "notes.txt").write_text("precious")
    os.symlink(packed.parent, packed.parent / "scratch" / "scipion-udl-unpacked-link")
    StackReader(str(packed))
    assert (others / "notes.txt").read_text() == "precious"
    assert packed.exists()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_no_more_is_unpacked_than_the_header_says(packed, pack):
    plain = (packed.parent / "s.mrcs").read_bytes()
    packed.write_bytes(pack(plain + bytes(50 << 20)))
    reader = StackReader(str(packed))
    (folder,) = scratch(packed)
    sizes = [
        os.path.getsize(packed.parent / "scratch" / folder / name)
        for name in os.listdir(packed.parent / "scratch" / folder)
    ]
    assert max(sizes) == len(plain)
    assert np.array_equal(reader.read(), StackReader(str(packed.parent / "s.mrcs")).read())


def test_a_stack_for_which_the_disk_has_no_room_is_refused_before_it_is_unpacked(packed, monkeypatch):
    plain = bytearray((packed.parent / "s.mrcs").read_bytes())
    struct.pack_into("<3i", plain, 0, 4096, 4096, 60_000)
    packed.write_bytes(gzip.compress(bytes(plain)))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda path: usage(10**12, 0, 5 * 10**9))
    with pytest.raises(UdlError, match=r"s\.mrcs\.gz comes to 4026\.5 GB unpacked, .* has 5\.0 GB: .*TMPDIR"):
        StackReader(str(packed))
    assert scratch(packed) == []


@pytest.mark.parametrize("place", [-6, 3000, 12])  # of the check sum, and of what is packed
def test_a_packed_file_that_is_damaged_is_refused(packed, place):
    whole = bytearray(packed.read_bytes())
    whole[place : place + 4] = bytes(byte ^ 0xFF for byte in whole[place : place + 4])
    packed.write_bytes(bytes(whole))
    with pytest.raises(UdlError, match="cannot be unpacked"):
        StackReader(str(packed))
    assert scratch(packed) == []


@pytest.mark.parametrize("more", [1, 100_000])
def test_a_packed_file_that_is_damaged_is_refused_where_it_unpacks_to_more_than_its_header_says(packed, more):
    plain = (packed.parent / "s.mrcs").read_bytes()
    whole = bytearray(gzip.compress(plain + bytes(more)))
    whole[-6] ^= 0xFF  # in the check sum, which only the file's end shows
    packed.write_bytes(bytes(whole))
    with pytest.raises(UdlError, match="cannot be unpacked"):
        StackReader(str(packed))
    assert scratch(packed) == []


def test_a_packed_file_that_is_no_stack_leaves_nothing(packed):
    packed.write_bytes(gzip.compress(b"no image" * 1000))
    with pytest.raises(UdlError, match="is no MRC file"):
        StackReader(str(packed))
    assert scratch(packed) == []
