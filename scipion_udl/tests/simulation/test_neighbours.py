"""Crowded ice: neighbours keep their distance and are as dense as said."""

import numpy as np
import pytest

from scipion_udl.simulation.neighbours import add_at, diameter, sites


def test_the_diameter_of_a_disc():
    y, x = np.mgrid[:64, :64] - 32
    disc = (np.hypot(x, y) <= 20).astype(np.float32)
    assert diameter(disc[None]) == pytest.approx(40, abs=1)
    # of a long molecule, the whole of it counts, whichever way it lies
    bar = ((np.abs(x) <= 24) & (np.abs(y) <= 3)).astype(np.float32)
    assert diameter(np.stack([bar, bar.T])) == pytest.approx(48, abs=1.5)


@pytest.mark.parametrize("spacing", [40.0, 50.0])
def test_no_two_molecules_overlap(spacing):
    for k in range(30):
        places = sites(np.random.default_rng(k), spacing, 40.0, 1.0, 150.0)
        everything = np.concatenate([[[0.0, 0.0]], places])
        distance = np.linalg.norm(everything[:, None] - everything, axis=-1)
        assert distance[~np.eye(len(everything), dtype=bool)].min() >= 40 - 1e-9


def test_sites_are_as_dense_as_said_and_of_no_direction():
    spacing, reach = 30.0, 200.0
    cell = spacing**2 * np.sqrt(0.75)
    found = [sites(np.random.default_rng(k), spacing, 25.0, 0.6, reach) for k in range(60)]
    number = np.mean([len(places) for places in found])
    assert number == pytest.approx(0.6 * (4 * reach**2 / cell - 1), rel=0.05)
    assert np.abs(np.concatenate(found)).max() <= reach
    first = np.concatenate([places[np.linalg.norm(places, axis=1) < 1.3 * spacing] for places in found])
    rotation = np.degrees(np.arctan2(first[:, 1], first[:, 0]))
    assert np.histogram(rotation, 6, (-180, 180))[0].min() > 0.6 * len(first) / 6


def test_no_share_leaves_no_neighbours():
    assert len(sites(np.random.default_rng(1), 30, 25, 0.0, 100)) == 0


def test_an_image_is_added_where_it_belongs_and_cut_at_the_field():
    image = np.zeros((8, 8))
    image[4, 4] = 1
    for place in ((0, 0), (3, -5), (-7, 7)):
        field = np.zeros((16, 16))
        add_at(field, image, np.array(place))
        assert np.argwhere(field).tolist() == [[8 + place[1], 8 + place[0]]]
    field = np.zeros((16, 16))
    add_at(field, np.ones((8, 8)), np.array([9, 0]))  # x from 13 on: 3 of 8 columns
    assert field.sum() == 3 * 8
    add_at(field, np.ones((8, 8)), np.array([40, 0]))
    assert field.sum() == 3 * 8
