"""One particle against one average: the pose that is found is the true one, whatever the nearest orientation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.refinement.results import Matched
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.simulation.phantoms import phantom

BOXES = [63, 64]


def refiner_of(box: int, k_max: int = 26) -> Refiner:
    """A Refiner for particles that are given to it."""
    return Refiner(SimpleNamespace(filaments=None), Band(box, k_max), 5.0, 16)


def reference_of(refiner: Refiner, name: str = "hook", strength: float = 1.0) -> Reference:
    """The phantom of this standard deviation, noise-free; all rings count."""
    image = phantom(name, refiner.band.box).image()
    band = refiner.band.of_images(torch.from_numpy(strength * image / image.std()))
    return Reference(refiner.band, band, torch.ones(refiner.band.k_max + 1))


def poses_of(n: int, shift: float = 4.0, seed: int = 3) -> Poses:
    rng = np.random.default_rng(seed)
    return Poses(rng.uniform(-180, 180, n), rng.uniform(-shift, shift, (n, 2)))


def images_of(box: int, poses: Poses, strength: float = 1.0, noise: float = 0.0, name: str = "hook") -> np.ndarray:
    """Particles of these poses, float32: the phantom's standard deviation is ``strength``, that of the noise given."""
    template = phantom(name, box)
    images = template.sample(poses) * (strength / template.image().std())
    return (images + noise * np.random.default_rng(7).normal(size=images.shape)).astype(np.float32)


def match(refiner: Refiner, particles: torch.Tensor, angle: np.ndarray, reference: Reference, **more) -> Matched:
    power = more.pop("power", None)
    ring_power = refiner.band.ring_totals(particles.real.square() + particles.imag.square())
    independent = more.pop("independent", reference)
    return refiner.match(particles, power, ring_power, torch.from_numpy(angle), reference, independent, **more)


def matched(box: int, images: np.ndarray, angle: np.ndarray, strength: float = 1.0, rounds: int = 1) -> Matched:
    """Images against the phantom of their own strength, from these angles."""
    refiner = refiner_of(box)
    reference = reference_of(refiner, strength=strength)
    particles = refiner.band.of_images(torch.from_numpy(images))
    for _ in range(rounds):
        found = match(refiner, particles, angle, reference)
        angle = found.angle.double().numpy()
    return found


def errors(found: Matched, truth: Poses) -> tuple[np.ndarray, np.ndarray]:
    """(degrees (n,), pixels (n, 2)) off the truth itself: the average's frame is the phantom's."""
    return wrap(found.angle.double().numpy() - truth.angle), found.shift.double().numpy() - truth.shift


# poses


@pytest.mark.parametrize("box", BOXES)
def test_a_noise_free_particle_comes_to_its_pose_from_a_degree_off(box):
    truth = poses_of(60)
    offset = np.random.default_rng(0).uniform(-1, 1, 60)
    found = matched(box, images_of(box, truth), truth.angle + offset, rounds=3)
    rotation, shift = errors(found, truth)
    assert np.sqrt((rotation**2).mean()) < 0.06
    assert np.abs(rotation).max() < 0.2
    assert np.abs(shift).max() < 0.06


@pytest.mark.parametrize("box", BOXES)
def test_the_pose_that_is_found_brings_the_particle_into_register(box):
    """Signs, on images: the pose applied to the pixels gives the phantom."""
    truth = poses_of(12)
    images = images_of(box, truth)
    found = matched(box, images, truth.angle + 0.8, rounds=2)
    poses = Poses(found.angle.double().numpy(), found.shift.double().numpy())
    aligned = apply_poses(torch.from_numpy(images), torch.zeros(12), poses).numpy()
    template = phantom("hook", box).image()
    inside = soft_disc(box, 0.4 * box, 2).numpy() == 1
    for image in aligned:
        assert np.corrcoef(image[inside], template[inside])[0, 1] > 0.999
    wrong = apply_poses(torch.from_numpy(images), torch.zeros(12), Poses(-poses.angle, poses.shift)).numpy()
    assert max(np.corrcoef(image[inside], template[inside])[0, 1] for image in wrong) < 0.99


