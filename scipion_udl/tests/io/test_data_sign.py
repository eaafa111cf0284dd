"""blob/sign of a .cs file: grey values count in the sign that each particle has, wherever images are read."""

import os

import numpy as np
import pytest

from scipion_udl import cli
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables
from scipion_udl.simulation.phantoms import phantom

BOX, COUNT, FEW = 32, 40, 3
SIGNS = np.where(np.arange(COUNT) % 2, -1.0, 1.0)


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Bright particles (40, 32, 32) of one view; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    poses = Poses(rng.uniform(-180, 180, COUNT), rng.uniform(-2, 2, (COUNT, 2)))
    views = phantom("hook", BOX).sample(poses)
    return views + rng.normal(size=views.shape, scale=views.std()).astype(np.float32)


def save(images, sign, folder="."):
    """A stack whose images are stored in these signs, and a .cs that says so (sign None: no such field)."""
    os.makedirs(folder, exist_ok=True)
    stored = images if sign is None else images * np.asarray(sign, np.float32)[:, None, None]
    write_stack(f"{folder}/p.mrcs", stored, 4.0)
    fields = [("uid", "<u8"), ("blob/path", "S20"), ("blob/idx", "<u4"), ("blob/psize_A", "<f4")]
    array = np.zeros(len(images), fields + ([] if sign is None else [("blob/sign", "<f4")]))
    array["uid"], array["blob/idx"] = np.arange(len(images)) + 1, np.arange(len(images))
    array["blob/path"], array["blob/psize_A"] = b"p.mrcs", 4.0
    if sign is not None:
        array["blob/sign"] = sign
    with open(f"{folder}/p.cs", "wb") as file:
        np.save(file, array, allow_pickle=False)
    return f"{folder}/p.cs"


@pytest.mark.parametrize("which", ["every second", "one in ten", "all"])
def test_images_come_in_their_sign_in_any_order(images, which):
    step = {"every second": 2, "one in ten": 10, "all": 1}[which]
    sign = np.where(np.arange(COUNT) % step, 1.0, -1.0)
    source = open_particles(save(images, sign))
    order = np.random.default_rng(0).permutation(COUNT)
    assert np.abs(source.read(order) - images[order]).max() < 1e-6
    some = source.subset(np.array([7, 3, 10, 20]))
    assert np.abs(some.read([3, 0, 1, 2]) - images[[20, 7, 3, 10]]).max() < 1e-6
    count = "all its particles" if step == 1 else f"{(sign < 0).sum()} of {COUNT} particles"
    assert f"gives {count} the data sign -1" in source.warnings[-1]
    assert ("--write-stack" in source.warnings[-1]) == (step > 1)


@pytest.mark.parametrize("sign", [None, np.ones(COUNT), np.zeros(COUNT)])
def test_without_a_negative_sign_images_are_as_they_lie(images, sign):
    stored = save(images, sign)
    source = open_particles(stored)
    assert source.sign is None and not source.warnings
    np.testing.assert_array_equal(source.read(np.arange(COUNT)), StackReader("p.mrcs").read())


def test_an_alignment_of_mixed_signs_is_that_of_the_signs_undone(images):
    """Not nearly: the same poses to the last digit of the table."""
    pytest.importorskip("torch")
    tables = []
    for name, sign in (("mixed", SIGNS[:FEW]), ("undone", None)):
        path = save(images[:FEW], sign, name)
        assert (
            cli.main(
                [
                    "align",
                    path,
                    "-o",
                    f"out_{name}",
                    "--gpu",
                    "none",
                    "--threads",
                    "1",
                    "--max-shift",
                    "3",
                    "--write-stack",
                ]
            )
            == 0
        )
        tables.append(read_tables(f"out_{name}/aligned.star")[1].numbers("rlnAnglePsi"))
    np.testing.assert_allclose(tables[0], tables[1], atol=2e-6)
    mixed, undone = (StackReader(f"out_{name}/aligned.mrcs").read() for name in ("mixed", "undone"))
    np.testing.assert_allclose(mixed, undone, atol=1e-4)  # what is written is of one sign


def test_check_sees_one_contrast_where_signs_make_it_one(images, capsys):
    path = save(images, SIGNS)
    assert cli.main(["check", path, "--threads", "1"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "bright particles" in told and "data sign -1" in told


def test_aligned_images_in_a_cs_have_the_sign_that_was_applied(images):
    source = open_particles(save(images, SIGNS))
    flat = Poses(np.zeros(COUNT), np.zeros((COUNT, 2)), np.arange(COUNT) == 0)
    score, flags = np.ones(COUNT), np.zeros(COUNT, bool)
    write_aligned(source, flat, score, flags, cs="mirrored.cs", aligned_stack="aligned.mrcs")
    assert (np.load("mirrored.cs")["blob/sign"] == 1).all()
    write_aligned(source, Poses.identity(COUNT), score, flags, cs="plain.cs")
    assert (np.load("plain.cs")["blob/sign"] == SIGNS).all()
