"""Correntropy says how alike images are, whatever their gain and brightness; no particle is compared with itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scipion_udl.alignment.averages import apply_poses, average_particles
from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.poses import Poses, invert, to_matrices
from scipion_udl.io.particles import open_particles
from scipion_udl.tests.engine_helpers import DEVICES, prepared, run, simulate
from scipion_udl.tests.validation.test_reference_match import picture
from scipion_udl.validation.correntropy import (
    UNRELATED,
    correntropy,
    correntropy_of_all,
    normalised,
    particle_correntropy,
)
from scipion_udl.validation.reference_match import transform

BOX = 64
DISC = soft_disc(BOX, 28, 4)


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(*shape, BOX, BOX)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_images_have_one_whatever_their_gain_and_brightness(device, dtype):
    image = noise(0).to(device, dtype)
    found = correntropy(image, 30 * image - 7, DISC.to(device))
    assert (found.dtype, found.device.type) == (torch.float64, device)
    assert float(found) == pytest.approx(1, abs=1e-4)


def test_unrelated_noise_has_what_the_formula_says():
    found = correntropy(noise(1, 50), noise(2, 50), DISC)
    assert found.shape == (50,)
    assert float(found.mean()) == pytest.approx(UNRELATED, abs=0.003)
    assert pytest.approx(0.4472, abs=1e-4) == UNRELATED


@pytest.mark.parametrize("r", [-1.0, 0.3, 0.6, 0.95])
def test_correlated_noise_has_what_the_formula_says(r):
    first, other = noise(1, 50), noise(2, 50)
    second = r * first + (1 - r * r) ** 0.5 * other
    assert float(correntropy(first, second, DISC).mean()) == pytest.approx((5 - 4 * r) ** -0.5, abs=0.004)


def test_a_particle_in_noise_is_more_like_its_view_than_noise_is():
    view = torch.from_numpy(picture(BOX))
    view = view / view.std()
    values = [correntropy(view + noise(3, 40) / snr**0.5, view, DISC) for snr in (0.1, 1.0, 10.0)]
    only_noise = correntropy(noise(4, 40), view, DISC)
    means = [float(v.mean()) for v in (only_noise, *values)]
    assert all(low + 0.01 < high for low, high in zip(means, means[1:]))
    assert means[-1] < 1


def test_what_lies_outside_of_the_disc_does_not_count():
    one, other = noise(5), noise(6)
    outside = DISC == 0
    other[~outside] = one[~outside]
    assert float(correntropy(one, other, DISC)) == pytest.approx(1)


def test_a_few_hot_pixels_cost_little_more_than_their_number():
    image = noise(7)
    hot = image.clone()
    hot[30:32, 30:32] = 12.0
    small = soft_disc(BOX, 10, 2)  # 4 of about 310 pixels
    alike = float(correntropy(image, hot, small))
    correlation = float((normalised(image, small) * normalised(hot, small) * small).sum() / small.sum())
    assert correlation < 0.7
    assert alike > 0.75


def test_a_constant_image_is_like_nothing():
    flat = torch.full((BOX, BOX), 3.0)
    assert float(correntropy(flat, noise(0), DISC)) == 0
    assert float(correntropy(flat, flat, DISC)) == 0
    images = torch.stack([flat.double(), noise(0)])
    assert correntropy(images, noise(0), DISC).tolist() == pytest.approx([0, 1])


def test_of_several_images_all_pairs_count():
    a, b, c = noise(0), noise(1), noise(2)
    pairs = [float(correntropy(*pair, DISC)) for pair in ((a, b), (a, c), (b, c))]
    assert correntropy_of_all(torch.stack([a, b, c]), DISC) == pytest.approx(np.mean(pairs))


# particles of a set


def test_a_particle_is_not_compared_with_itself(tmp_path):
    """Of three images of noise each has a third of the average; with itself in there it would be far above chance."""
    particles = prepared(tmp_path, noise(8, 3).numpy())
    poses = Poses.identity(3)
    average = average_particles(particles, poses, None, np.zeros(3, int)).all
    found = particle_correntropy(particles, poses, average)
    with_itself = correntropy(noise(8, 3), torch.from_numpy(average), DISC)
    assert np.abs(found - UNRELATED).max() < 0.02
    assert float(with_itself.min()) > UNRELATED + 0.05


def test_a_particle_that_is_turned_wrong_has_less(tmp_path):
    poses = Poses(np.linspace(-170, 170, 20), np.random.default_rng(0).uniform(-4, 4, (20, 2)))
    views = np.array([transform(picture(BOX), invert(poses)[[k]]) for k in range(20)])
    images = views / views.std() + noise(9, 20).numpy()
    images[5] = images[5, 0, 0]  # a constant image
    wrong = Poses(poses.angle + 90.0 * (np.arange(20) == 12), poses.shift)
    for chunk in (3, 64):
        particles = prepared(tmp_path, images, chunk)
        average = average_particles(particles, wrong, None, np.zeros(20, int)).all
        found = particle_correntropy(particles, wrong, average)
        assert found[5] == 0
        assert np.argsort(found)[1] == 12
        right = np.delete(found, [5, 12])
        assert right.min() > found[12] + 0.02  # they lie within 0.02 of each other


def test_one_particle_is_like_nothing(tmp_path):
    particles = prepared(tmp_path, noise(0, 1).numpy())
    assert particle_correntropy(particles, Poses.identity(1), noise(0).numpy()).tolist() == [0]


def test_align_writes_it_where_it_is_asked_for(tmp_path):
    folder = simulate(tmp_path / "in", 30, 32, 1.0)
    assert run("align", folder / "particles.star", "-o", tmp_path / "out", "--correntropy", "--authors-xmd") == 0
    names = ("aligned.star", "aligned.xmd", "authors.xmd")
    star, ours, theirs = (open_particles(str(tmp_path / "out" / name)) for name in names)
    found = star.table.numbers("udlCorrentropy")
    assert ours.table.numbers("udlCorrentropy").tolist() == found.tolist()
    assert theirs.table.numbers("maxCC").tolist() == found.tolist()
    assert list(theirs.table.columns) == ["image", "shiftX", "shiftY", "anglePsi", "flip", "maxCC"]
    assert np.abs(to_matrices(theirs.poses()) - to_matrices(star.poses())).max() < 1e-4
    assert np.abs(theirs.poses().shift).max() > 1  # the program of the authors wrote zeros
    assert UNRELATED + 0.02 < found.mean() < 1

    # against the averages of all others, taken one by one
    images = torch.from_numpy(star.read(np.arange(30)))
    disc = soft_disc(32, 0.47 * 32, 4)
    background = (images * (1 - disc)).sum((1, 2)) / (1 - disc).sum()
    aligned = apply_poses(images, background, star.poses())
    others = (aligned.sum(0) - aligned) / 29
    assert found == pytest.approx(correntropy(aligned, others, disc).numpy(), abs=2e-3)
