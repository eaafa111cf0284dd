"""Does the set hold one view, and is one way round better than the other? Looked at once everything is aligned."""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.alignment.aligner import Alignment
from scipion_udl.alignment.fourier import Band, transform
from scipion_udl.alignment.prepare import PreparedParticles
from scipion_udl.alignment.resolution import Claim

BAND = 10  # Fourier pixels: coarse shape is where views differ most
LOOK = 2048  # particles looked at, at most
RINGS = 3  # amplitudes of the average that each particle may scale by itself (its CTF does)


def view_warnings(
    particles: PreparedParticles, alignment: Alignment, average: np.ndarray, claim: Claim
) -> list[str]:
    """Sentences for the user about ambiguity and mixed views; empty where all is well."""
    warnings = []
    used = particles.usable
    ambiguous = float(alignment.ambiguous[used].mean())
    if claim.signal and ambiguous > 0.5 and len(used) > 1:
        warnings.append(
            f"{ambiguous:.0%} of the particles fit as well turned by 180 degrees: the view looks (nearly) the "
            "same turned by 180 degrees at this noise, so angles are known modulo 180 degrees only."
        )
    if claim.signal and len(used) >= 16:
        excess = residual_excess(particles, alignment)
        if excess > 2.0:
            warnings.append(
                f"The views are mixed: the aligned particles differ among each other {excess:.1f} times as "
                "much as noise "
                f"explains, so the average is not that of one view. Classify the particles first and align each class."
            )
    return warnings


@torch.no_grad()
def residual_excess(particles: PreparedParticles, alignment: Alignment) -> float:
    """The largest principal variance of what is left of aligned particles, over the largest that noise alone gives.

    The average, in RINGS shells of free amplitude, is taken off every particle. Noise of variance v in p coefficients
    of n particles has no principal variance above v (1 + sqrt(p / n))^2 (Marchenko and Pastur 1967); v is the median's.
    """
    band = Band(particles.box, BAND, particles.device)
    subset = particles.subset(LOOK, 0)
    poses = alignment.poses

    def aligned(part: np.ndarray, coefficients: torch.Tensor) -> torch.Tensor:
        angle = torch.from_numpy(poses.angle[part]).to(band.device)
        shift = torch.from_numpy(poses.shift[part] / particles.scale).to(band.device)
        image = transform(coefficients, particles.box, angle, shift) * particles.mask
        kept = band.of_images(image) * band.weight.sqrt()
        inside = band.disc.bool()
        return torch.cat([kept.real[:, inside], kept.imag[:, inside]], -1)

    data = particles.all(subset, "consistency", aligned)
    mean = data.mean(0)
    shell = (band.radius[band.disc.bool()] / (BAND + 1e-3) * RINGS).long().repeat(2)
    rest = data.clone()
    for number in range(RINGS):
        part = mean * (shell == number)
        rest -= (data @ part)[:, None] * part / part.pow(2).sum().clamp(min=1e-12)
    # Only the covariance is kept: p x p, whatever the number of particles.
    variances = torch.linalg.eigvalsh((rest.T @ rest / len(rest)).double()).clamp(min=0)
    count = int((variances > 1e-9 * variances[-1]).sum())
    ratio = count / len(rest)
    typical = float(variances[-count:].sum() / count)
    return float(variances[-1]) / (typical * (1 + np.sqrt(ratio)) ** 2)
