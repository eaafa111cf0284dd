"""Two halves apart, then all together: nobody votes for itself, and all end in one frame."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.half_set_refinement import FOLDS, HalfRefinement, Split
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.state import State
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.poses import Poses, compose, invert, pose_errors, wrap
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import prepared

BOX, N = 64, 90
FRAME = Poses([3.0], [[0.8, -0.6]])
STRENGTH = 0.6  # standard deviation of the phantom over the box; that of the noise is 1


def particles_of(n: int = N, name: str = "hook") -> tuple[np.ndarray, Poses]:
    rng = np.random.default_rng(5)
    poses = Poses(rng.uniform(-180, 180, n), rng.uniform(-3, 3, (n, 2)))
    template = phantom(name, BOX)
    images = template.sample(poses) * (STRENGTH / template.image().std())
    return images + rng.normal(size=images.shape), poses


def halves_of(folder, images: np.ndarray, order: np.ndarray | None = None, chunk: int = 32) -> HalfRefinement:
    """HalfRefinement of images; ``order``: in which they are dealt out."""
    folder.mkdir(exist_ok=True)
    particles = prepared(folder, images, chunk)
    particles.scan()
    refiner = Refiner(particles, Band(BOX, 28), 4.0, 12)
    split = Split.of(np.arange(len(images)) if order is None else order, len(images))
    return HalfRefinement(refiner, split, False)


def begin(band: Band, pose: Poses | None = None) -> torch.Tensor:
    """A first average: the phantom below ring 12, its frame rotated and moved by a pose."""
    template = phantom("hook", BOX)
    image = template.sample(invert(pose) if pose else Poses.identity(1))[0] * (STRENGTH / template.image().std())
    return band.of_images(torch.from_numpy(image)) * (band.radius <= 12)


def refined(
    halves: HalfRefinement, angle: np.ndarray, frame: Poses | None = None
) -> tuple[State, State, list[torch.Tensor]]:
    """(final state, state of the halves in one frame, averages of the halves in the frames they were started in)."""
    usable = np.arange(len(angle))
    state = State.start(angle)
    averages = halves.apart(state, [begin(halves.band), begin(halves.band, frame)], usable, 3)
    half_state = state.copy()
    halves.together(state, half_state, averages, usable, 2)
    return state, half_state, averages


def of_state(state: State) -> Poses:
    return Poses(state.angle, state.shift)


# the split


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 90, 91])
def test_particles_are_dealt_out_evenly_in_the_order_given(count):
    order = np.random.default_rng(1).permutation(count + 5)[:count]  # five do not count
    split = Split.of(order, count + 5)
    sizes = np.bincount(split.fold[order], minlength=FOLDS)
    assert np.ptp(sizes) <= 1
    assert np.array_equal(split.half, split.fold % 2)
    assert np.array_equal(split.fold[order], np.arange(count) % FOLDS)


def test_the_half_of_a_particle_follows_its_rank_not_its_place():
    """Items in another order: each stays in the half that it was in."""
    rank = np.random.default_rng(2).permutation(40)
    places = np.random.default_rng(3).permutation(40)
    one = Split.of(np.argsort(rank), 40)
    other = Split.of(np.argsort(rank[places]), 40)
    assert np.array_equal(other.half, one.half[places])
    assert np.array_equal(other.fold, one.fold[places])


# apart


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """(halves, truth, final state, state of the halves) where half 1 began in a frame a little beside the other's."""
    images, truth = particles_of()
    halves = halves_of(tmp_path_factory.mktemp("halves"), images)
    off = np.random.default_rng(0).uniform(-1, 1, N)
    angle = truth.angle + off + float(FRAME.angle[0]) * (halves.split.half == 1)
    return halves, truth, *refined(halves, angle, FRAME)[:2]


