"""The closed-form start of the network: it finds the turns, and how far out the spectra agree."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.tests.engine_helpers import turn_errors, turned_spectra
from scipion_udl.training.template_init import fit_template, reliable_radii


@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_known_turns_are_found(noise):
    spectra, rotations = turned_spectra(200, noise)
    found = fit_template(spectra, seed=0).rotations
    assert bool(((found >= 0) & (found < 180)).all())
    assert turn_errors(found, rotations).mean() < 0.5 + noise


def test_the_template_is_the_mean_of_the_spectra_turned_to_it():
    spectra, _ = turned_spectra(200, 1.0)
    fit = fit_template(spectra, seed=0)
    clean = fit.template.std()
    assert float(clean) == pytest.approx(1, abs=0.1)  # the noise is averaged away


def test_more_rounds_bring_the_particles_closer():
    spectra, _ = turned_spectra(200, 1.0)
    losses = [row["loss"] for row in fit_template(spectra, seed=0).history]
    assert losses[-1] < losses[0]
    assert losses[-1] == pytest.approx(min(losses), abs=1e-3)
    assert losses[-1] == pytest.approx(0.5, abs=0.05)  # signal and noise are equally strong


def test_radii_of_noise_have_no_weight():
    spectra, _ = turned_spectra(200, 0.5)
    spectra[:, 6:] = torch.randn(200, 6, 64)
    weight = fit_template(spectra, seed=0).radial_weight
    assert float(weight[:6].min()) > 0.9
    assert float(weight[6:].max()) < 0.6
    assert float(weight.min()) >= 0
    assert float(weight.max()) <= 1


def test_the_same_seed_gives_the_same_template():
    spectra, _ = turned_spectra(100, 1.0)
    first, second = fit_template(spectra, seed=5), fit_template(spectra, seed=5)
    assert torch.equal(first.template, second.template)
    assert torch.equal(first.rotations, second.rotations)


@pytest.mark.parametrize("rotation_range", [8, 14, 19])
def test_the_band_ends_where_the_signal_does(rotation_range):
    spectra, _ = turned_spectra(300, 0.7, radii=19)
    spectra[:, rotation_range:] = torch.randn(300, 19 - rotation_range, 64)
    assert abs(reliable_radii([spectra], seed=0) - rotation_range) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_in_noise_the_least_band_is_kept(seed):
    noise = torch.randn(300, 19, 64, generator=torch.Generator().manual_seed(seed))
    assert reliable_radii([noise], seed=0) == 7


def test_one_particle_is_its_own_template():
    spectra, _ = turned_spectra(1, 0.0)
    fit = fit_template(spectra, seed=0)
    assert fit.rotations.shape == (1,)
    assert fit.history[-1]["loss"] == pytest.approx(0, abs=1e-3)
