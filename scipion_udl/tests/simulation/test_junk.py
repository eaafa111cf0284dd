"""Junk: contamination in the box, carbon on one side of an edge, molecules that touch."""

import numpy as np

from scipion_udl.simulation.junk import blob, carbon_film, touching_places


def test_touching_molecules_overlap_but_are_two():
    places = np.array([touching_places(np.random.default_rng(k), 40.0) for k in range(300)])
    distance = np.linalg.norm(places[:, 0] - places[:, 1], axis=1)
    assert distance.min() >= 0.4 * 40
    assert distance.max() <= 0.8 * 40
    assert np.ptp(distance) > 10
    assert np.allclose(places.sum(1), 0)


def test_carbon_covers_one_side_of_an_edge_through_the_box():
    y, x = np.mgrid[:128, :128] - 64
    shares, bright = [], []
    for k in range(100):
        film = carbon_film(np.random.default_rng(k), 128, 64)
        inner = film[32:96, 32:96]
        shares.append(inner.mean())
        assert film.min() >= 0
        assert film.max() <= 1
        assert inner.max() > 0.99
        assert inner.min() < 0.01
        # a step: its two sides lie apart along one direction
        weight = (film - film.mean()) / 128**2
        bright.append(np.arctan2((weight * y).sum(), (weight * x).sum()))
    assert 0.3 < np.mean(shares) < 0.7
    assert np.std(shares) > 0.1
    assert np.histogram(bright, 4, (-np.pi, np.pi))[0].min() > 10


def test_contamination_lies_in_the_box_and_varies():
    fields = np.array([blob(np.random.default_rng(k), 96, 48) for k in range(60)])
    inside = np.abs(fields[:, 12:84, 12:84]).sum((1, 2)) / np.abs(fields).sum((1, 2))
    assert inside.min() > 0.9
    extent = (np.abs(fields) > 0.5).mean((1, 2))
    assert extent.max() > 4 * extent.min()
