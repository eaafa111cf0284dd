"""Projections of molecules: exact, in RELION's frame, rotated and mirrored as the poses say, alike for maps."""

import shutil
import subprocess

import mrcfile
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.maps import read_map, write_map
from scipion_udl.io.stacks import StackReader
from scipion_udl.simulation.map_molecules import MapMolecule
from scipion_udl.simulation.molecules import BlobMolecule, view_matrices
from scipion_udl.simulation.phantoms_3d import PHANTOMS_3D, molecule

ASYMMETRIC = [name for name, (_, symmetry, _) in PHANTOMS_3D.items() if symmetry == "C1"]


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def random_views(count, seed=0):
    """Directions (N, 3) and RELION's angles (N, 3) of the same: rot, tilt, psi."""
    random = np.random.default_rng(seed)
    rot, psi = random.uniform(-180, 180, (2, count))
    tilt = np.degrees(np.arccos(random.uniform(-1, 1, count)))
    a, b = np.radians(rot), np.radians(tilt)
    direction = np.stack([np.sin(b) * np.cos(a), np.sin(b) * np.sin(a), np.cos(b)], -1)
    return direction, np.stack([rot, tilt, psi], -1)


def evenly_over_the_sphere(count):
    k = np.arange(count) + 0.5
    z, rotation = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    return np.stack([np.sqrt(1 - z * z) * np.cos(rotation), np.sqrt(1 - z * z) * np.sin(rotation), z], -1)


def best_correlations(one, other, directions):
    """The best of view j of ``other`` in any turn with view i of ``one``, (n, n)."""
    n, best = len(directions), -1.0
    first = [image.ravel() for image in one.project(directions, Poses.identity(n))]
    for angle in range(0, 360, 10):
        second = [image.ravel() for image in other.project(directions, Poses(np.full(n, float(angle))))]
        best = np.maximum(best, np.corrcoef(first, second)[:n, n:])
    return best


# The frame.


def test_a_blob_is_seen_where_the_direction_says():
    blob = BlobMolecule(np.array([[0.125, 0.25, -0.125, 0.03, 1.0]]), 64)  # at (8, 16, -8) px
    seen = {
        (0.0, 0.0, 1.0): (8, 16),  # along z: x to the right, y down
        (0.0, 0.0, -1.0): (-8, 16),  # rot 0, tilt 180: x is seen the other way round
        (1.0, 0.0, 0.0): (8, 16),  # tilt 90: -z to the right, y down
        (0.0, 1.0, 0.0): (8, -8),  # rot 90, tilt 90: -z to the right, -x down
    }
    for direction, (x, y) in seen.items():
        image = blob.project(np.array([direction]), Poses.identity(1))[0]
        assert np.unravel_index(image.argmax(), image.shape) == (32 + y, 32 + x), direction


def test_the_third_row_of_a_view_is_its_direction():
    directions, _ = random_views(50)
    matrices = view_matrices(directions)
    assert np.allclose(matrices[:, 2], directions)
    assert np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(3))
    assert np.allclose(np.linalg.det(matrices), 1)


