"""How many classes there are: as many as explain particles better that have not taught."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.classification.class_number import LEAST_TAUGHT, classes_told_apart, is_better
from scipion_udl.constants import FEWEST_CLASSES
from scipion_udl.io.stacks import write_stack
from scipion_udl.simulation.phantoms_3d import molecule
from scipion_udl.tests.class_helpers import BOX, DIRECTIONS, class_fit_of, random_poses, seen
from scipion_udl.tests.engine_helpers import Told, run

SNR = 0.4


def of_views(count: int, each: int) -> np.ndarray:
    """``each`` particles of each of ``count`` directions, spread evenly over the sphere, in noise."""
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    directions = np.stack([np.cos(turn) * np.sqrt(1 - z**2), np.sin(turn) * np.sqrt(1 - z**2), z], 1)
    clean = [
        molecule("boot", BOX).project(np.broadcast_to(one, (each, 3)), random_poses(each, 7 + j))
        for j, one in enumerate(directions)
    ]
    clean = np.concatenate([one / one.std((1, 2), keepdims=True) for one in clean])
    noise = np.random.default_rng(3).normal(size=clean.shape)
    return (clean * np.sqrt(SNR) + noise)[np.random.default_rng(4).permutation(len(clean))]


def test_four_views_are_four_classes_and_more_views_are_more(tmp_path):
    four = np.concatenate([seen(k, random_poses(60, 20 + k)) for k in range(len(DIRECTIONS))]) * np.sqrt(SNR)
    four = four + np.random.default_rng(1).normal(size=four.shape)
    four = four[np.random.default_rng(2).permutation(len(four))]
    for name in ("four", "many"):
        (tmp_path / name).mkdir()
    assert classes_told_apart(class_fit_of(four, tmp_path / "four"), Told()) == 4
    told = Told()
    assert classes_told_apart(class_fit_of(of_views(24, 26), tmp_path / "many"), told) >= 16


def test_noise_has_no_more_classes_than_the_fewest(tmp_path):
    noise = np.random.default_rng(5).normal(size=(300, BOX, BOX))
    assert classes_told_apart(class_fit_of(noise, tmp_path), Told()) == FEWEST_CLASSES


def test_a_class_is_left_enough_particles_to_learn_from(tmp_path):
    """However different all of them are: 120 particles without noise are in six classes at most."""
    clean = of_views(60, 2) * 5
    found = classes_told_apart(class_fit_of(clean, tmp_path), Told())
    assert found <= max(FEWEST_CLASSES, 120 * 4 // 5 // LEAST_TAUGHT)


@pytest.mark.parametrize(("gain", "better"), [(0.0, False), (0.15, False), (0.25, True), (-1.0, False)])
def test_more_classes_must_be_surely_better(gain, better):
    """By two standard errors of the mean difference: 0.2 of 100 particles whose differences scatter by 1."""
    scatter = torch.tensor([1.0, -1.0]).repeat(50)
    known = torch.randn(100, generator=torch.Generator().manual_seed(1)) * 50
    assert is_better(known + gain + scatter, known) == better
    assert not is_better(torch.ones(1), torch.zeros(1))


def test_a_run_tells_what_it_found_and_has_no_empty_class(tmp_path, capsys):
    four = np.concatenate([seen(k, random_poses(40, 30 + k)) for k in range(len(DIRECTIONS))])
    write_stack(str(tmp_path / "p.mrcs"), four + np.random.default_rng(1).normal(size=four.shape), 2.0)
    words = ("--classes", "auto", "--no-refine", "--threads", 1, "--max-shift", 4)
    assert run("classify", tmp_path / "p.mrcs", "-o", tmp_path / "o", *words) == 0
    facts = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert facts["classes_asked"] == 4
    assert all(one["particles"] > 0 for one in facts["classes"])
    assert "4 classes: more of them do not explain particles better" in " ".join(facts["notes"])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run("classify", tmp_path / "p.mrcs", "-o", tmp_path / "x", "--classes", "automatic")
    assert "'automatic' is not a whole number" in capsys.readouterr().err
