"""Tables of images that were rotated and mirrored: axes of astigmatism and priors lie as they do in the images."""

import numpy as np
import pytest
import torch

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.rotated_columns import rotate_columns, rotate_fields, rotated_axis
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, read_tables, write_tables

BOX = 65
AXIS = np.array([30.0, 30.0, 100.0, 170.0])
POSES = Poses([25.0, 25.0, -140.0, 90.0], None, [False, True, True, False])


def bar(angle):
    """An image (BOX, BOX) of a bar through the middle at an angle (degrees from x to y, y down)."""
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    across = -x * np.sin(np.radians(angle)) + y * np.cos(np.radians(angle))
    return np.exp(-0.5 * (across / 2) ** 2) * (np.hypot(x, y) < 25)


def axis_of(image):
    """The direction of the longest extent of an image, degrees in [0, 180)."""
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    xx, yy, xy = (image * x * x).sum(), (image * y * y).sum(), (image * x * y).sum()
    return np.degrees(np.arctan2(2 * xy, xx - yy) / 2) % 180


def test_an_axis_turns_as_a_bar_in_the_image_does():
    images = torch.from_numpy(np.stack([bar(angle) for angle in AXIS])).float()
    applied = apply_poses(images, torch.zeros(4), POSES).numpy()
    found = np.array([axis_of(image) for image in applied])
    np.testing.assert_allclose(wrap(rotated_axis(AXIS, POSES) - found, 180), 0, atol=0.2)


def test_the_psi_prior_still_brings_the_tube_along_x():
    """Psi brings a tube at -psi along x, in the new image as in the old one; a tube has two ends."""
    psi = np.array([31.0, -75.0, 120.0, 0.0])
    images = torch.from_numpy(np.stack([bar(-angle) for angle in psi])).float()
    new = apply_poses(images, torch.zeros(4), POSES)
    table = Table("particles", {"rlnAnglePsiPrior": [str(p) for p in psi], "rlnAngleTiltPrior": ["88.0"] * 4})
    rotate_columns(table, None, POSES)
    straight = apply_poses(new, torch.zeros(4), Poses(table.numbers("rlnAnglePsiPrior"))).numpy()
    np.testing.assert_allclose(wrap(np.array([axis_of(image) for image in straight]), 180), 0, atol=0.2)
    assert table.numbers("rlnAngleTiltPrior").tolist() == [88.0, 92.0, 92.0, 88.0]


def test_what_is_unknown_stays_unknown():
    table = Table("particles", {"rlnDefocusAngle": ["-999", "", "None", "30.0"]})
    rotate_columns(table, None, POSES)
    assert table.texts("rlnDefocusAngle") == ["-999", "", "None", "120.000000"]


def test_beam_tilt_and_odd_terms_are_left_out_with_a_warning_and_zeros_stay():
    directed = {"rlnBeamTiltX": ["0.1"], "rlnBeamTiltY": ["0"], "rlnOddZernike": ["[0.1,0.2]"], "rlnMagMat01": ["0.02"]}
    optics = Table("optics", {**directed, "rlnMagMat00": ["1.000"], "rlnVoltage": ["300"], "rlnEvenZernike": ["[0,0]"]})
    warnings = rotate_columns(Table("particles", {"a": ["1"] * 4}), optics, POSES)
    assert list(optics.columns) == ["rlnBeamTiltY", "rlnMagMat00", "rlnVoltage", "rlnEvenZernike"]
    assert all(label in warnings[0] for label in ("rlnBeamTiltX", "rlnOddZernike", "rlnMagMat01"))


def test_the_fields_of_a_cs_turn_alike():
    fields = {
        "ctf/df_angle_rad": np.radians(AXIS).astype(np.float32),
        "ctf/tilt_A": np.full((4, 2), 3.0, np.float32),
        "ctf/tetra_A": np.zeros((4, 4), np.float32),
        "alignments3D/pose": np.ones((4, 3), np.float32),
    }
    warnings = rotate_fields(fields, POSES)
    np.testing.assert_allclose(np.degrees(fields["ctf/df_angle_rad"]), rotated_axis(AXIS, POSES), atol=1e-3)
    assert not fields["ctf/tilt_A"].any()
    assert "alignments3D/pose" not in fields
    assert all(word in warnings[0] for word in ("ctf/tilt_A", "alignments3D"))
    assert "tetra" not in warnings[0]


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stack("s.mrcs", np.random.default_rng(0).normal(size=(4, 12, 12)), 1.6)
    columns = {"rlnImageName": [f"{k + 1:06d}@s.mrcs" for k in range(4)], "rlnDefocusU": ["11000"] * 4}
    columns |= {"rlnDefocusV": ["10000"] * 4, "rlnDefocusAngle": [f"{a}" for a in AXIS], "rlnOpticsGroup": ["1"] * 4}
    columns |= {"rlnAnglePsiPrior": ["10"] * 4}
    optics = {"rlnOpticsGroupName": ["mine"], "rlnOpticsGroup": ["1"], "rlnImagePixelSize": ["1.6"]}
    optics |= {"rlnVoltage": ["300"], "rlnSphericalAberration": ["2.7"], "rlnAmplitudeContrast": ["0.1"]}
    write_tables("in.star", [Table("optics", optics), Table("particles", columns)])
    return open_particles("in.star")


def test_the_tables_that_name_the_aligned_images_turn_and_the_others_stay(source):
    def columns(poses, stack):
        write_aligned(
            source, poses, np.ones(4), np.zeros(4, bool), star="a.star", xmd="a.xmd", cs="a.cs", aligned_stack=stack
        )
        star, xmd = read_tables("a.star")[1], read_tables("a.xmd")[0]
        cs = np.degrees(np.load("a.cs")["ctf/df_angle_rad"])
        return star.numbers("rlnDefocusAngle"), xmd.numbers("ctfDefocusAngle"), cs, star.numbers("rlnAnglePsiPrior")

    star, xmd, cs, prior = columns(POSES, "aligned.mrcs")
    np.testing.assert_allclose(star, rotated_axis(AXIS, POSES), atol=1e-5)
    np.testing.assert_allclose(wrap(cs - rotated_axis(AXIS, POSES), 180), 0, atol=1e-3)
    np.testing.assert_allclose(xmd, AXIS)  # it names the images as they are, with pose and flip
    assert (prior != 10).all()
    unmirrored = Poses(POSES.angle)
    star, xmd, cs, prior = columns(unmirrored, "aligned.mrcs")  # these tables name the images as they are
    np.testing.assert_allclose([star, xmd, cs], [AXIS] * 3, atol=1e-4)
    assert (prior == 10).all()
