"""The benchmark of real particles' effects: its sets are what they say, its figures count what they should."""

import numpy as np
import pytest

from benchmarks import realistic
from benchmarks.many_views.particles import Truth, write_classes
from benchmarks.many_views.spread import Classes
from benchmarks.methods.common import Ctf, read_particles
from benchmarks.real_effects import figures
from benchmarks.real_effects.sets import (
    ALIGN,
    ALL,
    CLASSIFY,
    CLEAN,
    TWO_VIEWS,
    Kind,
    PickTruth,
    diameter_of,
    effects_of,
    for_the_oracle,
    make,
)
from benchmarks.real_effects.table import text
from scipion_udl.imaging.poses import Poses, compose
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.truth import read_views
from scipion_udl.simulation.ctf import simulated_ctf


def kind(task, count=24, seed=1):
    return Kind(task, ("--phantom", "boot"), count, 0.2, 32, 8.0, seed)


def stack(folder):
    return StackReader(str(folder / "particles.mrcs")).read()


@pytest.mark.parametrize("task", [CLASSIFY, ALIGN])
def test_sets_differ_by_their_effect_alone(tmp_path, task):
    clean, ramps = (make(kind(task), tmp_path, effect) for effect in (CLEAN, "ramp"))
    planes = stack(ramps) - stack(clean)
    corner = planes[:, 0, 0] + planes[:, 30, 30] - planes[:, 0, 30] - planes[:, 30, 0]
    assert np.abs(planes).max() > 0.3
    assert np.allclose(corner, 0, atol=0.02)  # nothing but planes
    assert np.allclose(PickTruth.read(clean).poses.angle, PickTruth.read(ramps).poses.angle)


def test_every_effect_is_an_option_of_simulate(tmp_path):
    for task in (CLASSIFY, ALIGN):
        assert list(effects_of(task))[-1] == ALL
        for effect in effects_of(task):
            folder = make(kind(task, count=4), tmp_path, effect)
            assert len(PickTruth.read(folder).kind) == 4
            assert np.isfinite(open_particles(str(folder / "particles.star")).read(np.arange(4))).all()


def test_two_views_lie_40_degrees_apart(tmp_path):
    folder = make(kind(ALIGN), tmp_path, TWO_VIEWS)
    _, _, direction = read_views(str(folder / "truth.star"))
    assert len(direction) == 24
    angle = np.degrees(np.arccos(np.minimum(1, direction @ direction[0])))
    assert sorted(np.unique(np.round(angle, 1))) == pytest.approx([0, 40], abs=0.1)


def test_the_oracle_has_the_same_particles_and_noise_and_the_true_defocus(tmp_path):
    one = kind(ALIGN, count=40)
    folder, data = make(one, tmp_path, ALL), for_the_oracle(one, tmp_path, ALL)
    truth = PickTruth.read(folder)
    seen = open_particles(str(data / "particles.star"))
    assert len(seen) == truth.good.sum() < 40
    images = seen.read(np.arange(len(seen)))
    noisy = stack(folder)[truth.good]
    # as gain and offset, ramp and neighbours are all that differs, the two are alike, and more so near the centre
    middle = [np.corrcoef(a[10:22, 10:22].ravel(), b[10:22, 10:22].ravel())[0, 1] for a, b in zip(images, noisy)]
    assert np.median(middle) > 0.95
    assert images.std() == pytest.approx(np.sqrt(1.2), rel=0.1)
    estimate = open_particles(str(folder / "particles.star")).table.numbers("rlnDefocusU")
    assert np.abs(seen.table.numbers("rlnDefocusU") - estimate[truth.good]).max() > 10
    # and its CTF is astigmatic, as the images are
    ctf = Ctf(read_particles(data))
    u, v, angle = (ctf.defocus[:1], ctf.defocus_v[:1], ctf.angle[:1])
    assert u[0] > v[0]
    assert np.array_equal(ctf(np.array([0]))[0], simulated_ctf(ctf.settings, u, 32, 8.0, v, angle)[0])


def test_the_diameter_is_that_of_the_molecule(tmp_path):
    for task in (CLASSIFY, ALIGN):
        # boot: 0.52 of a box of 256 A between its farthest blobs
        assert 0.4 * 256 < diameter_of(make(kind(task), tmp_path, CLEAN)) < 0.65 * 256


def test_picks_are_counted_by_what_they_show():
    truth = PickTruth([("a", k) for k in range(8)], Poses.identity(8), np.array(["none"] * 4 + ["blob"] * 4, object))
    rows = np.array([7, 6, 5, 4, 3, 2, 1, 0])
    outlier = np.array([True, False, False, False, True, False, False, False])
    flagged = np.array([False, True, True, False, False, True, True, False])
    found = figures.picks(figures.Sorted(rows, outlier, flagged), truth)
    assert found["caught"] == 0.75
    assert found["lost"] == 0.5
    assert found["good_outliers"] == 0.25
    assert found["caught_kinds"] == "blob:0.75"


def test_the_true_classes_have_no_spread_and_lose_nothing(tmp_path):
    folder = make(kind(CLASSIFY, count=60), tmp_path, "junk")
    truth, picks = Truth.read(folder), PickTruth.read(folder)
    octant = (truth.direction > 0) @ np.array([1, 2, 4])
    label = np.where(picks.good, 1 + octant, 0)
    write_classes(tmp_path / "classes.star", truth.names, label)
    classes = Classes.read(tmp_path / "classes.star", truth)
    nobody = np.zeros(60, bool)
    found = figures.of_classes(classes, nobody, picks)
    assert found["spread"] < 45
    assert found["lost"] == 0
    assert found["caught"] == 0
    classes.flagged = label[classes.rows] == 0
    caught = figures.of_classes(classes, nobody, picks)
    assert caught["caught"] == 1
    assert caught["lost"] == 0


def test_poses_are_compared_modulo_the_common_transform():
    random = np.random.default_rng(1)
    truth = Poses(random.uniform(-180, 180, 50), random.normal(size=(50, 2)))
    moved = compose(Poses([70.0], np.array([[1.0, 2.0]])), truth)
    assert figures.of_poses(moved, truth)["within_5"] == 1
    moved.angle[:10] += 90
    assert figures.of_poses(moved, truth)["within_5"] == pytest.approx(0.8)


def test_the_table_compares_with_the_clean_set_of_the_same_kind():
    base = {"task": "classify", "shows": "boot", "box": 64, "particles": 100, "snr": "0.1", "program": "classify"}
    rows = [
        {**base, "seed": 1, "effect": "clean", "spread": 10.0, "classes": 5, "classes_asked": 5},
        {**base, "seed": 1, "effect": "all", "spread": 12.5, "classes": 4, "classes_asked": 5, "caught": 0.85},
        {**base, "seed": 2, "effect": "all", "spread": "30", "classes": "4", "classes_asked": "5"},
    ]
    lines = text(rows).splitlines()
    assert len(lines) == 5
    assert "| 12.5° | 1.25 | 4 of 5 |" in lines[3]
    assert "| 85% |" in lines[3]
    assert "| 30.0° |  | 4 of 5 |" in lines[4]
    assert all(line.count("|") == lines[0].count("|") for line in lines)


def test_options_that_fit_nothing_are_told(tmp_path, capsys):
    for words, message in ((["--effects", "nonsense"], "nonsense"), (["--template", "x.png"], "--task align")):
        with pytest.raises(SystemExit):
            realistic.main(["--out", str(tmp_path), *words])
        assert message in capsys.readouterr().err
