"""Contrast: what particles look like, with no answer for noise; references of the other contrast."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.alignment.contrast import contrast_of, contrast_warning
from scipion_udl.alignment.reference import transform
from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.simulate.ctf import CtfSettings
from scipion_udl.simulate.particles import Simulation
from scipion_udl.simulate.phantoms import phantom
from scipion_udl.tests.engine_helpers import (
    PIXEL_SIZE,
    errors_to_truth,
    prepared,
    run,
    simulate,
    subset_star,
    summary,
)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("ctf", "snr"), [(None, 0.01), (CtfSettings(), 0.1)])
@pytest.mark.parametrize("name", ["hook", "barrel", "tube"])
def test_particles_are_seen_as_what_they_are(tmp_path, name, ctf, snr, sign):
    images = Simulation(phantom(name, 48), 200, snr, PIXEL_SIZE, 4.0, ctf=ctf, seed=1).images(np.arange(200))
    found = prepared(tmp_path, 7 + sign * images).statistics
    assert contrast_of(found) == ("bright" if sign > 0 else "dark")
    assert contrast_warning(found, "auto") is None
    assert contrast_warning(found, "bright" if sign > 0 else "dark") is None
    warning = contrast_warning(found, "dark" if sign > 0 else "bright")
    assert ("look bright on a dark ground" if sign > 0 else "look dark on a bright ground") in warning


def test_noise_has_no_contrast_and_gives_no_alarm(tmp_path):
    rng = np.random.default_rng(0)
    for count in [1, 5, 40, 40, 40, 40, 40, 40, 40, 40, 200, 600]:
        found = prepared(tmp_path, rng.normal(3, 2, (count, 32, 32))).statistics
        assert contrast_of(found) == "unknown"
        assert contrast_warning(found, "dark") is None


def test_a_set_that_looks_otherwise_than_expected_is_told(particles, model, tmp_path, capsys):
    table = subset_star(particles, tmp_path / "p.star", range(60))
    words = ["align", table, "--model", model, "--no-refine"]
    assert run(*words, "-o", tmp_path / "a", "--contrast", "dark") == 0
    assert any("not dark on a bright ground as --contrast dark says" in w for w in summary(tmp_path / "a")["warnings"])
    assert run(*words, "-o", tmp_path / "b", "--contrast", "bright") == 0
    assert not any("--contrast" in warning for warning in summary(tmp_path / "b")["warnings"])
    assert summary(tmp_path / "b")["contrast"] == "bright"


@pytest.mark.parametrize("with_model", [True, False])
def test_a_reference_of_the_other_contrast_sets_the_frame_all_the_same(tmp_path, request, with_model):
    """Without a model, particles start from the reference, too."""
    if with_model:
        folder = request.getfixturevalue("particles")
        more = ["--model", request.getfixturevalue("model")]
        table, box = subset_star(folder, tmp_path / "p.star", range(100)), 64
    else:
        folder, more, box = simulate(tmp_path / "p", 60, 48, 0.5, max_shift=3, seed=13), [], 48
        table = folder / "particles.star"
    frame = Poses([70.0], [[2.0, -3.0]])
    reference = transform(StackReader(str(folder / "template.mrc")).read()[0], frame)
    for name, sign in (("same", 1), ("other", -1)):
        write_stack(str(tmp_path / f"{name}.mrcs"), sign * reference[None], PIXEL_SIZE)
        out = tmp_path / name
        assert run("align", table, "-o", out, "--reference", tmp_path / f"{name}.mrcs", *more) == 0
        errors = errors_to_truth(out / "aligned.star", folder)
        assert (np.abs(errors.rotation) < 5).mean() >= 0.95
        assert abs(float(wrap(errors.common.angle[0] - 70.0))) < 3
        assert np.abs(errors.common.shift[0] - [2.0, -3.0]).max() < 0.02 * box
        told = any("opposite contrast" in warning for warning in summary(out)["warnings"])
        assert told == (sign < 0)