def test_each_half_goes_on_in_the_frame_that_it_began_in(tmp_path):
    images, truth = particles_of()
    halves = halves_of(tmp_path, images)
    second = halves.split.half == 1
    state = State.start(truth.angle + float(FRAME.angle[0]) * second)
    halves.apart(state, [begin(halves.band), begin(halves.band, FRAME)], np.arange(N), 2)
    one, other = (pose_errors(of_state(state)[members], truth[members]).common for members in (~second, second))
    assert abs(float(one.angle[0])) < 0.7
    assert abs(float(other.angle[0] - FRAME.angle[0])) < 0.7
    assert np.hypot(*(other.shift - one.shift - FRAME.shift)[0]) < 0.35


def test_both_halves_are_brought_into_the_frame_of_the_first(result):
    halves, truth, state, half_state = result
    for one in (state, half_state):
        errors = pose_errors(of_state(one), truth)
        assert np.abs(errors.rotation).mean() < 1.0
        assert np.hypot(*errors.shift.T).mean() < 0.3
        assert abs(float(wrap(errors.common.angle[0]))) < 0.5  # that of the first: the phantom's own
        assert np.hypot(*errors.common.shift[0]) < 0.3
        means = [float(np.mean(errors.rotation[halves.split.half == number])) for number in (0, 1)]
        assert abs(means[0] - means[1]) < 0.5


def test_final_errors_are_those_that_the_noise_allows(result):
    halves, truth, state, _ = result
    rotation = pose_errors(of_state(state), truth).rotation
    image = phantom("hook", BOX).image()
    exact = halves.band.of_images(torch.from_numpy(image * (STRENGTH / image.std())))
    reference = halves.references([exact, exact])[0]  # two that agree in full: all rings count
    assert rotation.std() < 1.35 * reference.expected_errors()[0]


def test_noise_that_halves_do_not_share_gets_no_weight(tmp_path):
    halves = halves_of(tmp_path, particles_of(8)[0])
    noise = [halves.band.of_images(torch.randn(BOX, BOX, generator=torch.Generator().manual_seed(k))) for k in (0, 1)]
    initial_lowpass = [begin(halves.band) + 0.05 * one for one in noise]
    weights = [halves.references(pair)[0].ring_weight for pair in (noise, initial_lowpass)]
    assert float(weights[0][5:].sum()) < 0.1 * float(weights[1][5:].sum())
    assert float(weights[1][4:10].min()) > 0.8


# together


def test_the_judge_of_a_particle_does_not_hold_its_fold(tmp_path, monkeypatch):
    """Of every round but the first, in which the other half judges: the mean of all folds but the particle's own."""
    images, truth = particles_of()
    halves = halves_of(tmp_path, images)
    seen = []
    iterate = halves.refiner.iterate

    def spy(*arguments, **named):
        found = iterate(*arguments, **named)
        if named.get("independent"):
            seen.append((named["independent"], found.sums))
        return found

    monkeypatch.setattr(halves.refiner, "iterate", spy)
    _, _, averages = refined(halves, truth.angle)
    assert len(seen) == 2
    first, second = seen
    for fold in range(FOLDS):
        assert first[0][fold].average is not averages[fold % 2]
        others = [sums for number, sums in enumerate(first[1]) if number != fold]
        mean = sum(sums.total for sums in others) / sum(sums.count for sums in others)
        mean = halves.band.masked(mean, halves.prepared.disc.mask)
        own = halves.band.masked(first[1][fold].total / first[1][fold].count, halves.prepared.disc.mask)
        independent = second[0][fold].average
        assert float((independent - mean).abs().max()) < 1e-3 * float(mean.abs().max())
        noise = own - mean  # of the fold's own noise the judge holds nothing
        held = halves.band.dot(independent - mean, noise) / halves.band.dot(noise, noise)
        assert abs(float(held)) < 0.02


