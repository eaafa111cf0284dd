"""The network that judges: its file, its reasons, and what it makes of numbers that are far off."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open

from scipion_udl.quality import class_features, particle_features
from scipion_udl.quality.judge import CLASSES, PARTICLES, Judge
from scipion_udl.quality.reasons import MOST, TOLD, reasons

LINEAR = {"names": ["a", "b"]}


def linear() -> Judge:
    """One whose evidence is a - b, nearly: tanh of little."""
    small = 1e-3
    weights = np.array([[[small, -small]]])
    out, nothing = np.array([[1 / small]]), np.zeros((1, 1))
    return Judge(np.zeros(2), np.ones(2), weights, nothing, out, np.zeros(1), np.array([2.0, 0.0]), LINEAR)


def test_the_files_of_the_package_have_the_numbers_that_are_asked_for():
    for name, names in ((CLASSES, class_features.NAMES), (PARTICLES, particle_features.NAMES)):
        judge = Judge.of_package(name)
        assert tuple(judge.card["names"]) == names
        assert judge.hidden.shape[2] == len(names) == len(judge.typical)
        assert judge.card["sets"] > 0 and judge.card["command"]


def test_what_is_typical_of_good_is_good_and_numbers_beyond_all_measure_stay_finite():
    for name in (CLASSES, PARTICLES):
        judge = Judge.of_package(name)
        assert judge.quality(judge.typical[None])[0] > 0.9
        assert np.isfinite(judge.evidence(np.full((1, len(judge.typical)), 1e30))).all()


def test_a_file_comes_back_as_it_was_and_others_can_read_it(tmp_path):
    path = str(tmp_path / "j.safetensors")
    linear().write(path)
    again = Judge.read(path)
    assert again.card == LINEAR
    numbers = np.random.default_rng(1).normal(size=(5, 2))
    np.testing.assert_array_equal(again.evidence(numbers), linear().evidence(numbers))
    with safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["udl"]) == LINEAR


def test_quality_is_the_probability_of_the_evidence():
    np.testing.assert_allclose(linear().quality(np.array([[0.0, 0.0], [np.log(3), 0.0]])), [0.5, 0.75], atol=1e-4)


def test_what_speaks_against_is_what_would_be_gained_by_a_typical_number():
    found = linear().against(np.array([[0.0, 1.0]]), {"one": ["a"], "other": ["b"], "both": ["a", "b"]})
    assert found["one"][0] == pytest.approx(2.0, abs=1e-3)
    assert found["other"][0] == pytest.approx(1.0, abs=1e-3)
    assert found["both"][0] == pytest.approx(3.0, abs=1e-3)


def test_every_number_of_a_class_has_its_sentence():
    assert sorted(name for names in TOLD.values() for name in names) == sorted(class_features.NAMES)


def test_the_weightiest_reasons_come_first_and_good_classes_have_none():
    judge = Judge.of_package(CLASSES)
    names = class_features.NAMES
    bad = judge.typical.copy()
    far = {"signal_middling": -3, "signal_fine": -3, "shifts": 3, "ramp": 3, "off_centre": 3}  # deviations
    for name, deviations in far.items():
        k = names.index(name)
        bad[k] = judge.mean[k] + deviations * judge.deviation[k]
    good, poor = reasons(judge, np.stack([judge.typical, bad]))
    assert [one.code for one in good] == ["class_looks_good"]
    assert 1 <= len(poor) <= MOST
    assert "class_looks_good" not in [one.code for one in poor]
    against = judge.against(bad[None], TOLD)
    weights = [against[one.code][0] for one in poor]
    assert weights == sorted(weights, reverse=True)
