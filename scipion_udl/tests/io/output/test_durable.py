"""What has a final name outlives a loss of power: content is on disk before the name, the name before what follows."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, write_tables


@pytest.fixture
def disk(monkeypatch):
    """What the system is told, in order: ("out", inode) for what is written out, ("name", inode, new name)."""
    told, fsync, replace = [], os.fsync, os.replace

    def write_out(file):
        told.append(("out", os.fstat(file).st_ino))
        fsync(file)

    def rename(source, target):
        told.append(("name", os.stat(source).st_ino, os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", write_out)
    monkeypatch.setattr(os, "replace", rename)
    return told


def holds(told: list[tuple], path: str) -> bool:
    """Whether the content of ``path`` was written out before its name was given, and the folder after it."""
    own, folder = os.stat(path).st_ino, os.stat(os.path.dirname(path)).st_ino
    named = told.index(("name", own, os.path.basename(path)))
    return ("out", own) in told[:named] and ("out", folder) in told[named:]


def test_results_are_written_out_before_they_have_their_names_and_the_summary_comes_last(tmp_path, disk):
    names = ["average.mrcs", "aligned.star", "summary.json"]
    with OutputFolder(str(tmp_path / "out")) as out:
        for name in names:
            with open(out.scratch(name), "w") as file:
                file.write(name)
    for name in (*names, ".udl-files.json"):
        assert holds(disk, out.final(name)), name
    last = [entry[2] for entry in disk if entry[0] == "name"]
    assert (last[0], last[-1]) == (".udl-files.json", "summary.json")
    summary, folder = disk.index(("name", os.stat(out.final("summary.json")).st_ino, "summary.json")), os.stat(out.path)
    others = max(k for k, entry in enumerate(disk) if entry[0] == "name" and entry[2] != "summary.json")
    assert ("out", folder.st_ino) in disk[others:summary], "a complete run is one whose other files have their names"


def test_tables_stacks_and_checkpoints_are_written_out(tmp_path, disk):
    table, stack, checkpoint = (str(tmp_path / name) for name in ("a.star", "a.mrcs", "checkpoint.safetensors"))
    write_tables(table, [Table("", {"rlnImageName": ["1@a.mrcs"]})])
    write_stack(stack, np.zeros((2, 8, 8), np.float32), 1.0)
    assert holds(disk, table)
    assert holds(disk, stack)
    torch = pytest.importorskip("torch")
    from scipion_udl.models.checkpoint import write_tensors

    write_tensors(checkpoint, {"weight": torch.zeros(3)}, {})
    assert holds(disk, checkpoint)


def test_a_disk_that_finds_itself_full_only_then_leaves_no_name(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UdlError, match=r"a.star cannot be written: No space left"):
        write_tables(str(tmp_path / "a.star"), [Table("", {"rlnImageName": ["1@a.mrcs"]})])
    assert not (tmp_path / "a.star").exists()


def test_a_disk_that_cannot_write_out_folders_is_no_hindrance(tmp_path, monkeypatch):
    fsync = os.fsync

    def files_only(file):
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(file)

    monkeypatch.setattr(os, "fsync", files_only)
    with OutputFolder(str(tmp_path / "out")) as out, open(out.scratch("a.star"), "w") as file:
        file.write("a")
    assert os.path.exists(out.final("a.star"))
