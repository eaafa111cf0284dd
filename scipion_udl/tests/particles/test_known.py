"""A particle is known again by where it lies and by what its image shows, in a few bytes."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.errors import UdlError
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.particles.known import NUMBER, Known, image_digests, place_digests

N = 50


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).normal(size=(N, 8, 8)).astype(np.float32)
    write_stack("s.mrcs", images, 1.0)
    return images


def test_one_pixel_makes_another_image(images):
    other = images.copy()
    other[:, 3, 5] = np.nextafter(other[:, 3, 5], np.float32(np.inf))
    assert len(set(image_digests(images).tolist()) | set(image_digests(other).tolist())) == 2 * N
    assert np.array_equal(image_digests(images), image_digests(images.copy()))


def test_a_place_is_the_same_by_every_name(images):
    os.symlink("s.mrcs", "link.mrcs")
    places = [place_digests(open_particles(name)) for name in ("s.mrcs", os.path.abspath("s.mrcs"), "link.mrcs")]
    assert np.array_equal(places[0], places[1]) and np.array_equal(places[0], places[2])
    assert len(set(places[0].tolist())) == N


def test_what_is_kept_is_a_few_bytes_a_particle(images):
    known = Known.of(open_particles("s.mrcs"), image_digests(images), np.zeros(N, bool))
    packed = known.packed()
    assert sum(map(len, packed.values())) < 2 * (NUMBER * 4 / 3 * N + 4)
    back = Known.unpacked(packed)
    assert np.array_equal(back.places, known.places) and np.array_equal(back.images, known.images)


def test_constant_images_are_not_each_others_copies(images):
    images[5:7] = 0.0
    blank = (images == 0).all((1, 2))
    known = Known.of(open_particles("s.mrcs"), image_digests(images), blank)
    write_stack("other.mrcs", images[5:7], 1.0)
    other = open_particles("other.mrcs")
    known.refuse_places(other, "run")
    known.refuse_images(other, image_digests(images[5:7]), blank[5:7], "run")
    with pytest.raises(UdlError, match=r"item 2, 000002@.* is among the particles of run already \(the same image"):
        known.refuse_images(other, image_digests(images[[5, 4]]), blank[[5, 4]], "run")