def test_where_the_particle_lies_between_two_orientations_does_not_matter():
    """The error has neither a part that follows the offset from the bin nor one that grows with it."""
    n, box = 240, 64
    refiner = refiner_of(box)
    step = reference_of(refiner).orientations.step
    truth = Poses((np.arange(n) - n / 2) * 1.5 + np.linspace(-0.5, 0.5, n) * step, poses_of(n).shift)
    found = matched(box, images_of(box, truth, noise=0.7), truth.angle)
    rotation, _ = errors(found, truth)
    offset = wrap(truth.angle - np.round(truth.angle / step) * step, step)
    assert np.ptp(offset) > 0.9 * step
    spread = rotation.std()
    slope = np.polyfit(offset, rotation, 1)[0]
    assert abs(slope) < 4 * spread / offset.std() / np.sqrt(n)  # chance
    assert abs(slope) < 0.12  # 1: the angle would be that of the orientation
    outer = np.abs(offset) > step / 4
    assert rotation[outer].std() < 1.25 * rotation[~outer].std()


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_a_weaker_or_stronger_particle_is_not_pulled_to_the_orientation(gain):
    n = 80
    truth = poses_of(n)
    step = reference_of(refiner_of(64)).orientations.step
    found = matched(64, gain * images_of(64, truth), truth.angle)
    rotation, _ = errors(found, truth)
    offset = wrap(truth.angle - np.round(truth.angle / step) * step, step)
    assert abs(np.polyfit(offset, rotation, 1)[0]) < 0.1  # 1 - 1/gain, were the gain not known: -1 to 0.5
    assert np.sqrt((rotation**2).mean()) < 0.12


@pytest.mark.parametrize("start", [0.0, 180.0])
def test_both_ways_round_are_looked_at(start):
    truth = poses_of(20)
    found = matched(64, images_of(64, truth, noise=0.5), truth.angle + start)
    rotation, shift = errors(found, truth)
    assert np.abs(rotation).max() < 2
    assert np.abs(shift).max() < 0.5
    assert float(found.log_odds.min()) > 0


def test_log_odds_say_how_much_likelier_the_candidate_is_than_itself_turned():
    """Against the two squared distances, candidate by candidate, each at its best shift."""
    box, count, truth = 64, 3, poses_of(3, shift=2.0)
    places = np.arange(-4, 4.01, 0.5)
    refiner = refiner_of(box)
    reference = reference_of(refiner, strength=0.5)
    images = images_of(box, truth, 0.5, 1.0)
    found = match(refiner, refiner.band.of_images(torch.from_numpy(images)), truth.angle, reference)
    band = refiner.band
    for number in range(count):
        likelihood = []
        for angle in (truth.angle[number], truth.angle[number] + 180):
            best = -np.inf
            for x in places:
                at = Poses(np.full(len(places), angle), np.stack([np.full(len(places), x), places], 1))
                model = band.of_images(torch.from_numpy(images_of(box, at, 0.5)))
                left = band.of_images(torch.from_numpy(images[number])) - model
                best = max(best, float(-band.dot(left, left).min()))
            likelihood.append(best)
        assert float(found.log_odds[number]) == pytest.approx(likelihood[0] - likelihood[1], rel=0.25, abs=2)


def test_a_two_fold_view_has_no_odds_worth_the_name():
    refiner = refiner_of(64)
    truth = poses_of(20)
    images = images_of(64, truth, noise=1.0, name="dimer")
    found = match(
        refiner, refiner.band.of_images(torch.from_numpy(images)), truth.angle, reference_of(refiner, "dimer")
    )
    odds = matched(64, images_of(64, truth, noise=1.0), truth.angle).log_odds
    assert float(found.log_odds.max()) < 0.05 * float(odds.median())


def test_the_score_is_the_correlation_of_particle_and_average():
    refiner, truth = refiner_of(64), poses_of(10)
    images = images_of(64, truth, noise=1.0)
    found = match(refiner, refiner.band.of_images(torch.from_numpy(images)), truth.angle, reference_of(refiner))
    band = refiner.band
    aligned = apply_poses(torch.from_numpy(images), torch.zeros(10), truth).numpy()
    inside = [band.images(band.of_images(torch.from_numpy(v))).numpy() for v in (aligned, phantom("hook", 64).image())]
    expected = [np.corrcoef(image.ravel(), inside[1].ravel())[0, 1] for image in inside[0]]
    assert np.allclose(found.score.numpy(), expected, atol=0.03)


