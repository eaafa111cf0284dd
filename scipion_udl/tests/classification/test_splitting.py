"""A class that holds two views is worth splitting, one of a single view is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from scipion_udl.classification.splitting import Split, exchanged

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


class Bank:
    """Templates alone, as a bank has them."""

    def __init__(self, templates: torch.Tensor) -> None:
        self.complex, self.signal = templates, torch.ones(RINGS)

    def set(self, templates: torch.Tensor) -> None:
        self.complex = templates


@pytest.mark.parametrize(("share", "goes"), [(0.9, True), (1.4, True), (2.0, False), (100.0, False)])
def test_a_class_is_given_up_for_a_split_that_gains_more_than_six_tenths_of_what_it_is_worth(share, goes) -> None:
    """Class 0 holds two views; class 1, of one, is worth ``share`` times what the split of class 0 gains."""
    particles, one = members(views(2)), members(views(1))
    weight = torch.full((ORDERS,), 2.0)
    weight[0] = 1.0
    bank = Bank(torch.stack([particles.mean(0), one.mean(0)]))
    comparer = SimpleNamespace(
        bank=bank,
        rings=RINGS,
        transform=SimpleNamespace(weight=weight),
        aligned=lambda samples, at, centre, angle: torch.cat([particles, one])[at],
    )
    count = 2 * COUNT
    samples = SimpleNamespace(centre=torch.zeros(count, 2), ctf=torch.ones(count, RINGS))
    label = torch.arange(2).repeat_interleave(COUNT)
    before, worth = bank.complex.clone(), torch.tensor([1.0, share * split_of(particles).gain])
    done = exchanged(
        comparer,
        samples,
        torch.arange(count),
        label,
        torch.zeros(count),
        torch.ones(count),
        worth,
        torch.tensor([False, True]),
    )
    assert done == ([(0, 1)] if goes else [])
    errors = (bank.complex[:, None] - (views(2) if goes else before)).abs().square().mean((2, 3)).sqrt()
    assert errors.amin(1).max() < 0.5
