"""What of an average is signal: the two-fold part, what tells both ways round apart, and where it lies."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.wiener import WienerFilter, flip_centre
from scipion_udl.imaging.band import Band, ShiftMaps
from scipion_udl.tests.engine_helpers import phantom_band

BOX = 64
BAND = Band(BOX, 28)
MAPS = ShiftMaps(BAND, 10)


def view(name: str, shift: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    return phantom_band(BAND, name, shift)


def noise(level: float, seed: int) -> torch.Tensor:
    return BAND.of_images(level * torch.randn(BOX, BOX, generator=torch.Generator().manual_seed(seed)))


def halves(image: torch.Tensor, level: float, seed: int = 0) -> list[torch.Tensor]:
    """The same image twice, with noise of its own."""
    return [image + noise(level, 2 * seed), image + noise(level, 2 * seed + 1)]


def power(band: torch.Tensor) -> float:
    return float(BAND.dot(band, band))


def odd(band: torch.Tensor, centre: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    """What a half turn about a centre turns into its negative."""
    at = BAND.shifted(band, -torch.tensor(centre))
    return BAND.shifted((at - at.conj()) / 2, torch.tensor(centre))


# the centre


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.0, -1.0), (-1.5, 0.5)])
def test_the_centre_of_a_two_fold_view_is_found_wherever_it_lies(shift):
    centre = flip_centre(MAPS, view("dimer", shift))
    assert torch.allclose(centre, torch.tensor(shift), atol=0.26)


def test_the_centre_of_any_other_view_is_near_the_origin():
    assert float(flip_centre(MAPS, view("hook")).norm()) <= 0.05 * BOX + 1e-3


# even and odd


def test_what_only_noise_says_of_the_half_turn_is_taken_away_from_a_two_fold_view():
    average = halves(view("dimer"), 0.5)
    found = WienerFilter(BAND, average)(average[0], 1)
    assert power(odd(found)) < 0.1 * power(odd(average[0]))
    assert power(found - view("dimer")) < 0.5 * power(average[0] - view("dimer"))


def test_what_tells_both_ways_round_apart_is_kept_in_an_asymmetric_view():
    average = halves(view("hook"), 0.3)
    found = WienerFilter(BAND, average)(average[0], 1)
    left = odd(found) - odd(view("hook"))
    assert power(left) < 0.1 * power(odd(view("hook")))
    scale = BAND.dot(odd(found), odd(view("hook"))) / BAND.dot(odd(view("hook")), odd(view("hook")))
    assert 0.85 < float(scale) < 1.02


def test_the_two_fold_part_is_kept_in_both():
    for name in ("dimer", "hook"):
        average = halves(view(name), 0.3)
        true = view(name)
        even = [(band + band.conj()) / 2 for band in (WienerFilter(BAND, average)(average[0], 1), true)]
        assert power(even[0] - even[1]) < 0.1 * power(even[1])


@pytest.mark.parametrize("shift", [(2.0, -1.0), (-1.5, 2.5)])
def test_symmetry_is_about_the_centre_of_the_view(shift):
    """About the origin a two-fold view off centre has a large odd part; about its centre it has none."""
    average = halves(view("dimer", shift), 0.5)
    centre = flip_centre(MAPS, average[0] + average[1])
    found = WienerFilter(BAND, average, centre)(average[0], 1)
    assert power(odd(found, shift)) < 0.15 * power(odd(average[0], shift))
    assert power(found - view("dimer", shift)) < 0.5 * power(average[0] - view("dimer", shift))
    at_origin = WienerFilter(BAND, halves(view("dimer"), 0.5))
    unmoved = at_origin(halves(view("dimer"), 0.5)[0], 1)
    assert power(BAND.shifted(found, -torch.tensor(shift)) - unmoved) < 0.25 * power(unmoved)


def test_an_average_without_noise_stays_as_it_is():
    true = view("barrel")
    for local in (False, True):
        found = WienerFilter(BAND, halves(true, 1e-4), local=local)(true, 1)
        assert power(found - true) < 1e-3 * power(true)


def test_a_larger_share_of_the_particles_is_believed_more():
    average = halves(view("barrel"), 0.8)
    wiener = WienerFilter(BAND, average)
    one, two = (power(wiener(average[0], share)) for share in (1, 2))
    assert one < two
    search_range = wiener.weight(1) > 0
    assert bool((wiener.weight(2)[search_range] >= wiener.weight(1)[search_range] - 1e-6).all())
    assert float(wiener.weight(2).max()) <= 1


def test_weights_are_near_those_that_the_signal_and_the_noise_ask_for():
    """Wiener: what is left is less than without weights, and not much more than with the best ones."""
    true, level = view("hook"), 0.8
    average = halves(true, level)
    found = WienerFilter(BAND, average)(average[0], 1)
    signal = BAND.ring_sums(true.abs().square()) / BAND.ring_count
    best = average[0] * BAND.spread(signal / (signal + level**2))
    assert power(found - true) < 0.7 * power(average[0] - true)
    assert power(found - true) < 1.25 * power(best - true)


# place by place


def spots(place: tuple[int, int], height: float) -> torch.Tensor:
    """A two-fold view with one spot, at (x, y) from the origin, that has no partner."""
    axis = torch.arange(BOX) - BOX // 2
    x, y = place
    spot = height * torch.exp(-((axis[None] - x) ** 2 + (axis[:, None] - y) ** 2) / 8.0)
    return view("dimer") + BAND.of_images(spot)


def test_a_spot_that_breaks_the_symmetry_is_kept_and_the_noise_elsewhere_is_not():
    true = spots((12, -9), 4.0)
    average = halves(true, 0.8)
    rings, places = (WienerFilter(BAND, average, local=local)(average[0], 1) for local in (False, True))
    images = [BAND.images(odd(band)) for band in (rings, places, true)]
    axis = torch.arange(BOX) - BOX // 2
    r = [((axis[None] - s * 12) ** 2 + (axis[:, None] + s * 9) ** 2).sqrt() for s in (1, -1)]
    inside, far = torch.minimum(*r) < 4, torch.minimum(*r) > 10
    kept = float((images[1] * images[2])[inside].sum() / images[2][inside].square().sum())
    of_rings = float((images[0] * images[2])[inside].sum() / images[2][inside].square().sum())
    assert kept > 0.85 * of_rings > 0.4
    assert float(images[1][far].square().mean()) < 0.35 * float(images[0][far].square().mean())
    assert power(odd(places) - odd(true)) < power(odd(rings) - odd(true))


def test_noise_that_is_much_alike_everywhere_is_nearly_all_taken_away():
    average = halves(view("dimer"), 0.8)
    plain, local = (WienerFilter(BAND, average, local=flag)(average[0], 1) for flag in (False, True))
    assert power(odd(local)) < 0.5 * power(odd(plain)) or power(odd(plain)) < 1e-6 * power(plain)


@pytest.mark.parametrize("local", [False, True])
def test_weighting_does_not_depend_on_the_units(local):
    """An average that is ten times as large has weights that are the same."""
    average = halves(spots((12, -9), 3.0), 0.5)
    one = WienerFilter(BAND, average, local=local)(average[0], 1)
    ten = WienerFilter(BAND, [10 * a for a in average], local=local)(10 * average[0], 1)
    assert power(ten / 10 - one) < 1e-5 * power(one)


@pytest.mark.parametrize("local", [False, True])
def test_turned_by_180_degrees_it_is_weighted_the_same(local):
    average = halves(view("barrel"), 0.5)
    one = WienerFilter(BAND, average, local=local)(average[0], 1)
    other = WienerFilter(BAND, [a.conj() for a in average], local=local)(average[0].conj(), 1)
    assert math.isclose(power(other - one.conj()), 0, abs_tol=1e-2 * power(one))
