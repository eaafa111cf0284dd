"""Polarity: hollow and compact particles behind a CTF, in crowded ice, and noise, which has none."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.defocus import Defocus
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.io.defocus import sampled_defocus
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.particles.polarity import (
    CLEAR,
    ENOUGH,
    LEAST,
    Polarity,
    RadialProfile,
    mean_ctfs,
)
from scipion_udl.simulation.ctf import CtfSettings, simulated_ctf
from scipion_udl.simulation.particles import Simulation, noise
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import PIXEL_SIZE, prepared, simulate

BOX, OUTER, INNER = 64, 22, 15
SIGNED = CtfSettings(defocus=(1.6, 2.5), signed=True)
FLIPPED = CtfSettings(defocus=(1.6, 2.5))


class Shell:
    """The projection of a hollow sphere between two radii (pixels)."""

    def __init__(self, box: int = BOX, outer: float = OUTER, inner: float = INNER) -> None:
        self.box, self.outer, self.inner = box, outer, inner

    def at(self, places: np.ndarray) -> np.ndarray:
        """Images (N, box, box) of shells whose centres lie at ``places`` (N, 2), x and y from the origin."""
        axis = np.arange(self.box) - self.box // 2
        square = (axis[:, None] - places[:, 1, None, None]) ** 2 + (axis - places[:, 0, None, None]) ** 2
        chords = [np.sqrt(np.maximum(radius**2 - square, 0)) for radius in (self.outer, self.inner)]
        return (chords[0] - chords[1]).astype(np.float32)

    def sample(self, poses: Poses) -> np.ndarray:
        matrices = to_matrices(poses)
        return self.at(-np.einsum("nji,nj->ni", matrices[:, :2, :2], matrices[:, :2, 2]))


class Crowd(Shell):
    """The same with a few neighbours that touch it, drawn for each particle."""

    def sample(self, poses: Poses) -> np.ndarray:
        rng = np.random.default_rng(len(poses))
        images = super().sample(poses)
        for _ in range(3):
            angle, distance = rng.uniform(0, 2 * np.pi, len(poses)), rng.uniform(2, 3, len(poses)) * self.outer
            images += self.at(np.stack([distance * np.cos(angle), distance * np.sin(angle)], -1))
        return images


TEMPLATES = {"shell": Shell(), "hook": phantom("hook", BOX), "pebble": phantom("pebble", BOX)}


def particles(template, ctf, snr=0.05, count=100, seed=1) -> Simulation:
    return Simulation(template, count, snr, PIXEL_SIZE, 3.0, ctf=ctf, seed=seed)


def defocus_of(values: np.ndarray, **more: object) -> Defocus:
    zero = np.zeros(len(values))
    return Defocus(values, values, zero, zero, zero, zero + 300, zero + 2.7, zero + 0.07, **more)


def profile_of(images: np.ndarray) -> RadialProfile:
    profile = RadialProfile(images.shape[-1])
    profile.add(torch.from_numpy(np.asarray(images, np.float32)))
    return profile


def decided(images: np.ndarray, simulation: Simulation, known: bool) -> Polarity:
    defocus = defocus_of(1e4 * simulation.defocus) if known and simulation.ctf else None
    return profile_of(images).decide(mean_ctfs(PIXEL_SIZE, defocus))


# the sums


@pytest.mark.parametrize("box", [8, 33, 64, 100])
def test_a_profile_is_the_mean_of_the_image_on_each_ring(box):
    images = np.random.default_rng(0).normal(size=(3, box, box)).astype(np.float32)
    profile = RadialProfile(box)
    found = profile.add(torch.from_numpy(images)).numpy()
    radius = np.hypot(*(np.indices((box, box)) - box // 2)) / profile.width
    for ring in range(found.shape[1]):
        pixels = (radius >= ring - 0.5) & (radius < ring + 0.5)
        assert np.allclose(found[:, ring], images[:, pixels].mean(1), atol=1e-5)
        assert np.isclose(profile.radii[ring], radius[pixels].mean())


def test_sums_do_not_depend_on_how_images_come_or_which_process_took_them():
    images = noise(30, 32)
    whole, part, other = profile_of(images), profile_of(images[:7]), profile_of(images[7:])

    class Team:
        rest = iter([other.count, other.sums, other.products])

        def total(self, values):
            return values + next(self.rest)

    part.add_up(Team())
    for name in ("count", "sums", "products"):
        assert torch.allclose(getattr(part, name), getattr(whole, name), rtol=1e-12)


# what is decided


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("ctf", [SIGNED, FLIPPED, None], ids=["signed", "flipped", "no CTF"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_hollow_and_compact_particles_are_seen_as_what_they_are(name, ctf, known):
    for seed in (1, 2):
        simulation = particles(TEMPLATES[name], ctf, seed=seed)
        images = simulation.images(np.arange(100))
        found = decided(images, simulation, known)
        assert found.word == "bright"
        assert found.ratio > 2 * CLEAR
        inverted = decided(-images, simulation, known)
        assert inverted.word == "dark"
        assert inverted.ratio == pytest.approx(-found.ratio, rel=1e-6)


def test_a_hollow_shell_behind_a_ctf_is_dark_in_the_middle_and_around():
    """So that the tests above are about something: only a ring of these bright particles is bright."""
    simulation = particles(Shell(), SIGNED, np.inf)
    profile = simulation.images(np.arange(100)).mean(0)
    radius = np.hypot(*(np.indices((BOX, BOX)) - BOX // 2))
    assert profile[radius < 8].mean() < 0.2 * profile.max()
    assert profile[(radius > OUTER + 3) & (radius < 0.47 * BOX)].mean() < 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("ctf", [SIGNED, FLIPPED], ids=["signed", "flipped"])
def test_neighbours_and_another_box_change_nothing(tmp_path, ctf, sign):
    for template in (Crowd(), Crowd(128, 40, 28)):
        simulation = particles(template, ctf)
        statistics = prepared(tmp_path, 7 + sign * simulation.images(np.arange(100))).statistics
        assert statistics.polarity.word == ("bright" if sign > 0 else "dark")
        assert statistics.polarity.count == 100


def test_the_ctf_that_was_there_fits_best():
    simulation = particles(Shell(), SIGNED, 0.1, 200)
    assert decided(simulation.images(np.arange(200)), simulation, True).ctf == "signed"
    simulation = particles(Shell(), None, 0.1, 200)
    assert decided(simulation.images(np.arange(200)), simulation, False).ctf == "none"


def test_particles_whose_surroundings_were_masked_away_are_told_all_the_same(tmp_path):
    inside = np.hypot(*(np.indices((BOX, BOX)) - BOX // 2)) < 0.45 * BOX
    simulation = particles(Shell(), SIGNED)
    assert prepared(tmp_path, inside * simulation.images(np.arange(100))).statistics.polarity.word == "bright"
    assert prepared(tmp_path, inside * noise(100, BOX)).statistics.polarity.word == "unknown"


def test_noise_has_no_polarity(tmp_path):
    """White, and such as a CTF has passed, whose profiles are correlated from ring to ring as a particle's are."""
    for seed in range(12):
        count = (32, 60, 100)[seed % 3]
        white = noise(count, BOX, seed)
        passed = simulated_ctf(SIGNED, np.linspace(1.6, 2.5, count), BOX, PIXEL_SIZE)
        coloured = np.fft.irfft2(np.fft.rfft2(noise(count, BOX, 100 + seed)) * passed, s=(BOX, BOX))
        for images in (white, coloured / coloured.std()):
            for defocus in (defocus_of(np.linspace(1.6e4, 2.5e4, 20)), None):
                found = profile_of(images).decide(mean_ctfs(PIXEL_SIZE, defocus))
                assert found.word == "unknown", (seed, found)


