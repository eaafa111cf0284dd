"""How classes are learned: views come apart, none stays empty, noise is gathered, mirror images are told."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.classification import em
from scipion_udl.classification.assignment import like_noise
from scipion_udl.classification.class_search import Finder
from scipion_udl.classification.class_seeding import best_start
from scipion_udl.classification.similarity import by_similarity, correlations, mirror_pairs
from scipion_udl.imaging.poses import Poses
from scipion_udl.simulation.phantoms_3d import molecule
from scipion_udl.simulation.views import ViewSimulation
from scipion_udl.tests.class_helpers import BOX, DIRECTIONS, Grid, class_fit_of, random_poses, seen, trained_on
from scipion_udl.tests.engine_helpers import Told

EACH = 40  # particles of a view
VIEWS = len(DIRECTIONS)
SNR = 0.5


def particles(views: np.ndarray, seed: int = 1, snr: float = SNR) -> np.ndarray:
    """Noisy particles (n, BOX, BOX) of these views in any pose; view -1 is noise alone."""
    images = np.random.default_rng(seed).normal(size=(len(views), BOX, BOX))
    there = np.flatnonzero(views >= 0)
    images[there] += np.sqrt(snr) * seen(views[there], random_poses(len(there), seed))
    return images


def members(class_fit) -> np.ndarray:
    """The class that each particle fits best, (n,)."""
    return class_fit.best.numpy()


def purity(label: np.ndarray, truth: np.ndarray) -> float:
    """The share of particles that belong to the truth that is most frequent in their class."""
    return sum(np.bincount(truth[label == k]).max() for k in np.unique(label)) / len(truth)


@pytest.fixture(scope="module")
def views():
    return np.random.default_rng(0).permutation(np.arange(VIEWS * EACH) % VIEWS)


@pytest.fixture(scope="module")
def class_fit(views, tmp_path_factory):
    return class_fit_of(particles(views), tmp_path_factory.mktemp("views"))


@pytest.fixture(scope="module")
def bank(class_fit):
    return trained_on(class_fit, VIEWS)


def test_views_that_differ_come_apart(class_fit, bank, views):
    assert purity(members(class_fit), views) > 0.97
    assert np.bincount(members(class_fit), minlength=VIEWS).min() > EACH / 2
    assert bank.members.sum() == pytest.approx(len(views), rel=1e-4)


def test_likelihood_does_not_fall_from_round_to_round_and_levels_become_finer(tmp_path, monkeypatch):
    """Of particles seen from anywhere, all rounds done, though few change classes. A round's gain is that of the
    templates that it begins with."""
    monkeypatch.setattr(em, "TOLERANCE", -1.0)
    class_fit = class_fit_of(ViewSimulation(molecule("boot", BOX), 240, 0.3, 4.0, 2.0).images(np.arange(240)), tmp_path)
    every = torch.arange(240)
    bank = best_start(class_fit, 8, every, 1, Told())
    steps, finest = 0, 0
    for rings in class_fit.levels():
        bank, before = class_fit.widened(bank, rings), len(class_fit.history)
        last = class_fit.level(bank, every)
        gains = [row.gain for row in class_fit.history[before:]]
        assert {row.rings for row in class_fit.history[before:]} == {rings}
        assert last == gains[-1]
        assert (np.diff(gains) > -0.001 * gains[0]).all(), gains
        assert rings > finest
        finest, steps = rings, steps + len(gains) - 1
    assert steps >= 10


def test_a_seed_repeats_bit_for_bit_and_another_does_not(class_fit, bank, views, tmp_path):
    again = class_fit_of(particles(views), tmp_path)
    repeated = trained_on(again, VIEWS)
    assert torch.equal(repeated.template, bank.template)
    assert torch.equal(again.best, class_fit.best)
    other = class_fit_of(particles(views), tmp_path, seed=2)
    assert not torch.equal(trained_on(other, VIEWS, 1).template, bank.template)


def test_a_template_is_the_view_that_its_particles_show(class_fit, bank, views):
    """Up to turn and shift, each template is one of the views, through nothing but noise."""
    grid = Grid()
    true = class_fit.empty_bank(VIEWS, bank.config["rings"])
    rings = bank.config["rings"]
    coefficients = grid.coefficients(seen(np.arange(VIEWS), Poses.identity(VIEWS)))
    true.set(coefficients[:, :rings, : true.config["orders"]])
    both = class_fit.empty_bank(2 * VIEWS, rings)
    both.set(torch.cat([bank.complex, true.complex]))
    alike = correlations(both, class_fit.sampling, class_fit.search_range, False)[:VIEWS, VIEWS:]
    label = members(class_fit)
    for k in range(VIEWS):
        view = np.bincount(views[label == k]).argmax()
        assert alike[k].argmax() == view
        assert alike[k, view] > 0.95


@pytest.mark.parametrize("bad", ["nothing", "noise"])
def test_a_class_that_nobody_fits_is_given_particles_again(class_fit, bank, bad):
    worse = class_fit.empty_bank(VIEWS, bank.config["rings"])
    templates = bank.complex.clone()
    templates[1] = 0
    if bad == "noise":
        templates[1] = 5 * torch.randn(templates[1].shape, generator=torch.Generator().manual_seed(1))
    worse.set(templates)
    rows = torch.arange(len(class_fit.samples))
    few = 0.15 * len(rows) / VIEWS
    class_fit.level(worse, rows, 1)
    assert worse.members[1] >= few, "its half of another class"
    class_fit.level(worse, rows, 4)
    found = np.bincount(members(class_fit), minlength=VIEWS)
    assert found.min() >= few


@pytest.mark.parametrize("junk", [40, 240])
def test_noise_is_gathered_in_few_classes_and_they_are_told(tmp_path, junk):
    """Also where there is more of it than of particles, and it would have most classes."""
    truth = np.random.default_rng(3).permutation(np.r_[np.full(junk, -1), np.arange(VIEWS * EACH) % VIEWS])
    class_fit = class_fit_of(particles(truth, 5), tmp_path)
    count = 10
    bank = trained_on(class_fit, count, 1)
    label = members(class_fit)
    noise = np.bincount(label[truth < 0], minlength=count)
    there = np.bincount(label[truth >= 0], minlength=count)
    assert 1 <= (noise > there).sum() <= 3
    assert noise[noise > there].sum() >= 0.97 * junk
    flagged = flags(class_fit, bank)
    held = noise + there > 0
    assert flagged[held].tolist() == (noise > there)[held].tolist()


def flags(class_fit, bank) -> np.ndarray:
    """Which classes hold particles that look like noise."""
    rows, finder = torch.arange(len(class_fit.samples)), Finder(bank, class_fit.sampling, class_fit.search_range)
    found = [found for _, found in finder.chunks(class_fit.samples, rows)]
    label, gain = (torch.cat([getattr(one, name)[:, 0] for one in found]) for name in ("which", "gain"))
    sorted_ = SimpleNamespace(label=label.numpy(), gain=gain.double().numpy())
    return like_noise(bank, class_fit.sampling, class_fit.search_range, class_fit.samples.ctf, sorted_, class_fit.seed)


def test_of_pure_noise_all_classes_are_flagged_and_of_views_none(tmp_path, class_fit, bank):
    nothing = class_fit_of(particles(np.full(160, -1), 7), tmp_path)
    assert flags(nothing, trained_on(nothing, VIEWS, 1)).all()
    assert not flags(class_fit, bank).any()


def test_more_classes_than_views_leave_none_empty(class_fit, views):
    bank = trained_on(class_fit, 8, 1)
    sizes = np.bincount(members(class_fit), minlength=8)
    assert sizes.min() > 0
    assert purity(members(class_fit), views) > 0.95
    assert len(bank.complex) == 8


# mirror images


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    """Two views and the mirror image of the first: (bank, class_fit, which view most particles of each class show)."""
    truth = np.random.default_rng(2).permutation(np.arange(3 * EACH) % 3)
    images = np.random.default_rng(6).normal(size=(len(truth), BOX, BOX))
    clean = seen(np.array([0, 1, 0])[truth], random_poses(len(truth), 6))
    flipped = np.roll(clean[:, :, ::-1], 1 - BOX % 2, 2)  # about pixel BOX // 2
    images += np.sqrt(SNR) * np.where((truth == 2)[:, None, None], flipped, clean)
    class_fit = class_fit_of(images, tmp_path_factory.mktemp("mirrored"))
    bank = trained_on(class_fit, 3)
    assert purity(members(class_fit), truth) > 0.97
    return bank, class_fit, [int(np.bincount(truth[members(class_fit) == k]).argmax()) for k in range(3)]


def test_a_view_and_its_mirror_image_are_two_classes_that_are_told_to_be_so(mirrored):
    bank, class_fit, shown = mirrored
    pairs = mirror_pairs(correlations(bank, class_fit.sampling, class_fit.search_range, True), np.zeros(3, bool))
    first, other, flipped = (shown.index(view) for view in range(3))
    assert pairs[first] == flipped
    assert pairs[flipped] == first
    assert pairs[other] is None


def test_a_flagged_class_mirrors_nothing(mirrored):
    bank, class_fit, shown = mirrored
    values = correlations(bank, class_fit.sampling, class_fit.search_range, True)
    flagged = np.array([view == 2 for view in shown])
    assert mirror_pairs(values, flagged) == [None] * 3


def test_a_view_is_like_itself_and_unlike_its_mirror_image(mirrored):
    bank, class_fit, shown = mirrored
    alike = correlations(bank, class_fit.sampling, class_fit.search_range, False)
    assert np.diag(alike) == pytest.approx(1, abs=2e-3)
    first, flipped = shown.index(0), shown.index(2)
    assert alike[first, flipped] < 0.9
    assert correlations(bank, class_fit.sampling, class_fit.search_range, True)[first, flipped] > 0.95


def test_a_view_that_is_its_own_mirror_image_is_told_to_be_so():
    """Class 0 is its own, 1 and 2 are each other's, 3 is nearly that of 2, which is nearer to 1; 4 is flagged."""
    likeness = np.array([
        [0.97, 0.2, 0.2, 0.3, 0.1],
        [0.2, 0.5, 0.95, 0.6, 0.1],
        [0.2, 0.95, 0.5, 0.92, 0.1],
        [0.3, 0.6, 0.92, 0.7, 0.1],
        [0.1, 0.1, 0.1, 0.1, 0.99],
    ])  # fmt: skip
    flagged = np.arange(5) == 4
    assert mirror_pairs(likeness, flagged) == [0, 2, 1, None, None]


def test_neighbours_in_the_order_by_likeness_look_alike():
    place = np.array([0.0, 5.0, 1.0, 6.0, 2.0])
    alike = -np.abs(place[:, None] - place)
    assert by_similarity(alike).tolist() == [0, 2, 4, 1, 3]
    assert by_similarity(np.ones((1, 1))).tolist() == [0]
