"""A new network is one row and one class: the command line and the form offer it, train it, and align by it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import scipion_udl
from scipion_udl import cli
from scipion_udl.errors import UdlError
from scipion_udl.io.stacks import write_stack
from scipion_udl.models.checkpoint import load_card
from scipion_udl.models.polar_network import refine_angles
from scipion_udl.models.registry import INPUTS, named, network_class
from scipion_udl.settings import networks
from scipion_udl.settings.commands import TrainSettings
from scipion_udl.training.objectives import Objective
from scipion_udl.training.presets import preset_of

WORDS = ["--threads", "1", "--gpu", "none"]


class Toy(nn.Module):
    """Correlates each ring of a spectrum with one that it learns."""

    def __init__(self, radii: int, angles: int, width: float = 6.0) -> None:
        super().__init__()
        self.config = {"radii": radii, "angles": angles, "width": width}
        near = torch.arange(angles) - angles // 2
        self.template = nn.Parameter(torch.exp(-((near / width) ** 2)).expand(radii, -1).clone())
        self.register_buffer("agreement", torch.ones(radii))

    def rotations(self, spectra: torch.Tensor) -> torch.Tensor:
        """Turns (N,) in degrees, modulo 180, of spectra (N, radii, angles)."""
        product = torch.fft.rfft(spectra) * torch.fft.rfft(self.template).conj()
        return refine_angles(torch.fft.irfft(product.sum(1), n=spectra.shape[-1]))


ROW = networks.NetworkRow(
    "toy",
    f"{__name__}:Toy",
    networks.SPECTRA,
    "a toy",
    "scipion_udl.training.objectives:PolarObjective",
    {"judl": {"epochs": 12, "lr": 1e-2, "batch": 64, "patience": 6}},
    help="a toy that correlates",
    label="Toy network",
)


@pytest.fixture
def toy():
    """It is there for one test."""
    networks.register(ROW)
    yield ROW
    del networks.ROWS["toy"]


@pytest.fixture(scope="module")
def made():
    return scipion_udl.simulate(200, 2.0, 32, 4.0, shift=1.0, seed=5)


def test_a_toy_network_is_trained_and_aligns_through_the_command_line(toy, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stack("some.mrcs", made.images, 4.0)
    assert cli.main(["train", "some.mrcs", "-o", "model", "--network", "toy", *WORDS]) == 0
    card = load_card("model/model.safetensors")
    assert (card.network, card.method, card.training["epochs"] > 0) == ("toy", "judl", True)
    words = ["--model", "model/model.safetensors", "--no-refine", *WORDS]
    assert cli.main(["align", "some.mrcs", "-o", "aligned", *words]) == 0
    model = scipion_udl.load_model("model/model.safetensors")
    result = scipion_udl.align("some.mrcs", model=model, no_refine=True, threads=1, gpu="none")
    assert type(result.model.network).__name__ == "Toy"
    assert scipion_udl.evaluate(result, made)["rotation_mean_180"] < 10  # chance is 45
    rotated = scipion_udl.evaluate("aligned/aligned.star", made.poses)
    assert rotated["rotation_mean_180"] == pytest.approx(scipion_udl.evaluate(result, made)["rotation_mean_180"])


def test_it_is_offered_while_it_is_registered(toy, capsys):
    assert "toy" in TrainSettings.option("network").choices
    assert "toy: a toy that correlates" in TrainSettings.option("network").help
    question = TrainSettings.question("network")
    assert dict(zip(question.answers, question.choices))["toy"] == "Toy network"
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert "a toy that correlates" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ValueError, match="toy already"):
        networks.register(ROW)


def test_it_is_refused_while_it_is_not(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stack("some.mrcs", made.images[:4], 4.0)
    with pytest.raises(SystemExit):
        cli.main(["train", "some.mrcs", "-o", "model", "--network", "toy"])
    assert "toy" not in TrainSettings.question("network").answers


@pytest.mark.parametrize("name", networks.ROWS)
def test_every_row_names_what_is_there(name):
    row = networks.ROWS[name]
    assert issubclass(network_class(name), nn.Module)
    assert row.sees in INPUTS
    assert row.words
    if row.word is None:
        assert not row.presets
        return
    assert issubclass(named(row.objective), Objective)
    for method in row.presets:
        assert networks.trained_by(row.word, method) is row
        assert preset_of(row.word, method).epochs > 0


def test_the_usual_method_is_the_first():
    assert networks.methods("polar") == ("judl", "udl")
    assert networks.methods("resnet")[0] == "udl"
    with pytest.raises(UdlError, match="by --method udl only"):
        networks.trained_by("matching", "judl")


def test_what_forms_hold_stays():
    """Saved projects know a network by its place in the list."""
    assert networks.form_answers() == ("polar", "resnet")
    assert networks.form_labels()[1] == networks.ROWS["resnet"].label
