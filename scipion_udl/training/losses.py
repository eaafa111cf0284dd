"""What the networks learn from: no label, only that turns add up (UDL) and that aligned particles resemble each other
(JUDL). After Chen, Feng, Shen, J. Struct. Biol. 215 (2023) 107940."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from scipion_udl.models.polar_network import rotate_spectra


def joint_loss(spectra: torch.Tensor, rotations: torch.Tensor, radial_weight: torch.Tensor) -> torch.Tensor:
    """The joint term: the error of reconstructing each aligned particle by the mean of the others, relative to 1.

    The batch is turned into register and each member compared with the mean of the rest, so that a particle's own noise
    neither helps nor harms.

    Parameters
    ----------
    spectra : (N, radii, angles) tensor
        Polar spectra.
    rotations : (N,) tensor
        How each is rotated, degrees; all are rotated back by it.
    radial_weight : (radii,) tensor
        Weight of each radius; below 0 it counts as 0.

    Returns
    -------
    () tensor
        The error: 0 where all agree, about 1 for chance.
    """
    return reconstruction_loss(rotate_spectra(spectra, -rotations) * radial_weight.clamp(min=0).sqrt()[:, None])


def reconstruction_loss(aligned: torch.Tensor) -> torch.Tensor:
    """The error of reconstructing each of aligned images by the mean of the others, relative to 1.

    Parameters
    ----------
    aligned : (N, ...) tensor
        Images or spectra in register.

    Returns
    -------
    () tensor
        1 less the mean product of each with the mean of the others, over the mean power of all.
    """
    aligned = aligned.flatten(1)
    own = aligned.pow(2).sum(1)
    agreement = aligned @ aligned.sum(0) - own
    return 1 - agreement.sum() / ((len(aligned) - 1) * own.sum())


def difference_loss(predicted: torch.Tensor, applied: torch.Tensor, period: float = 180.0) -> torch.Tensor:
    """The UDL term: g(T_a I0, T_b I1) - g(I0, I1) must be a - b, modulo a period.

    Parameters
    ----------
    predicted : (N,) tensor
        The change of the network's pair-wise answer, degrees.
    applied : (N,) tensor
        a - b, degrees.
    period : float, optional
        Degrees.

    Returns
    -------
    () tensor
        The mean of 1 - cos, at ``period`` 180 that of 2 (predicted - applied): 0 where all differences hold, 1 for
        chance.
    """
    return (1 - torch.cos((predicted - applied) * (2 * torch.pi / period))).mean()


def absolute_difference_loss(predicted: torch.Tensor, applied: torch.Tensor, period: float) -> torch.Tensor:
    """The UDL term as published: the mean absolute difference, to the nearest multiple of the period.

    Parameters
    ----------
    predicted : (N,) tensor
        The change of the network's answer, degrees.
    applied : (N,) tensor
        What was applied, degrees.
    period : float
        Degrees.

    Returns
    -------
    () tensor
        Degrees, from 0 to half the period.
    """
    error = predicted - applied
    return (error - period * torch.round(error / period)).abs().mean()


def range_hinge(angles: torch.Tensor, top: float = 360.0) -> torch.Tensor:
    """How far answers lie outside of their range on average: it keeps a free output in it.

    Parameters
    ----------
    angles : (N,) tensor
        Answers, degrees.
    top : float, optional
        The range is 0 to this, degrees.

    Returns
    -------
    () tensor
        Degrees.
    """
    return (functional.relu(-angles) + functional.relu(angles - top)).mean()
