"""What the networks learn from: no label, only that turns add up (UDL) and that aligned particles resemble each other
(JUDL). After Chen, Feng, Shen, J. Struct. Biol. 215 (2023) 107940."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from scipion_udl.models.polar import turn_spectra


def joint_loss(spectra: torch.Tensor, turns: torch.Tensor, radial_weight: torch.Tensor) -> torch.Tensor:
    """The joint term: the error of reconstructing each aligned particle by the mean of the others, relative to 1.

    spectra: (N, radii, angles); turns: (N,) degrees; radial_weight: (radii,). The batch is turned into register and
    each member compared with the mean of the rest, so that a particle's own noise neither helps nor harms.
    """
    return reconstruction_loss(turn_spectra(spectra, -turns) * radial_weight.clamp(min=0).sqrt()[:, None])


def reconstruction_loss(aligned: torch.Tensor) -> torch.Tensor:
    """The error of reconstructing each of aligned images (N, ...) by the mean of the others, relative to 1."""
    aligned = aligned.flatten(1)
    own = aligned.pow(2).sum(1)
    agreement = aligned @ aligned.sum(0) - own
    return 1 - agreement.sum() / ((len(aligned) - 1) * own.sum())


def difference_loss(predicted: torch.Tensor, applied: torch.Tensor, period: float = 180.0) -> torch.Tensor:
    """The UDL term: g(T_a I0, T_b I1) - g(I0, I1) must be a - b, modulo a period.

    predicted: (N,) degrees, the change of the network's pair-wise answer; applied: (N,) degrees, a - b; period:
    degrees. The mean of 1 - cos, at ``period`` 180 that of 2 (predicted - applied): 0 where all differences hold, 1
    for chance.
    """
    return (1 - torch.cos((predicted - applied) * (2 * torch.pi / period))).mean()


def absolute_difference_loss(predicted: torch.Tensor, applied: torch.Tensor, period: float) -> torch.Tensor:
    """The UDL term as published: the mean absolute difference, degrees, of the change of the network's answer (N,) and
    what was applied (N,), to the nearest multiple of ``period``."""
    error = predicted - applied
    return (error - period * torch.round(error / period)).abs().mean()


def range_hinge(angles: torch.Tensor, top: float = 360.0) -> torch.Tensor:
    """How far answers (N,), degrees, lie outside of 0 to ``top`` on average: it keeps a free output in its range."""
    return (functional.relu(-angles) + functional.relu(angles - top)).mean()
