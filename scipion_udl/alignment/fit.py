"""How well particles fit what two halves of them agree on, and how well noise fits that was picked with a template.

Windows that hold nothing but noise, picked because they look like a template, have something in common: the template.
Half sets agree on it, to any frequency that the template has, for each window was chosen to show it; so agreement
alone proves nothing of particles that were picked with one. What tells is how much of it a single window holds.
Picking takes the best of many placements (windows, orientations, shifts). In units of the noise's standard deviation
the fit of noise to a template is a normal deviate, so that whoever keeps the share q of all placements has fits beyond
the threshold u with Q(u) = q, and their mean square is 1 + u phi(u) / Q(u), whatever the template, the spectrum of the
noise and its CTF are, and however many windows there are. A particle's fit to its own density has the mean square
signal / noise, summed over its Fourier coefficients: SNR times the pixels of the box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import special

from scipion_udl.imaging.band import Band
from scipion_udl.imaging.half_set_frc import ResolutionEstimate
from scipion_udl.messages import message

# The smallest share of all placements that a picker keeps: fits beyond 6 standard deviations. A micrograph of 4096 A by
# 4096 A and a template of 100 A seen to 20 A have some 5 million that are independent: one pick in 200 micrographs.
CHOSEN = 1e-9
CAUTION = 2.0  # standard deviations of its estimate by which a fit must be better


@dataclass
class Fit:
    """energy: mean square fit of a particle to what both halves agree on, squared standard deviations of the noise;
    error: the standard deviation of its estimate."""

    energy: float
    error: float

    @property
    def deviations(self) -> float:
        """The fit of a particle, standard deviations of the noise."""
        return float(np.sqrt(max(self.energy, 0.0)))

    @property
    def like_picked_noise(self) -> bool:
        """Whether windows of noise could fit as well that were picked because they do."""
        return not self.energy - CAUTION * self.error > picked_energy()

    @property
    def surely_no_better(self) -> bool:
        """Whether windows of noise that were picked fit better, beyond the doubt of the estimate."""
        return self.energy + CAUTION * self.error < picked_energy()


def picked_energy(chosen: float = CHOSEN) -> float:
    """The mean square fit of windows of noise to the template that they were picked with.

    Parameters
    ----------
    chosen : float, optional
        The share of all placements that were kept, 0 to 1.

    Returns
    -------
    float
        Squared standard deviations.
    """
    limit = -special.ndtri(chosen)
    return float(1 + limit * np.exp(-(limit**2) / 2) / np.sqrt(2 * np.pi) / chosen)


def measure_fit(
    band: Band, averages: list[torch.Tensor], ctf: torch.Tensor, members: np.ndarray, mask: torch.Tensor
) -> Fit:
    """The fit of the particles of two halves that were refined apart.

    Noise that the halves do not share gives 0 on average; how far off 0 is told by how the halves differ in as many
    independent coefficients as the mask leaves.

    Parameters
    ----------
    band : Band
        That of the averages.
    averages : list of (band) complex tensors
        Of each half, in one frame and behind the mask, their CTF taken out, in units of the noise (variance 1 a
        coefficient).
    ctf : (k_max + 1,) tensor
        Squared CTF of a particle per ring.
    members : (2,) int array
        Particles of either half.
    mask : (box, box) tensor
        The soft disc.

    Returns
    -------
    Fit
        The energy and its error.
    """
    first, second = averages
    each = ctf.double().to(band.device)
    energy = 2 * float((band.ring_sums((first * second.conj()).real) * each).sum())
    noise = float((band.ring_sums((first - second).abs().square()) * each).sum())
    independent = 2 * float(band.ring_count.sum()) * float(mask.double().square().mean())
    variance = noise**2 / max(independent, 1.0) + 4 * max(energy, 0.0) / max(int(members.sum()), 1)
    return Fit(energy, float(np.sqrt(variance)))


def with_fit(estimate: ResolutionEstimate, fit: Fit | None) -> ResolutionEstimate:
    """A claim that knows how well the particles fit.

    Where halves agree, but windows of noise that were picked with a template would as well, there is no signal to speak
    of; where they do not agree, the fit tells whether that is for want of signal in each particle.

    Parameters
    ----------
    estimate : ResolutionEstimate
        What the halves' agreement says.
    fit : Fit or None
        None where it was not measured.

    Returns
    -------
    ResolutionEstimate
        With a note where its signal and resolution are taken away.
    """
    if fit is None or estimate.signal is None:
        return estimate
    if estimate.signal is False:
        return replace(estimate, picked=fit.surely_no_better)
    if not fit.like_picked_noise:
        return estimate
    note = message("like_picked_noise", deviations=fit.deviations, most=np.sqrt(picked_energy()))
    return replace(estimate, signal=False, resolution=None, note=note, picked=True)
