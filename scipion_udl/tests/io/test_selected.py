"""Tables of some particles: rows as they came, and where their centres lie in the micrographs."""

from __future__ import annotations

import numpy as np
import pytest
from emtable import Table as OtherReader

from scipion_udl.imaging.poses import Poses, rotations, to_relion
from scipion_udl.io.dialects import QUALITY_LABEL
from scipion_udl.io.particles import open_particles
from scipion_udl.io.selected import centres, write_coordinates, write_selected
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, number_texts, read_tables, write_tables

COUNT, BOX, PIXEL, MICROGRAPH_PIXEL = 6, 16, 3.0, 1.5


@pytest.fixture
def source(tmp_path):
    """Particles that were binned twice, with poses, classes, coordinates, and a column of somebody's."""
    random = np.random.default_rng(3)
    write_stack(str(tmp_path / "p.mrcs"), random.normal(size=(COUNT, BOX, BOX)).astype(np.float32), PIXEL)
    poses = Poses(random.uniform(-180, 180, COUNT), random.uniform(-3, 3, (COUNT, 2)))
    psi, origin = to_relion(poses)
    optics = {
        "rlnOpticsGroup": ["1"], "rlnOpticsGroupName": ["g"], "rlnImagePixelSize": [str(PIXEL)],
        "rlnMicrographPixelSize": [str(MICROGRAPH_PIXEL)], "rlnImageSize": [str(BOX)], "rlnImageDimensionality": ["2"],
        "rlnVoltage": ["300"], "rlnSphericalAberration": ["2.7"], "rlnAmplitudeContrast": ["0.1"],
    }  # fmt: skip
    particles = {
        "rlnImageName": [f"{k + 1:06d}@{tmp_path}/p.mrcs" for k in range(COUNT)],
        "rlnMicrographName": ["m1.mrc"] * 3 + ["m2.mrc"] * 3,
        "rlnCoordinateX": number_texts(100 + 200.0 * np.arange(COUNT)),
        "rlnCoordinateY": number_texts(np.full(COUNT, 500.0)),
        "rlnAnglePsi": number_texts(psi),
        "rlnOriginXAngst": number_texts(origin[:, 0] * PIXEL),
        "rlnOriginYAngst": number_texts(origin[:, 1] * PIXEL),
        "rlnClassNumber": ["1", "2", "1", "2", "1", "2"],
        "rlnOpticsGroup": ["1"] * COUNT,
        "somebodysColumn": ["0", "0.50", "1e-3", "007", "a", "-"],
    }
    write_tables(str(tmp_path / "in.star"), [Table("optics", optics), Table("particles", particles)])
    return open_particles(str(tmp_path / "in.star")), poses


def test_rows_come_back_character_for_character(source, tmp_path):
    rows = np.array([4, 1])
    write_selected(source[0].subset(rows), str(tmp_path / "out.star"), {QUALITY_LABEL: np.array([0.25, 1.0])})
    found, before = (read_tables(str(tmp_path / name)) for name in ("out.star", "in.star"))
    assert found[0].columns == before[0].columns
    for label in before[1].columns:
        assert list(found[1].texts(label)) == [before[1].texts(label)[k] for k in rows], label
    other = list(OtherReader(fileName=str(tmp_path / "out.star"), tableName="particles"))
    assert [float(row.udlQuality) for row in other] == [0.25, 1.0]
    assert [int(row.rlnClassNumber) for row in other] == [1, 2]


def test_another_form_has_the_same_poses_and_classes(source, tmp_path):
    part = source[0].subset(np.array([0, 3]))
    write_selected(part, str(tmp_path / "out.xmd"), {QUALITY_LABEL: np.array([0.5, 0.5])})
    found = open_particles(str(tmp_path / "out.xmd"))
    assert found.classes().tolist() == [1, 2]
    np.testing.assert_allclose(found.poses().angle, part.poses().angle, atol=1e-4)
    np.testing.assert_allclose(found.poses().shift, part.poses().shift, atol=1e-4)


def test_scores_and_flags_go_along_into_another_form_and_none_is_made_up(source, tmp_path):
    """The quality is no score: RELION's figure of merit and Xmipp's maxCC are those of the alignment, or there are
    none."""
    plain, known = tmp_path / "plain.xmd", tmp_path / "known.xmd"
    write_selected(source[0], str(plain), {QUALITY_LABEL: np.full(COUNT, 0.5)})
    (row, *_) = OtherReader(fileName=str(plain))
    assert not {"maxCC", "udlAmbiguous", "udlOutlier"} & set(row._fields)
    optics, particles = read_tables(str(tmp_path / "in.star"))
    particles.set("rlnParticleFigureOfMerit", number_texts(np.arange(COUNT) / 10))
    particles.set("udlAmbiguous", ["0", "1"] * 3)
    particles.set("udlOutlier", ["1", "0"] * 3)
    write_tables(str(tmp_path / "scored.star"), [optics, particles])
    write_selected(open_particles(str(tmp_path / "scored.star")), str(known), {QUALITY_LABEL: np.full(COUNT, 0.5)})
    rows = list(OtherReader(fileName=str(known)))
    assert [float(row.maxCC) for row in rows] == pytest.approx(np.arange(COUNT) / 10)
    assert [(int(row.udlAmbiguous), int(row.udlOutlier)) for row in rows] == [(0, 1), (1, 0)] * 3


def test_the_centre_of_a_particle_is_where_its_pose_finds_it(source):
    particles, poses = source
    places, warning = centres(particles)
    assert warning is None
    # A point of the particle at p comes to R p + t: what comes to the origin lies at -R^T t, in pixels of the particle.
    at = np.einsum("nji,nj->ni", rotations(poses.angle), -poses.shift)
    coordinates = np.stack([100 + 200.0 * np.arange(COUNT), np.full(COUNT, 500.0)], 1)
    np.testing.assert_allclose(places, coordinates + at * (PIXEL / MICROGRAPH_PIXEL), atol=1e-3)


def test_coordinates_are_written_as_relion_extracts_from_them(source, tmp_path):
    places = np.arange(2.0 * COUNT).reshape(COUNT, 2)
    write_coordinates(source[0], str(tmp_path / "c.star"), places, {QUALITY_LABEL: np.ones(COUNT)})
    found = list(OtherReader(fileName=str(tmp_path / "c.star"), tableName="coordinates"))
    assert [row.rlnMicrographName for row in found] == ["m1.mrc"] * 3 + ["m2.mrc"] * 3
    assert [[float(row.rlnCoordinateX), float(row.rlnCoordinateY)] for row in found] == places.tolist()


def test_without_the_micrographs_pixel_size_that_of_the_particles_is_taken_and_told(source, tmp_path):
    optics, particles = read_tables(str(tmp_path / "in.star"))
    optics.drop(["rlnMicrographPixelSize"])
    write_tables(str(tmp_path / "less.star"), [optics, particles])
    _, warning = centres(open_particles(str(tmp_path / "less.star")))
    assert warning.code == "micrograph_pixel_size_unknown"
    particles.drop(["rlnCoordinateX"])
    write_tables(str(tmp_path / "none.star"), [optics, particles])
    assert centres(open_particles(str(tmp_path / "none.star"))) is None
