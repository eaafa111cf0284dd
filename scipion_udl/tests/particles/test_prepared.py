"""What preparation must do: white noise of variance 1 behind every particle, whatever the camera and the chunk."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.compute.context import Context
from scipion_udl.particles import name_order

pytest.importorskip("torch")

import torch

from scipion_udl.errors import UdlError
from scipion_udl.imaging.fourier import radii, to_images
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.particles.prepared import WORKING_BOX, PreparedParticles
from scipion_udl.simulation.particles import noise
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import CPU, PIXEL_SIZE, prepared, subset_star


def coefficients_of(particles: PreparedParticles) -> torch.Tensor:
    return particles.all(np.arange(len(particles)), "test", lambda part, values: values)


def ring_power(coefficients: torch.Tensor, box: int) -> np.ndarray:
    """Mean power per ring from 2 to the last whole one."""
    ring = radii(box).round().long()
    power = coefficients.abs().pow(2).mean(0)
    return np.array([float(power[ring == r].mean()) for r in range(2, box // 2)])


@pytest.mark.parametrize("box", [48, 49])
@pytest.mark.parametrize("coloured", [False, True])
def test_noise_of_any_colour_comes_out_white_with_variance_1(tmp_path, box, coloured):
    images = noise(150, box, coloured=coloured)
    before = ring_power(torch.fft.rfft2(torch.from_numpy(images), norm="ortho"), box)
    after = ring_power(coefficients_of(prepared(tmp_path, images)), box)
    assert not coloured or before[:3].mean() > 4 * before[-8:].mean()
    assert np.abs(after[1:] - 1).max() < 0.2
    # What lies outside of the disc is too narrow for such long waves, and a ramp is taken off there.
    assert abs(after[0] - 1) < 0.4
    assert after.mean() == pytest.approx(1, abs=0.03)


def test_noise_is_white_in_a_smaller_working_box_as_well(tmp_path):
    particles = prepared(tmp_path, noise(120, 160, coloured=True))
    assert particles.box == WORKING_BOX
    power = ring_power(coefficients_of(particles), WORKING_BOX)[:-1]
    assert np.abs(power[1:] - 1).max() < 0.2
    assert abs(power[0] - 1) < 0.35


def test_the_particle_does_not_spoil_the_estimate_of_the_noise(tmp_path):
    """The noise is measured outside of the disc: signal inside of it stays signal."""
    signal = 3 * phantom("hook", 64).image()
    plain, with_signal = (
        prepared(tmp_path, noise(100, 64) + addition).statistics.noise[2:30] for addition in (0, signal)
    )
    assert float((with_signal / plain - 1).abs().max()) < 0.15


def test_gain_and_offset_of_a_particle_do_not_matter(tmp_path):
    rng = np.random.default_rng(0)
    images = noise(30, 48) + phantom("hook", 48).image()
    gain, offset = rng.uniform(0.5, 20, (30, 1, 1)), rng.uniform(-100, 100, (30, 1, 1))
    one, other = (coefficients_of(prepared(tmp_path, stack)) for stack in (images, gain * images + offset))
    assert float((one - other).abs().max()) < 1e-3 * float(one.abs().max())


@pytest.mark.parametrize(
    ("box", "working"), [(48, 48), (49, 49), (128, 128), (129, WORKING_BOX), (200, WORKING_BOX), (201, WORKING_BOX)]
)
def test_large_particles_are_cropped_to_the_working_box(tmp_path, box, working):
    template = phantom("clamp", box).image()
    particles = prepared(tmp_path, template[None] + 0.05 * noise(4, box))
    assert particles.box == working
    assert particles.scale == pytest.approx(box / working)
    shown = to_images(coefficients_of(particles), working).mean(0).numpy()
    expected = phantom("clamp", working).image()
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.9
    away = [np.corrcoef(np.roll(shown, 1, a).ravel(), expected.ravel())[0, 1] for a in (0, 1)]
    back = [np.corrcoef(np.roll(shown, -1, a).ravel(), expected.ravel())[0, 1] for a in (0, 1)]
    assert np.abs(np.subtract(away, back)).max() < 0.02  # no half pixel to either side


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_the_chunk_changes_nothing(tmp_path, chunk):
    images = noise(40, 48, coloured=True) + phantom("hook", 48).image()
    expected = prepared(tmp_path, images)
    particles = prepared(tmp_path, images, chunk)
    one, other = coefficients_of(particles), coefficients_of(expected)
    assert float((one - other).abs().max()) < 1e-4 * float(other.abs().max())
    for name in ("mean", "std"):
        assert np.allclose(getattr(particles.statistics, name), getattr(expected.statistics, name), rtol=1e-6)
    one, other = particles.statistics.polarity, expected.statistics.polarity
    assert (one.word, one.count) == (other.word, other.count)
    assert one.ratio == pytest.approx(other.ratio, rel=1e-4)


def test_particles_are_read_once_a_pass_and_never_more_than_a_chunk(tmp_path, monkeypatch):
    particles = prepared(tmp_path, noise(50, 32), 8)
    seen = []
    read = particles.source.read
    monkeypatch.setattr(particles.source, "read", lambda indices: seen.append(np.array(indices)) or read(indices))
    particles.scan()
    assert max(map(len, seen)) == 8
    extent, backgrounds = np.split(np.concatenate(seen), 2)  # at most a bounded part of a larger set tells the extent
    assert np.array_equal(extent, np.arange(50))
    assert np.array_equal(backgrounds, np.arange(50))
    seen.clear()
    order = np.random.default_rng(0).permutation(50)
    parts = [part for part, _ in particles.chunks(order, "test")]
    assert np.array_equal(np.concatenate(seen), order)
    assert np.array_equal(np.concatenate(parts), order)


def test_progress_is_told_up_to_the_end(tmp_path):
    prepared(tmp_path, noise(20, 32))
    told = []
    source = open_particles(str(tmp_path / "images.mrcs"))
    PreparedParticles(source, CPU, 8, context=Context(report=lambda *facts: told.append(facts))).scan()
    stages = ("extent of the particles", "reading")
    assert told == [(stage, done, 20) for stage in stages for done in (8, 16, 20)]


# what a scan finds


def test_background_and_deviation_are_those_outside_of_the_disc(tmp_path):
    images = 4 * noise(20, 64) + 7 + 100 * (np.hypot(*(np.indices((64, 64)) - 32)) < 20)
    statistics = prepared(tmp_path, images).statistics
    assert np.allclose(statistics.mean, 7, atol=0.5)
    assert np.allclose(statistics.std, 4, rtol=0.1)


@pytest.mark.parametrize("sign", [1, -1])
def test_bright_and_dark_particles_are_told_apart(tmp_path, sign):
    images = noise(40, 64) + sign * phantom("hook", 64).image()
    assert prepared(tmp_path, images).statistics.polarity.word == ("bright" if sign > 0 else "dark")


@pytest.mark.parametrize("value", [0.0, 1.0, -123.4, 1e6])
def test_constant_images_are_found(tmp_path, value):
    images = noise(10, 32)
    images[[2, 7]] = value
    particles = prepared(tmp_path, images)
    assert list(np.flatnonzero(particles.statistics.blank)) == [2, 7]
    assert list(particles.usable) == [0, 1, 3, 4, 5, 6, 8, 9]
    assert bool(torch.isfinite(coefficients_of(particles)).all())


def test_constant_images_do_not_change_what_the_others_are(tmp_path):
    images = noise(30, 48, coloured=True)
    expected = coefficients_of(prepared(tmp_path, images))
    more = np.concatenate([images, np.full((5, 48, 48), 3, np.float32)])
    assert torch.allclose(coefficients_of(prepared(tmp_path, more))[:30], expected, atol=1e-4)


def test_an_image_counts_once_where_halves_are_compared_and_a_constant_one_never(tmp_path):
    images = noise(12, 32)
    images[7], images[9] = images[2], 0.0
    counted = prepared(tmp_path, images).counted
    assert np.flatnonzero(~counted).tolist() == [7, 9]


def test_nothing_but_constant_images_is_an_error(tmp_path):
    with pytest.raises(UdlError, match=r"All 4 images of .*images.mrcs are constant"):
        prepared(tmp_path, np.ones((4, 32, 32))).scan()


def test_a_bad_pixel_in_a_later_chunk_is_named(tmp_path):
    images = noise(20, 32)
    images[17, 3, 4] = np.nan
    with pytest.raises(UdlError, match=r"images.mrcs.*18"):
        prepared(tmp_path, images, 4).scan()


def test_a_background_that_was_masked_away_is_survived(tmp_path):
    """Particles that another program has masked have a constant background: the whole image must do."""
    disc = np.hypot(*(np.indices((48, 48)) - 24)) < 16
    values = coefficients_of(prepared(tmp_path, noise(20, 48) * disc))
    assert 0.1 < float(values.abs().pow(2).mean()) < 10


# subsets


def test_a_subset_does_not_depend_on_the_order_of_the_items(particles, tmp_path):
    order = np.random.default_rng(1).permutation(300)
    one = PreparedParticles(open_particles(str(particles / "particles.star")), CPU)
    other = PreparedParticles(open_particles(str(subset_star(particles, tmp_path / "other.star", order))), CPU)
    names, others = one.source.names, other.source.names
    assert names != others
    first = [names[i] for i in one.subset(50, 3)]
    assert first == [others[i] for i in other.subset(50, 3)]
    assert first != [names[i] for i in one.subset(50, 4)]
    assert len(set(first)) == 50


def test_the_ranks_halve_the_set_evenly(particles):
    ranks = name_order.ranks(open_particles(str(particles / "particles.star")).names, 0)
    assert len(set(ranks.tolist())) == 300
    assert abs(int((ranks % np.uint64(2)).sum()) - 150) < 45


def test_stacks_of_one_name_in_two_folders_have_ranks_of_their_own(tmp_path):
    rows = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_stack(str(tmp_path / folder / "x.mrcs"), noise(5, 16), PIXEL_SIZE)
        rows += [f"{k + 1}@{tmp_path}/{folder}/x.mrcs" for k in range(5)]
    ranks = []
    for name, order in (("forward", rows), ("backward", rows[::-1])):
        (tmp_path / f"{name}.star").write_text("\n".join(["data_", "loop_", "_rlnImageName", *order, ""]))
        ranks.append(name_order.ranks(open_particles(str(tmp_path / f"{name}.star")).names, 0))
    assert len(set(ranks[0].tolist())) == 10
    assert np.array_equal(ranks[0], ranks[1][::-1])


def test_a_box_that_holds_nothing_is_refused(tmp_path):
    with pytest.raises(UdlError, match="too small"):
        prepared(tmp_path, noise(3, 6))
