"""What particles of a micrograph share, and how much micrographs differ."""

import numpy as np
import pytest

from scipion_udl.simulation.effects import Effects
from scipion_udl.simulation.micrographs import Micrographs


def micrographs(count=3000, box=64, seed=1, **options):
    return Micrographs(Effects(**{"per_micrograph": 10, **options}), seed, count, box, (1.0, 2.0))


def test_the_tables_defocus_is_wrong_by_the_error_and_nothing_else():
    mics = micrographs(defocus_error=250.0, astigmatism=300.0)
    error = mics.estimated - mics.true
    assert np.allclose(error[:, 0], error[:, 1])
    assert error[:, 0].std() == pytest.approx(250, rel=0.12)
    assert abs(error.mean()) < 45
    mean = mics.true.mean(1)
    assert mean.min() >= 10000
    assert mean.max() <= 20000
    assert mean.std() == pytest.approx(10000 / np.sqrt(12), rel=0.1)
    difference = mics.true[:, 0] - mics.true[:, 1]
    assert difference.min() >= 0
    assert np.sqrt((difference**2).mean()) == pytest.approx(300, rel=0.12)
    assert np.histogram(mics.angle, 3, (0, 180))[0].min() > 70


def test_without_error_and_astigmatism_the_table_is_right():
    mics = micrographs()
    assert np.array_equal(mics.true, mics.estimated)
    assert np.array_equal(mics.true[:, 0], mics.true[:, 1])
    assert not mics.angle.any()
    assert (mics.contrast == 1).all()
    assert (mics.gain == 1).all()
    assert not mics.offset.any()


def test_contrast_spreads_between_and_within_micrographs_about_the_same_mean_power():
    mics = micrographs(count=20000, thickness=(0.2, 0.1))
    logarithm = np.log(mics.contrast).reshape(-1, 10)
    assert logarithm.std(axis=1, ddof=1).mean() == pytest.approx(0.1, rel=0.05)
    between = np.sqrt(logarithm.mean(1).var() - 0.1**2 / 10)
    assert between == pytest.approx(0.2, rel=0.06)
    assert (mics.contrast**2).mean() == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize(("per_micrograph", "box"), [(10, 64), (200, 512)])
def test_boxes_lie_in_the_micrograph_and_apart(per_micrograph, box):
    mics = micrographs(count=2 * per_micrograph, per_micrograph=per_micrograph, box=box)
    assert np.bincount(mics.number).tolist() == [per_micrograph] * 2
    assert len(set(mics.names())) == 2
    for m in range(2):
        places = mics.coordinates[mics.number == m]
        assert places.min() >= box // 2
        apart = np.abs(places[:, None] - places).max(-1)
        assert apart[~np.eye(len(places), dtype=bool)].min() >= box


def test_grey_values_of_raw_images_are_the_micrographs():
    mics = micrographs(intensities="raw")
    assert len(mics.gain) == len(mics.offset) == 300
    assert np.log(mics.gain).std() == pytest.approx(0.4, rel=0.12)
    assert mics.gain.min() > 0


def test_a_micrograph_does_not_depend_on_how_many_particles_there_are():
    options = {"defocus_error": 200.0, "astigmatism": 200.0, "thickness": (0.2, 0.1), "intensities": "raw"}
    few, many = micrographs(count=23, **options), micrographs(count=60, **options)
    assert np.array_equal(few.coordinates, many.coordinates[:23])
    assert np.array_equal(few.contrast, many.contrast[:23])
    for name in ("true", "estimated", "angle", "gain", "offset"):
        assert np.array_equal(getattr(few, name), getattr(many, name)[:3])
