"""Particles of different views come apart into their classes, rotated and shifted as they are."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
from emtable import Table

from scipion_udl.cli import main
from scipion_udl.io.truth import read_views

VIEWS = 4


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """Two molecules that differ and noise, in one set, sorted into classes."""
    folder = tmp_path_factory.mktemp("classify")
    words = "--views random --phantom boot --second anvil --second-share 0.4 --count 240 --snr 0.5 --box 48"
    words += " --pixel-size 5.4 --shift 3 --seed 3 --threads 1"
    assert main(["simulate", str(folder / "set"), *words.split()]) == 0
    out = folder / "out"
    options = f"--classes {VIEWS} --starts 1 --threads 1 --no-refine --gpu none"
    assert main(["classify", str(folder / "set/particles.star"), "-o", str(out), *options.split()]) == 0
    return folder / "set", out


def test_every_particle_is_in_a_class_and_class_1_is_the_largest(classified):
    _, out = classified
    rows = list(Table(fileName=str(out / "classes.star"), tableName="particles"))
    sizes = np.bincount([int(row.rlnClassNumber) for row in rows])[1:]
    assert sizes.sum() == 240
    assert (np.diff(sizes) <= 0).all()


def test_particles_of_a_class_look_in_nearby_directions(classified):
    folder, out = classified
    names, _, direction = read_views(str(folder / "truth.star"))
    where = {name: k for k, name in enumerate(names)}
    rows = list(Table(fileName=str(out / "classes.star"), tableName="particles"))
    label = np.array([int(row.rlnClassNumber) for row in rows])
    views = direction[[where[row.rlnImageName] for row in rows]]
    spread = []
    for number in np.unique(label):
        own = views[label == number]
        axis = np.linalg.eigh(own.T @ own)[1][:, -1]
        spread.append(np.degrees(np.arccos(np.minimum(1, np.abs(own @ axis)))))
    assert np.median(np.concatenate(spread)) < 48  # 60 by chance


def test_averages_hold_more_than_the_particles_as_they_came(classified):
    _, out = classified
    with mrcfile.open(out / "averages.mrcs") as after, mrcfile.open(out / "averages_before.mrcs") as before:
        assert after.data.shape == before.data.shape
        assert after.data.var(axis=(1, 2)).sum() > 1.5 * before.data.var(axis=(1, 2)).sum()
