"""Moving images in Fourier space does what poses.py says, for even and odd boxes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.fourier import (
    bicubic_response,
    distances,
    radii,
    resize,
    soft_disc,
    to_fourier,
    to_images,
    transform,
)
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.imaging.test_poses import apply

BOXES = [48, 49]


def hook(box: int, poses: Poses | None = None) -> torch.Tensor:
    """The phantom in poses, exact samples of a formula, (N, box, box)."""
    return torch.from_numpy(phantom("hook", box).sample(poses or Poses.identity(1)))


def spot(box: int, x: int, y: int) -> torch.Tensor:
    """A round spot, x pixels to the right of and y below the origin."""
    axis = torch.arange(box) - box // 2
    return torch.exp(-((axis[:, None] - y) ** 2 + (axis[None] - x) ** 2) / 8.0)


def place(image: torch.Tensor) -> tuple[int, int]:
    """(row, column) of the brightest pixel from the origin."""
    row, column = divmod(int(image.argmax()), image.shape[-1])
    return row - image.shape[-1] // 2, column - image.shape[-1] // 2


@pytest.fixture(params=BOXES)
def box(request):
    return request.param


@pytest.fixture
def poses():
    rng = np.random.default_rng(5)
    return Poses(rng.uniform(-180, 180, 6), rng.uniform(-4, 4, (6, 2)))


# coefficients


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_come_back_from_their_coefficients(box, dtype, device):
    images = torch.randn(2, 3, box, box, dtype=dtype, device=device)
    back = to_images(to_fourier(images), box)
    assert back.dtype == dtype
    assert back.device == images.device
    assert torch.allclose(back, images, atol=1e-5)


def test_an_image_that_is_even_about_the_origin_has_real_coefficients(box):
    coefficients = to_fourier(spot(box, 0, 0).double())
    assert float(coefficients.imag.abs().max()) < 1e-12
    assert float(coefficients.real[0, 0]) > 0


@pytest.mark.parametrize("other", [32, 33, 64])
def test_white_noise_of_variance_1_has_coefficients_of_variance_1_in_any_box(box, other):
    torch.manual_seed(0)
    coefficients = to_fourier(torch.randn(200, box, box))
    assert float(coefficients.abs().pow(2).mean()) == pytest.approx(1, rel=0.02)
    cropped = resize(coefficients, box, other)
    inside = (radii(other) < min(box, other) / 2 - 1) & (radii(other) > 0)
    assert float(cropped.abs().pow(2)[:, inside].mean()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("small", [32, 33])
def test_a_cropped_image_shows_the_same_on_fewer_pixels(small):
    large = 2 * small - small % 2  # 64 or 65
    inner = to_images(resize(to_fourier(hook(large)), large, small), small)[0]
    expected = hook(small)[0] * large / small  # the same mass a pixel; energy is kept, so values grow
    assert np.corrcoef(inner.flatten(), expected.flatten())[0, 1] > 0.98
    assert float(inner.sum() / expected.sum()) == pytest.approx(1, rel=0.2)


def test_zero_padding_and_cropping_give_the_image_back(box):
    smooth = spot(box, 3, -2)
    padded = resize(to_fourier(smooth), box, 2 * box)
    back = to_images(resize(padded, 2 * box, box), box)
    assert torch.allclose(back, smooth, atol=1e-4)


def test_a_soft_disc_is_1_inside_0_outside_and_about_the_origin(box):
    disc = soft_disc(box, 15, 4)
    axis = torch.arange(box) - box // 2
    r = (axis[:, None] ** 2 + axis[None] ** 2).sqrt()
    assert bool((disc[r <= 13] == 1).all())
    assert bool((disc[r >= 17] < 1e-6).all())
    edge = disc[box // 2, box // 2 :]
    assert bool((edge[1:] <= edge[:-1]).all())
    assert float(edge[15]) == pytest.approx(0.5, abs=1e-5)


# moving


def test_plus_90_degrees_move_the_x_axis_onto_the_y_axis(box, device):
    image = spot(box, 9, 0)[None].to(device)
    rotated = transform(to_fourier(image), box, torch.tensor([90.0], device=device))[0]
    assert place(rotated) == (9, 0)
    y, x = place(rotated)
    assert np.allclose(to_matrices(Poses([90.0]))[0] @ [9, 0, 1], [x, y, 1])


def test_a_turn_by_90_degrees_leaves_every_value_as_it_is(box):
    """To half a percent: pixels fall on pixels, where sharpening before interpolation errs most."""
    rotated = transform(to_fourier(hook(box)), box, torch.tensor([90.0]))[0].numpy()
    expected = np.rot90(hook(box)[0].numpy(), -1)
    if box % 2 == 0:  # row 0 is turned out of the box; the origin stays at box//2
        expected = np.roll(expected, 1, axis=1)
    inside = soft_disc(box, box / 2 - 3, 2).numpy() == 1
    assert np.abs((rotated - expected)[inside]).max() < 0.005 * expected.max()


def test_a_true_pose_takes_the_particle_to_the_template(box, poses):
    aligned = transform(to_fourier(hook(box, poses)), box, torch.from_numpy(poses.angle), torch.from_numpy(poses.shift))
    template = hook(box)[0]
    for image in aligned:
        assert np.corrcoef(image.flatten(), template.flatten())[0, 1] > 0.9998
        assert float((image - template).abs().max()) < 0.015 * float(template.max())


def test_a_pose_does_what_scipy_makes_of_its_matrix(box, poses):
    image = hook(box)[0]
    moved = transform(to_fourier(image[None]), box, torch.from_numpy(poses.angle), torch.from_numpy(poses.shift))
    for ours, matrix in zip(moved, to_matrices(poses)):
        theirs = apply(image.numpy(), matrix)
        assert np.abs(ours.numpy() - theirs).max() < 0.015 * float(image.max())


def test_one_image_in_many_poses_is_that_image_in_each(box, poses):
    coefficients = to_fourier(hook(box))
    angle, shift = torch.from_numpy(poses.angle), torch.from_numpy(poses.shift)
    together = transform(coefficients, box, angle, shift)
    for number in range(len(poses)):
        alone = transform(coefficients, box, angle[number : number + 1], shift[number : number + 1])
        assert torch.allclose(together[number], alone[0], atol=1e-5)


@pytest.mark.parametrize("angle", [31.0, -117.0])
@pytest.mark.parametrize(("kx", "ky"), [(3, 0), (0, 12), (12, 12), (-9, 15), (18, 0)])
def test_waves_are_turned_and_moved_without_loss_up_to_three_quarters_of_nyquist(box, angle, kx, ky, device):
    """A wave of kx, ky periods in the box keeps its height; of the interpolation there remains what aliases alone."""
    axis = torch.arange(box, device=device, dtype=torch.float64) - box // 2
    inside = soft_disc(box, 0.35 * box, 1.0, device) == 1
    shift, (c, s) = (0.4, -0.3), (np.cos(np.radians(angle)), np.sin(np.radians(angle)))
    wave = torch.cos(2 * np.pi / box * (kx * axis[None, :] + ky * axis[:, None])).float()
    angles, shifts = torch.tensor([angle], device=device), torch.tensor([shift], device=device)
    moved = transform(to_fourier(wave[None]), box, angles, shifts)[0]
    x, y = axis[None, :] - shift[0], axis[:, None] - shift[1]
    expected = torch.cos(2 * np.pi / box * (kx * (c * x + s * y) + ky * (c * y - s * x)))
    moved, expected = moved[inside], expected[inside]
    height = float((moved * expected).sum() / expected.square().sum())
    assert height == pytest.approx(1, abs=0.005)
    assert float((moved - expected).square().mean() / expected.square().mean()) ** 0.5 < 0.035


def interpolated(rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Samples of lines, (C, 500), that grid_sample reads at ``places`` (n,), (C, n)."""
    grid = torch.stack([places * (2 / 499) - 1, torch.zeros_like(places)], -1)[None, None]
    rows = rows[None, :, None].expand(-1, -1, 5, -1).contiguous()
    return torch.nn.functional.grid_sample(rows, grid, mode="bicubic", align_corners=True)[0, :, 0]