def test_few_images_and_faint_profiles_tell_nothing():
    shell = Shell().at(np.zeros((1, 2))) / Shell().at(np.zeros((1, 2))).max()
    clear = 0.1 * shell + 0.01 * noise(40, BOX)
    assert profile_of(clear[: ENOUGH - 1]).decide(mean_ctfs(PIXEL_SIZE, None)).word == "unknown"
    assert profile_of(clear[:ENOUGH]).decide(mean_ctfs(PIXEL_SIZE, None)).word == "bright"
    for height, word in ((3 * LEAST, "bright"), (0.5 * LEAST, "unknown")):
        assert profile_of(height * shell + 0.01 * noise(40, BOX)).decide(mean_ctfs(PIXEL_SIZE, None)).word == word


def test_a_particle_radius_is_made_use_of_and_one_of_the_whole_box_is_none():
    simulation = particles(Shell(), SIGNED)
    profile = profile_of(simulation.images(np.arange(100)))
    defocus = defocus_of(1e4 * simulation.defocus)
    ratios = {
        radius: profile.decide(mean_ctfs(PIXEL_SIZE, defocus), radius).ratio for radius in (None, OUTER, 0.47 * BOX)
    }
    assert ratios[0.47 * BOX] == ratios[None]
    assert ratios[OUTER] > ratios[None] > CLEAR


