"""Templates can be taught further without the particles that made them."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.classification.taught import Taught
from scipion_udl.models.class_bank import ClassBank


def bank_of(templates: torch.Tensor, members: torch.Tensor) -> ClassBank:
    bank = ClassBank(len(templates), *templates.shape[1:], templates.shape[2])
    bank.set(templates)
    bank.members, bank.signal = members, torch.linspace(2, 0.5, templates.shape[1])
    return bank


def test_the_templates_follow_from_the_sums():
    templates = torch.randn(3, 5, 7, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    bank = bank_of(templates, torch.tensor([4.0, 90.0, 11.0]))
    taught = Taught.of(bank, torch.linspace(0.2, 1, 5))
    again = taught.total / (taught.ctf + 1 / bank.signal)[..., None]
    torch.testing.assert_close(again, templates)


def test_a_class_that_is_new_was_taught_nothing():
    templates = torch.randn(2, 5, 7, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    more = Taught.of(bank_of(templates, torch.tensor([4.0, 9.0])), torch.ones(5)).with_new(2)
    assert more.total.shape == (4, 5, 7)
    assert more.count.tolist() == [4, 9, 0, 0]
    assert not more.total[2:].any() and not more.ctf[2:].any()