@pytest.mark.parametrize("frequency", [0.02, 0.0625, 0.125, 0.2, 0.25])
def test_a_wave_interpolated_after_sharpening_is_the_wave_itself(frequency):
    """On the mean over random places, that is: division by the response gives the wave back its height."""
    places = torch.from_numpy(np.random.default_rng(0).uniform(10, 490, 40000).astype(np.float32))
    phase = 2 * np.pi * frequency
    lines = torch.stack([f(phase * torch.arange(500.0)) for f in (torch.cos, torch.sin)])
    kept = []
    for rows in (lines / bicubic_response(torch.tensor(frequency)), lines):
        real, imaginary = interpolated(rows, places)
        kept.append((torch.complex(real, imaginary) * torch.exp(-1j * phase * places)).mean())
    assert abs(kept[0] - 1) < 5e-4
    assert float(kept[1].real) == pytest.approx(float(bicubic_response(torch.tensor(frequency))), abs=5e-4)
    assert frequency < 0.1 or abs(kept[1] - 1) > 0.008  # that there is something to be mended


def test_nothing_comes_in_from_outside_of_the_box(box):
    moved = transform(to_fourier(torch.ones(1, box, box)), box, torch.zeros(1), torch.tensor([[10.0, 0.0]]))[0]
    assert float(moved[:, :8].abs().max()) < 1e-4
    assert float(moved[:, 14:-4].min()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("box", [7, 8, 33, 64, 101])
def test_grids_are_of_pixel_half_the_box_and_of_whole_fourier_pixels(box):
    y, x = np.mgrid[:box, :box] - box // 2
    assert np.allclose(distances(box).numpy(), np.hypot(x, y), rtol=1e-6)
    ky = np.fft.fftfreq(box, 1 / box)
    assert np.allclose(radii(box).numpy(), np.hypot(ky[:, None], np.arange(box // 2 + 1)), rtol=1e-6)


def test_a_soft_disc_is_half_at_its_radius_and_flat_beyond_its_edge():
    box, radius, edge = 65, 20.0, 6.0
    disc = soft_disc(box, radius, edge)
    r = distances(box)
    assert disc[32, 32 + 20] == pytest.approx(0.5)
    assert (disc[r <= radius - edge / 2] == 1).all()
    assert (disc[r >= radius + edge / 2].abs() < 1e-6).all()
    assert disc[32, 32 + 19] == pytest.approx(0.5 + 0.5 * np.cos(np.pi * (2 / 6)))
