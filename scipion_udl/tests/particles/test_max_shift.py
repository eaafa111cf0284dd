"""--max-shift bounds how far off the centre of its box a particle lies, and says so where it is too small."""

import json

import numpy as np
import pytest
import torch

from scipion_udl.constants import automatic_shift
from scipion_udl.imaging.band import Band, ShiftMaps
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.particles.max_shift import ShiftLimit, centre_of, is_too_small
from scipion_udl.tests.engine_helpers import run, simulate

BOX, FAR = 48, 8.0


def rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Particles within a square of +-8 px, those in its corners up to 11 px off centre."""
    return simulate(tmp_path_factory.mktemp("wide") / "p", 150, BOX, 0.5, max_shift=FAR)


def align(particles, out, *words):
    """(how far off centre each particle lies, px; summary) of an alignment."""
    assert run("align", particles, "-o", out, *words) == 0
    shift = open_particles(str(out / "aligned.star")).poses().shift
    return np.hypot(*(shift - shift.mean(0)).T), json.loads((out / "summary.json").read_text())


def about_shifts(summary):
    return [text for text in summary["warnings"] if "raise --max-shift" in text]


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


def test_a_limit_that_holds_all_particles_says_nothing(wide, tmp_path):
    off, summary = align(wide / "particles.star", tmp_path / "out", "--max-shift", 12)
    assert off.max() > 9 and not about_shifts(summary)
    assert summary["resolution"]


def test_the_automatic_limit_holds_particles_whose_centre_of_mass_lies_within_it(tmp_path):
    """The hook's lies 1 px off the centre of its template."""
    particles = simulate(tmp_path / "p", 150, BOX, 0.5, max_shift=7.0)
    off, summary = align(particles / "particles.star", tmp_path / "out")
    assert 8 < off.max() < automatic_shift(BOX) + 1
    assert not about_shifts(summary)


@pytest.mark.parametrize("limit", [4, 8])
def test_a_limit_that_is_too_small_holds_and_asks_to_be_raised(wide, tmp_path, limit):
    off, summary = align(wide / "particles.star", tmp_path / "out", "--max-shift", limit)
    assert off.max() < limit + 0.5  # the average's place is known to a fraction of a pixel
    (warning,) = about_shifts(summary)
    assert f"{limit} px: raise --max-shift" in warning
    told = " ".join([*summary["warnings"], summary["resolution_note"]])
    assert "mixed" not in told and "noise" not in told


def test_noise_is_told_to_be_noise(tmp_path):
    noise = np.random.default_rng(1).normal(size=(150, BOX, BOX)).astype(np.float32)
    write_stack(str(tmp_path / "noise.mrcs"), noise, 3.0)
    _, summary = align(tmp_path / "noise.mrcs", tmp_path / "out", "--max-shift", 4)
    assert summary["signal_found"] is False and not about_shifts(summary)
