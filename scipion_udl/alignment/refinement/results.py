"""What sweeps find: the poses of particles, and what a round came to."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from scipion_udl.alignment.accumulators import Sums


@dataclass
class Iteration:
    """Sums per reference, the median change of angle (degrees, modulo 180) and shift (working pixels), and the share of
    particles that were rotated round by 180 degrees."""

    sums: list[Sums]
    rotated: float
    moved: float
    flipped: float


@dataclass
class Matched:
    """Poses of n particles that were compared with a reference; torch, working pixels.

    angle: (n,) degrees; shift: (n, 2), to apply after turning; score, log_odds: (n,); gain: (n,) log likelihood that
    the particle shows the arbiter's average, over that of noise alone, nats; place: (n,) bin of the angle among the
    orientations; centred: (n, band) the particles moved to the centre (and conjugate where their angle is in the
    other half circle), not rotated; limited: (n,) bool, the shift is as long as it may be.
    """

    angle: torch.Tensor
    shift: torch.Tensor
    score: torch.Tensor
    log_odds: torch.Tensor
    gain: torch.Tensor
    place: torch.Tensor
    centred: torch.Tensor
    limited: torch.Tensor
