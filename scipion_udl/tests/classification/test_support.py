"""Classes are kept as far as the particles support them: a view keeps its class, however rare; a copy does not."""

from __future__ import annotations

import numpy as np

from scipion_udl.classification.support import MARGIN, given_up, worth

SIZE = 60  # numbers that a particle consists of, its noise of variance 1/2 in each: nats are then squared distances


def particles(view: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Particles (N, SIZE) that show ``views`` (V, SIZE) in noise."""
    return views[view] + np.random.default_rng(1).normal(size=(len(view), SIZE)) / 2**0.5


def views(count: int, strength: float) -> np.ndarray:
    """Views (count, SIZE) with so strong a signal, squared, in all of a particle together."""
    values = np.random.default_rng(2).normal(size=(count, SIZE))
    return values * np.sqrt(strength / np.square(values).sum(1, keepdims=True))


def gains(images: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log likelihood (N, K) over that of noise by the mean of each class's other particles; classes to go with it."""
    out = np.empty((len(images), label.max() + 1))
    for k in range(out.shape[1]):
        own = label == k
        total, count = images[own].sum(0), own.sum()
        mean = (total - own[:, None] * images) / np.maximum(count - own, 1)[:, None]
        out[:, k] = 2 * (images * mean).sum(1) - np.square(mean).sum(1)
    return out, np.broadcast_to(np.arange(out.shape[1]), out.shape)


COST = SIZE / 2  # of the noise of a mean: 1 / (2 n) in each of SIZE numbers, for each of n particles


def test_of_two_classes_of_one_view_one_is_given_up_and_that_of_another_view_stays() -> None:
    view = np.arange(90) % 3 // 2
    images, label = particles(view, views(2, 40.0)), np.arange(90) % 3  # the first two show the same
    gone = given_up(*gains(images, label), np.full(3, COST))
    assert gone[:2].sum() == 1
    assert not gone[2]


def test_noise_in_several_classes_supports_one() -> None:
    images = particles(np.zeros(120, np.int64), np.zeros((1, SIZE)))
    gone = given_up(*gains(images, np.arange(120) % 4), np.full(4, COST))
    assert gone.sum() == 3


def test_a_rare_view_keeps_its_class() -> None:
    view = (np.arange(206) >= 200).astype(np.int64)  # six of 206
    assert not given_up(*gains(particles(view, views(2, 40.0)), view), np.full(2, COST)).any()


def test_a_class_goes_once_it_explains_less_than_the_noise_of_its_average_costs() -> None:
    # 20 of 120 particles fit their class better than the other one by ``nats`` each.
    def goes(nats: float, cost: float) -> bool:
        label = (np.arange(120) >= 100).astype(np.int64)
        likely = np.stack([label, 1 - label], 1)
        gain = np.stack([np.where(label, nats, 30.0), np.zeros(120)], 1)
        return bool(given_up(gain, likely, np.array([cost, cost]))[1])

    # To have them, too, saves the average of the other 100 a fifth of its cost.
    lost = worth_of_rare(10.0)
    limit = lost / (0.2 + MARGIN)
    assert goes(10.0, 1.05 * limit)
    assert not goes(10.0, 0.95 * limit)


def worth_of_rare(nats: float) -> float:
    """What the mixture of the test above loses without its class of 20."""
    with_, without = 20 * np.log(np.exp(nats) * 20 / 120 + 100 / 120), 0.0
    others = 100 * np.log(100 / 120 * np.exp(30.0) + 20 / 120) - 100 * 30.0
    return with_ - without + others


def test_a_copy_of_a_class_is_worth_next_to_nothing_and_a_view_what_its_particles_would_lose() -> None:
    view = np.arange(60) % 2
    gain = np.where(view[:, None] == [0, 1, 1], 10.0, 0.0)  # the third is like the second
    likely = np.broadcast_to(np.arange(3), gain.shape)
    found = worth(gain, likely, np.array([30, 15, 15]))
    assert found[1:].max() < 0.02 * found[0]
    # Without its class a particle is one of 30 others as likely: 10 nats less, and half the mixture was its own.
    np.testing.assert_allclose(found[0], 30 * 10 + 60 * np.log(0.5), rtol=0.01)


def test_the_last_class_that_a_particle_can_go_to_is_kept() -> None:
    gain = np.tile([1.0, 0.0], (40, 1))
    gain[:3] = [0.5, -np.inf]  # three know no other class than the second
    likely = np.tile([0, 1], (40, 1))
    likely[:3] = [1, 0]
    assert not given_up(gain, likely, np.array([1000.0, 1000.0]))[1]
