"""The siamese pair network of the paper, its mask module, and the autoencoder of the joint term."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.errors import UdlError
from scipion_udl.models.autoencoder import Autoencoder
from scipion_udl.models.heads import circular_mean
from scipion_udl.models.mask import MaskModule
from scipion_udl.models.resnet import (
    NARROW_HIDDEN,
    NARROW_MASK,
    NARROW_WIDTHS,
    PUBLISHED_WIDTHS,
    REFERENCES,
    PairNetwork,
)

SIZE = 16
HEADS = ["degrees", "circular", "difference"]


def network_of(head, seed=0, used=True, **shape):
    """A narrow network in evaluation mode; ``used``: with running statistics of inputs that it has seen."""
    torch.manual_seed(seed)
    network = PairNetwork(**{"size": SIZE, "widths": (8, 16), "hidden": (16,), "mask": (4,), **shape, "head": head})
    if used:
        with torch.no_grad():
            for k in range(30):
                network(spectra(24, k), spectra(24, 100 + k))
    return network.eval()


def spectra(count, seed=0, size=SIZE):
    """Smooth random images (count, 1, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(
        torch.randn(count, 1, 6, 6, generator=generator), size=(size, size), mode="bicubic", align_corners=False
    )


def off(a, b, period=180.0):
    """The largest difference of angles that count modulo ``period``."""
    return float((torch.remainder(a - b + period / 2, period) - period / 2).abs().max())


# The published shape


@pytest.fixture(scope="module")
def published():
    return PairNetwork()


def test_the_published_network_is_that_of_the_paper(published):
    assert PUBLISHED_WIDTHS == (32, 64, 128, 256, 512, 1024, 2048)
    assert published.config["size"] == 128
    assert [block.short[0].out_channels for block in published.blocks] == list(PUBLISHED_WIDTHS)
    convolutions = [layer for layer in published.mask.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.in_channels for layer in convolutions] == [1, 4, 8, 16, 32]
    assert convolutions[-1].out_channels == 1
    assert all(layer.kernel_size == (3, 3) for layer in convolutions)
    assert isinstance(published.mask.layers[-1], torch.nn.Sigmoid)


def test_the_published_head_sees_both_vectors_of_2048_and_gives_one_angle(published):
    linear = [layer for layer in published.head.layers if isinstance(layer, torch.nn.Linear)]
    assert [layer.in_features for layer in linear] == [4096, 2000, 2000]
    assert [layer.out_features for layer in linear] == [2000, 2000, 1]
    assert not any(isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) for layer in published.head.layers)


def test_both_images_are_seen_by_the_same_weights(published):
    count = sum(parameter.numel() for parameter in published.parameters())
    head = 4096 * 2000 + 2000 + 2000 * 2000 + 2000 + 2000 + 1
    assert sum(parameter.numel() for parameter in published.head.parameters()) == head
    # 7 bottlenecks: two 1 x 1 convolutions by a quarter of the width, one 3 x 3 there, a 1 x 1 beside them
    blocks = 0
    for before, after in zip((1, *PUBLISHED_WIDTHS), PUBLISHED_WIDTHS):
        middle = after // 4
        convolutions = before * middle + 9 * middle**2 + middle * after + before * after
        blocks += convolutions + 2 * (2 * middle + 2 * after)
    assert sum(parameter.numel() for parameter in published.blocks.parameters()) == blocks
    assert count - head - blocks < 10_000  # the mask
    assert 15e6 < count < 30e6


def test_the_narrow_network_is_a_hundred_times_smaller(published):
    narrow = PairNetwork(32, NARROW_WIDTHS, NARROW_HIDDEN, NARROW_MASK, "difference")
    one, other = (sum(parameter.numel() for parameter in network.parameters()) for network in (narrow, published))
    assert 10_000 < one < other / 100


# Answers


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [16, 20, 32])
def test_any_size_that_can_be_halved_gives_an_angle(head, size):
    network = network_of(head, used=False, size=size)
    angle = network(spectra(3, size=size), spectra(3, 1, size))
    assert angle.shape == (3,)
    assert torch.isfinite(angle).all()


@pytest.mark.parametrize(("size", "widths"), [(16, (2,) * 5), (20, (2, 2, 2)), (15, (2,)), (1, (2,)), (0, (2,))])
def test_an_image_that_cannot_be_halved_so_often_is_refused(size, widths):
    with pytest.raises(ValueError, match=rf"{len(widths)} blocks halve an image of {size} pixels too often"):
        PairNetwork(size, widths)


def test_an_unknown_head_is_refused():
    with pytest.raises(UdlError, match="no head 'round'"):
        PairNetwork(16, (4,), (4,), (), "round")


@pytest.mark.parametrize("head", HEADS)
def test_twice_the_same_image_is_no_turn_once_the_bias_is_off(head):
    network, pool = network_of(head), spectra(40, 5)
    with torch.no_grad():
        before = network(pool, pool)
        network.set_references(pool)
        left = network(pool, pool) - network.bias
    assert abs(float(circular_mean(left, 0, 180.0))) < 1e-3
    if head == "difference":
        assert not before.any()
        assert network.bias == 0
    else:
        assert off(circular_mean(before, 0, 180.0), torch.zeros(())) > 0.01


def test_the_difference_head_turns_its_sign_with_the_order_of_the_images():
    network = network_of("difference")
    first, second = spectra(12), spectra(12, 1)
    with torch.no_grad():
        assert torch.allclose(network(first, second), -network(second, first), atol=1e-3)
        assert network(first, second).abs().mean() > 1


