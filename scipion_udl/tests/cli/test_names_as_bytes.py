"""Names of files that are no UTF-8 (an old disk, a Windows share): results as for any other, and no work is lost."""

import io
import os
import sys

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl import cli
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.models.checkpoint import load_card, load_model, opened_tensors, save_model, write_tensors
from scipion_udl.simulation.phantoms import phantom

LATIN = os.fsdecode(b"caf\xe9")  # a name in Latin-1
COMPUTE = ("--gpu", "none", "--threads", "1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A stack in a folder whose name is no UTF-8, and p.star in the current folder that names its images."""
    monkeypatch.chdir(tmp_path)
    try:
        os.mkdir(LATIN)
    except OSError:
        pytest.skip("this file system has UTF-8 alone")
    rng = np.random.default_rng(0)
    images = phantom("hook", 24).sample(Poses(rng.uniform(-180, 180, 20), np.zeros((20, 2))))
    write_stack(f"{LATIN}/s.mrcs", images + 0.2 * rng.normal(size=images.shape), 4.0)
    write_tables("p.star", [Table("", {"rlnImageName": [f"{k + 1}@{LATIN}/s.mrcs" for k in range(20)]})])
    return tmp_path


@pytest.fixture
def terminal(monkeypatch):
    """``terminal(encoding)`` makes stdout and stderr refuse what that encoding lacks; returns both as bytes."""

    def make(encoding):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding, "strict", write_through=True) for _ in range(2)]
        for name, stream in zip(("stdout", "stderr"), streams):
            monkeypatch.setattr(sys, name, stream)
        return lambda: b"".join(stream.buffer.getvalue() for stream in streams)

    return make


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_check_prints_the_bytes_of_the_name_in_every_terminal(folder, terminal, encoding):
    printed = terminal(encoding)
    assert cli.main(["check", f"{LATIN}/s.mrcs", "--threads", "1"]) == 0
    assert b"caf\xe9/s.mrcs: 20 particles" in printed()


def test_align_writes_all_its_results_and_evaluate_reads_them(folder, terminal):
    """The name stands in the input table, the output folder, the report and the tables that are written."""
    printed, out = terminal("utf-8"), f"{LATIN}/out"
    assert cli.main(["align", "p.star", "-o", out, *COMPUTE]) == 0, printed()
    against = ["--reference", f"{out}/average.mrcs", "-o", "ev"]
    assert cli.main(["evaluate", f"{out}/aligned.star", *against, *COMPUTE]) == 0, printed()
    assert b"unexpected" not in printed()
    assert {"aligned.star", "aligned.xmd", "report.html", "summary.json"} <= set(os.listdir(out))
    for name in ("aligned.star", "aligned.xmd"):
        with open(f"{out}/{name}", "rb") as file:
            assert b"caf\xe9/s.mrcs" in file.read()


def test_a_model_that_was_written_there_is_read_again(folder):
    """By those that use it, by particles that join, and by a training that goes on."""
    out, words = f"{LATIN}/out", ("--classes", "1", "--no-refine")
    assert cli.main(["classify", "p.star", "-o", out, *words, *COMPUTE]) == 0
    assert cli.main(["classify", "p.star", "-o", "again", "--model", f"{out}/model.safetensors", *COMPUTE]) == 0
    card = load_card(f"{out}/model.safetensors")
    assert card.network == "classes"
    save_model(f"{LATIN}/same.safetensors", *load_model(f"{out}/model.safetensors", torch.device("cpu")))
    with open(f"{LATIN}/same.safetensors", "rb") as one, open(f"{out}/model.safetensors", "rb") as other:
        assert one.read() == other.read()
    write_tensors(f"{LATIN}/checkpoint.safetensors", {"now.a": torch.ones(3)}, {"training": "{}"})
    with opened_tensors(f"{LATIN}/checkpoint.safetensors") as tensors:
        assert tensors.get_tensor("now.a").tolist() == [1, 1, 1]


def test_a_name_in_a_sentence_of_refusal_is_printed_too(folder, terminal):
    printed = terminal("utf-8")
    assert cli.main(["check", f"{LATIN}/gone.mrcs", "--threads", "1"]) == 1
    assert b"caf\xe9/gone.mrcs is not there" in printed()


def test_what_a_terminal_lacks_is_printed_as_a_number(folder, terminal):
    """A name that is text, where the terminal has ASCII alone."""
    printed = terminal("ascii")
    os.rename(f"{LATIN}/s.mrcs", "größe.mrcs")
    assert cli.main(["check", "größe.mrcs", "--threads", "1"]) == 0
    assert b"gr\\xf6\\xdfe.mrcs: 20 particles" in printed()