@pytest.mark.skipif(not shutil.which("relion_project"), reason="RELION is not installed")
@pytest.mark.parametrize("name", ["boot", "saddle"])
def test_relion_projects_the_same_from_the_same_angles(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    box, count = 64, 6
    directions, angles = random_views(count, seed=1)
    own = molecule(name, box)
    write_map("map.mrc", own.volume(), 2.0)
    optics = "1 one 300 2.7 0.1 2.0 64 2"
    labels = "OpticsGroup OpticsGroupName Voltage SphericalAberration AmplitudeContrast ImagePixelSize ImageSize"
    rows = "\n".join(f"{k + 1}@none.mrcs 1 {a} {b} {c} 0 0" for k, (a, b, c) in enumerate(angles))
    with open("angles.star", "w") as file:
        file.write("data_optics\nloop_\n" + "".join(f"_rln{x}\n" for x in [*labels.split(), "ImageDimensionality"]))
        file.write(f"{optics}\n\ndata_particles\nloop_\n")
        particle = "ImageName OpticsGroup AngleRot AngleTilt AnglePsi OriginXAngst OriginYAngst"
        file.write("".join(f"_rln{x}\n" for x in particle.split()) + rows + "\n")
    command = ["relion_project", "--i", "map.mrc", "--ang", "angles.star", "--o", "out", "--angpix", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    theirs = StackReader("out.mrcs").read()
    psi = angles[:, 2]
    alike = [correlation(*pair) for pair in zip(own.project(directions, Poses(psi)), theirs)]
    assert min(alike) > 0.999
    # neither rotated the other way, nor from the other side, nor mirrored
    others = [
        own.project(directions, Poses(-psi)),
        own.project(-directions, Poses(psi)),
        own.project(directions, Poses(psi, None, np.ones(count, bool))),
    ]
    for other in others:
        assert np.median([correlation(*pair) for pair in zip(other, theirs)]) < 0.9


# What a projection is.


@pytest.mark.parametrize("box", [32, 33])
def test_along_z_a_projection_is_the_sum_of_the_map(box):
    own = molecule("crane", box)
    image = own.project(np.array([[0.0, 0.0, 1.0]]), Poses.identity(1))[0]
    assert np.abs(image - own.volume().sum(0)).max() < 1e-3 * image.max()


@pytest.mark.parametrize("name", PHANTOMS_3D)
def test_views_from_opposite_sides_are_mirror_images(name):
    own = molecule(name, 33)
    directions, _ = random_views(4)
    there = own.project(directions, Poses.identity(4))
    back = own.project(-directions, Poses.identity(4))
    assert np.allclose(back, there[:, ::-1], atol=1e-3 * there.max())  # y -> -y


@pytest.mark.parametrize("kind", [lambda m: m, lambda m: MapMolecule(m.volume(), m.box)], ids=["blobs", "map"])
def test_a_pose_takes_a_particle_to_its_view(kind):
    own = kind(molecule("boot", 49))
    direction = random_views(1)[0]
    view = own.project(direction, Poses.identity(1))[0]
    # rotated clockwise by 90 degrees about the middle, the particle is the view
    rotated = own.project(direction, Poses([90.0]))[0]
    assert np.allclose(np.rot90(rotated, -1), view, atol=1e-3 * view.max())
    shifted = own.project(direction, Poses([0.0], [[4.0, -3.0]]))[0]
    assert np.allclose(shifted[3:, :-4], view[:-3, 4:], atol=1e-3 * view.max())
    mirrored = own.project(direction, Poses([0.0], None, [True]))[0]
    assert np.allclose(mirrored[:, ::-1], view, atol=1e-3 * view.max())


@pytest.mark.parametrize("name", PHANTOMS_3D)
def test_the_centre_of_mass_is_in_the_middle_of_every_view(name):
    directions, _ = random_views(5)
    images = molecule(name, 48).project(directions, Poses.identity(5)).astype(np.float64)
    y, x = np.mgrid[:48, :48] - 24
    for image in images:
        assert np.hypot((image * x).sum(), (image * y).sum()) / image.sum() < 0.02
        assert image.sum() == pytest.approx(images[0].sum(), rel=1e-4)  # the mass is the same from every side


# Maps.


@pytest.mark.parametrize("box", [48, 49])
def test_a_map_projects_as_the_formula_does(box):
    random = np.random.default_rng(2)
    place = random.normal(size=(40, 3))
    place *= 0.3 * np.cbrt(random.random((40, 1))) / np.linalg.norm(place, axis=1, keepdims=True)
    # blobs that the voxels can hold, within a sphere of 0.36 of the box
    blobs = np.column_stack([place, np.full(40, 0.03), random.uniform(0.5, 1.5, 40)])
    formula = BlobMolecule(blobs, box)
    directions, angles = random_views(6)
    poses = Poses(angles[:, 2], random.uniform(-8, 8, (6, 2)), random.random(6) < 0.5)
    expected = formula.project(directions, poses)
    got = MapMolecule(formula.volume(), box).project(directions, poses)
    assert (np.std(got - expected, (1, 2)) / np.std(expected, (1, 2))).max() < 2e-3


@pytest.mark.parametrize(("old", "new"), [(64, 48), (48, 64), (49, 48), (48, 33)])
def test_a_map_on_other_voxels_shows_the_same_field(old, new):
    directions, angles = random_views(3)
    blobs = PHANTOMS_3D["anvil"][0]()
    blobs[:, 3] = np.hypot(blobs[:, 3], 0.035)  # what both grids can hold
    expected = BlobMolecule(blobs, new).project(directions, Poses(angles[:, 2]))
    got = MapMolecule(BlobMolecule(blobs, old).volume(), new).project(directions, Poses(angles[:, 2]))
    assert min(correlation(*pair) for pair in zip(got, expected)) > 0.999


def test_what_is_shifted_out_of_a_map_does_not_come_in_again():
    own = MapMolecule(molecule("tetramer", 32).volume(), 32)
    image = own.project(np.array([[0.0, 0.0, 1.0]]), Poses([0.0], [[15.0, 0.0]]))[0]  # to the left by 15 px
    assert np.abs(image[:, 20:]).max() < 0.01 * image.max()


def test_maps_are_written_and_read_as_volumes(tmp_path):
    volume = molecule("boot", 24).volume()
    path = str(tmp_path / "map.mrc")
    write_map(path, volume, 2.5)
    with mrcfile.open(path) as mrc:
        assert mrc.is_volume()
        assert mrc.voxel_size.z == pytest.approx(2.5)
    got, size = read_map(path)
    assert np.array_equal(got, volume)
    assert size == pytest.approx(2.5)


def test_what_is_no_map_is_refused(tmp_path):
    path = str(tmp_path / "map.mrc")
    with pytest.raises(UdlError, match="is not there"):
        read_map(path)
    write_map(path, np.zeros((8, 8, 10), np.float32), 1.0)
    with pytest.raises(UdlError, match="10 x 8 x 8 voxels"):
        read_map(path)
    write_map(path, molecule("boot", 16).volume(), 1.0)
    with mrcfile.open(path, "r+") as mrc:
        mrc.header.mapc, mrc.header.maps = 3, 1
    with pytest.raises(UdlError, match="in another order"):
        read_map(path)
    with pytest.raises(UdlError, match="map is constant"):
        MapMolecule(np.ones((16, 16, 16)), 16)


# The phantoms.


def test_there_are_enough_of_them_and_one_has_symmetry():
    assert len(ASYMMETRIC) >= 4
    assert PHANTOMS_3D["tetramer"][1] == "D2"


def best_overlap(name, mirrored):
    """How well a molecule fits itself at best, or its mirror image, in any of many turns (of 40 degrees or more)."""
    blobs = PHANTOMS_3D[name][0]()
    place, width, mass = blobs[:, :3], np.hypot(blobs[:, 3], 0.02), blobs[:, 4] * blobs[:, 3] ** 2
    variance = width[:, None] ** 2 + width**2
    weight = mass[:, None] * mass / variance**1.5
    rotations = Rotation.random(1500, random_state=0)
    rotations = rotations if mirrored else rotations[rotations.magnitude() > np.radians(40)]

    def overlap(other):
        return (weight * np.exp(-cdist(place, other, "sqeuclidean") / (2 * variance))).sum()

    moved = place * [1, 1, -1] if mirrored else place
    return max(overlap(moved @ rotation.T) for rotation in rotations.as_matrix()) / overlap(place)


@pytest.mark.parametrize("name", PHANTOMS_3D)
def test_molecules_are_chiral_and_no_more_symmetric_than_they_say(name):
    assert best_overlap(name, mirrored=True) < 0.88
    rotated = best_overlap(name, mirrored=False)
    assert rotated < 0.88 if name in ASYMMETRIC else rotated > 0.92


@pytest.mark.parametrize("name", ASYMMETRIC)
def test_asymmetric_molecules_look_different_from_different_sides(name):
    directions = evenly_over_the_sphere(60)
    own = molecule(name, 32)
    alike = best_correlations(own, own, directions)[directions @ directions.T < np.cos(np.radians(40))]
    assert alike.max() < 0.985
    assert np.median(alike) < 0.85


def test_the_tetramer_looks_the_same_from_four_sides():
    own = molecule("tetramer", 48)
    direction = random_views(1, seed=3)[0]
    view = own.project(direction, Poses.identity(1))[0]
    rotations = Poses(np.arange(0.0, 360.0, 2.0))
    for signs in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1]):
        others = own.project(np.tile(direction * signs, (180, 1)), rotations)
        assert max(correlation(other, view) for other in others) > 0.995


