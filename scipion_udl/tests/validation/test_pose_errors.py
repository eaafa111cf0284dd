"""The figures of merit say what they claim to say, whatever the frame."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.imaging.poses import Poses, compose, invert
from scipion_udl.validation.pose_errors import bias, compare, compare_pairs, join, pair_errors, relative_poses


def random_poses(n: int, seed: int = 0, mirror: bool = False) -> Poses:
    rng = np.random.default_rng(seed)
    return Poses(rng.uniform(-180, 180, n), rng.uniform(-8, 8, (n, 2)), rng.random(n) < 0.5 if mirror else None)


def disturbed(truth: Poses, degrees: float, pixels: float, seed: int = 1) -> Poses:
    """Poses that turn the template by errors of a known size about its own origin."""
    rng = np.random.default_rng(seed)
    n = len(truth)
    return compose(Poses(rng.normal(0, degrees, n), rng.normal(0, pixels, (n, 2))), truth)


# compare


@pytest.mark.parametrize("mirror", [False, True])
def test_a_common_rigid_transform_changes_nothing(mirror):
    truth = random_poses(2000, mirror=mirror)
    found = disturbed(truth, 1.0, 0.5)
    common = Poses(np.array([123.4]), np.array([[7.0, -3.0]]))
    here, there = compare(found, truth, 2.0), compare(compose(common, found), truth, 2.0)
    # The medians of x and y, which say where the common place is, turn a little with the axes they are taken along.
    assert here == pytest.approx(there, rel=0.01)
    assert here["rotation_mean"] == pytest.approx(0.8, rel=0.1)  # mean absolute value of a normal error of 1 degree
    assert here["shift_rms"] == pytest.approx(np.sqrt(2) * 0.5, rel=0.1)
    assert here["shift_rms_angstrom"] == pytest.approx(2 * here["shift_rms"])


def test_the_truth_itself_has_no_error():
    truth = random_poses(100, mirror=True)
    result = compare(truth, truth)
    assert result["rotation_mean"] < 1e-9
    assert result["shift_rms"] < 1e-9
    assert result["within_5"] == result["within_5_180"] == result["right_way_round"] == 1.0


def test_ten_percent_turned_by_180_degrees_are_ten_percent_wrong():
    truth = random_poses(500)
    found = disturbed(truth, 0.5, 0.2)
    found = compose(Poses(np.where(np.arange(500) % 10 == 3, 180.0, 0.0)), found)
    result = compare(found, truth)
    assert result["within_5"] == pytest.approx(0.9)
    assert result["right_way_round"] == pytest.approx(0.9)
    assert result["within_5_180"] == 1.0
    assert result["rotation_mean_180"] < 0.5
    assert result["rotation_mean"] == pytest.approx(0.1 * 180 + 0.9 * 0.4, rel=0.05)
    assert result["shift_rms"] == pytest.approx(np.sqrt(2) * 0.2, rel=0.1)


def test_the_majority_decides_which_way_is_round():
    truth = random_poses(300)
    found = compose(Poses(np.where(np.arange(300) < 200, 180.0, 0.0)), truth)
    assert compare(found, truth)["right_way_round"] == pytest.approx(2 / 3)


def test_random_poses_are_as_bad_as_chance():
    result = compare(random_poses(4000, 5), random_poses(4000, 6))
    assert result["rotation_mean"] == pytest.approx(90, abs=5)
    assert result["rotation_mean_180"] == pytest.approx(45, abs=3)
    assert result["within_5"] == pytest.approx(10 / 360, abs=0.015)


def test_inverted_poses_do_not_pass():
    truth = random_poses(400)
    assert compare(invert(truth), truth)["within_5"] < 0.2


def test_different_numbers_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(random_poses(3), random_poses(4))
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(random_poses(3)[:0], random_poses(3)[:0])


def test_join_goes_by_image():
    rows, true_rows = join([("a", 1), ("b", 0), ("c", 2)], [("c", 2), ("a", 0), ("a", 1)])
    assert list(rows) == [0, 2]
    assert list(true_rows) == [2, 0]


# symmetric views and the bias


def test_turns_by_a_third_of_the_circle_are_no_error_of_a_three_fold_view():
    truth = random_poses(600)
    rotations = 120.0 * np.array([0, 1, 0, 2, 0])[np.arange(600) % 5]
    found = compose(Poses(rotations), disturbed(truth, 0.5, 0.2))
    result = compare(found, truth, symmetry=3)
    assert result["within_5_symmetry"] == 1.0
    assert result["rotation_mean_symmetry"] == pytest.approx(0.4, rel=0.1)
    assert result["within_5"] == pytest.approx(0.6)
    assert result["rotation_mean"] == pytest.approx(0.4 * 120 + 0.6 * 0.4, abs=0.5)
    assert compare(found, truth, symmetry=2)["within_5_symmetry"] == pytest.approx(0.6)


def test_of_two_folds_the_symmetry_is_modulo_180_and_of_one_the_full_circle():
    truth = random_poses(300)
    found = compose(Poses(np.where(np.arange(300) % 5 == 0, 180.0, 0.0)), disturbed(truth, 2.0, 0.2))
    two, one = compare(found, truth, symmetry=2), compare(found, truth, symmetry=1)
    for figure in ("rotation_mean", "rotation_median", "rotation_p90", "within_5", "rotation_signed"):
        assert two[f"{figure}_symmetry"] == pytest.approx(two[f"{figure}_180"])
        assert one[f"{figure}_symmetry"] == pytest.approx(one[figure])


def test_the_bias_is_the_common_transform_that_was_put_in():
    truth = random_poses(500)
    common = Poses(np.array([-77.0]), np.array([[3.0, -1.5]]))
    found = bias(compose(common, disturbed(truth, 0.3, 0.1)), truth)
    assert found["common_turn"] == pytest.approx(-77.0, abs=0.1)
    assert (found["common_shift_x"], found["common_shift_y"]) == pytest.approx((3.0, -1.5), abs=0.05)


def test_a_lopsided_error_shows_in_the_signed_mean():
    truth = random_poses(1000)
    lopsided = np.where(np.arange(1000) % 4 == 0, 8.0, 0.0)  # the median, which is taken out, is 0
    assert compare(compose(Poses(lopsided), truth), truth)["rotation_signed"] == pytest.approx(2.0, abs=0.01)
    assert compare(compose(Poses(-lopsided), truth), truth)["rotation_signed"] == pytest.approx(-2.0, abs=0.01)
    even = compare(disturbed(truth, 5.0, 0.0), truth)
    assert abs(even["rotation_signed"]) < 0.5
    assert even["rotation_mean"] > 3


# pairs


def neighbours(found, truth):
    """(found, true) poses between each particle and the next, and where the particles lie in their images."""
    first = np.arange(len(found) - 1)
    return relative_poses(found, first), relative_poses(truth, first), invert(truth[first]).shift


def test_a_relative_pose_brings_the_first_particle_onto_the_second():
    poses = random_poses(50, mirror=True)
    between = relative_poses(poses, np.arange(49))
    again = compose(poses[np.arange(1, 50)], between)
    assert again.angle == pytest.approx(poses.angle[:49])
    assert again.shift == pytest.approx(poses.shift[:49])
    assert (again.mirror == poses.mirror[:49]).all()


def test_errors_of_pairs_are_those_of_both_particles():
    truth = random_poses(4000)
    result = compare_pairs(*neighbours(disturbed(truth, 1.0, 0.5), truth), pixel_size=2.0)
    assert result["pairs"] == 3999
    assert result["pair_rotation_mean"] == pytest.approx(0.8 * np.sqrt(2), rel=0.05)
    assert result["pair_shift_rms"] == pytest.approx(np.sqrt(2) * np.sqrt(2) * 0.5, rel=0.05)
    assert result["pair_shift_rms_angstrom"] == pytest.approx(2 * result["pair_shift_rms"])


def test_a_common_transform_is_no_error_of_pairs():
    truth = random_poses(300)
    found = compose(Poses(np.array([50.0]), np.array([[4.0, 9.0]])), truth)
    result = compare_pairs(*neighbours(found, truth))
    assert result["pair_rotation_mean"] < 1e-6
    assert result["pair_shift_rms"] < 1e-6
    assert result["pair_bias"] == pytest.approx(0, abs=1e-6)


def test_one_wrong_particle_spoils_its_two_pairs():
    truth = random_poses(101)
    found = compose(Poses(np.where(np.arange(101) == 40, 30.0, 0.0)), truth)
    errors = pair_errors(*neighbours(found, truth)[:2])
    assert np.flatnonzero(np.abs(errors.rotation) > 1).tolist() == [39, 40]
    assert sorted(errors.rotation[39:41]) == pytest.approx([-30, 30])


def test_the_constant_bias_of_pairs_is_found_and_taken_out():
    """What a network that regresses the turn of a pair is off by, which differences of single poses cannot be."""
    truth = random_poses(800)
    between = relative_poses(truth, np.arange(799))
    found = Poses(between.angle + 25.0 + np.random.default_rng(2).normal(0, 1.0, 799), between.shift)
    result = compare_pairs(found, between)
    assert result["pair_bias"] == pytest.approx(25.0, abs=0.2)
    assert result["pair_rotation_mean"] == pytest.approx(0.8, rel=0.1)
    assert abs(result["pair_rotation_signed"]) < 0.2


def test_pairs_on_the_wrong_side_are_right_modulo_180():
    truth = random_poses(401)
    found = compose(Poses(np.where(np.arange(401) % 10 == 3, 180.0, 0.0)), truth)
    result = compare_pairs(*neighbours(found, truth))
    assert result["pair_within_5"] == pytest.approx(0.8)  # each wrong one has two neighbours
    assert result["pair_within_5_180"] == 1.0


def test_an_error_of_the_turn_is_no_shift_of_pairs():
    truth = random_poses(200)
    result = compare_pairs(*neighbours(disturbed(truth, 3.0, 0.0), truth))
    assert result["pair_shift_rms"] < 1e-6


def test_no_pairs_are_refused():
    nothing = Poses(np.zeros(0))
    with pytest.raises(ValueError, match="cannot be compared"):
        compare_pairs(nothing, nothing)
