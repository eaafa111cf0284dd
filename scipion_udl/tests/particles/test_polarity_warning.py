"""What particles look like, bright or dark, with no answer for noise."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.particles.polarity_warning import polarity_of, polarity_warning
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.simulation.particles import Simulation
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import (
    PIXEL_SIZE,
    prepared,
    run,
    subset_star,
    summary,
)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("ctf", "snr"), [(None, 0.01), (CtfSettings(), 0.1)])
@pytest.mark.parametrize("name", ["hook", "barrel", "tube"])
def test_particles_are_seen_as_what_they_are(tmp_path, name, ctf, snr, sign):
    images = Simulation(phantom(name, 48), 200, snr, PIXEL_SIZE, 4.0, ctf=ctf, seed=1).images(np.arange(200))
    found = prepared(tmp_path, 7 + sign * images).statistics
    assert polarity_of(found) == ("bright" if sign > 0 else "dark")
    assert polarity_warning(found, "auto") is None
    assert polarity_warning(found, "bright" if sign > 0 else "dark") is None
    warning = polarity_warning(found, "dark" if sign > 0 else "bright")
    assert ("look bright on a dark ground" if sign > 0 else "look dark on a bright ground") in warning


def test_noise_has_no_contrast_and_gives_no_alarm(tmp_path):
    rng = np.random.default_rng(0)
    for count in [1, 5, 40, 40, 40, 40, 40, 40, 40, 40, 200, 600]:
        found = prepared(tmp_path, rng.normal(3, 2, (count, 32, 32))).statistics
        assert polarity_of(found) == "unknown"
        assert polarity_warning(found, "dark") is None


def test_a_set_that_looks_otherwise_than_expected_is_told(particles, model, tmp_path, capsys):
    table = subset_star(particles, tmp_path / "p.star", range(60))
    words = ["align", table, "--model", model, "--no-refine"]
    assert run(*words, "-o", tmp_path / "a", "--polarity", "dark") == 0
    assert any("not dark on a bright ground as --polarity dark says" in w for w in summary(tmp_path / "a")["warnings"])
    assert run(*words, "-o", tmp_path / "b", "--polarity", "bright") == 0
    assert not any("--polarity" in warning for warning in summary(tmp_path / "b")["warnings"])
    assert summary(tmp_path / "b")["contrast"] == "bright"
