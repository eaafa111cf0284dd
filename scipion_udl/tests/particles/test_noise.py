"""No Einstein from noise: images without any particle end in a plain warning, and nothing is claimed of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.simulation.particles import noise
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import PIXEL_SIZE, run


def align(folder, images, *options, name="noise.mrcs"):
    """The summary of an alignment of these images."""
    write_stack(str(folder / name), images.astype(np.float32), PIXEL_SIZE)
    assert run("align", folder / name, "-o", folder / "out", *options) == 0
    return json.loads((folder / "out" / "summary.json").read_text())


def assert_nothing_was_found(facts, error):
    assert facts["signal_found"] is False
    assert facts["resolution"] is None
    assert "No common signal was found" in facts["resolution_note"]
    assert any("No common signal was found" in warning for warning in facts["warnings"])
    assert "Warning: No common signal was found" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("colour", ["white", "coloured"])
def test_2000_images_of_noise_are_told_to_be_noise(tmp_path, capsys, colour):
    facts = align(tmp_path, noise(2000, 48, seed=31, coloured=colour == "coloured"))
    printed = capsys.readouterr()
    assert_nothing_was_found(facts, printed.err)
    assert "none claimed" in printed.out
    assert facts["particles"] == 2000
    assert len(open_particles(str(tmp_path / "out" / "aligned.star"))) == 2000


@pytest.mark.parametrize(("box", "seed"), [(48, 1), (48, 2), (48, 3), (65, 1)])
def test_noise_is_noise_whatever_the_box_and_the_seed(tmp_path, capsys, box, seed):
    assert_nothing_was_found(align(tmp_path, noise(300, box, seed=seed), "--seed", seed), capsys.readouterr().err)


def test_noise_far_from_zero_is_noise_all_the_same(tmp_path, capsys):
    """Raw camera counts: the background that all images have in common is no signal."""
    assert_nothing_was_found(align(tmp_path, 1000 + 30 * noise(300, 48, seed=5)), capsys.readouterr().err)


def test_noise_under_a_mask_is_noise_all_the_same(tmp_path, capsys):
    disc = np.hypot(*(np.indices((48, 48)) - 24)) < 19
    assert_nothing_was_found(align(tmp_path, noise(300, 48, seed=6) * disc), capsys.readouterr().err)


def test_a_reference_does_not_turn_noise_into_a_particle(tmp_path, capsys):
    """The classic: a thousand images of noise aligned to a face show the face."""
    reference = tmp_path / "reference.mrc"
    write_stack(str(reference), phantom("hook", 48).image(), PIXEL_SIZE)
    facts = align(tmp_path, noise(1000, 48, seed=7), "--reference", reference)
    assert_nothing_was_found(facts, capsys.readouterr().err)


def test_a_model_of_something_else_does_not_turn_noise_into_a_particle(tmp_path, capsys, model):
    assert_nothing_was_found(align(tmp_path, noise(300, 64, seed=8), "--model", model), capsys.readouterr().err)


@pytest.mark.parametrize("options", [[], ["--no-refine"]])
def test_no_resolution_is_claimed_of_a_little_noise(tmp_path, options, model):
    more = [*options, "--model", model] if options else []
    facts = align(tmp_path, noise(60, 64, seed=9), *more)
    assert facts["resolution"] is None
    assert facts["signal_found"] is not True
