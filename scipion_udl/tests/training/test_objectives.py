"""What UDL and JUDL ask of the pair network: nothing of one that knows the turns, much of any other."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.models.autoencoder import Autoencoder
from scipion_udl.models.polar_network import PolarNetwork
from scipion_udl.tests.pair_helpers import SPECTRA, particles
from scipion_udl.training.losses import absolute_difference_loss, range_hinge, reconstruction_loss
from scipion_udl.training.objectives import Objective, PairObjective, PolarObjective, pair_loss
from scipion_udl.training.presets import PAPER, preset_of

BIAS = 71.0


class Knowing(torch.nn.Module):
    """Finds the turn of a spectrum of the one phantom by comparing it with all rotations of a template, to half a
    degree; g is what is between two, modulo 180, and a bias.

    sign: -1 for a network that takes it the wrong way round, 0 for one that gives the same to all.
    """

    head = SimpleNamespace(head="degrees")

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign
        self.angles = torch.arange(0, 180, 0.5)
        rotated = SPECTRA.rotated(particles(np.zeros(1)).expand(len(self.angles), -1, -1), self.angles)
        self.template = torch.nn.functional.normalize(rotated.flatten(1))
        self.kept = None

    def features(self, spectra):
        return self.angles[(spectra.flatten(1) @ self.template.T).argmax(1)][:, None]

    describe = features

    def between(self, first, second):
        return torch.remainder(self.sign * (first - second)[:, 0] + BIAS, 180.0)

    def set_references(self, spectra):
        self.kept = spectra


@pytest.fixture(scope="module")
def fine():
    return particles(np.random.default_rng(0).uniform(0, 360, 48))


def objective(method="udl", name=None, **changes):
    preset = replace(preset_of("resnet", method, name), noise=0.0, **changes)
    torch.manual_seed(1)
    found = PairObjective(method, preset, SPECTRA)
    found.begin(particles(np.array([33.0, 5.0])))
    return found


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


# UDL


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_loss_vanishes_for_a_network_that_knows_the_turns_up_to_a_bias(fine, rounds):
    udl = objective(rounds=rounds)
    for epoch in (1, 50):
        assert udl.loss(Knowing(), fine, generator(), epoch) < 0.02
        assert udl.loss(Knowing(-1.0), fine, generator(), epoch) > 0.7
        assert udl.loss(Knowing(0.0), fine, generator(), epoch) > 0.7


@pytest.mark.parametrize("name", PAPER)
def test_the_published_loss_is_the_mean_error_in_degrees(fine, name):
    udl = objective(name=name)
    assert udl.loss(Knowing(), fine, generator(), 1) < 3
    # by chance: the nearest multiple of 180 is 45 degrees away
    assert udl.loss(Knowing(0.0), fine, generator(), 1) == pytest.approx(45, abs=8)
    assert udl.loss(Knowing(-1.0), fine, generator(), 1) > 30


def test_the_published_loss_is_0_when_right_and_counts_degrees():
    applied = torch.tensor([10.0, -170.0, 359.0, 0.0])
    whole = torch.tensor([180.0, -360.0, 0.0, 540.0])
    assert absolute_difference_loss(applied + whole, applied, 180.0) == pytest.approx(0, abs=1e-4)
    assert absolute_difference_loss(applied + whole + 7, applied, 180.0) == pytest.approx(7, abs=1e-4)
    assert absolute_difference_loss(applied + 90, applied, 180.0) == pytest.approx(90, abs=1e-4)
    # of photographs, half a turn is an error
    assert absolute_difference_loss(applied + 180, applied, 360.0) == pytest.approx(180, abs=1e-3)


def test_the_slope_of_the_published_loss_leads_to_what_was_applied():
    predicted = torch.tensor([3.0, 188.0, -100.0], requires_grad=True)
    absolute_difference_loss(predicted, torch.zeros(3), 180.0).backward()
    assert torch.equal(torch.sign(predicted.grad), torch.tensor([1.0, 1.0, 1.0]))  # to 0, 180 and -180


def test_the_hinge_is_0_in_its_range_and_as_large_as_what_is_outside():
    assert range_hinge(torch.tensor([0.0, 1.0, 359.0, 360.0])) == 0
    assert range_hinge(torch.tensor([-10.0, 380.0])) == pytest.approx(15)
    angles = torch.tensor([-10.0, 380.0, 50.0], requires_grad=True)
    range_hinge(angles).backward()
    assert torch.sign(angles.grad).tolist() == [-1, 1, 0]


def test_answers_out_of_range_cost_in_the_published_loss_alone(fine):
    class Far(Knowing):
        def between(self, first, second):
            return super().between(first, second) - 1800.0  # ten half turns, which change no difference

    near, far = (objective(name="paper-real").loss(network, fine, generator(), 1) for network in (Knowing(), Far()))
    assert far - near > 2 * 1600
    near, far = (objective().loss(network, fine, generator(), 1) for network in (Knowing(), Far()))
    assert far == pytest.approx(float(near), abs=1e-3)


def test_turns_grow_with_the_epoch_as_the_recipe_says(fine):
    small = objective(rotation_range=10.0, growth=30.0)
    assert [small.rotation_range(epoch, 360.0) for epoch in (1, 2, 5, 100)] == [10, 40, 130, 360]
    # what answers nothing pays by the size of the turns
    still = Knowing(0.0)
    losses = [float(small.loss(still, fine, generator(), epoch)) for epoch in (1, 2, 12)]
    assert losses[0] < 0.05
    assert losses == sorted(losses)
    assert losses[-1] > 0.7


# JUDL


def test_the_mean_reconstructs_a_batch_in_register(fine):
    scrambled = SPECTRA.rotated(fine, (torch.arange(len(fine)) * 37.0) % 180)
    aligned = SPECTRA.rotated(fine, -Knowing().features(SPECTRA.rotated(fine))[:, 0])
    assert reconstruction_loss(aligned) < 0.1
    assert reconstruction_loss(scrambled) > 0.7


def joint_part(judl, network, fine, epoch=1):
    """What JUDL adds to the UDL loss of the same batch and turns."""
    alone = objective("udl", rounds=judl.preset.rounds)
    alone.preset = judl.preset
    both = [float(one.loss(network, fine, generator(), epoch).detach()) for one in (judl, alone)]
    return both[0] - both[1]


def test_the_joint_term_brings_particles_into_register_by_the_turns_of_the_network(fine):
    """The signs: particles rotated at random are put back by what the network says, and in no other way."""
    judl = objective("judl")
    assert joint_part(judl, Knowing(), fine) < 0.15
    assert joint_part(judl, Knowing(-1.0), fine) > 0.6
    assert joint_part(judl, Knowing(0.0), fine) > 0.6


def test_an_autoencoder_learns_to_reconstruct_what_right_turns_bring_into_register(fine):
    errors = []
    for network in (Knowing(), Knowing(-1.0)):
        judl, random = objective("judl", joint="autoencoder"), generator(5)
        optimiser = torch.optim.Adam(judl.extra.parameters(), lr=1e-2)
        for _ in range(120):
            optimiser.zero_grad()
            judl.loss(network, fine, random, 1).backward()
            optimiser.step()
        errors.append(joint_part(judl, network, fine))
    assert errors[0] < 0.85 * errors[1]


@pytest.mark.parametrize(("name", "ratio"), [("paper-real", 4.0), (None, 1.0)])
def test_the_weight_of_the_joint_term_grows_with_the_epoch(fine, name, ratio):
    judl = objective("judl", name)
    first, fourth = (joint_part(judl, Knowing(), fine, epoch) for epoch in (1, 4))
    assert fourth / first == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize("joint", ["mean", "autoencoder"])
def test_the_joint_term_moves_the_network(fine, joint):
    class Off(Knowing):
        """Knows all rotations; one particle's is wrong by ``error``."""

        def __init__(self):
            super().__init__()
            self.error = torch.nn.Parameter(torch.tensor(8.0))

        def features(self, spectra):
            return super().features(spectra) + self.error * (torch.arange(len(spectra)) == 5)[:, None]

    network = Off()
    judl = objective("judl", joint=joint, joint_weight=1000.0)  # the UDL term is nothing beside it
    judl.loss(network, fine, generator(), 1).backward()
    assert network.error.grad.abs() > 0
    if joint == "mean":
        assert network.error.grad > 0  # down the slope is towards register


