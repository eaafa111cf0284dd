"""Mixed precision: what is rounded while a network trains, and that nothing is afterwards."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.models import precision
from scipion_udl.models.resnet import PairNetwork


@pytest.fixture
def network():
    torch.manual_seed(1)
    return PairNetwork(16, (8, 8), (8,), (2,), "difference")


def spectra(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(2))


def test_a_processor_computes_in_float32_whether_a_network_trains_or_not(network):
    wanted = network.blocks(spectra() * network.mask(spectra())).flatten(1)
    assert torch.allclose(network.features(spectra()), wanted, atol=1e-5)


def test_training_in_low_precision_rounds_features_but_gives_float32_and_gradients(network, monkeypatch):
    exact = network.features(spectra()).detach()
    monkeypatch.setattr(precision, "DEVICES", ("cpu",))  # its bfloat16 is slow, but the same
    rounded = network.features(spectra())
    assert rounded.dtype == torch.float32
    assert 1e-4 < float((rounded.detach() - exact).abs().max() / exact.abs().max()) < 0.05
    network.between(rounded, rounded.roll(1, 0)).square().sum().backward()
    assert all(p.grad is None or (p.grad.dtype == torch.float32 and p.grad.isfinite().all())
               for p in network.parameters())  # fmt: skip
    assert any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in network.blocks.parameters())


def test_a_trained_network_is_used_in_full_precision_everywhere(network, monkeypatch):
    network.eval()
    exact = network.features(spectra())
    monkeypatch.setattr(precision, "DEVICES", ("cpu",))
    assert torch.equal(network.features(spectra()), exact)
