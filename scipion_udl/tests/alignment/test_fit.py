"""How well particles fit what two halves agree on: measured right, and no better than picking makes of noise."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.aligner import Aligner, AlignmentPlan
from scipion_udl.alignment.fit import Fit, measure_fit, picked_energy, with_fit
from scipion_udl.alignment.known_start import KnownStart
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.half_set_frc import ResolutionEstimate
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.io.particles import open_particles
from scipion_udl.io.truth import read_truth
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.tests.engine_helpers import CPU, phantom_band, simulate
from scipion_udl.validation.angular_accuracy import with_angular_accuracy


def test_the_best_of_many_normal_deviates_have_the_energy_that_is_expected():
    deviates = np.sort(np.random.default_rng(1).standard_normal(2_000_000))
    for chosen in (0.1, 1e-2, 1e-3):
        best = deviates[-round(chosen * len(deviates)) :]
        assert picked_energy(chosen) == pytest.approx(np.mean(best**2), rel=0.01)


def test_a_picker_that_keeps_less_gets_better_fits_and_hardly_any_beyond_six_deviations():
    energies = [picked_energy(chosen) for chosen in (1e-3, 1e-6, 1e-9)]
    assert energies == sorted(energies)
    assert 6.0**2 < picked_energy() < 6.3**2


def halves(energy, members, seed=0):
    """Averages of ``members`` particles each in noise of variance 1, whose signal has an energy."""
    band, generator = Band(48, 20), torch.Generator().manual_seed(seed)
    signal = phantom_band(band, "hook")
    signal = signal * (energy / (2 * float(band.dot(signal, signal)))) ** 0.5
    noise = [band.of_images(torch.randn(48, 48, generator=generator)) / members**0.5 for _ in range(2)]
    return band, [signal + one for one in noise]


@pytest.mark.parametrize("energy", [0.0, 20.0, 80.0])
def test_the_energy_of_a_particle_is_measured_whatever_noise_the_halves_have(energy):
    found = []
    for seed in range(40):
        band, averages = halves(energy, 50, seed)
        found.append(measure_fit(band, averages, torch.ones(21), np.array([50, 50]), torch.ones(48, 48)))
    values, error = np.array([fit.energy for fit in found]), np.mean([fit.error for fit in found])
    assert np.mean(values) == pytest.approx(energy, abs=4 * error / np.sqrt(40))
    assert np.std(values) < 1.3 * error
    if not energy:
        assert np.std(values) > 0.7 * error


def test_what_the_transfer_takes_from_a_particle_it_cannot_fit_by():
    band, averages = halves(40.0, 1000)
    members, mask = np.array([1000, 1000]), torch.ones(48, 48)
    whole, half = (measure_fit(band, averages, torch.full((21,), t), members, mask).energy for t in (1.0, 0.5))
    assert half == pytest.approx(whole / 2)


def test_a_claim_stands_only_where_particles_fit_better_than_picked_noise():
    estimate, limit = ResolutionEstimate(True, 8.0, "8 A"), picked_energy()
    for fit, stands in (
        (Fit(limit + 1, 0.1), True),
        (Fit(limit - 0.1, 0.0), False),
        (Fit(limit + 1, 0.45), True),
        (Fit(limit + 1, 0.55), False),  # less than two standard deviations: it might be by chance
        (Fit(20.0, 0.1), False),
    ):
        found = with_fit(estimate, fit)
        assert (found == estimate) is stands
        assert found.picked is not stands
        if not stands:
            assert (found.signal, found.resolution) == (False, None)
            assert "No common signal" in found.note
    assert with_fit(estimate, None) == estimate  # nobody asked
    apart = ResolutionEstimate(False, None, "they do not agree")
    assert with_fit(apart, Fit(limit - 1, 0.1)).picked  # each holds too little
    assert not with_fit(apart, Fit(limit - 1, 0.55)).picked  # there are too few
    nothing = ResolutionEstimate(None, None, "too few")
    assert with_fit(nothing, Fit(0.0, 1.0)) == nothing


def test_noise_that_was_picked_to_tell_its_angles_is_not_called_a_signal_for_it():
    none = ResolutionEstimate(False, None, "nothing")
    assert with_angular_accuracy(none, 1.0, Fit(picked_energy() + 5, 0.1)).signal is None
    assert with_angular_accuracy(none, 1.0, Fit(20.0, 0.1)).signal is False
    picked = ResolutionEstimate(False, None, "picked", picked=True)
    assert with_angular_accuracy(picked, 1.0, None) == picked


@pytest.mark.parametrize("energy", [25.0, 100.0])
def test_aligned_particles_fit_by_their_snr_times_the_pixels_of_their_box(tmp_path, energy):
    """Halves that were refined apart, from where the particles lie: 25, as much as picked noise, or 100."""
    data = simulate(tmp_path / "sim", 600, 48, energy / 48**2, max_shift=2.0)
    particles = PreparedParticles(open_particles(str(data / "particles.star")), CPU)
    start = KnownStart(read_truth(str(data / "truth.star"))[1], 8)
    aligner = Aligner(particles, None, SpectraSettings.for_box(48), AlignmentPlan(3.0))
    fit = aligner.run(start=start).fit
    assert fit.energy == pytest.approx(energy, rel=0.25)  # aligned noise adds to it, the mask takes of it
    assert fit.like_picked_noise is (energy < picked_energy())
