"""The published row of settings, and which of them go with which network."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

from scipion_udl.errors import UdlError
from scipion_udl.training.presets import PAPER, preset_of
from scipion_udl.training.trainer import TrainingSettings


@pytest.mark.parametrize("network", ["resnet", "matching"])
@pytest.mark.parametrize(("name", "lr"), [("paper-synthetic", 3e-4), ("paper-real", 1e-4)])
def test_the_published_recipes_are_the_published_row(network, name, lr):
    preset = preset_of(network, "udl", name)
    assert preset.lr == lr
    assert preset.decay == (12_000, 0.8)
    assert preset.batch == 32
    assert preset.epochs == 100
    assert preset.particles == 50_000
    assert preset.absolute
    assert preset.rounds == 1  # each particle is in two pairs, as first and as second, once
    assert preset.noise == 0
    assert (preset.rotation_range, preset.growth) == (360.0, 0.0)
    assert preset.clip == math.inf
    assert preset.patience >= preset.epochs  # all epochs are trained


@pytest.mark.parametrize("name", PAPER)
def test_the_published_joint_term_weighs_20_times_the_epoch(name):
    preset = preset_of("resnet", "judl", name)
    assert preset.joint == "autoencoder"
    assert [preset.joint_weight + preset.joint_growth * epoch for epoch in (1, 2, 100)] == [20, 40, 2000]


@pytest.mark.parametrize("name", PAPER)
def test_a_training_takes_its_settings_from_the_recipe_unless_told_otherwise(name):
    settings = TrainingSettings("udl", network="resnet", name=name)
    preset = preset_of("resnet", "udl", name)
    assert (settings.epochs, settings.lr, settings.batch) == (preset.epochs, preset.lr, preset.batch)
    assert TrainingSettings("udl", 7, 0.5, network="resnet", name=name).lr == 0.5
    assert TrainingSettings("udl", 7, 0.5, network="resnet", name=name).epochs == 7


def test_the_polar_network_has_no_published_recipe():
    with pytest.raises(UdlError, match="give --network resnet or matching"):
        preset_of("polar", "judl", "paper-synthetic")


@pytest.mark.parametrize("name", [None, *PAPER])
def test_the_matching_network_is_not_trained_jointly(name):
    with pytest.raises(UdlError, match="matching network is trained by --method udl only"):
        preset_of("matching", "judl", name)
