"""The same particles in a smaller working box: nothing that is left of them changes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.aligner import Aligner, AlignmentPlan
from scipion_udl.alignment.known_start import KnownStart
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.ctf import ParticleCtf
from scipion_udl.imaging.defocus import Defocus
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.poses import Poses, pose_errors, wrap
from scipion_udl.particles import coarser as module
from scipion_udl.particles.coarser import BOXES, coarser, suitable_box
from scipion_udl.particles.disc import ParticleDisc
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import prepared

BOX, N = 64, 40


@pytest.fixture
def whole(tmp_path):
    """Images of noise with a particle each, their CTF known."""
    rng = np.random.default_rng(3)
    images = phantom("hook", BOX).sample(Poses(rng.uniform(-180, 180, N), np.zeros((N, 2))))
    particles = prepared(tmp_path, images / images.std() + rng.normal(size=images.shape))
    particles.disc = ParticleDisc(BOX, BOX, particles.device, 24.0)
    u, zeros = rng.uniform(8000, 20000, N), np.zeros(N)
    optics = zeros + 300, zeros + 2.7, zeros + 0.1
    particles.ctfs = ParticleCtf(Defocus(u, u + 500, rng.uniform(0, 180, N), zeros, zeros, *optics), BOX * 3.0)
    particles.mirrored = rng.random(N) < 0.3
    particles.scan()
    return particles


def everything(particles, ring):
    """(coefficients, ctf) of all particles in the band."""
    band = Band(particles.box, ring)
    parts = list(particles.chunks(np.arange(N), "test"))
    ctf = torch.cat([band.crop(particles.ctf(part)) for part, _ in parts])
    return torch.cat([band.crop(values) for _, values in parts]), ctf


@pytest.mark.parametrize("hold", [False, True])
def test_coefficients_and_ctf_are_those_of_the_larger_box(whole, hold):
    small = coarser(whole, 14, hold)
    assert small.box == 32
    assert small.k_max >= 14
    assert small.scale == pytest.approx(whole.source.box / 32)
    for own, other in zip(everything(small, 14), everything(whole, 14)):
        assert torch.allclose(own, other, atol=1e-4 * float(other.abs().max()))
    assert whole.box == BOX  # it stays as it was


def test_what_is_held_is_read_once(whole, monkeypatch):
    held = coarser(whole, 22, True)
    expected = everything(coarser(whole, 12), 12)
    monkeypatch.setattr(type(whole.source), "read", None)  # whoever reads fails
    for own, other in zip(everything(coarser(held, 12), 12), expected):
        assert torch.allclose(own, other, atol=1e-4 * float(other.abs().max()))
    some = np.array([5, 2, 30])
    ((part, values),) = held.chunks(some, "test")
    assert np.array_equal(part, some)
    assert torch.equal(values, torch.cat([v for _, v in held.chunks(np.arange(N), "test")])[some])


def test_sets_of_many_particles_are_not_kept_in_memory(whole, monkeypatch):
    monkeypatch.setattr(module, "HELD", N * 32 * 17 * 12 - 1)
    assert coarser(whole, 14, True)._held is None
    monkeypatch.setattr(module, "HELD", N * 32 * 17 * 12)
    assert coarser(whole, 14, True)._held is not None


def test_the_disc_covers_the_same_part_of_the_particle(whole):
    small = coarser(whole, 14)
    assert small.disc.mask_radius * small.scale == pytest.approx(24.0)
    assert small.disc.radius / small.box == pytest.approx(whole.disc.radius / whole.box)
    assert float(small.disc.mask.mean()) == pytest.approx(float(whole.disc.mask.mean()), rel=0.02)


def test_a_part_of_a_held_set_is_read_anew(whole):
    part = coarser(whole, 14, True).part(np.arange(10, 20))
    ((_, values),) = part.chunks(np.arange(10), "test")
    assert torch.allclose(
        values, torch.cat([v for _, v in coarser(whole, 14).chunks(np.arange(10, 20), "t")]), atol=1e-5
    )


@pytest.mark.parametrize("ring", [1, 11, 14, 29, 40, 54])
def test_the_box_is_the_smallest_that_holds_the_ring(ring):
    box = suitable_box(ring)
    assert round(0.45 * box) >= ring
    assert not any(round(0.45 * other) >= ring for other in BOXES if other < box)
    assert suitable_box(57) is None


def aligned(particles, start):
    aligner = Aligner(particles, None, SpectraSettings.for_box(particles.box), AlignmentPlan(5.0))
    return aligner, aligner.run(start=start)


def test_poses_do_not_depend_on_the_box_that_particles_are_compared_in(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    true = Poses(rng.uniform(-180, 180, 120), rng.uniform(-3, 3, (120, 2)))
    images = phantom("hook", 96).sample(true)
    particles = prepared(tmp_path, 0.25 * images / images.std() + rng.normal(size=images.shape))
    start = KnownStart(Poses(true.angle + rng.normal(size=120), true.shift + rng.normal(size=(120, 2))), 8)
    aligner, small = aligned(particles, start)
    assert aligner.prepared.box < particles.box
    monkeypatch.setattr("scipion_udl.alignment.aligner.FURTHER", 100.0)
    aligner, large = aligned(particles, start)
    assert aligner.prepared.box == particles.box
    assert len(small.score_weight) == len(large.score_weight)
    errors = [np.abs(pose_errors(one.poses, true).rotation) for one in (small, large)]
    assert np.median(errors[0]) < 1.05 * np.median(errors[1])
    assert np.median(np.abs(wrap(small.poses.angle - large.poses.angle))) < 0.5 * np.median(errors[1])
    assert np.abs(small.poses.shift - large.poses.shift).max() < 0.25
    assert np.corrcoef(small.score, large.score)[0, 1] > 0.99


def test_where_halves_agree_to_the_end_of_the_band_they_are_compared_further(tmp_path, monkeypatch):
    rng = np.random.default_rng(6)
    true = Poses(rng.uniform(-180, 180, 80), np.zeros((80, 2)))
    images = phantom("hook", 64).sample(true)
    particles = prepared(tmp_path, images / images.std() + rng.normal(size=images.shape))
    start, scores = KnownStart(true, 6), []
    for further in (0.5, 1.25):  # the first box holds half of what halves agree on, or all
        monkeypatch.setattr("scipion_udl.alignment.aligner.FURTHER", further)
        aligner, alignment = aligned(particles, start)
        assert (alignment.score_weight > 0).sum() < 0.9 * aligner.prepared.k_max or aligner.prepared.box == 64
        scores.append(alignment.score.mean())
    assert scores[0] == pytest.approx(scores[1], rel=0.03)


@pytest.mark.parametrize("box", [8, 9, 24, 25])
def test_small_boxes_are_compared_to_their_end_and_no_further(tmp_path, box):
    rng = np.random.default_rng(7)
    true = Poses(rng.uniform(-180, 180, 40), np.zeros((40, 2)))
    images = phantom("hook", box).sample(true)
    particles = prepared(tmp_path, 3 * images / images.std() + rng.normal(size=images.shape))
    aligner = Aligner(particles, None, SpectraSettings.for_box(box), AlignmentPlan(1.0))
    assert len(aligner.run(start=KnownStart(true, 2)).poses.angle) == 40
    assert aligner.band.k_max == min(round(0.45 * box), (box - 1) // 2)
