"""Poses that a network of many views gave: both ways round and the shift are known, to its resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.alignment.accumulators import accumulate, add_up
from scipion_udl.alignment.initial_average import First
from scipion_udl.alignment.initial_poses import Start
from scipion_udl.alignment.wiener import WienerFilter
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.poses import Poses
from scipion_udl.particles.prepared import PreparedParticles


@dataclass
class KnownStart:
    """poses: (N,) of all particles; ring: the Fourier ring up to which they were compared with templates that all had
    taught, which is all that halves have in common."""

    poses: Poses
    ring: int

    def __getitem__(self, index: np.ndarray) -> KnownStart:
        """The start of some of the particles."""
        return KnownStart(self.poses[index], self.ring)

    def first(
        self, prepared: PreparedParticles, band: Band, subset: np.ndarray, half: np.ndarray
    ) -> tuple[First, list[torch.Tensor]]:
        """The first average of some particles, and that of each half.

        Parameters
        ----------
        prepared : PreparedParticles
            All particles.
        band : Band
            That of the averages.
        subset : (n,) int array
            The particles, from 0.
        half : (n,) int array
            0 or 1.

        Returns
        -------
        first : First
            Of all of the subset.
        averages : list of (band) complex tensors
            Of each half; of the whole subset for a half of one particle or none.
        """
        sums = accumulate(prepared, band, subset, self.poses[subset], half, 2)
        whole = band.masked(add_up(sums).mean(band), prepared.disc.mask)
        # Too few go nowhere by themselves: nothing will be claimed of them.
        averages = [band.masked(s.mean(band), prepared.disc.mask) if s.count > 1 else whole for s in sums]
        weight = WienerFilter(band, averages).weight(2)
        start = Start(whole, weight, math.nan, torch.zeros(0), "network of many views", [])
        return First(start, self.poses.angle[subset]), averages
