"""No Einstein from noise: images without any particle end in a plain warning, and nothing is claimed of them.

Sets of thousands are measured by benchmarks/confidence.py.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl import api
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.results.returned import Alignment
from scipion_udl.simulation.particles import noise
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import PIXEL_SIZE, align_images, run, simulate, summary

BOX = 32  # rings beyond those that halves have in common
COUNT = 130  # enough for a claim
NEAR = 1  # pixels: how far shifts are searched


@pytest.fixture(scope="module")
def hooks(tmp_path_factory):
    """A model that was trained on particles."""
    particles = simulate(tmp_path_factory.mktemp("hooks") / "particles", COUNT, BOX, 1.0, max_shift=NEAR)
    return api.train(particles / "particles.star", epochs=5, gpu="none", threads=1)


def assert_nothing_was_found(found: Alignment) -> None:
    assert "no_signal" in [warning.code for warning in found.warnings]
    assert "No common signal was found" in found.resolution_note
    assert found.resolution is None
    assert "shift_limit" not in [warning.code for warning in found.warnings]  # however many lie at the limit


def test_images_of_noise_are_told_to_be_noise(tmp_path, capsys):
    write_stack(str(tmp_path / "noise.mrcs"), noise(COUNT, BOX + 1, seed=1), PIXEL_SIZE)
    assert run("align", tmp_path / "noise.mrcs", "-o", tmp_path / "out", "--max-shift", NEAR, "--epochs", 2) == 0
    printed, facts = capsys.readouterr(), summary(tmp_path / "out")
    assert facts["signal_found"] is False
    assert facts["resolution"] is None
    assert "No common signal was found" in facts["resolution_note"]
    assert any("No common signal was found" in warning for warning in facts["warnings"])
    assert "Warning: No common signal was found" in printed.err
    assert "Traceback" not in printed.err
    assert "none claimed" in printed.out
    assert facts["particles"] == COUNT
    assert len(open_particles(str(tmp_path / "out" / "aligned.star"))) == COUNT


def test_coloured_noise_far_from_zero_is_noise_all_the_same():
    """Raw camera counts, through ice: neither the background that all images have in common nor a colour is signal."""
    counts = 1000 + 30 * noise(COUNT, BOX, seed=31, coloured=True)
    assert_nothing_was_found(align_images(counts, max_shift=NEAR, epochs=2))


def test_neither_a_model_nor_a_reference_of_something_else_turns_noise_under_a_mask_into_a_particle(hooks):
    """The classic: images of noise aligned to a face show the face. Here a network looks for it as well."""
    disc = np.hypot(*(np.indices((BOX, BOX)) - BOX // 2)) < 0.4 * BOX
    reference = phantom("hook", BOX).image()
    found = align_images(noise(COUNT, BOX, seed=6) * disc, max_shift=NEAR, model=hooks, reference=reference)
    assert_nothing_was_found(found)


def test_no_resolution_is_claimed_of_a_little_noise(hooks):
    few = align_images(noise(16, BOX, seed=9), max_shift=NEAR)
    assert few.resolution is None
    assert few.resolution_note == "16 particles are too few: no resolution is claimed."
    rough = align_images(noise(60, BOX, seed=9), no_refine=True, model=hooks)
    assert rough.resolution is None
    assert rough.resolution_note.startswith("The halves were not aligned apart from each other")
