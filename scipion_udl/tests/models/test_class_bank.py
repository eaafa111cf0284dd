"""The class network: the pose it finds is the planted one, its gain is a log likelihood, and particles do not matter to
each other."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.models import class_bank
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.models.contrast import CONTRAST
from scipion_udl.tests.class_helpers import Grid, random_poses, seen

VIEWS = 4


@pytest.fixture(scope="module")
def grid():
    return Grid()


@pytest.fixture(scope="module")
def bank(grid):
    """The four views themselves."""
    templates = grid.coefficients(seen(np.arange(VIEWS), Poses.identity(VIEWS)))
    bank = ClassBank(VIEWS, grid.rings, grid.transform.orders, grid.sampling.angles)
    bank.set(templates)
    return bank


def shifts_about(count: int = 3) -> torch.Tensor:
    """All shifts (n, 2) of up to ``count`` pixels along either axis."""
    axis = torch.arange(-count, count + 1.0)
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1)


def compared(grid: Grid, bank: ClassBank, images: np.ndarray, ctf: torch.Tensor | None = None):
    """What the bank finds for images (n, box, box), whose transfer (n, rings) is in them already."""
    shifts = shifts_about()
    values = grid.samples(images)
    ctf = torch.ones(len(images), grid.rings) if ctf is None else ctf
    values = values * ctf[..., None]
    coefficients = grid.transform.forward(values[:, None] * grid.transform.waves(shifts))
    return bank(coefficients, ctf.square()), coefficients


def noisy(poses: Poses, views: np.ndarray, deviation: float, seed: int = 2) -> np.ndarray:
    images = seen(views, poses)
    return images + deviation * np.random.default_rng(seed).normal(size=images.shape)


def test_the_view_angle_and_shift_that_were_planted_are_found(grid, bank):
    views = np.arange(40) % VIEWS
    draw = np.random.default_rng(4)
    # The bank moves first and then turns: shifts on its grid of whole pixels.
    moved = draw.integers(-3, 4, (40, 2))
    angle = draw.uniform(-180, 180, 40)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    shift = np.stack([cos * moved[:, 0] - sin * moved[:, 1], sin * moved[:, 0] + cos * moved[:, 1]], 1)
    found, _ = compared(grid, bank, noisy(Poses(angle, shift), views, 1.0))
    best = found.gain.argmax(1)
    assert (best.numpy() == views).all()
    every = torch.arange(40)
    assert np.array_equal(shifts_about()[found.place[every, best]].numpy(), moved)
    error = wrap(found.rotation[every, best].numpy() * -360.0 / bank.rotations() - angle)
    assert np.abs(error).max() < 1.5 * 360 / bank.rotations()
    assert np.abs(error).mean() < 0.5 * 360 / bank.rotations()


def test_the_gain_is_the_log_likelihood_ratio_worked_out_order_by_order(grid, bank):
    """ln p(x | template seen through the transfer, in this pose, at this contrast) - ln p(x | noise), complex noise of
    variance 1, and what is known of contrasts before."""
    ctf = torch.linspace(1.2, 0.4, grid.rings)[None].repeat(3, 1)
    images = noisy(random_poses(3, 6), np.array([0, 1, 2]), 1.5)
    found, coefficients = compared(grid, bank, images, ctf)
    raw = coefficients / ctf[:, None, :, None]  # as they were seen
    order = torch.arange(grid.transform.orders)
    for n in range(3):
        for k in range(VIEWS):
            angle = float(found.rotation[n, k]) * -360.0 / bank.rotations()
            rotated = bank.complex[k] * torch.polar(torch.ones(len(order)), np.radians(angle) * order)
            particle = raw[n, found.place[n, k]]
            contrast = float(found.contrast[n, k])
            rest = particle - contrast * ctf[n][:, None] * rotated
            ratio = float(grid.power(particle) - grid.power(rest)) - (contrast - 1) ** 2 / (2 * CONTRAST**2)
            assert float(found.gain[n, k]) == pytest.approx(ratio, rel=1e-3, abs=0.05)


@pytest.mark.parametrize("contrast", [0.7, 1.4])
def test_the_contrast_of_a_particle_is_found_and_no_matter_of_its_class(grid, bank, contrast):
    """Beside each view stands a template that is mostly of another one, as faint or as strong as the particles are."""
    weak = ClassBank(2 * VIEWS, grid.rings, grid.transform.orders, grid.sampling.angles)
    other = 0.75 * bank.complex + 0.25 * bank.complex.roll(1, 0)
    weak.set(torch.cat([bank.complex, contrast * other]))
    views = np.arange(40) % VIEWS
    images = contrast * seen(views, Poses.identity(40))
    images = images + 0.3 * np.random.default_rng(3).normal(size=images.shape)
    found, _ = compared(grid, weak, images)
    assert (found.gain.argmax(1).numpy() == views).all()
    assert found.contrast[range(40), views].numpy() == pytest.approx(contrast, abs=0.05)
    expected = torch.stack([grid.power(t) for t in weak.complex])
    at_one = 2 * found.inner - expected
    assert (at_one.argmax(1).numpy() != views).mean() > 0.5  # at one contrast for all they would go to the others


def test_no_other_pose_is_more_likely_than_the_one_that_is_given(grid, bank):
    images = noisy(random_poses(2, 9), np.array([3, 1]), 1.0)
    found, coefficients = compared(grid, bank, images)
    for rotation in range(0, bank.rotations(), 3):
        rotated = grid.transform.rotated(
            coefficients.flatten(0, 1), torch.full((2 * coefficients.shape[1],), rotation * -360.0 / bank.rotations())
        ).unflatten(0, coefficients.shape[:2])
        for k in range(VIEWS):
            products = (rotated * bank.complex[k].conj()).real * grid.transform.weight
            gains = 2 * products.sum((-2, -1)) - grid.power(bank.complex[k])
            assert (gains.amax(1) <= found.gain[:, k] * (1 + 1e-4) + 0.01).all()


def test_noise_alone_is_likelier_without_any_template(grid, bank):
    found, _ = compared(grid, bank, np.random.default_rng(1).normal(size=(20, grid.box, grid.box)))
    assert found.gain.max() < 0
    there, _ = compared(grid, bank, noisy(random_poses(20, 1), np.arange(20) % VIEWS, 1.0))
    assert there.gain.amax(1).min() > 0


def test_an_answer_does_not_depend_on_the_batch_its_order_or_the_tile(grid, bank, monkeypatch):
    images = noisy(random_poses(30, 8), np.arange(30) % VIEWS, 1.5)
    whole, coefficients = compared(grid, bank, images)
    ctf = torch.ones(30, grid.rings)

    def same(found, rows):
        assert torch.equal(found.place, whole.place[rows])
        assert torch.equal(found.rotation, whole.rotation[rows])
        assert torch.allclose(found.gain, whole.gain[rows], rtol=1e-4, atol=0.02)

    for rows in (torch.arange(30).flip(0), torch.tensor([7]), torch.tensor([3, 29, 4])):
        same(bank(coefficients[rows], ctf[rows]), rows)
    for tile in (1, 1 << 14, 1 << 26):
        monkeypatch.setattr(class_bank, "TILE", tile)
        same(bank(coefficients, ctf), torch.arange(30))


@pytest.mark.parametrize(("orders", "angles"), [(0, 64), (65, 64), (10, 4096)])
def test_a_bank_of_impossible_shape_is_refused(orders, angles):
    with pytest.raises(ValueError, match="angles"):
        ClassBank(2, 6, orders, angles)


def test_a_glance_orders_classes_as_a_long_look_does_and_costs_little_of_the_gain(grid, bank):
    """In as few orientations as the orders need, which lie between those of the long look."""
    images = noisy(random_poses(40, 5), np.arange(40) % VIEWS, 1.0)
    whole, coefficients = compared(grid, bank, images)
    gain, _ = bank.glance(coefficients, torch.ones(40, grid.rings))
    assert (gain.argmax(1).numpy() == np.arange(40) % VIEWS).all()
    off = (gain - whole.gain) / whole.gain.amax(1, keepdim=True)
    assert off.abs().max() < 0.1
    assert off.mean() < 0


def test_classes_of_its_own_are_to_a_particle_what_they_are_among_all(grid, bank):
    """Whether the shifts are those of each class or the same for all."""
    images = noisy(random_poses(12, 7), np.arange(12) % VIEWS, 1.0)
    whole, coefficients = compared(grid, bank, images)
    which, ctf = torch.tensor([[3, 1], [0, 2]]).repeat(6, 1), torch.ones(12, grid.rings)
    for shifts in (coefficients[:, None], coefficients[:, None].expand(-1, 2, -1, -1, -1)):
        found = bank.each(shifts, ctf, which)
        for one, other in zip(found, whole):
            assert torch.allclose(one.double(), other.gather(1, which).double(), rtol=1e-4, atol=0.02)
