"""What is odd about a set: more than one view, no best way round, images that come twice or outshine the rest.

Looked at once everything is aligned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from scipion_udl.alignment.aligner import Alignment
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import transform
from scipion_udl.imaging.half_set_frc import ResolutionEstimate
from scipion_udl.imaging.poses import mirrored_first
from scipion_udl.messages import Message, message
from scipion_udl.particles.coarser import coarser
from scipion_udl.particles.prepared import PreparedParticles

BAND = 10  # Fourier pixels: coarse shape is where views differ most
LOOK = 2048  # particles looked at, at most
WEAKEST = 0.02  # of the strongest ring's power: weaker ones are not taken to be weaker than that
COARSE = 1.0  # periods in the particle's radius: what is coarser is alike in all views
# Share of the average's power above which views are called mixed. Views within 5 degrees per axis, as those of any
# class, come to 0.02 to 0.07, two views 40 degrees apart, half and half, to 0.22 to 0.41.
MIXED = 0.1
FEW = 0.7  # share of the particles that a plain mean must be worth


def image_warnings(particles: PreparedParticles) -> list[Message]:
    """Sentences for the user about images that come twice or are much brighter than the rest.

    Parameters
    ----------
    particles : PreparedParticles
        Once they were scanned.

    Returns
    -------
    list of Message
        Empty where there are none.
    """
    warnings = []
    count = len(particles)
    copies = np.flatnonzero(particles.duplicates_of != np.arange(count))
    if len(copies):
        again, first = particles.source.numbers[[copies[0], particles.duplicates_of[copies[0]]]]
        warnings.append(message("duplicate_images", count=len(copies), total=count, again=again, first=first))
    noise = particles.statistics.std[particles.usable]
    worth = worth_of_mean(noise) if len(noise) else 1.0
    if worth < FEW:
        warnings.append(message("scales_differ", spread=np.quantile(noise, 0.99) / np.median(noise), worth=worth))
    return warnings


def worth_of_mean(noise: np.ndarray) -> float:
    """Share of images that their plain mean is worth.

    Parameters
    ----------
    noise : (N,) array
        Standard deviations of the images' noise, finite and above 0, in any unit, as large or small as its type holds.

    Returns
    -------
    float
        1 where all have the same noise, less where few are much louder.
    """
    relative = noise.astype(np.float64) / noise.max()  # squares of grey values need not be within single precision
    return float(relative.sum() ** 2 / (relative**2).sum() / len(relative))


def consider_views(
    particles: PreparedParticles,
    alignment: Alignment,
    estimate: ResolutionEstimate,
    one_view: bool = True,
    of_a_class: bool = False,
    limited: bool = False,
) -> tuple[ResolutionEstimate, list[Message]]:
    """The claim, without a resolution where views are mixed, and what the user is told of ambiguity and mixed views.

    Parameters
    ----------
    particles : PreparedParticles
        Those that were aligned.
    alignment : Alignment
        Theirs.
    estimate : ResolutionEstimate
        What the halves' agreement says.
    one_view : bool, optional
        False where the views of a class are known to be near each other, not one.
    of_a_class : bool, optional
        Whether the particles are those of a class of several.
    limited : bool, optional
        Whether shifts had too small a limit, which mixes what is aligned just so.

    Returns
    -------
    estimate : ResolutionEstimate
        With a note on why it has no resolution, where that was taken away.
    warnings : list of Message
        None where all is well.
    """
    warnings = []
    used = particles.usable
    ambiguous = float(alignment.ambiguous[used].mean()) if len(used) else 0.0
    if estimate.signal is not False and ambiguous > 0.5 and len(used) > 1:
        sentence = message("ambiguous_halfturn", share=ambiguous)
        warnings.append(sentence)
    if particles.statistics.opposite:  # told when they were read; not one view as they are, though they may be of one
        note = message("no_claim_of_polarities")
        return replace(estimate, resolution=None, note=note), warnings
    if one_view and estimate.signal is not False and (~alignment.outlier[used]).sum() >= 16:
        mixture = measure_mixture(particles, alignment)
        if mixture.share > MIXED and mixture.sigma > 5:
            advice = (
                "In a classification into more classes, each holds fewer views."
                if of_a_class
                else "Classify the particles first and align each class."
            )
            note = message("no_claim_of_mixed_views")
            if limited:  # particles that could not be brought into register differ, too
                note = message("no_claim_at_limit")
            else:
                sentence = message("mixed_views", share=mixture.share, advice=advice)
                warnings.append(sentence)
            estimate = replace(estimate, resolution=None, note=note)
    return estimate, warnings


@dataclass
class Mixture:
    """How much aligned particles of a set differ among each other.

    share: the variance of the largest difference over the power of the average, noise taken off; sigma: how many
    standard deviations that variance lies above noise.
    """

    share: float
    sigma: float


@torch.no_grad()
def measure_mixture(particles: PreparedParticles, alignment: Alignment) -> Mixture:
    """The largest way in which aligned particles differ from their average, in a coarse band.

    The average is taken off every particle ring by ring, each with an amplitude of its own, for particles differ in
    their CTF; rings in which it is strong weigh less, or what counts would depend on the CTF. The first principal
    component of one half is looked for in the other, so that noise alone gives nothing; the noise in it is measured
    on white noise behind the same mask. Outliers are left out.

    Parameters
    ----------
    particles : PreparedParticles
        Those that were aligned.
    alignment : Alignment
        Theirs.

    Returns
    -------
    Mixture
        How much they differ.
    """
    particles = coarser(particles, BAND)
    band = Band(particles.box, particles.within(BAND), particles.device)
    poses = mirrored_first(alignment.poses)
    inside = band.disc.bool() & (band.ring >= min(round(COARSE * particles.box / particles.disc.radius), band.k_max))
    root = band.weight.sqrt()[inside]
    ring = band.ring[inside].repeat(2)

    def vectors(images: torch.Tensor) -> torch.Tensor:
        kept = band.of_images(images * particles.disc.mask)[:, inside] * root
        return torch.cat([kept.real, kept.imag], -1)

    def aligned(part: np.ndarray, coefficients: torch.Tensor) -> torch.Tensor:
        angle = torch.from_numpy(poses.angle[part]).to(band.device)
        shift = torch.from_numpy(poses.shift[part] / particles.scale).to(band.device)
        return vectors(transform(coefficients, particles.box, angle, shift))

    chosen = particles.subset(len(particles), 0)
    data = particles.all(chosen[~alignment.outlier[chosen]][:LOOK], "heterogeneity", aligned)
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(512, particles.box, particles.box, generator=generator).to(band.device)
    noise = vectors(white)
    mean = data.mean(0)
    per_ring = [_power(mean[ring == k], noise[:, ring == k], len(data)) for k in range(BAND + 2)]
    scale = torch.tensor(per_ring).clamp(min=WEAKEST * max(per_ring) + 1e-12).pow(-0.25).to(band.device)[ring]
    data, noise, mean = data * scale, noise * scale, mean * scale
    power = _power(mean, noise, len(data))
    for number in range(1, BAND + 1):
        part = mean * (ring == number)
        part = part / part.norm().clamp(min=1e-12)
        data -= (data @ part)[:, None] * part
        noise -= (noise @ part)[:, None] * part
    first, second = data[::2], data[1::2]
    direction = torch.linalg.eigh((first.T @ first).double()).eigenvectors[:, -1].float()
    found = float((second @ direction).pow(2).mean())
    expected = float((noise @ direction).pow(2).mean())
    error = expected * np.sqrt(2 / len(second) + 2 / len(noise))
    return Mixture((found - expected) / max(power, 1e-12), (found - expected) / error)


def _power(mean: torch.Tensor, noise: torch.Tensor, count: int) -> float:
    """The power of the mean (V,) of ``count`` particles without that of its noise; noise: (M, V), of single ones."""
    return float(mean.pow(2).sum() - noise.pow(2).sum(1).mean() / count)
