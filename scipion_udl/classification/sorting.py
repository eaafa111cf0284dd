"""The pass over all particles: which class each is in, and how it lies there. Also what noise alone would look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.alignment.geometry import Poses
from scipion_udl.alignment.prepare import PreparedParticles
from scipion_udl.classification.comparing import Comparer, Samples
from scipion_udl.classification.gathering import sampled
from scipion_udl.classification.polar import PolarSampling
from scipion_udl.models.class_bank import ClassBank

NOISE = 256  # images of noise alone that are compared with the classes
DEVIATIONS = 4.0  # by which the particles of a class must fit better than noise does


@dataclass
class Sorted:
    """Of N particles: label (N,) the class from 0; poses (N,), shifts in pixels of the input; gain (N,): log likelihood
    over that of noise alone, nats. Blank images are in the last class with pose 0 and gain 0."""

    label: np.ndarray
    poses: Poses
    gain: np.ndarray


def sort_particles(
    prepared: PreparedParticles, bank: ClassBank, sampling: PolarSampling, reach: float
) -> Sorted:
    """Put every particle into the class that explains it best; each by itself, whatever the others are."""
    n = len(prepared)
    label = np.full(n, bank.config["classes"] - 1)
    angle, shift, gain = np.zeros(n), np.zeros((n, 2)), np.zeros(n)
    comparer = Comparer(bank, sampling, reach)
    for part, samples in sampled(prepared, sampling, prepared.usable, "sorting"):
        for rows, shifts, found in comparer.chunks(samples, torch.arange(len(part)), False):
            best = found.gain.argmax(1)
            own = torch.arange(len(rows), device=best.device)
            turn = comparer.angle(found.turn[own, best])
            moved = shifts[own, found.place[own, best]]
            radians = torch.deg2rad(turn.double())
            cos, sin = radians.cos(), radians.sin()
            x, y = moved.double().unbind(1)  # the particle is moved first, then turned; a pose turns first
            at = part[rows.numpy()]
            shift[at] = (torch.stack([cos * x - sin * y, sin * x + cos * y], 1) * prepared.scale).cpu().numpy()
            label[at], angle[at] = best.cpu().numpy(), turn.double().cpu().numpy()
            gain[at] = found.gain[own, best].double().cpu().numpy()
    return Sorted(label, Poses((angle + 180) % -360 + 180, shift), gain)


def like_noise(
    bank: ClassBank, sampling: PolarSampling, reach: float, transfer: torch.Tensor, sorted_: Sorted, seed: int
) -> np.ndarray:
    """Which classes (K,) hold particles that fit no better than noise fits the same classes.

    transfer: (n, rings) squared transfer of some particles, which the noise images are given.
    """
    generator = torch.Generator().manual_seed(seed)
    device = bank.template.device
    box = sampling.small
    pixels = torch.randn(NOISE, box, box, generator=generator).to(device)
    coefficients = torch.fft.rfft2(torch.fft.ifftshift(pixels, dim=(-2, -1)), norm="ortho")
    small = PolarSampling(box, sampling.rings, sampling.angles, sampling.mask)
    own = transfer[torch.arange(NOISE) % len(transfer)].to(device)
    values = small.of(coefficients) * own.sqrt()[..., None]
    still = torch.zeros(NOISE, 2, device=device)
    noise = Samples(values, own, own, still, torch.zeros(NOISE, dtype=torch.bool))
    comparer = Comparer(bank, sampling, reach)
    gains = torch.cat([found.gain for _, _, found in comparer.chunks(noise, torch.arange(NOISE), False)])
    best = gains.amax(1).double()
    limit = float(best.mean() + DEVIATIONS * best.std())
    count = bank.config["classes"]
    medians = [np.median(sorted_.gain[sorted_.label == k]) if (sorted_.label == k).any() else 0.0 for k in range(count)]
    return np.array(medians) < limit