def test_turns_by_the_difference_head_are_differences_of_one_angle_each():
    network, mine = network_of("difference"), spectra(12, 3)
    with torch.no_grad():
        network.set_references(spectra(30, 9))
        rotations = network.rotations(mine)
        between = network(mine[:6], mine[6:])
    assert off(rotations[:6] - rotations[6:], between) < 1e-2


class Perfect(PairNetwork):
    """Reads true rotations off its input, whose first pixel holds them; up to a bias, and modulo 180 as a spectrum
    is."""

    def features(self, spectra):
        return spectra[:, 0, 0, :1]

    def between(self, first, second):
        return torch.remainder((first - second)[:, 0] + 63.0, 180.0)


@pytest.mark.parametrize("count", [3, REFERENCES, 50])
def test_a_network_that_is_right_up_to_a_bias_gives_right_turns(count):
    network = Perfect(SIZE, (2,), (2,), ())
    true = torch.rand(100, generator=torch.Generator().manual_seed(1)) * 360
    inputs = torch.zeros(100, 1, SIZE, SIZE)
    inputs[:, 0, 0, 0] = true
    network.set_references(inputs[:count])
    assert off(network.bias, torch.tensor(63.0)) < 1e-2
    assert off(network.rotations(inputs), true - true[0]) < 1e-2


@pytest.mark.parametrize("head", HEADS)
def test_the_turn_of_a_particle_does_not_depend_on_its_batch(head):
    network, pool = network_of(head), spectra(40, 5)
    with torch.no_grad():
        network.set_references(pool)
        together = network.rotations(pool)
        alone = torch.cat([network.rotations(pool[k : k + 1]) for k in range(40)])
        beside_others = network.rotations(torch.cat([pool[:3], 50 * pool[3:]]))[:3]
    assert off(together, alone) < 1e-3
    assert off(together[:3], beside_others) < 1e-3
    assert together.std() > 0.1


def test_finding_references_again_changes_nothing():
    network, pool = network_of("circular"), spectra(20)
    network.set_references(pool)
    first = {name: value.clone() for name, value in network.state_dict().items()}
    network.set_references(pool)
    assert all(torch.equal(value, first[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("head", HEADS)
def test_config_and_state_make_the_same_network_again(head):
    network, pool = network_of(head), spectra(20)
    with torch.no_grad():
        network.set_references(pool)
        again = PairNetwork(**network.config)
        again.load_state_dict(network.state_dict())
        assert torch.equal(again.eval().rotations(pool), network.rotations(pool))


def test_many_spectra_are_described_as_few_are():
    """Memory must not grow with how many are looked at; what is found must not change."""
    network, pool = network_of("circular"), spectra(150)
    with torch.no_grad():
        assert torch.allclose(network.describe(pool), network.features(pool), atol=1e-5)


# The mask


def test_the_mask_is_a_weight_between_0_and_1_for_every_pixel():
    torch.manual_seed(0)
    mask = MaskModule((4, 8))
    images = 30 * spectra(7)
    for module in (mask.train(), mask.eval()):
        weight = module(images)
        assert weight.shape == images.shape
        assert weight.min() >= 0
        assert weight.max() <= 1
        assert weight.std() > 0.01


def test_the_network_sees_its_input_times_the_mask():
    network, pool = network_of("circular"), spectra(5)
    with torch.no_grad():
        seen = network.blocks(pool * network.mask(pool)).flatten(1)
        assert torch.allclose(network.features(pool), seen, atol=1e-5)
        unmasked = network_of("circular", mask=())
        assert unmasked.mask is None
        assert torch.allclose(unmasked.features(pool), unmasked.blocks(pool).flatten(1), atol=1e-5)


def test_the_mask_learns_with_the_network():
    network = network_of("circular").train()
    network(spectra(6), spectra(6, 1)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.mask.parameters() if parameter.dim() > 1)


# The autoencoder


@pytest.mark.parametrize("size", [8, 16, 32, 40])
def test_images_come_out_of_the_autoencoder_as_large_as_they_were(size):
    assert Autoencoder()(spectra(3, size=size)).shape == (3, 1, size, size)


def test_the_code_of_the_published_autoencoder_has_8_channels():
    encoder = [layer for layer in Autoencoder().encoder if isinstance(layer, torch.nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in encoder] == [(1, 2), (2, 4), (4, 8)]


def learned_error(images, steps=150):
    """The part of the images' variance that an autoencoder does not give back after some training."""
    torch.manual_seed(3)
    module = Autoencoder()
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(module(images), images)
        loss.backward()
        optimiser.step()
    return float(loss.detach() / images.var())


def test_images_that_are_alike_are_easier_to_reconstruct():
    """What the joint term lives on."""
    different = spectra(32, 1, size=16)
    alike = different[:1].expand(32, -1, -1, -1)
    assert learned_error(alike) < 0.7 * learned_error(different)
    assert learned_error(alike) < 0.3


# Circular means


@pytest.mark.parametrize("period", [180.0, 360.0])
def test_the_circular_mean_goes_round_the_end_of_the_period(period):
    angles = torch.tensor([[1.0, period - 3.0], [period / 2 - 2, -period / 2 + 4]])
    mean = circular_mean(angles, 1, period)
    assert off(mean, torch.tensor([-1.0, period / 2 + 1]), period) < 1e-3
    assert mean.abs().max() <= period / 2 + 1e-3
