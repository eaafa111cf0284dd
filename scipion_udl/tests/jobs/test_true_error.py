"""The true error of a training on simulated particles: measured, told and drawn beside the loss, never learned from."""

from __future__ import annotations

import contextlib
import io
import re
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("torch")
from matplotlib.axes import Axes
from PIL import Image

from scipion_udl.models.checkpoint import load_model
from scipion_udl.report import figures, training_figures
from scipion_udl.tests.engine_helpers import CPU, run, simulate
from scipion_udl.training.history import read_history

DRAWN = True

EPOCHS = 5


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("true") / "sim", 140, 32, 2.0)


def train(particles, out, *options):
    code = run("train", particles / "particles.star", "-o", out, "--method", "udl", "--epochs", EPOCHS, *options)
    assert code == 0
    return read_history(str(out / "training.csv"))


@pytest.fixture(scope="module")
def trained(particles, tmp_path_factory):
    """(folder, history, what was printed) of a training that knows the truth."""
    out = tmp_path_factory.mktemp("true") / "with"
    every = mock.patch("scipion_udl.pipelines.run.LOG_EVERY", EPOCHS)
    with every, contextlib.redirect_stdout(io.StringIO()) as text:
        history = train(particles, out, "--truth", particles / "truth.star")
    return out, history, text.getvalue()


def test_the_true_error_is_logged_told_and_drawn(trained):
    out, history, text = trained
    last = f"{history[-1]['true_error']:.2f} degrees"
    assert re.search(rf"epoch {EPOCHS} of at most {EPOCHS}: held-out loss [\d.]+, true error {last}", text)
    assert re.search(r"True error +[\d.]+ degrees \(mean, modulo 180\)", text)
    picture = np.asarray(Image.open(out / "training.png").convert("RGB")).astype(int)
    red = tuple(int(figures.RED[k : k + 2], 16) for k in (1, 3, 5))
    drawn = (np.abs(picture - red).max(-1) < 30).any(0)
    assert drawn.mean() > 0.3  # a curve over the width of the panel, not only a word


def test_training_with_the_truth_is_training_without_it(particles, trained, tmp_path, capsys):
    plain = train(particles, tmp_path / "without")
    assert "rue error" not in capsys.readouterr().out
    assert all("true_error" not in row for row in plain)
    assert [row["validation"] for row in plain] == [row["validation"] for row in trained[1]]
    one, other = (load_model(str(out / "model.safetensors"), CPU)[0] for out in (trained[0], tmp_path / "without"))
    assert all(value.equal(other.state_dict()[name]) for name, value in one.state_dict().items())


def test_the_drawn_error_is_the_error_on_an_axis_of_its_own_from_zero(trained):
    figure = training_figures.training_figure(trained[1])
    loss, error = figure.axes
    assert "true error" in error.get_ylabel()
    (curve,) = error.get_lines()
    drawn = np.array(curve.get_xydata())
    assert np.allclose(drawn[:, 1], [row["true_error"] for row in trained[1]])
    assert np.allclose(drawn[:, 0], [row["epoch"] for row in trained[1]])
    assert error.get_ylim()[0] == 0
    assert error.get_ylim()[1] > drawn[:, 1].max()
    assert {text.get_text() for text in error.get_legend().get_texts()} == {"loss", "validation", "true error"}
    assert len(loss.get_lines()) == 2


def test_without_a_truth_there_is_one_axis():
    rows = [{"epoch": k, "stage": "network", "loss": 1 / k, "validation": 2 / k} for k in (1, 2, 3)]
    axes: list[Axes] = training_figures.training_figure(rows).axes
    assert len(axes) == 1
