"""Sums of particles that were seen through transfers of their own, and the mean that is made of them."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.accumulators import Sums
from scipion_udl.imaging.band import Band
from scipion_udl.simulation.phantoms import phantom

BOX = 48
BAND = Band(BOX, 20)
N = 60


def template() -> torch.Tensor:
    return BAND.of_images(torch.from_numpy(phantom("hook", BOX).image()))


def seen(noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """(particles (n, band), transfers (n, band)): the phantom through transfers with zeros in different places."""
    defocus = torch.linspace(1.0, 2.5, N)[:, None, None]
    ctf = torch.sin(0.4 + defocus * (BAND.radius / 8) ** 2) * BAND.disc
    generator = torch.Generator().manual_seed(2)
    return template() * ctf + BAND.of_images(noise * torch.randn(N, BOX, BOX, generator=generator)), ctf


def sums_of(particles: torch.Tensor, ctf: torch.Tensor) -> Sums:
    """As an iteration adds them up."""
    squares = BAND.ring_totals(ctf.square()) / BAND.ring_count
    return Sums((particles * ctf).sum(0), squares.double().sum(0), len(particles))


def off(found: torch.Tensor) -> float:
    """Power of what is left of the template, in parts of it, the scale fitted."""
    true = template()
    scale = BAND.dot(found, true) / BAND.dot(true, true)
    left = found / scale - true
    return float(BAND.dot(left, left) / BAND.dot(true, true))


def test_the_mean_is_the_template_where_a_plain_mean_is_not():
    particles, ctf = seen()
    found = sums_of(particles, ctf).mean(BAND)
    assert off(found) < 0.006
    assert float(BAND.dot(found, template()) / BAND.dot(template(), template())) == pytest.approx(1, abs=0.02)
    assert off(particles.mean(0)) > 0.1
    assert off((particles * ctf.sign()).mean(0)) > 0.01  # flipping phases alone does not bring it back


def test_in_noise_the_mean_is_nearer_to_the_template_than_a_plain_one():
    particles, ctf = seen(1.0)
    assert off(sums_of(particles, ctf).mean(BAND)) < 0.8 * off((particles * ctf.sign()).mean(0))


def test_without_transfer_the_mean_is_the_plain_mean():
    particles = BAND.of_images(torch.randn(N, BOX, BOX, generator=torch.Generator().manual_seed(0)))
    ones = torch.full((BAND.k_max + 1,), float(N), dtype=torch.float64)
    found = Sums(particles.sum(0), ones, N).mean(BAND)
    assert torch.allclose(found, particles.mean(0), atol=1e-4)
    assert torch.equal(Sums(particles.sum(0), ones, N).mean_ctf(), torch.ones(BAND.k_max + 1))


def test_a_ring_that_was_hardly_transferred_stays_small():
    """Noise there is not blown up to the size of what came through."""
    particles, ctf = seen(1.0)
    dark = (BAND.ring == 9) * BAND.disc
    ctf = ctf * (1 - dark) + 1e-4 * dark
    mean = sums_of(particles, ctf).mean(BAND)
    power = BAND.ring_sums(mean.abs().square()) / BAND.ring_count
    assert float(power[9]) < float(power[8])
    assert bool(torch.isfinite(mean.abs()).all())


def test_parts_add_up_and_can_be_taken_out_again():
    particles, ctf = seen(1.0)
    parts = [sums_of(particles[k::4], ctf[k::4]) for k in range(4)]
    whole = sum(parts[1:], parts[0])
    assert whole.count == N
    expected = sums_of(particles, ctf)
    assert torch.allclose(whole.total, expected.total, atol=1e-3)
    rest, without = whole - parts[2], [k for k in range(N) if k % 4 != 2]
    expected = sums_of(particles[without], ctf[without])
    assert rest.count == len(without)
    assert torch.allclose(rest.total, expected.total, atol=1e-3)
    assert torch.allclose(rest.mean(BAND), expected.mean(BAND), atol=1e-3)


def test_nothing_adds_up_to_nothing():
    nothing = Sums(torch.zeros_like(template()), torch.zeros(BAND.k_max + 1, dtype=torch.float64), 0)
    assert float(nothing.mean(BAND).abs().max()) == 0
    assert bool(torch.isfinite(nothing.mean_ctf()).all())
