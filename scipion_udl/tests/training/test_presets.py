"""The published row of settings, and which of them go with which network."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

from scipion_udl.errors import UdlError
from scipion_udl.training.presets import PAPER, recipe_of
from scipion_udl.training.trainer import TrainingSettings


@pytest.mark.parametrize("network", ["resnet", "matching"])
@pytest.mark.parametrize(("name", "lr"), [("paper-synthetic", 3e-4), ("paper-real", 1e-4)])
def test_the_published_recipes_are_the_published_row(network, name, lr):
    recipe = recipe_of(network, "udl", name)
    assert recipe.lr == lr
    assert recipe.decay == (12_000, 0.8)
    assert recipe.batch == 32
    assert recipe.epochs == 100
    assert recipe.particles == 50_000
    assert recipe.absolute
    assert recipe.rounds == 1  # each particle is in two pairs, as first and as second, once
    assert recipe.noise == 0
    assert (recipe.reach, recipe.growth) == (360.0, 0.0)
    assert recipe.clip == math.inf
    assert recipe.patience >= recipe.epochs  # all epochs are trained


@pytest.mark.parametrize("name", PAPER)
def test_the_published_joint_term_weighs_20_times_the_epoch(name):
    recipe = recipe_of("resnet", "judl", name)
    assert recipe.joint == "autoencoder"
    assert [recipe.joint_weight + recipe.joint_growth * epoch for epoch in (1, 2, 100)] == [20, 40, 2000]


@pytest.mark.parametrize("name", PAPER)
def test_a_training_takes_its_settings_from_the_recipe_unless_told_otherwise(name):
    settings = TrainingSettings("udl", network="resnet", name=name)
    recipe = recipe_of("resnet", "udl", name)
    assert (settings.epochs, settings.lr, settings.batch) == (recipe.epochs, recipe.lr, recipe.batch)
    assert TrainingSettings("udl", 7, 0.5, network="resnet", name=name).lr == 0.5
    assert TrainingSettings("udl", 7, 0.5, network="resnet", name=name).epochs == 7


def test_the_polar_network_has_no_published_recipe():
    with pytest.raises(UdlError, match="give --network resnet or matching"):
        recipe_of("polar", "judl", "paper-synthetic")


@pytest.mark.parametrize("name", [None, *PAPER])
def test_the_matching_network_is_not_trained_jointly(name):
    with pytest.raises(UdlError, match="matching network is trained by --method udl only"):
        recipe_of("matching", "judl", name)