def test_an_autoencoder_is_trained_with_the_network_by_judl_alone():
    assert isinstance(objective("judl", joint="autoencoder").extra, Autoencoder)
    for other in (objective("judl"), objective(), objective(name="paper-real")):
        assert not list(other.extra.parameters())


# What tells epochs apart


@pytest.mark.parametrize("method", ["udl", "judl"])
def test_the_validation_is_the_same_in_all_epochs_and_knows_right_from_wrong(fine, method):
    pair = objective(method)
    losses = [float(pair.validation(Knowing(), fine, generator(0))) for _ in range(2)]
    assert losses[0] == losses[1]
    assert losses[0] < 0.2
    for sign in (-1.0, 0.0):
        assert pair.validation(Knowing(sign), fine, generator(0)) > 0.7


@pytest.mark.parametrize("method", ["udl", "judl"])
def test_the_validation_does_not_follow_reach_noise_or_weight(fine, method):
    """Or an epoch could not be compared with another."""
    plain = objective(method)
    other = PairObjective(
        method,
        replace(plain.preset, noise=2.0, rotation_range=5.0, growth=7.0, joint_growth=9.0, absolute=True),
        SPECTRA,
    )
    one, two = (float(p.validation(Knowing(), fine, generator(0))) for p in (plain, other))
    assert one == two


