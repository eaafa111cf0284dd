"""Odds between two ways round count for what two halves confirm, and for nothing in a two-fold view."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.ambiguity import confirmed_rings, flip_difference
from scipion_udl.imaging.band import Band, ShiftMaps
from scipion_udl.tests.engine_helpers import phantom_band

BOX = 64
BAND = Band(BOX, 26)
MAPS = ShiftMaps(BAND, 8)


def view(name: str, shift: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    return phantom_band(BAND, name, shift)


def halves(name: str, noise: float, seed: int = 0) -> list[torch.Tensor]:
    """Two averages of the same view with noise of their own."""
    generator = torch.Generator().manual_seed(seed)
    return [view(name) + BAND.of_images(noise * torch.randn(BOX, BOX, generator=generator)) for _ in range(2)]


def power(band: torch.Tensor) -> float:
    return float(BAND.dot(band, band))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, -2.0), (1.5, 2.25)])
def test_a_two_fold_image_does_not_differ_from_itself_turned_wherever_its_centre_is(shift):
    average = view("dimer", shift)
    assert power(flip_difference(BAND, MAPS, average)) < 0.01 * power(average)


def test_an_asymmetric_image_differs_from_itself_turned():
    average = view("hook")
    assert power(flip_difference(BAND, MAPS, average)) > 0.2 * power(average)


def test_the_sign_of_the_difference_says_which_way_round_a_particle_lies():
    average = view("hook")
    difference = flip_difference(BAND, MAPS, average)
    assert float(BAND.dot(average, difference)) > 0
    assert float(BAND.dot(average - difference, difference)) < 0  # itself rotated


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_noise_alone_makes_no_way_round_better_in_a_two_fold_view(seed, noise):
    assert float(confirmed_rings(BAND, MAPS, halves("dimer", noise, seed)).max()) == 0


def test_what_clear_halves_of_an_asymmetric_view_agree_on_counts_in_full():
    weight = confirmed_rings(BAND, MAPS, halves("hook", 0.02))
    inner = (BAND.radius >= 3) & (BAND.radius <= 10)
    assert float(weight[inner].min()) > 0.9
    assert float(weight.max()) <= 1
    assert float(weight.min()) >= 0


def test_less_is_believed_the_more_noise_there_is():
    believed = [float(confirmed_rings(BAND, MAPS, halves("hook", noise)).sum()) for noise in (0.02, 0.2, 0.6)]
    assert believed[0] > believed[1] > believed[2] > 0


def test_a_small_difference_between_two_ends_is_found_once_the_averages_are_clear():
    assert float(confirmed_rings(BAND, MAPS, halves("barrel", 0.03)).max()) > 0.5
    assert float(confirmed_rings(BAND, MAPS, halves("barrel", 1.0)).max()) == 0