def test_no_two_molecules_are_alike():
    directions = evenly_over_the_sphere(30)
    names = list(PHANTOMS_3D)
    for k, one in enumerate(names):
        for other in names[:k]:
            alike = best_correlations(molecule(one, 32), molecule(other, 32), directions)
            assert np.median(alike.max(1)) < 0.95


@pytest.mark.parametrize("name", PHANTOMS_3D)
def test_molecules_leave_room_for_shifts(name):
    """Off centre by 10 of 128 pixels in x and y no view touches the border of its box."""
    directions = evenly_over_the_sphere(60)
    images = molecule(name, 64).project(directions, Poses(np.zeros(60), np.full((60, 2), 5.0)))
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1)
    assert np.abs(border).max() < 0.02 * images.max()
    widths = [np.ptp(np.flatnonzero((image > 0.05 * image.max()).any(0))) / 64 for image in images]
    assert min(widths) > 0.25
    assert 0.45 < max(widths) < 0.7


def test_unknown_names_and_tiny_boxes_are_refused():
    with pytest.raises(UdlError, match="no phantom 'cat' in 3D; choose one of boot"):
        molecule("cat", 64)
    for make in (lambda: molecule("boot", 4), lambda: MapMolecule(np.ones((8, 8, 8)), 4)):
        with pytest.raises(UdlError, match="too small"):
            make()