def test_the_centred_particle_is_in_the_bin_of_its_angle():
    """What goes into the bins: rotated by the angle of its bin, it is the average."""
    refiner, truth = refiner_of(64), poses_of(16)
    reference = reference_of(refiner)
    particles = refiner.band.of_images(torch.from_numpy(images_of(64, truth)))
    found = match(refiner, particles, truth.angle + 0.7, reference)
    images = reference.orientations.images[found.place]
    weight = refiner.band.weight
    power = ((images.abs().square()) / weight.clamp(min=0.5)).sum((1, 2))
    alike = (found.centred.real * images.real + found.centred.imag * images.imag).sum((1, 2)) / power
    assert np.abs(alike.numpy() - 1).max() < 0.02


def test_the_judge_decides_the_side_and_the_reference_the_angle():
    """A judge that is rotated by 180 degrees: particles follow it; one that is a degree off does not turn them."""
    refiner, truth = refiner_of(64), poses_of(16)
    reference = reference_of(refiner)
    particles = refiner.band.of_images(torch.from_numpy(images_of(64, truth)))
    opposite = Reference(refiner.band, reference.average.conj(), reference.ring_weight)
    found = match(refiner, particles, truth.angle, reference_of(refiner, "dimer"), independent=opposite, rotation=False)
    assert np.abs(wrap(found.angle.double().numpy() - truth.angle - 180)).max() < 1e-3
    beside = Reference(refiner.band, reference.rotated(torch.tensor([1.0]))[0], reference.ring_weight)
    rotation, _ = errors(match(refiner, particles, truth.angle, reference, independent=beside), truth)
    assert abs(rotation.mean()) < 0.1


# CTF


def ctfs(n: int, band: Band) -> torch.Tensor:
    """Round transfers (n, band) with zeros, a defocus for each; phases not flipped."""
    defocus = torch.linspace(1.0, 2.0, n)[:, None, None]
    return torch.sin(0.3 + defocus * (band.radius / 10) ** 2) * band.disc


def test_known_transfer_gives_better_poses_than_none():
    n, box = 150, 64
    refiner, truth = refiner_of(box), poses_of(n)
    band = refiner.band
    ctf = ctfs(n, band)
    clean = band.of_images(torch.from_numpy(images_of(box, truth, 0.6)))
    noise = band.of_images(torch.randn(n, box, box, generator=torch.Generator().manual_seed(1)))
    particles = clean * ctf + noise
    known = reference_of(refiner, strength=0.6)
    power = band.ring_totals(ctf.square()) / band.ring_count
    found = match(refiner, particles * ctf, truth.angle, known, power=power)
    mean = Reference(band, known.average * ctf.mean(0), known.ring_weight)
    without = match(refiner, particles, truth.angle, mean)
    deviations = [np.sqrt((errors(one, truth)[0] ** 2).mean()) for one in (found, without)]
    assert deviations[0] < 0.95 * deviations[1]
    expected = known.expected_errors(power.mean(0))[0]
    assert deviations[0] == pytest.approx(expected, rel=0.25)


# expected errors


@pytest.mark.parametrize("name", ["hook", "barrel"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_expected_errors_are_the_spread_of_the_errors_of_particles_in_noise(name, strength):
    n, box = 250, 64
    refiner, truth = refiner_of(box), poses_of(n)
    reference = reference_of(refiner, name, strength)
    particles = refiner.band.of_images(torch.from_numpy(images_of(box, truth, strength, 1.0, name)))
    angle = truth.angle
    for _ in range(2):
        found = match(refiner, particles, angle, reference)
        angle = found.angle.double().numpy()
    rotation, shift = errors(found, truth)
    near = np.abs(rotation) < 90
    expected = reference.expected_errors()
    sure = float(torch.sigmoid(found.log_odds.double()).mean())  # the share that the odds themselves promise
    assert near.mean() == pytest.approx(sure, abs=0.05)
    assert sure > (0.98 if name == "hook" else 0.8)  # the barrel's ends differ by little
    assert rotation[near].std() == pytest.approx(expected[0], rel=0.25)
    assert shift[near].std() == pytest.approx(expected[1], rel=0.25)


def test_twice_the_signal_halves_the_expected_errors():
    refiner = refiner_of(64)
    one, two = (reference_of(refiner, strength=strength).expected_errors() for strength in (1.0, 2.0))
    assert np.allclose(one, 2 * np.array(two), rtol=1e-3)
    through = reference_of(refiner).expected_errors(torch.full((27,), 0.25))  # half the amplitude
    assert np.allclose(through, 2 * np.array(one), rtol=1e-3)