def test_stacks_of_either_polarity_in_one_set_are_told_apart():
    simulation = particles(Shell(), SIGNED, 0.1, 240)
    images = simulation.images(np.arange(240))
    stacks = [images[:60], -images[60:100], images[100:160], -images[160:200], images[200:], noise(60, BOX)]
    profile = RadialProfile(BOX)
    sums = np.array([profile.add(torch.from_numpy(np.ascontiguousarray(stack))).sum(0).numpy() for stack in stacks])
    counts = np.array([float(len(stack)) for stack in stacks])
    words = profile.decide_parts(counts, sums, mean_ctfs(PIXEL_SIZE, defocus_of(1e4 * simulation.defocus)))
    assert words == ["bright", "dark", "bright", "dark", "bright", "unknown"]


def test_stacks_of_noise_have_no_polarity():
    profile = RadialProfile(32)
    sums = np.array([profile.add(torch.from_numpy(noise(20, 32, seed))).sum(0).numpy() for seed in range(60)])
    assert set(profile.decide_parts(np.full(60, 20.0), sums, mean_ctfs(None, None))) == {"unknown"}


# the CTF it is seen through


def test_mean_ctfs_are_those_of_the_images_as_they_may_be():
    signed, flipped = mean_ctfs(PIXEL_SIZE, defocus_of(np.array([1.6e4, 2.5e4]))).values()
    assert 0.05 < signed[0] < 0.1
    assert signed.min() < -0.3
    assert (flipped >= np.abs(signed) - 1e-9).all()
    assert np.allclose(flipped[:20], signed[:20])  # before the first zero
    (squared,) = mean_ctfs(PIXEL_SIZE, defocus_of(np.array([2e4]), premultiplied=np.array([True]))).values()
    assert np.allclose(squared, mean_ctfs(PIXEL_SIZE, defocus_of(np.array([2e4])))["signed"] ** 2)
    assert (mean_ctfs(None, None)["none"] == 1).all()


def test_defocus_is_taken_from_the_table_and_a_faulty_table_gives_none(tmp_path):
    folder = simulate(tmp_path / "p", 40, 32, 1.0)
    source = open_particles(str(folder / "particles.star"))
    found = sampled_defocus(source, np.array([5, 2]))
    assert len(found.defocus_u) == 2
    assert len(sampled_defocus(source).defocus_u) == 32
    optics, table = read_tables(str(folder / "particles.star"))
    values = table.texts("rlnDefocusU")
    assert found.defocus_u.tolist() == [float(values[5]), float(values[2])]
    table.set("rlnDefocusU", ["none"] * 40)
    write_tables(str(folder / "faulty.star"), [optics, table])
    assert sampled_defocus(open_particles(str(folder / "faulty.star"))) is None
