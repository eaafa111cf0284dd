"""What the losses reward: register for the joint term, turns that add up for the difference."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.models.polar_network import PolarNetwork, rotate_spectra
from scipion_udl.tests.engine_helpers import turned_spectra
from scipion_udl.training.losses import difference_loss, joint_loss

ONES = torch.ones(12)


def jitter(size: float, n: int, seed: int = 9) -> torch.Tensor:
    return size * torch.randn(n, generator=torch.Generator().manual_seed(seed))


def test_the_joint_loss_is_0_for_one_particle_many_times_once_it_is_aligned():
    spectra, rotations = turned_spectra(20, 0.0)
    assert float(joint_loss(spectra, rotations, ONES)) == pytest.approx(0, abs=1e-3)


def test_the_joint_loss_is_least_when_aligned_and_grows_with_the_error():
    spectra, rotations = turned_spectra(60, 1.0)
    losses = [float(joint_loss(spectra, rotations + jitter(size, 60), ONES)) for size in (0, 1, 3, 8, 20, 60)]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0] + 0.3


def test_one_particle_out_of_place_costs():
    spectra, rotations = turned_spectra(30, 0.5)
    wrong = rotations.clone()
    wrong[7] += 30
    assert float(joint_loss(spectra, wrong, ONES)) > float(joint_loss(spectra, rotations, ONES))


def test_the_joint_loss_does_not_know_a_turn_that_all_have_in_common():
    spectra, rotations = turned_spectra(30, 0.5)
    here = float(joint_loss(spectra, rotations, ONES))
    assert here == pytest.approx(float(joint_loss(spectra, rotations + 19 * 180 / 64, ONES)), abs=1e-5)
    # by part of a bin: all but the highest order, which has no phase of its own
    assert here == pytest.approx(float(joint_loss(spectra, rotations + 52.3, ONES)), abs=1e-3)


def test_noise_alone_gives_a_joint_loss_of_1_whatever_the_turns():
    noise = torch.randn(200, 12, 64, generator=torch.Generator().manual_seed(0))
    assert float(joint_loss(noise, jitter(60, 200), ONES)) == pytest.approx(1, abs=0.02)


def test_turns_fall_into_place_along_the_gradient_of_the_joint_loss():
    spectra, true = turned_spectra(40, 0.3)
    rotations = (true + jitter(4.0, 40)).requires_grad_()
    optimiser = torch.optim.Adam([rotations], lr=0.3)
    for _ in range(100):
        optimiser.zero_grad()
        joint_loss(spectra, rotations, ONES).backward()
        optimiser.step()
    left = (rotations.detach() - true).numpy()
    assert np.abs(left - left.mean()).max() < 1.0


def test_a_radius_without_weight_does_not_count():
    spectra, rotations = turned_spectra(30, 0.0)
    spoilt = spectra.clone()
    spoilt[:, 0] = torch.randn(30, 64) * 10
    weight = ONES.clone()
    weight[0] = 0
    assert float(joint_loss(spoilt, rotations, weight)) == pytest.approx(0, abs=1e-3)
    assert float(joint_loss(spoilt, rotations, ONES)) > 0.5


def test_the_difference_loss_is_0_where_turns_add_up_modulo_180():
    applied = torch.tensor([10.0, -75.0, 170.0])
    assert float(difference_loss(applied, applied)) == 0
    assert float(difference_loss(applied + torch.tensor([180.0, -180.0, 360.0]), applied)) == pytest.approx(0, abs=1e-5)


def test_the_difference_loss_is_1_by_chance_and_2_at_worst():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 20000, generator=generator) * 180
    assert float(difference_loss(a, b)) == pytest.approx(1, abs=0.03)
    assert float(difference_loss(a + 90, a)) == pytest.approx(2, abs=1e-4)


def test_turns_of_the_wrong_sign_cost():
    applied = torch.tensor([20.0, 40.0, -30.0])
    assert float(difference_loss(-applied, applied)) > 0.5


def test_the_difference_loss_is_0_for_an_equivariant_network_whatever_its_weights():
    torch.manual_seed(4)
    network = PolarNetwork(12, 64)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    spectra, _ = turned_spectra(30, 0.3)
    other = spectra.roll(1, 0)
    # whole bins, for which turning loses nothing of what a nonlinear network makes of the bins
    a, b = torch.randint(0, 64, (2, 30)) * (180 / 64)
    before = network.rotations(spectra) - network.rotations(other)
    after = network.rotations(rotate_spectra(spectra, a)) - network.rotations(rotate_spectra(other, b))
    assert float(difference_loss(after - before, a - b).detach()) < 1e-4