def test_finishing_keeps_unturned_spectra_and_can_be_done_again(fine):
    pair, network = objective(), Knowing()
    for _ in range(2):
        pair.finish(network, fine)
        assert torch.equal(network.kept, SPECTRA.rotated(fine))


def test_polar_turns_grow_up_to_half_a_circle():
    polar = PolarObjective("udl", preset_of("polar", "udl"))
    assert polar.rotation_range(1, 180.0) == 34
    assert polar.rotation_range(1000, 180.0) == 180


def test_the_polar_validation_of_an_equivariant_network_is_0_by_udl():
    torch.manual_seed(0)
    network = PolarNetwork(6, 32)
    torch.nn.init.normal_(network.template)
    polar = PolarObjective("udl", replace(preset_of("polar", "udl"), noise=0.0))
    spectra = torch.randn(20, 6, 32, generator=generator()).cumsum(-1)
    spectra = torch.fft.irfft(torch.fft.rfft(spectra)[..., :6], n=32)
    assert polar.validation(network, spectra, generator()) < 0.05


def test_what_is_not_said_is_not_there():
    nothing = Objective("udl", preset_of("polar", "udl"))
    for ask in (nothing.loss, nothing.validation):
        with pytest.raises(NotImplementedError):
            ask(*[None] * (4 if ask == nothing.loss else 3))


def test_a_point_on_a_circle_is_never_out_of_range():
    def hinged(head: str) -> torch.Tensor:
        network = SimpleNamespace(head=SimpleNamespace(head=head))
        preset = preset_of("resnet", "udl", "paper-real")
        before, after, applied = (torch.tensor([value]) for value in (-50.0, -20.0, 30.0))
        return pair_loss(preset, network, before, after, applied, 180.0)

    assert float(hinged("degrees")) == pytest.approx(70)
    assert float(hinged("circular")) == 0
