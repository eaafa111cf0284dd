"""What the networks learn from: no label, only that turns add up (UDL) and that aligned particles resemble each other
(JUDL). After Chen, Feng, Shen, J. Struct. Biol. 215 (2023) 107940."""

from __future__ import annotations

import torch

from scipion_udl.models.polar import turn_spectra


def joint_loss(spectra: torch.Tensor, turns: torch.Tensor, radial_weight: torch.Tensor) -> torch.Tensor:
    """The joint term: the error of reconstructing each aligned particle by the mean of the others, relative to 1.

    spectra: (N, radii, angles); turns: (N,) degrees; radial_weight: (radii,). The batch is turned into register and
    each member compared with the mean of the rest, so that a particle's own noise neither helps nor harms.
    """
    aligned = turn_spectra(spectra, -turns) * radial_weight.clamp(min=0).sqrt()[:, None]
    total = aligned.sum(0)
    own = aligned.pow(2).sum((1, 2))
    agreement = (aligned * total).sum((1, 2)) - own
    return 1 - agreement.sum() / ((len(spectra) - 1) * own.sum())


def difference_loss(predicted: torch.Tensor, applied: torch.Tensor) -> torch.Tensor:
    """The UDL term: g(T_a I0, T_b I1) - g(I0, I1) must be a - b, modulo 180 degrees.

    predicted: (N,) degrees, the change of the network's pair-wise answer; applied: (N,) degrees, a - b. The mean of
    1 - cos 2(predicted - applied), 0 where all differences hold and 1 for chance.
    """
    return (1 - torch.cos(torch.deg2rad(2 * (predicted - applied)))).mean()
