"""The working resolution: what is finer has no say."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.fourier import radii, to_fourier, to_images
from scipion_udl.imaging.half_set_frc import estimate_resolution
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.poses import Poses, pose_errors
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.particles.resolution_limit import BoundedSpectra, bounded
from scipion_udl.tests.engine_helpers import (
    PIXEL_SIZE,
    align_images,
    errors_to_truth,
    prepared,
    run,
    simulate,
    subset_star,
    summary,
    true_poses,
)

BOX, RING, RADIUS = 48, 11, 18
FINEST = BOX * PIXEL_SIZE / RING  # 13.1 A


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two stacks of the same particles, of which the second has other noise, and nothing else, beyond ring RING + 1."""
    folder = simulate(tmp_path_factory.mktemp("finest") / "p", 150, BOX, 0.3, name="hammer", max_shift=3)
    images = torch.from_numpy(StackReader(str(folder / "particles.mrcs")).read())
    fine = radii(BOX) > RING + 1
    noise = torch.from_numpy(np.random.default_rng(5).normal(0, float(images.std()), images.shape).astype(np.float32))
    mixed = to_images(torch.where(fine, to_fourier(noise), to_fourier(images)), BOX)
    other = folder.parent / "other" / "particles.mrcs"  # of one name, which decides on the halves
    other.parent.mkdir()
    write_stack(str(other), mixed.numpy(), PIXEL_SIZE)
    return folder, other


def mean_difference(one: Poses, other: Poses) -> tuple[float, float]:
    """(mean angle in degrees, mean shift in pixels) between two alignments of stacks in one order."""
    errors = pose_errors(one, other)
    return float(np.abs(errors.rotation).mean()), float(np.hypot(*errors.shift.T).mean())


def test_what_is_finer_has_no_say_in_poses(pair):
    folder, other = pair
    limit = FINEST * 1.01
    stacks = folder / "particles.mrcs", other
    # the disc is given, or fine noise has a say in it
    options = {"finest": limit, "epochs": 4, "mask_radius": RADIUS, "max_shift": 4}
    one, two = (align_images(stack, **options) for stack in stacks)
    # the noise is whitened by its spectrum, which differs at the edge a little
    angle, shift = mean_difference(one.poses, two.poses)
    assert angle < 0.15
    assert shift < 0.02
    assert (np.abs(pose_errors(one.poses, true_poses(folder)).rotation) < 5).mean() > 0.97
    assert one.model.card.spectra["r_max"] < RING + 1
    assert one.resolution is None or one.resolution >= limit
    # without a limit the fine detail is made use of, so the two stacks are not the same
    free, _ = mean_difference(*(align_images(stack, model=one.model, max_shift=4).poses for stack in stacks))
    assert free > 2 * angle


def test_no_resolution_finer_than_the_limit_is_claimed(particles, model, tmp_path):
    """Though the halves agree on finer detail, and a model that sees more is used."""
    table = subset_star(particles, tmp_path / "p.star", range(150))
    out = tmp_path / "out"
    assert run("align", table, "-o", out, "--model", model, "--high-resolution-limit", 16) == 0
    facts = summary(out)
    assert facts["resolution"] == pytest.approx(16, rel=0.03)
    assert facts["shared_ring"] <= 64 * PIXEL_SIZE / 16
    assert "nothing finer was compared" in facts["resolution_note"]
    assert np.abs(errors_to_truth(out / "aligned.star", particles).rotation).mean() < 3


def test_a_claim_ends_at_the_limit_and_is_the_same_where_it_ends_before():
    frc = np.where(np.arange(32) <= 20, 0.98, 0.0)
    free, wide, narrow = (estimate_resolution(frc, 64, PIXEL_SIZE, 6, 27, finest) for finest in (None, 25, 12))
    assert wide == free
    assert narrow.resolution == pytest.approx(64 * PIXEL_SIZE / 12)
    assert narrow.signal is True


def test_a_networks_input_keeps_its_shape_and_knows_nothing_finer(tmp_path):
    images = np.random.default_rng(0).normal(size=(4, BOX, BOX))
    _, coefficients = next(prepared(tmp_path, images).chunks(np.arange(4), "test"))
    polar = SpectraSettings.for_box(BOX)
    limited = bounded(polar, 9)
    whole, part = polar.of(coefficients, BOX), limited.of(coefficients, BOX)
    assert isinstance(limited, BoundedSpectra)
    assert part.shape == whole.shape
    assert torch.equal(part[:, : 9 - 2 + 1], whole[:, : 9 - 2 + 1])
    assert not part[:, 9 - 2 + 1 :].any()
    pairs = bounded(SpectrumImageSettings(box=BOX, size=32, r_max=15), 9)
    spectra = pairs.of(coefficients, BOX)
    axis = np.arange(32) - 16
    far = torch.from_numpy(np.hypot(axis[:, None], axis) > 11)
    assert spectra.shape == (4, 1, 32, 32)
    assert not spectra[:, 0, far].any()
    assert spectra[:, 0, ~far].any()
    assert bounded(polar, None) is polar
    assert bounded(polar, 40) is polar


def test_limits_that_make_no_sense_are_told(particles, model, tmp_path, capsys):
    table = subset_star(particles, tmp_path / "p.star", range(3))
    words = ["align", table, "-o", tmp_path / "out", "--model", model, "--high-resolution-limit"]
    assert run(*words, 30) == 1
    assert "--high-resolution-limit 30 leaves 6 Fourier pixels of a box of 192 A" in capsys.readouterr().err
    write_stack(str(tmp_path / "unknown.mrcs"), StackReader(str(particles / "particles.mrcs")).read(range(9)), 0.0)
    assert run("align", tmp_path / "unknown.mrcs", "-o", tmp_path / "out", "--high-resolution-limit", 30) == 1
    assert "give --pixel-size" in capsys.readouterr().err
    assert run(*words, 5) == 0
    assert any("--high-resolution-limit 5 changes nothing" in note for note in summary(tmp_path / "out")["notes"])
