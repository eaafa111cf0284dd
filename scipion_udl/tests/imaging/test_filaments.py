"""Filaments: the segments of a tube lie the same way round, near their priors, and within half the rise."""

import numpy as np
import pytest

from scipion_udl.imaging.filaments import Filaments
from scipion_udl.imaging.poses import rotations

PSI = np.array([10.0, 20.0, -170.0, 40.0, 50.0, 60.0])
TUBE = np.array([0, 0, 0, 1, 1, 1])
ALL = np.arange(6)


def test_a_tube_lies_as_the_sum_of_its_log_odds_says():
    filaments = Filaments(PSI, TUBE)
    angle = PSI + np.array([0, 180, 0, 180, 180, 3])  # one of each tube lies against the others
    total = filaments.vote(angle, np.array([2.0, 5.0, 4.0, 1.0, 1.0, 9.0]), ALL)
    assert filaments.way.tolist() == [1, 1, 1, 1, 1, 1]
    assert np.allclose(total, [1, 1, 1, 7, 7, 7])
    filaments.vote(angle, np.array([2.0, 9.0, 4.0, 4.0, 6.0, 9.0]), ALL)
    assert filaments.way.tolist() == [-1, -1, -1, -1, -1, -1]


def test_halves_that_vote_apart_do_not_hear_each_other():
    filaments = Filaments(PSI, TUBE)
    angle = PSI + np.array([0, 180, 0, 180, 180, 0])
    filaments.vote(angle, np.full(6, 5.0), ALL, np.array([0, 1, 0, 1, 1, 0]))
    assert filaments.way.tolist() == [1, -1, 1, -1, -1, 1]


def test_particles_that_do_not_count_have_no_vote():
    filaments = Filaments(PSI, TUBE)
    filaments.vote(PSI + np.array([0, 180, 180, 0, 0, 0]), np.full(6, 5.0), ALL[[0, 3, 4, 5]])
    assert (filaments.way == 1).all()


@pytest.mark.parametrize("turned", [-4.0, 0.0, 6.0])
def test_the_axis_comes_to_lie_along_x_and_shifts_end_at_half_the_rise(turned):
    filaments = Filaments(PSI, TUBE, rise=20.0)
    shift = np.array([[3.0, 1.0], [-4.9, 0.0], [12.0, -2.0], [0.0, 0.0], [1.0, 1.0], [-7.0, 2.0]])
    angle, moved = PSI + 180 * TUBE + turned, shift @ rotations(np.array([turned]))[0].T
    filaments.into_frame([(angle, moved)], ALL, scale=2.0)
    assert np.allclose(angle, PSI + 180 * TUBE)
    assert np.allclose(moved[:, 1], shift[:, 1])
    assert np.abs(moved[:, 0]).max() <= 5
    assert np.allclose(np.mod(moved[:, 0] - shift[:, 0] + 1, 10.0), 1)
