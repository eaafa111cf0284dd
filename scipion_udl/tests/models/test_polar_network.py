"""The networks: turning a particle turns the answer of the equivariant one by as much, whatever its weights."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.models.polar_network import FreeHeadNetwork, PolarNetwork, refine_angles, rotate_spectra
from scipion_udl.tests.engine_helpers import DEVICES, smooth_template, turn_errors, turned_spectra

BIN = 180 / 64

NETWORKS = {"polar": PolarNetwork, "polar-free": FreeHeadNetwork}


def scrambled(seed: int = 0) -> PolarNetwork:
    """The equivariant network with random weights everywhere."""
    torch.manual_seed(seed)
    network = PolarNetwork(12, 64)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture(autouse=True)
def _no_gradient():
    with torch.no_grad():
        yield


# turning spectra


def test_turning_by_a_whole_bin_is_a_roll():
    spectra, _ = turned_spectra(5, 1.0)
    assert torch.allclose(rotate_spectra(spectra, torch.full((5,), 3 * BIN)), spectra.roll(3, -1), atol=1e-5)
    assert torch.allclose(rotate_spectra(spectra, torch.full((5,), -BIN)), spectra.roll(-1, -1), atol=1e-5)


def test_turning_by_180_degrees_changes_nothing():
    spectra, _ = turned_spectra(5, 1.0)
    assert torch.allclose(rotate_spectra(spectra, torch.full((5,), 180.0)), spectra, atol=1e-4)


def test_turns_add_up_and_can_be_undone():
    spectra, _ = turned_spectra(5, 0.0)
    a, b = torch.linspace(-80, 100, 5), torch.linspace(11, 33, 5)
    assert torch.allclose(rotate_spectra(rotate_spectra(spectra, a), b), rotate_spectra(spectra, a + b), atol=1e-3)
    assert torch.allclose(rotate_spectra(rotate_spectra(spectra, a), -a), spectra, atol=1e-3)


# reading angles


@pytest.mark.parametrize("true", [0.0, 0.7, 45.0, 91.3, 179.4])
def test_the_peak_of_the_logits_is_read_between_the_bins(true):
    axis = torch.arange(64) * BIN
    logits = 20 * torch.cos(torch.deg2rad(2 * (axis - true)))[None]
    found = float(refine_angles(logits))
    assert (found - true + 90) % 180 - 90 == pytest.approx(0, abs=0.1)


def test_a_far_second_peak_does_not_pull():
    logits = torch.zeros(1, 64)
    logits[0, 10], logits[0, 40] = 20.0, 19.5
    assert float(refine_angles(logits)) == pytest.approx(10 * BIN, abs=0.2)


def test_the_angle_follows_the_logits_smoothly():
    logits = smooth_template(1, 64)
    with torch.enable_grad():
        logits = logits.clone().requires_grad_()
        refine_angles(logits).sum().backward()
    assert bool(torch.isfinite(logits.grad).all())
    assert float(logits.grad.abs().max()) > 0


# the equivariant network


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(3))
def test_a_rolled_particle_has_rolled_logits_whatever_the_weights(seed, device):
    network = scrambled(seed).to(device)
    spectra = turned_spectra(6, 0.5)[0].to(device)
    logits = network(spectra)
    for roll in (1, 17, -5):
        assert torch.allclose(network(spectra.roll(roll, -1)), logits.roll(roll, -1), atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_turned_particle_has_a_turned_answer_whatever_the_weights(seed):
    network = scrambled(seed)
    spectra, _ = turned_spectra(20, 0.5)
    before = network.rotations(spectra)
    for steps in (1, 23, 63):
        after = network.rotations(spectra.roll(steps, -1))
        assert turn_errors(after, before + steps * BIN).max() < 0.05
        assert np.abs((after - before - steps * BIN + 90) % 180 - 90).max() < 0.05  # no bias either


def test_a_new_network_is_correlation_with_its_template():
    network = PolarNetwork(12, 64)
    network.template.copy_(smooth_template())
    spectra, rotations = turned_spectra(30, 0.3)
    assert np.abs((network.rotations(spectra) - rotations + 90) % 180 - 90).mean() < 1.0
    assert float(network.residual(spectra).abs().max()) == 0


def test_a_radius_without_weight_is_not_looked_at_by_the_template():
    network = PolarNetwork(12, 64)
    network.template.copy_(smooth_template())
    network.radial_weight[:6] = 0
    spectra, _ = turned_spectra(10, 0.3)
    other = spectra.clone()
    other[:, :6] = torch.randn(10, 6, 64)
    assert torch.allclose(network(spectra), network(other), atol=1e-4)


# the network with a free head


def test_the_answer_of_the_free_head_is_an_angle_modulo_180():
    torch.manual_seed(0)
    rotations = FreeHeadNetwork(12, 64).rotations(turned_spectra(50, 0.5)[0])
    assert rotations.shape == (50,)
    assert float(rotations.abs().max()) <= 90


def test_the_free_head_is_not_equivariant_before_it_is_taught():
    torch.manual_seed(0)
    network = FreeHeadNetwork(12, 64)
    spectra, _ = turned_spectra(20, 0.0)
    change = network.rotations(spectra.roll(16, -1)) - network.rotations(spectra)
    assert turn_errors(change, torch.full((20,), 45.0)).mean() > 0.5 or abs(float(change.mean()) - 45) > 5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_made_anew_by_its_configuration(name):
    first = NETWORKS[name](12, 64, channels=8)
    second = NETWORKS[name](**first.config)
    second.load_state_dict(first.state_dict())
    spectra, _ = turned_spectra(4, 0.5)
    assert torch.equal(first.rotations(spectra), second.rotations(spectra))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_particle_is_answered_alike_in_any_company(name):
    torch.manual_seed(1)
    network = NETWORKS[name](12, 64).eval()
    if name == "polar":
        network.template.copy_(smooth_template())
    spectra, _ = turned_spectra(16, 0.5)
    together = network.rotations(spectra)
    alone = torch.cat([network.rotations(one[None]) for one in spectra])
    assert turn_errors(alone, together).max() < 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_can_learn(name):
    torch.manual_seed(1)
    network = NETWORKS[name](12, 64)
    if name == "polar":
        network.template.copy_(smooth_template())
        torch.nn.init.normal_(network.residual[-1].weight, std=0.1)
    spectra, _ = turned_spectra(16, 0.5)
    with torch.enable_grad():
        torch.sin(torch.deg2rad(2 * network.rotations(spectra))).sum().backward()
    for label, parameter in network.named_parameters():
        if label != "residual.4.bias":  # it lifts all logits alike
            assert float(parameter.grad.abs().max()) > 0, label
