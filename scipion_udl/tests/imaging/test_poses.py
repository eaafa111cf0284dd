"""The one convention of poses, checked on points and on images."""

import numpy as np
import pytest
from scipy import ndimage

from scipion_udl.imaging import poses as convention
from scipion_udl.imaging.poses import Poses, compose, from_matrices, invert, pose_errors, to_matrices, wrap
from scipion_udl.simulation.phantoms import phantom


@pytest.fixture
def poses():
    rng = np.random.default_rng(3)
    return Poses(rng.uniform(-180, 180, 50), rng.normal(0, 5, (50, 2)), rng.random(50) < 0.5)


def apply(image, matrix):
    """The image with the transform A applied about the pixel box//2: an independent reading of the contract."""
    back = np.linalg.inv(matrix)
    origin = len(image) // 2
    y, x = np.indices(image.shape) - origin
    u = back[0, 0] * x + back[0, 1] * y + back[0, 2]
    v = back[1, 0] * x + back[1, 1] * y + back[1, 2]
    return ndimage.map_coordinates(image.astype(float), [v + origin, u + origin], order=5)


def same(a, b, tolerance=1e-9):
    assert np.abs(to_matrices(a) - to_matrices(b)).max() < tolerance


def test_angles_are_brought_into_the_half_open_range():
    assert np.allclose(wrap([-180, 180, 190, -190, 540, 0]), [180, 180, -170, 170, 180, 0])
    assert np.allclose(wrap([90, -90, 100], 180), [90, 90, -80])


def test_ninety_degrees_turn_the_x_axis_onto_the_y_axis():
    moved = to_matrices(Poses([90.0]))[0] @ [1, 0, 1]
    assert np.allclose(moved, [0, 1, 1])


def test_a_positive_angle_turns_the_content_clockwise_with_row_0_on_top():
    image = np.zeros((21, 21))
    image[10, 16] = 1  # right of the centre
    rotated = apply(image, to_matrices(Poses([90.0]))[0])
    assert np.unravel_index(rotated.argmax(), rotated.shape) == (16, 10)  # below it


def test_the_mirror_negates_x_after_the_turn_and_before_the_shift():
    moved = to_matrices(Poses([90.0], [[3.0, 0.0]], [True]))[0] @ [0, 1, 1]
    assert np.allclose(moved, [1 + 3, 0, 1])


@pytest.mark.parametrize("box", [64, 65])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_true_pose_takes_the_particle_to_the_template(box, mirror):
    template = phantom("clamp", box)
    pose = Poses([-137.0], [[3.7, -2.2]], [mirror])
    aligned = apply(template.sample(pose)[0], to_matrices(pose)[0])
    assert np.corrcoef(aligned.ravel(), template.image().ravel())[0, 1] > 0.9999


def test_matrices_and_poses_are_the_same_thing(poses):
    same(from_matrices(to_matrices(poses)), poses)


def test_the_last_digit_of_an_angle_does_not_hang_on_where_its_memory_lies(poses, monkeypatch):
    expected, arctan2 = from_matrices(to_matrices(poses)).angle, np.arctan2

    def behind(y, x):
        """The answer in memory right behind that of the arguments: there numpy computes columns in another way."""
        memory = np.zeros(len(y) * 20)
        laid = [np.ndarray(len(y), buffer=memory, offset=8 * k, strides=y.strides) for k in (0, 1)]
        laid[0][:], laid[1][:] = y, x
        end = (len(y) - 1) * y.strides[0] + 16
        return arctan2(*laid, out=np.ndarray(len(y), buffer=memory, offset=end))

    monkeypatch.setattr(np, "arctan2", lambda y, x: arctan2(y, x) if y.flags.contiguous else behind(y, x))
    assert np.array_equal(from_matrices(to_matrices(poses)).angle, expected)


def test_the_inverse_undoes_a_pose(poses):
    same(compose(invert(poses), poses), Poses.identity(50))
    same(compose(poses, invert(poses)), Poses.identity(50))


@pytest.mark.parametrize("form", ["xmipp", "relion"])
def test_the_forms_of_other_programs_come_back(poses, form):
    if form == "relion":
        poses = Poses(poses.angle, poses.shift)
    written = getattr(convention, f"to_{form}")(poses)
    same(getattr(convention, f"from_{form}")(*written), poses)


def test_relion_has_no_mirrored_form(poses):
    with pytest.raises(ValueError, match="mirror"):
        convention.to_relion(poses)


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        Poses([1.0, 2.0], [[0.0, 0.0]])


def test_errors_are_zero_when_only_the_common_transform_differs(poses):
    truth = Poses(poses.angle, poses.shift)
    common = Poses([71.0], [[2.0, -5.0]])
    errors = pose_errors(compose(common, truth), truth)
    assert np.abs(errors.rotation).max() < 1e-9
    assert np.abs(errors.shift).max() < 1e-9
    same(errors.common, common)


def test_a_minority_of_turned_particles_does_not_move_the_common_transform():
    rng = np.random.default_rng(0)
    truth = Poses(rng.uniform(-180, 180, 300), rng.normal(0, 4, (300, 2)))
    noisy = Poses(truth.angle + rng.normal(0, 0.5, 300), truth.shift)
    found = compose(Poses([40.0], [[1.0, 2.0]]), noisy)
    wrong = np.arange(300) < 100
    found = from_matrices(
        np.where(wrong[:, None, None], to_matrices(compose(Poses([180.0]), found)), to_matrices(found))
    )
    errors = pose_errors(found, truth)
    assert np.abs(errors.rotation[~wrong]).max() < 3
    assert np.abs(np.abs(errors.rotation[wrong]) - 180).max() < 3
    assert np.abs(pose_errors(found, truth, 180.0).rotation).max() < 3
