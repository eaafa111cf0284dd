"""A class that holds two views is worth splitting, one of a single view is not."""

from __future__ import annotations

import torch

from scipion_udl.classification.splitting import Split

RINGS, ORDERS, COUNT = 6, 14, 40


def members(templates: torch.Tensor) -> torch.Tensor:
    """Particles (n, rings, orders) that show templates (k, rings, orders) by turns, in noise of variance 1."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(COUNT, RINGS, ORDERS, 2, generator=generator) / 2**0.5
    return templates[torch.arange(COUNT) % len(templates)] + torch.view_as_complex(noise)


def split_of(particles: torch.Tensor) -> Split:
    weight = torch.full((ORDERS,), 2.0)
    weight[0] = 1.0
    return Split(particles, torch.ones(COUNT, RINGS), torch.ones(RINGS), weight)


def views(count: int) -> torch.Tensor:
    return 1.5 * torch.randn(count, RINGS, ORDERS, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))


def test_two_views_are_told_apart_and_one_is_not_worth_it() -> None:
    one, two = split_of(members(views(1))), split_of(members(views(2)))
    assert two.gain > 1000
    assert one.gain < 0.1 * two.gain
    truth = views(2)
    errors = (two.templates[:, None] - truth).abs().square().mean((2, 3)).sqrt()
    assert torch.equal(errors.argmin(1).sort().values, torch.arange(2))
    assert errors.amin(1).max() < 0.5
