"""What a training looks at is the same, whether it is held in memory or read anew."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.tests.engine_helpers import prepared
from scipion_udl.training import datasets as module
from scipion_udl.training.datasets import ParticleSamples, TensorSamples, particle_samples

N, BOX = 90, 24
SPECTRA = SpectrumImageSettings(box=BOX, size=8, r_max=3)


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    images = np.random.default_rng(0).normal(size=(N, BOX, BOX))
    images[[3, 40]] = 2.0  # blank ones are not trained on
    found = prepared(tmp_path_factory.mktemp("samples"), images, chunk=16)
    found.scan()
    return found


@pytest.fixture
def indices(particles):
    return particles.subset(80, seed=1)


def fine(particles):
    return lambda part, values: SPECTRA.fine(values, particles.box)


@pytest.mark.parametrize("known", [7, 80, 1000])
@pytest.mark.parametrize("size", [1, 5, 16, 23, 64, 80])
def test_particles_that_are_read_are_those_that_are_held(particles, indices, size, known, monkeypatch):
    monkeypatch.setattr(module, "READ", known)
    held = TensorSamples(particles.all(indices, "spectra", fine(particles)))
    read = ParticleSamples(particles, indices, fine(particles))
    assert len(held) == len(read) == 80
    assert torch.allclose(read.known, held.known[:known], atol=1e-5)
    parts = list(torch.randperm(80, generator=torch.Generator().manual_seed(size)).split(size))
    one, other = list(held.batches(parts)), list(read.batches(parts))
    assert [len(batch) for batch in other] == [len(part) for part in parts]
    for first, second in zip(one, other):
        assert torch.allclose(first, second, atol=1e-5)


def test_parts_of_any_sizes_that_do_not_hold_all(particles, indices):
    held = TensorSamples(particles.all(indices, "spectra", fine(particles)))
    read = ParticleSamples(particles, indices, fine(particles))
    parts = [torch.tensor([5]), torch.arange(79, 20, -1), torch.tensor([2, 2, 71])]
    for first, second in zip(held.batches(parts), read.batches(parts), strict=True):
        assert torch.allclose(first, second, atol=1e-5)
    assert list(read.batches([])) == []


def test_no_batch_comes_before_it_is_asked_for_and_none_stays(particles, indices, monkeypatch):
    """What is held at a time: a batch, the next chunk, and what was left of the last."""
    read, made = ParticleSamples(particles, indices, fine(particles)), []
    whiten = particles.whitening.of_normal
    monkeypatch.setattr(particles.whitening, "of_normal", lambda images: (made.append(len(images)), whiten(images))[1])
    parts = list(torch.arange(80).split(10))
    for number, _ in enumerate(read.batches(parts), 1):
        assert sum(made) <= number * 10 + particles.reader.chunk
    assert sum(made) == 80


def test_what_fits_is_held_and_what_does_not_is_read(particles, indices, monkeypatch):
    assert isinstance(particle_samples(particles, indices, fine(particles)), TensorSamples)
    size = particle_samples(particles, indices, fine(particles)).known.numel() * 4
    monkeypatch.setattr(module, "IN_MEMORY", size)
    assert isinstance(particle_samples(particles, indices, fine(particles)), TensorSamples)
    monkeypatch.setattr(module, "IN_MEMORY", size - 1)
    monkeypatch.setattr(module, "READ", 30)
    bounded = particle_samples(particles, indices, fine(particles))
    assert isinstance(bounded, ParticleSamples)
    assert len(bounded.known) == 30
