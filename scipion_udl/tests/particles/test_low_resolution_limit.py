"""The low-resolution limit: what is coarser, and all particles share, has no say in classes and poses."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from emtable import Table as StarFile

from scipion_udl.imaging.fourier import radii, to_fourier, to_images
from scipion_udl.io.stacks import write_stack
from scipion_udl.tests.class_helpers import DIRECTIONS, random_poses, seen
from scipion_udl.tests.engine_helpers import prepared, run, summary

BOX, COUNT, PIXEL_SIZE, SNR, SHARE = 48, 48, 3.0, 0.3, 0.7
VIEWS = len(DIRECTIONS)
LIMIT = 36.0  # A: ring 4 of a field of 144 A
OWN = np.repeat(np.arange(VIEWS), COUNT)


def micelles(count: int, seed: int) -> np.ndarray:
    """Smooth rings (count, BOX, BOX) of variance 1 about places up to some pixels off the centre."""
    centre = np.random.default_rng(seed).normal(0, 3.0, (count, 2))
    y, x = np.indices((BOX, BOX)) - BOX // 2
    radius = np.hypot(x - centre[:, 0, None, None], y - centre[:, 1, None, None])
    rings = np.exp(-(((radius - 11) / 6) ** 2)) - 0.4 * np.exp(-((radius / 7) ** 2))
    rings -= rings.mean((1, 2), keepdims=True)
    return rings / rings.std((1, 2), keepdims=True)


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """COUNT particles of each view in noise, and the same with a micelle that has SHARE of the signal's power."""
    folder = tmp_path_factory.mktemp("micelles")
    clean = np.concatenate([seen(k, random_poses(COUNT, 10 + k), BOX) for k in range(VIEWS)]) * np.sqrt(SNR)
    noisy = clean + np.random.default_rng(3).normal(size=clean.shape)
    rings = micelles(len(clean), 5) * np.sqrt(SNR * SHARE / (1 - SHARE))
    write_stack(str(folder / "plain.mrcs"), noisy, PIXEL_SIZE)
    write_stack(str(folder / "ringed.mrcs"), noisy + rings, PIXEL_SIZE)
    return folder


def purity(table) -> float:
    """The share of the particles that are in a class of their own view: that of most of its particles."""
    rows = StarFile(fileName=str(table), tableName="particles")
    number = np.array([int(row.rlnClassNumber) for row in rows])
    return sum(np.bincount(OWN[number == k]).max() for k in np.unique(number)) / len(OWN)


def test_views_are_told_apart_in_spite_of_a_micelle(particles, tmp_path):
    words = ("--classes", VIEWS, "--no-refine", "--max-shift", 6, "--threads", 1, "--mask-radius", 18)
    found = {}
    for name, options in (("plain", ()), ("ringed", ()), ("limited", ("--low-resolution-limit", LIMIT))):
        stack = particles / f"{'plain' if name == 'plain' else 'ringed'}.mrcs"
        assert run("classify", stack, "-o", tmp_path / name, *words, *options) == 0
        found[name] = purity(tmp_path / name / "classes.star")
    assert found["plain"] > 0.95
    assert found["ringed"] < 0.85
    assert found["limited"] > 0.93


def test_coefficients_within_the_limit_are_nothing_and_those_beyond_as_they_were(tmp_path):
    images = np.random.default_rng(0).normal(size=(6, BOX, BOX))
    whole = prepared(tmp_path, images)
    _, before = next(whole.chunks(np.arange(6), "test"))
    whole.low_ring = 5
    whole.scan()
    _, after = next(whole.chunks(np.arange(6), "test"))
    ring = radii(BOX)
    assert not after[:, ring <= 4].any()
    assert torch.equal(after[:, ring >= 6], before[:, ring >= 6])


def test_what_is_coarser_has_no_say_in_what_is_compared(tmp_path):
    """Particles whose coarsest rings have other noise are the same but for the deviation of their background."""
    clean, noise = seen(0, random_poses(80, 1), BOX), np.random.default_rng(4).normal(size=(2, 80, BOX, BOX))
    first, second = (to_fourier(torch.from_numpy(one.astype(np.float32))) for one in noise)
    mixed = to_images(torch.where(radii(BOX) < 3, second, first), BOX).numpy()
    found = {}
    for limit in (0, 5):
        for name, images in (("one", clean + noise[0]), ("other", clean + mixed)):
            particles = prepared(tmp_path, images)
            particles.low_ring = limit
            particles.scan()
            found[limit, name] = next(particles.chunks(np.arange(80), "test"))[1]
    apart = [float((found[k, "one"] - found[k, "other"]).norm() / found[k, "one"].norm()) for k in (0, 5)]
    assert apart[1] < 0.05 < 0.1 < apart[0]


def test_particles_that_come_later_are_seen_by_the_limit_of_the_run(particles, tmp_path):
    words = ("--classes", VIEWS, "--no-refine", "--threads", 1, "--mask-radius", 18)
    first = tmp_path / "first"
    assert run("classify", particles / "ringed.mrcs", "-o", first, *words, "--low-resolution-limit", LIMIT) == 0
    assert json.loads((first / "joining_classes.json").read_text())["low_ring"] == 4


def test_limits_that_make_no_sense_are_told(particles, tmp_path, capsys):
    words = ("classify", particles / "plain.mrcs", "-o", tmp_path / "o", "--classes", VIEWS, "--no-refine")
    assert run(*words, "--low-resolution-limit", 8) == 1
    said = capsys.readouterr().err
    assert "--low-resolution-limit 8 leaves" in said
    assert "A or more" in said
    write_stack(str(tmp_path / "unknown.mrcs"), np.zeros((9, BOX, BOX)), 0.0)
    assert run("classify", tmp_path / "unknown.mrcs", "-o", tmp_path / "o", "--low-resolution-limit", 40) == 1
    assert "give --pixel-size" in capsys.readouterr().err
    assert run(*words, "--low-resolution-limit", 500) == 0
    assert any("changes nothing" in note for note in summary(tmp_path / "o")["notes"])