def test_in_the_first_round_together_the_other_half_judges(tmp_path, monkeypatch):
    images, truth = particles_of()
    halves = halves_of(tmp_path, images)
    independents = []
    iterate = halves.refiner.iterate

    def spy(*arguments, **named):
        independents.append(named.get("independent"))
        return iterate(*arguments, **named)

    monkeypatch.setattr(halves.refiner, "iterate", spy)
    _, _, averages = refined(halves, truth.angle)
    independent = next(one for one in independents if one)
    assert independent[0].average is independent[2].average
    assert independent[1].average is independent[3].average
    alike = halves.band.dot(independent[1].average, averages[0]) / halves.band.dot(averages[0], averages[0])
    assert independent[1].average is averages[0] or float(alike) == pytest.approx(1, abs=1e-3)
    assert not torch.equal(independent[0].average, independent[1].average)


def test_particles_upside_down_are_turned_round_by_the_others(tmp_path):
    images, truth = particles_of()
    halves = halves_of(tmp_path, images)
    angle = truth.angle + 180.0 * (np.arange(N) % 7 == 0)
    state, _, _ = refined(halves, angle)
    assert np.abs(wrap(state.angle - truth.angle)).max() < 5


# what nothing depends on


def test_poses_do_not_depend_on_the_order_of_the_items(tmp_path):
    images, truth = particles_of()
    places = np.random.default_rng(9).permutation(N)
    begun = truth.angle + np.random.default_rng(0).uniform(-1, 1, N)
    one = refined(halves_of(tmp_path / "one", images), begun)[0]
    # each item keeps its rank: item places[k] is now the k-th
    other = refined(halves_of(tmp_path / "other", images[places], np.argsort(places)), begun[places])[0]
    assert np.abs(wrap(other.angle - one.angle[places])).max() < 1e-3
    assert np.abs(other.shift - one.shift[places]).max() < 1e-3
    assert np.allclose(other.score, one.score[places], atol=1e-4)


def test_poses_do_not_depend_on_the_chunk(tmp_path):
    images, truth = particles_of(40)
    one, other = (
        refined(halves_of(tmp_path / str(chunk), images, chunk=chunk), truth.angle + 0.5)[0] for chunk in (7, 1000)
    )
    assert np.abs(wrap(other.angle - one.angle)).max() < 1e-3
    assert np.abs(other.shift - one.shift).max() < 1e-3


def test_another_frame_of_the_start_gives_the_same_poses_in_that_frame(tmp_path):
    """Both halves begun in a rotated and moved frame: the result is the same but for that."""
    images, truth = particles_of()
    halves = halves_of(tmp_path, images)
    frame = Poses([70.0], [[1.0, 2.0]])
    state = State.start(truth.angle + 70.0)
    usable = np.arange(N)
    averages = halves.apart(state, [begin(halves.band, frame)] * 2, usable, 3)
    halves.together(state, state.copy(), averages, usable, 2)
    errors = pose_errors(of_state(state), compose(frame, truth))
    assert abs(float(wrap(errors.common.angle[0]))) < 0.5
    assert np.hypot(*errors.common.shift[0]) < 0.3
    assert np.abs(errors.rotation).mean() < 1.0


@pytest.mark.parametrize("rounds", [0, 2])
def test_nobody_is_judged_by_an_average_that_it_is_part_of(tmp_path, rounds):
    """One particle is so much louder than the others that it shows in whatever it is part of."""
    images, poses = particles_of()
    x, y = np.meshgrid(*[np.arange(BOX) - BOX // 2] * 2)
    images[7] += 100 * np.exp(-((x - 4) ** 2 + y**2) / 50)
    halves = halves_of(tmp_path / "loud", images)
    usable, state = np.arange(N), State.start(poses.angle % 180)
    averages = halves.apart(state, [begin(halves.band), begin(halves.band)], usable, 2)
    halves.together(state, state.copy(), averages, usable, rounds)
    power = [float(halves.band.dot(one.average, one.average)) for one in halves.independents]
    assert power[halves.independent_of[7]] < 0.8 * max(power)
