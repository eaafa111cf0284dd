"""What a particle shows beside the average of its class: a second molecule, too much matter, or too much of anything.

Each particle is compared with the average of the half of its class that it is no part of, in the coarse Fourier rings
that tell the shape. What is left once the average is taken off, times the amplitude that fits best, is noise for a
particle. The rotational mean of the average stands for a molecule turned any way.
"""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.alignment.accumulators import Sums, accumulate
from scipion_udl.imaging.band import Band, ShiftMaps
from scipion_udl.imaging.fourier import transform
from scipion_udl.imaging.poses import Poses
from scipion_udl.particles.coarser import coarser
from scipion_udl.particles.prepared import PreparedParticles

NAMES = ("amplitude", "whole", "centre", "second", "rest")
PERIODS = 4  # in the particle's diameter: the finest that is looked at
NEAREST, FARTHEST = 0.3, 0.9  # diameters: where the middle of a second molecule is looked for
STEP = 0.25  # of the finest period that is looked at: between two places


class Leftovers:
    """Measures particles against averages of their classes. prepared: the set."""

    def __init__(self, prepared: PreparedParticles) -> None:
        field = prepared.box / (2 * prepared.disc.mask_radius)  # diameters
        finest = max(3, round(PERIODS * field))
        self.prepared = prepared = coarser(prepared, 2 * finest)
        diameter = prepared.box / field
        self.band = Band(prepared.box, prepared.within(min(finest, prepared.k_max)), prepared.device)
        farthest = min(FARTHEST * diameter, prepared.box / 2 - 1)
        self.maps = ShiftMaps(self.band, farthest, max(1.0, STEP * prepared.box / self.band.k_max))
        distance = torch.hypot(self.maps.shifts[:, None], self.maps.shifts[None])
        self.about = (distance >= min(NEAREST * diameter, farthest - 1)) & (distance <= farthest)

    @torch.no_grad()
    def measure(self, members: np.ndarray, poses: Poses, half: np.ndarray) -> np.ndarray:
        """The particles of one class.

        Parameters
        ----------
        members : (n,) int array
            The particles, from 0.
        poses : Poses
            n of them, to apply; shifts in pixels of the input.
        half : (n,) int array
            The half of the class that each is part of, 0 or 1.

        Returns
        -------
        (n, len(NAMES)) float64 array
            amplitude: by which the average fits best, 1 for most; whole: the molecule in the middle, turned any way, in
            deviations of noise; centre, second: the same of what is left without the average, in the middle and at
            the best place about it; rest: the logarithm of the power of what is left, over that of noise.
        """
        band, prepared = self.band, self.prepared
        out = np.zeros((len(members), len(NAMES)))
        sums = accumulate(prepared, band, members, poses, half, 2)
        if min(one.count for one in sums) == 0:
            return out
        averages = [self._average(one) for one in sums]
        row = np.zeros(len(prepared), np.int64)
        row[members] = np.arange(len(members))
        for part, coefficients in prepared.chunks(members, "what is beside the averages"):
            at = row[part]
            pose = (torch.from_numpy(v[at]).to(band.device) for v in (poses.angle, poses.shift / prepared.scale))
            seen = band.of_images(transform(prepared.apply_ctf(part, coefficients), band.box, *pose))
            ctf = prepared.ctf(part)
            ones = torch.ones(len(part), band.k_max + 1, device=band.device)
            power = ones if ctf is None else band.ring_means(band.crop(ctf).square())
            for number in (0, 1):
                own = torch.from_numpy(np.flatnonzero(half[at] == number)).to(band.device)
                if len(own):
                    found = self._compared(seen[own], power[own], averages[1 - number])
                    out[at[own.cpu().numpy()]] = found.double().cpu().numpy()
        return out

    def _average(self, sums: Sums) -> torch.Tensor:
        return self.band.masked(sums.mean(self.band), self.prepared.disc.mask)

    def _compared(self, seen: torch.Tensor, power: torch.Tensor, average: torch.Tensor) -> torch.Tensor:
        """What NAMES say of aligned bands (n, band), times their CTF, whose square per ring is ``power`` (n,
        rings); float32 (n, len(NAMES))."""
        band = self.band
        spread = torch.stack([band.spread(one) for one in power])
        expected = spread * average
        known = band.dot(expected, average.expand_as(expected)).clamp(min=1e-12)
        amplitude = band.dot(seen, average.expand_as(seen)) / known
        left = seen - amplitude[:, None, None] * expected
        means = band.ring_means(average.real[None])[0]
        any_way = torch.complex(band.spread(means), torch.zeros_like(average.real))
        noise = (0.5 * (power * band.ring_count * means.square()).sum(1)).clamp(min=1e-12).sqrt()
        around = self.maps.correlate(left, any_way.expand_as(left)).masked_fill(~self.about, -torch.inf)
        rest = band.ring_totals(left.abs().square()).sum(1) / (power * band.ring_count).sum(1).clamp(min=1e-12)
        columns = (
            amplitude,
            band.dot(seen, any_way.expand_as(seen)) / noise,
            band.dot(left, any_way.expand_as(left)) / noise,
            around.flatten(1).max(1).values / noise,
            rest.clamp(min=1e-6).log(),
        )
        return torch.stack(columns, 1)
