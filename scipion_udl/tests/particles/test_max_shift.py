"""--max-shift bounds how far off the centre of its box a particle lies, and says so where it is too small."""

import numpy as np
import pytest
import torch

from scipion_udl import api
from scipion_udl.constants import automatic_shift
from scipion_udl.imaging.band import Band, ShiftMaps
from scipion_udl.particles.max_shift import ShiftLimit, centre_of, is_too_small
from scipion_udl.tests.engine_helpers import align_images, simulate

BOX, FAR = 40, 8.0


def rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Particles within a square of +-8 px, those in its corners up to 11 px off centre."""
    return simulate(tmp_path_factory.mktemp("wide") / "p", 150, BOX, 0.5, max_shift=FAR)


@pytest.fixture(scope="module")
def model(wide):
    return api.train(wide / "particles.star", epochs=3, gpu="none", threads=1)


def off_centre(found):
    """How far off centre each particle lies, px."""
    return np.hypot(*(found.shift - found.shift.mean(0)).T)


def about_shifts(found):
    return [warning.text for warning in found.warnings if "raise --max-shift" in warning.text]


def test_the_disc_is_about_the_particle_s_place_in_the_average_whatever_its_rotation():
    """R^T (c - t): the limit is on what is left of a shift once the average's place is taken off."""
    angles = torch.tensor([0.0, 30.0, -120.0, 180.0])
    centre = np.array([3.0, -1.0])
    limit = ShiftLimit(5.0, torch.tensor(centre, dtype=torch.float32))
    for angle in angles:
        own = torch.tensor(rotation(-float(angle)) @ centre, dtype=torch.float32)  # c as seen in the particle's frame
        far = own + torch.tensor([0.0, 9.0])
        kept = limit.kept(torch.stack([own, far]), angle.repeat(2))
        assert torch.allclose(kept[0], own, atol=1e-5)
        assert float((kept[1] - own).norm()) == pytest.approx(5.0, abs=1e-5)
        assert limit.reached(kept, angle.repeat(2)).tolist() == [False, True]


def test_shifts_that_are_looked_at_lie_within_the_disc():
    maps = ShiftMaps(Band(32, 10), 12.0)
    limit = ShiftLimit(4.0, torch.tensor([2.0, 0.0]))
    (inside,) = limit.inside(maps, torch.tensor([90.0]))  # rotated by 90 degrees, (2, 0) is (0, -2) in its own frame
    y, x = (maps.shifts[index] for index in inside.nonzero().unbind(-1))
    assert float(torch.hypot(x, y + 2).max()) <= 4.71
    assert inside.sum() > 45
    assert ShiftLimit(4.0).inside(maps, torch.tensor([0.0])) is None


def test_a_limit_of_nothing_leaves_a_shift_to_look_at():
    maps = ShiftMaps(Band(32, 10), 4.0)
    assert ShiftLimit(0.0, torch.tensor([0.5, 0.5])).inside(maps, torch.zeros(1)).any()


def test_the_average_s_place_is_the_middle_of_the_shifts_once_there_are_some():
    shift = np.random.default_rng(1).normal((2.0, -3.0), 1.0, (400, 2))
    assert np.abs(centre_of(shift) - [2.0, -3.0]).max() < 0.2
    assert centre_of(np.zeros((400, 2))) is None
    assert centre_of(shift[:7]) is None


@pytest.mark.parametrize(("share", "signal", "found"), [
    (0.019, True, False), (0.021, True, True), (0.42, False, False), (0.685, False, True), (0.42, None, False),
])  # fmt: skip
def test_noise_at_the_limit_is_no_reason_to_raise_it(share, signal, found):
    """Shares as measured with a limit of 4 px: 200 images of noise, and particles up to 11 px off centre."""
    assert is_too_small(share, 4.0, signal) is found


def test_a_limit_that_holds_all_particles_says_nothing(wide, model):
    found = align_images(wide / "particles.star", model=model, max_shift=12)
    assert off_centre(found).max() > 9
    assert not about_shifts(found)
    assert found.resolution


def test_the_automatic_limit_holds_particles_whose_centre_of_mass_lies_within_it(model, tmp_path):
    """The hook's lies 1 px off the centre of its template."""
    particles = simulate(tmp_path / "p", 150, BOX, 0.5, max_shift=7.0)
    found = align_images(particles / "particles.star", model=model)
    assert 8 < off_centre(found).max() < automatic_shift(BOX) + 1
    assert not about_shifts(found)


def test_a_limit_that_is_too_small_holds_and_asks_to_be_raised(wide, model):
    found = align_images(wide / "particles.star", model=model, max_shift=4)
    assert off_centre(found).max() < 4.5  # the average's place is known to a fraction of a pixel
    (warning,) = about_shifts(found)
    assert "4 px: raise --max-shift" in warning
    told = " ".join([*map(str, found.warnings), found.resolution_note])
    assert "mixed" not in told
    assert "noise" not in told


@pytest.mark.parametrize("base", [0.0, 33.0, 90.0, 151.0])
def test_shifts_along_a_filament_end_before_those_across(base):
    """Whatever the angle of the tube: along its axis, which is x of the average, by 2 pixels, across by 5."""
    limit, base = ShiftLimit(5.0, along=2.0), torch.tensor([base])
    c, s = float(torch.cos(torch.deg2rad(base))), float(torch.sin(torch.deg2rad(base)))
    along, across = torch.tensor([[c, -s]]), torch.tensor([[s, c]])
    assert torch.allclose(limit.kept(4 * along + 3 * across, base), 2 * along + 3 * across, atol=1e-5)
    assert torch.allclose(limit.kept(9 * across, base), 5 * across, atol=1e-5)
    assert not limit.reached(2 * along, base)  # more along the axis is no other place
    assert limit.reached(5 * across, base)
    maps = ShiftMaps(Band(32, 8), 6.0)
    y, x = torch.meshgrid(maps.shifts, maps.shifts, indexing="ij")
    inside = limit.inside(maps, base)[0]
    assert (c * x - s * y)[inside].abs().max() < 3
    assert (s * x + c * y)[inside].abs().max() > 4
