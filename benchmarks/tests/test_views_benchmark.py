"""The figures of classes of many views are those of the classes that were planted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.many_views.particles import Truth, write_classes
from benchmarks.many_views.resolution import claimed, resolutions, true_view, true_views
from benchmarks.many_views.spread import Classes, axis_of, neighbour_spread, pose_errors, spread
from scipion_udl.imaging.poses import Poses, compose
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.io.truth import add_views, truth_table
from scipion_udl.simulation.phantoms_3d import molecule

BOX = 64
TILTS = (10.0, -10.0)  # degrees, of the members of a class about the z and the x axis


def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(directions, molecule, class) of two classes of eight, 10 degrees about their axes, and of four noise images."""
    views, label = [], []
    for number, axis in ((1, 2), (2, 0)):
        for k in range(8):
            tilt = np.radians(TILTS[k % 2])
            view = np.zeros(3)
            view[axis], view[1] = np.cos(tilt), np.sin(tilt)
            views.append(view * (-1) ** (k // 2))  # the other side is the same axis
            label.append(number)
    views, label = np.array(views + [np.zeros(3)] * 4), np.array(label + [3] * 4)
    return views, np.where(label == 3, 0, label), label


def truth_in(folder: Path, direction: np.ndarray, shown: np.ndarray, poses: Poses | None = None) -> Truth:
    """The truth of particles that were never made."""
    names = [f"{k + 1}@a.mrcs" for k in range(len(direction))]
    table = truth_table(names, poses or Poses.identity(len(names)))
    add_views(table, shown, direction)
    write_tables(str(folder / "truth.star"), [table])
    options = {"phantom": "crane", "second": "boot", "box": BOX}
    (folder / "parameters.json").write_text(json.dumps({"options": options}))
    return Truth.read(folder)


def about(axis: np.ndarray, tilt: float, count: int) -> np.ndarray:
    """Unit vectors (count, 3), ``tilt`` degrees off a unit ``axis`` on all sides of it."""
    one = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    one /= np.linalg.norm(one)
    rotation = 2 * np.pi * (np.arange(count) + 0.3)[:, None] / count
    across = np.cos(rotation) * one + np.sin(rotation) * np.cross(axis, one)
    return np.cos(np.radians(tilt)) * axis + np.sin(np.radians(tilt)) * across


def test_spread_of_two_narrow_classes_and_noise(tmp_path):
    views, shown, label = planted()
    truth = truth_in(tmp_path, views, shown)
    columns = {"rlnImageName": truth.names, "rlnClassNumber": [str(n) for n in label]}
    columns["udlFlagged"] = [str(int(number == 3)) for number in label]
    write_tables(str(tmp_path / "classes.star"), [Table("particles", columns)])
    result = spread(Classes.read(tmp_path / "classes.star", truth))
    assert abs(result["median"] - 10) < 0.01 and abs(result["mean"] - 10) < 0.01
    assert (result["noise_flagged"], result["flagged"], result["purity"]) == (1.0, 0.0, 1.0)
    assert (result["classes"], result["counted"]) == (3, 2)


def test_purity_counts_the_molecule_that_most_of_a_class_show(tmp_path):
    views, shown, label = planted()
    shown[:2] = 2  # two of the eight of class 1
    write_classes(tmp_path / "classes.star", truth_in(tmp_path, views, shown).names, label - 1)
    result = spread(Classes.read(tmp_path / "classes.star", Truth.read(tmp_path)))
    assert result["purity"] == pytest.approx(14 / 16)


def test_spread_of_groups_of_each_particle_counts_the_particle_itself():
    axes = np.eye(3)
    direction = np.concatenate([about(axis, 7.0, 6) for axis in axes])
    groups = np.arange(18).reshape(3, 6).repeat(6, 0)
    alike = [np.setdiff1d(own, [k]) for k, own in enumerate(groups)]  # itself left out
    shown = np.repeat([1, 2, 1], 6)
    found = neighbour_spread(np.array(alike), direction, shown)
    assert found == {"median": 7.0, "mean": 7.0, "purity": 1.0}
    mixed = neighbour_spread(np.tile([0, 6, 12], (18, 1)), direction, shown)  # one of each axis: wide
    assert mixed["median"] > 40 and 0.65 < mixed["purity"] < 0.8
    with_noise = np.hstack([alike, np.full((18, 3), 18)])
    noisy = np.vstack([with_noise, with_noise[:1]]), np.vstack([direction, np.zeros(3)]), np.append(shown, 0)
    assert neighbour_spread(*noisy) == found


@pytest.mark.parametrize("axis", [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.48, -0.6, 0.64]], ids=["pole", "other", "side"])
def test_what_classes_have_in_common_is_no_pose_error_and_what_is_planted_is_one(tmp_path, axis):
    axis, count = np.array(axis), 40
    rng = np.random.default_rng(3)
    direction = np.tile(axis, (count, 1))
    poses = Poses(rng.uniform(-180, 180, count), rng.uniform(-10, 10, (count, 2)))
    truth = truth_in(tmp_path, direction, np.ones(count, int), poses)
    common = Poses([77.0], [[3.0, -2.0]])
    label, still = np.ones(count, int), np.zeros(count, bool)
    classes = Classes(truth, np.arange(count), label, still, compose(common, poses))
    assert pose_errors(classes) == {"shift_error": 0.0, "angle_error": 0.0}
    rotation = np.tile([3.0, -3.0], count // 2)
    away = np.tile([[1.5, 0.0], [0.0, 0.0], [-1.5, 0.0], [0.0, 1.5], [0.0, -1.5]], (count // 5, 1))
    wrong = compose(Poses(rotation, away), compose(common, poses))
    found = pose_errors(Classes(truth, np.arange(count), label, still, wrong))
    assert abs(found["angle_error"] - 3) < 0.01
    # the common shift rotated by 3 degrees either way adds a fifth of a pixel
    assert abs(found["shift_error"] - 1.5) < 0.25


def test_tilt_between_views_of_a_class_is_no_error_in_the_plane(tmp_path):
    """About the pole the canonical projections turn with rot; the best pose in a class undoes that."""
    count = 24
    direction = about(np.array([0.0, 0.0, 1.0]), 8.0, count)
    truth = truth_in(tmp_path, direction, np.ones(count, int))
    rot = np.degrees(np.arctan2(direction[:, 1], direction[:, 0]))
    images = molecule("crane", BOX).project(direction, Poses(-rot))  # each rotated so that its pose is rot
    mean = images.mean(0)
    assert min(np.corrcoef(image.ravel(), mean.ravel())[0, 1] for image in images) > 0.9  # they do lie alike
    truth.poses = Poses(-rot)
    upright = Classes(truth, np.arange(count), np.ones(count, int), np.zeros(count, bool), Poses.identity(count))
    assert pose_errors(upright)["angle_error"] < 0.1
    canonical = Classes(truth, np.arange(count), np.ones(count, int), np.zeros(count, bool), Poses(-rot))
    assert pose_errors(canonical)["angle_error"] > 30


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory) -> tuple[Classes, Path, Path]:
    """Classes of 8 and 6 members of crane and boot, their averages true projections, one of them noisy; classes.csv."""
    folder = tmp_path_factory.mktemp("two")
    axes = np.array([[0.6, 0.0, 0.8], [0.0, -0.6, 0.8]])
    direction = np.concatenate([about(axes[0], 4.0, 8), about(axes[1], 4.0, 6)])
    label = np.repeat([1, 2], [8, 6])
    truth = truth_in(folder, direction, label)
    images = [molecule(name, BOX).project(axis[None], Poses([angle], [[4.0, -2.5]]))[0]
              for name, axis, angle in zip(("crane", "boot"), axes, (130.0, -50.0))]  # fmt: skip
    noise = np.random.default_rng(1).standard_normal(images[1].shape).astype(np.float32)
    images[1] = images[1] + 1.5 * images[1].std() * noise
    write_stack(str(folder / "averages.mrcs"), np.array(images), 2.0)
    (folder / "classes.csv").write_text("class,particles,resolution\n1,8,12.5\n2,6,\n")
    classes = Classes(truth, np.arange(14), label, np.zeros(14, bool))
    return classes, folder / "averages.mrcs", folder / "classes.csv"


@pytest.mark.parametrize("hand", [1, -1])
def test_a_projection_moved_and_turned_is_the_true_view_in_full(hand):
    shape, axis = molecule("crane", BOX), np.array([0.48, -0.6, 0.64])
    image = shape.project(hand * axis[None], Poses([140.0], [[5.3, -3.8]]))[0]
    projection, frequency = true_view(image, shape, axis)
    assert np.corrcoef(projection.ravel(), image.ravel())[0, 1] > 0.9999
    assert frequency > 0.45


def test_another_view_agrees_to_low_resolution_only():
    shape = molecule("crane", BOX)
    image = shape.project(np.array([[0.0, 0.6, 0.8]]), Poses([20.0]))[0]
    _, frequency = true_view(image, shape, np.array([0.6, 0.0, 0.8]))
    assert frequency < 0.15


def test_resolutions_are_those_of_averages_and_claims(two_classes):
    classes, averages, table = two_classes
    views = true_views(classes, averages)
    assert [(view.number, view.members) for view in views] == [(1, 8), (2, 6)]
    assert views[0].frequency > 0.45 > views[1].frequency + 0.1 > 0.1
    assert claimed(table) == {1: 12.5, 2: None}
    found = resolutions(classes, averages, 2.0, table)
    assert (found["resolution_claimed"], found["claims"]) == (12.5, 1)
    middle = np.median([2 / view.frequency for view in views])
    assert found["resolution_true"] == pytest.approx(middle, abs=0.06)
    noise = Classes(classes.truth, classes.rows, classes.label, classes.label == 2)
    assert [view.number for view in true_views(noise, averages)] == [1]  # nobody asks what noise is like


def test_two_equal_galleries_look_the_same(two_classes, tmp_path):
    from PIL import Image

    from benchmarks.many_views.gallery import draw

    classes, averages, _ = two_classes
    views = true_views(classes, averages)
    halves = []
    for name, lower in (("equal", views), ("other", views[::-1])):
        draw(tmp_path / f"{name}.png", {"one": views, "the other": lower}, 2.0)
        picture = Image.open(tmp_path / f"{name}.png")
        half = picture.height // 2
        parts = (picture.crop((0, top + half // 6, picture.width, top + half)) for top in (0, half))
        halves.append([np.asarray(part.resize((24, 24), Image.Resampling.BOX), int) for part in parts])
    (upper, equal), (same, other) = halves
    assert np.array_equal(upper, same) and upper.std() > 30
    assert 3 * np.abs(upper - equal).mean() < np.abs(upper - other).mean()


def test_axis_points_to_where_most_lie():
    views = about(np.array([0.0, 1.0, 0.0]), 5.0, 9)
    views[:3] *= -1
    assert np.allclose(axis_of(views), [0, 1, 0], atol=0.05)
