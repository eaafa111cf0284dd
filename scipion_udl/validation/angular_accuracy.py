"""How many particles of a set have an angle that can be relied on, by what the particles themselves say.

At very low SNR a particle fits an average nearly as well in other orientations as in its own, and no alignment can know
better. Averages, FRC and the spread of angles between rounds do not tell: the particles that went astray are blurred
away, and they stay where they are. The likelihood of all angles tells.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from scipion_udl.alignment.aligner import Alignment
from scipion_udl.alignment.averages import Averages
from scipion_udl.alignment.exhaustive_em import log_likelihoods
from scipion_udl.alignment.fit import Fit
from scipion_udl.alignment.wiener import WienerFilter
from scipion_udl.constants import shift_search_range
from scipion_udl.imaging.band import Band, ShiftMaps
from scipion_udl.imaging.half_set_frc import ResolutionEstimate
from scipion_udl.imaging.orientations import Orientations
from scipion_udl.imaging.poses import mirrored_first, wrap
from scipion_udl.messages import Message, message
from scipion_udl.particles.coarser import coarser
from scipion_udl.particles.prepared import PreparedParticles

BAND = 20  # Fourier pixels: what is finer adds little to coarse angles
ANGLES = 72  # over 180 degrees
CLOSE = 10.0  # degrees
LOOK, AT_ONCE = 256, 32  # particles looked at, at most and before it is asked whether that is enough
LEAST_SPREAD = 0.1  # of the likelihood from particle to particle: few that agree may do so by chance
CLEAR = 4.0  # standard errors by which the share of sure particles is above ENOUGH: no more are looked at
ENOUGH = 0.9  # share of sure particles below which the user is told
STEP = 16  # particles at a time: bounds the memory of the maps


def with_angular_accuracy(estimate: ResolutionEstimate, sure: float, fit: Fit | None = None) -> ResolutionEstimate:
    """A claim that knows what :func:`expected_accuracy` found.

    Where halves agree on nothing finer than their common start, that may be all there is to see: particles that
    nevertheless tell their angles by themselves are no noise (of noise 14 to 27 % seem to), unless they fit no better
    than noise that was picked to tell them.

    Parameters
    ----------
    estimate : ResolutionEstimate
        What the halves' agreement says.
    sure : float
        Share of sure particles, 0 to 1.
    fit : Fit, optional
        How well the particles fit what both halves agree on; None where it was not measured.

    Returns
    -------
    ResolutionEstimate
        With ``sure``, unless there is no signal; with a note where the signal is now an open question.
    """
    picked = estimate.picked or (fit is not None and fit.like_picked_noise)
    if estimate.signal is False and sure >= ENOUGH and not picked:
        note = message("angles_beyond_claim", sure=sure, near=CLOSE)
        return replace(estimate, signal=None, note=note, sure=sure)
    return replace(estimate, sure=sure if estimate.signal else None)


def angular_accuracy_warnings(sure: float | None) -> list[Message]:
    """The sentence for the user where :func:`expected_accuracy` is low.

    Parameters
    ----------
    sure : float or None
        Share of sure particles, 0 to 1; None where it was not asked.

    Returns
    -------
    list of Message
        Empty where the share is not low, or was not asked.
    """
    if sure is None or sure >= ENOUGH:
        return []
    return [message("angles_uncertain", sure=sure, near=CLOSE)]


@torch.no_grad()
def expected_accuracy(
    particles: PreparedParticles, alignment: Alignment, averages: Averages, max_shift: float
) -> float:
    """The expected share (0 to 1) of particles whose angle, modulo 180 degrees, is right to CLOSE degrees.

    Every particle of a subset is compared with the average of the half that it is not in, in all orientations and
    shifts; what counts is how much of its likelihood lies about the angle that it was given. Where the first
    few leave no doubt that the share is enough, no more of them are.

    Parameters
    ----------
    particles : PreparedParticles
        Those that were aligned.
    alignment : Alignment
        Theirs, whose halves were refined apart.
    averages : Averages
        Theirs, with halves.
    max_shift : float
        Shifts that are looked at, pixels of the input.

    Returns
    -------
    float
        From 0 to 1.
    """
    particles = coarser(particles, BAND)
    band = Band(particles.box, particles.within(BAND), particles.device)
    maps = ShiftMaps(band, shift_search_range(max_shift / particles.scale), particles.box / (4 * band.k_max))
    chosen = particles.subset(LOOK, 1)
    references = _references(particles, averages, band)
    sure = np.zeros(0)
    for part in np.split(chosen, range(AT_ONCE, len(chosen), AT_ONCE)):
        sure = np.append(sure, _near(particles, part, alignment, references, band, maps))
        if sure.mean() - ENOUGH > CLEAR * max(sure.std(), LEAST_SPREAD) / len(sure) ** 0.5:
            break
    return float(sure.mean())


def _near(
    particles: PreparedParticles,
    chosen: np.ndarray,
    alignment: Alignment,
    references: list[Orientations],
    band: Band,
    maps: ShiftMaps,
) -> np.ndarray:
    """How much of the likelihood of the particles ``chosen`` (n,) lies about the angle that each was given, (n,), not
    in their order."""
    angles = torch.arange(ANGLES, dtype=torch.float64) * (180.0 / ANGLES)
    poses = mirrored_first(alignment.poses)
    sure = [np.zeros(0)]
    for part, coefficients in particles.chunks(chosen, "angular accuracy"):
        images = band.crop(particles.apply_ctf(part, coefficients))
        for number, orientations in enumerate(references):
            own = np.flatnonzero(alignment.half[part] != number)
            for rows in np.split(own, range(STEP, len(own), STEP)):
                if not len(rows):
                    continue
                likely = _angle_likelihood(images[torch.from_numpy(rows)], orientations, maps).cpu()
                given = torch.from_numpy(poses.angle[part[rows]])
                near = np.abs(wrap((angles - given[:, None]).numpy(), 180.0)) <= CLOSE
                sure.append((likely.numpy() * near).sum(1))
    return np.concatenate(sure)


def _references(particles: PreparedParticles, averages: Averages, band: Band) -> list[Orientations]:
    """The halves' averages, weighted, in all orientations: they show a particle whose (relative) CTF is 1."""
    found = particles.statistics
    background, noise = (np.full(2, np.median(v[~found.blank])) for v in (found.mean, found.std))
    images = torch.from_numpy(np.stack(averages.both[0])).to(particles.device)
    seen = band.crop(particles.whitening.of(images, background, noise))
    halves = [band.masked(half, particles.disc.mask) for half in seen]
    weight = band.spread(WienerFilter(band, halves).weight(1))
    return [Orientations(band, half * weight, ANGLES) for half in halves]


def _angle_likelihood(particles: torch.Tensor, orientations: Orientations, maps: ShiftMaps) -> torch.Tensor:
    """The likelihood of every angle modulo 180, (n, ANGLES) float64 that sum to 1, of particles (n, band) that were
    multiplied with their CTF; all shifts and both ways round count together."""
    found = log_likelihoods(particles, orientations, maps)
    logs = [torch.logsumexp(values.double(), 2).view(len(values), 2, -1).logsumexp(1) for values in found]
    return torch.softmax(torch.cat(logs).T, 1)
