"""An array is a source of particles: what it gives is what a stack of the same images gives."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.errors import UdlError
from scipion_udl.io.particles import open_particles
from scipion_udl.io.source import ArraySource
from scipion_udl.io.stacks import write_stack
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.simulation.particles import noise
from scipion_udl.tests.engine_helpers import CPU


@pytest.fixture
def images():
    return noise(12, 24)


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int16", "uint8"])
@pytest.mark.parametrize("maker", [np.asarray, torch.as_tensor])
def test_grey_values_of_any_real_type_are_read(images, kind, maker):
    whole = (40 * images + 100).clip(0, 255).astype(kind)
    read = ArraySource(maker(whole)).read([7, 0, 7])
    assert read.dtype == np.float32
    assert read.flags.c_contiguous
    assert np.array_equal(read, whole[[7, 0, 7]].astype(np.float32))


def test_a_tensor_that_learns_is_read_too(images):
    tensor = torch.from_numpy(images).requires_grad_()
    assert np.array_equal(ArraySource(tensor).read([3]), images[[3]])


def test_what_is_read_may_be_changed_and_the_array_stays(images):
    before = images.copy()
    for array in (images, torch.from_numpy(images)):
        ArraySource(array).read(np.arange(12))[:] = 0
        ArraySource(array).read([1])[:] = 0
    assert np.array_equal(images, before)


def test_no_more_is_copied_than_is_read(images):
    class Watched(np.ndarray):
        seen: list[int] = []

        def __getitem__(self, key):
            Watched.seen.append(len(key))
            return np.asarray(super().__getitem__(key))

    particles = PreparedParticles(ArraySource(images.view(Watched)), CPU, chunk=5)
    particles.scan()
    assert Watched.seen
    assert max(Watched.seen) == 5


def test_an_array_is_prepared_as_a_stack_of_its_images_to_the_bit(images, tmp_path):
    write_stack(str(tmp_path / "some.mrcs"), images, 2.0)
    file = PreparedParticles(open_particles(str(tmp_path / "some.mrcs")), CPU)
    array = PreparedParticles(ArraySource(torch.from_numpy(images), 2.0, "some.mrcs"), CPU)
    rows = np.arange(12)
    one, other = (particles.all(rows, "test", lambda part, values: values) for particles in (file, array))
    assert torch.equal(one, other)
    assert np.array_equal(file.subset(6, 1), array.subset(6, 1))
    assert np.array_equal(file.duplicates_of, array.duplicates_of)


def test_a_part_of_an_array_keeps_names_and_numbers(images):
    part = ArraySource(images).subset(np.array([5, 2])).subset(np.array([1, 0]))
    assert part.names == ["000003@array", "000006@array"]
    assert part.numbers.tolist() == [3, 6]
    assert part.locations() == [("array", 2), ("array", 5)]
    assert np.array_equal(part.read([0, 1]), images[[2, 5]])
    assert len(part) == 2


@pytest.mark.parametrize("wrong, what", [(np.nan, "NaN"), (np.inf, "infinite"), (1e39, "too large")])
@pytest.mark.parametrize("maker", [np.asarray, torch.as_tensor])
def test_what_is_no_number_is_an_error_that_names_the_image(images, wrong, what, maker):
    images = images.astype(np.float64)
    images[4, 3, 2] = wrong
    source = ArraySource(maker(images)).subset(np.array([9, 4]))
    source.read([0])
    with pytest.raises(UdlError, match=rf"^Image 5 of array .*{what}"):
        source.read([0, 1])


def test_there_is_no_image_beyond_the_last(images):
    with pytest.raises(UdlError, match="no item 13"):
        ArraySource(images).read([12])


@pytest.mark.parametrize(
    "wrong, what",
    [
        (np.zeros((24, 24)), r"\(24, 24\)"),
        (np.zeros((3, 24, 20)), r"\(3, 24, 20\)"),
        (np.zeros((0, 24, 24)), r"\(0, 24, 24\)"),
        (np.zeros((2, 3, 24, 24)), r"\(2, 3, 24, 24\)"),
        ([[1.0]], r"shape \(\)"),
        (np.zeros((3, 8, 8), np.complex64), "complex64"),
        (torch.zeros(3, 8, 8, dtype=torch.complex64), "complex64"),
        (np.zeros((3, 8, 8), bool), "bool"),
        (np.full((3, 8, 8), "a"), "U1"),
    ],
)
def test_an_array_of_another_shape_or_type_is_one_clear_error(wrong, what):
    with pytest.raises(UdlError, match=what):
        ArraySource(wrong)


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan])
def test_a_pixel_size_is_above_0(images, size):
    with pytest.raises(UdlError, match="pixel size"):
        ArraySource(images, size)


def test_an_unknown_pixel_size_is_told(images):
    assert not ArraySource(images).pixel_size_known
    assert "pixel_size" in ArraySource(images).warnings[0]
    assert ArraySource(images, 1.5).warnings == []


def test_an_array_has_no_classes(images):
    with pytest.raises(UdlError, match="no classes"):
        ArraySource(images).classes()
