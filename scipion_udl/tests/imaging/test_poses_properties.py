"""What holds for every pose, not only for those that somebody thought of."""

import numpy as np
import pytest

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

from scipion_udl.imaging.poses import (
    Poses,
    compose,
    from_matrices,
    from_relion,
    from_xmipp,
    invert,
    pose_errors,
    to_matrices,
    to_relion,
    to_xmipp,
    wrap,
)

pytestmark = pytest.mark.filterwarnings("ignore")
properly = settings(deadline=None, derandomize=True, max_examples=200)

angles = st.floats(-1e4, 1e4)
shifts = st.floats(-500, 500)


@st.composite
def poses(draw, mirrored=True, least=1):
    n = draw(st.integers(least, 6))
    mirror = [draw(st.booleans()) and mirrored for _ in range(n)]
    return Poses([draw(angles) for _ in range(n)], [[draw(shifts), draw(shifts)] for _ in range(n)], mirror)


def same(a, b, tolerance=1e-8):
    scale = 1 + np.abs(a.shift).max()
    assert np.abs(to_matrices(a) - to_matrices(b)).max() < tolerance * scale


@properly
@given(angles, st.sampled_from([90.0, 180.0, 360.0]))
def test_a_wrapped_angle_is_the_same_angle_within_half_a_period(angle, period):
    found = float(wrap(angle, period))
    assert -period / 2 < found <= period / 2
    rotations = (angle - found) / period
    assert rotations == pytest.approx(round(rotations), abs=1e-6)


@properly
@given(poses())
def test_matrices_and_xmipp_give_every_pose_back(given_poses):
    same(from_matrices(to_matrices(given_poses)), given_poses)
    same(from_xmipp(*to_xmipp(given_poses)), given_poses)


@properly
@given(poses(mirrored=False))
def test_relion_gives_every_unmirrored_pose_back_with_a_shift_of_the_same_length(given_poses):
    psi, origin = to_relion(given_poses)
    same(from_relion(psi, origin), given_poses)
    np.testing.assert_allclose(np.hypot(*origin.T), np.hypot(*given_poses.shift.T), atol=1e-9)


@properly
@given(poses())
def test_what_is_done_and_undone_is_nothing(given_poses):
    same(compose(invert(given_poses), given_poses), Poses.identity(len(given_poses)))
    same(invert(invert(given_poses)), given_poses)


@properly
@given(poses(least=3), poses())
def test_composing_is_applying_one_after_the_other(first, other):
    second = other[[0]]
    points = np.array([[0.0, 0.0, 1.0], [3.0, -7.0, 1.0]]).T
    at_once = to_matrices(compose(second, first)) @ points
    one_by_one = to_matrices(second) @ (to_matrices(first) @ points)
    np.testing.assert_allclose(at_once, one_by_one, atol=1e-6)


@properly
@given(poses(mirrored=False, least=2), poses(mirrored=False))
def test_a_common_transform_is_no_error(truth, other):
    errors = pose_errors(compose(other[[0]], truth), truth)
    assert np.abs(errors.rotation).max() < 1e-6
    assert np.abs(errors.shift).max() < 1e-6
