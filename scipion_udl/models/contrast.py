"""Particles lie in ice of different thickness: how strongly each shows what a reference is.

Contrast is no matter of the view. Compared at one contrast for all, particles of thin and of thick ice would make
classes of their own, of stronger and of fainter templates.
"""

from __future__ import annotations

import torch

# Standard deviation of the contrast of particles, in ice of different thickness, about that of their average.
CONTRAST = 0.3
LEAST_CONTRAST = 0.6  # that is believed: with none at all, ice would fit any reference


def suited_contrast(inner: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """The contrast (n,) that suits each particle best, 1 for that of the reference; what is usual of contrast counts as
    well, and less than LEAST_CONTRAST is not believed. inner: their inner product with the reference; expected: its
    power as they see it.

    Parameters
    ----------
    inner : (n,) tensor
        Inner products with the reference.
    expected : (n,) tensor
        Powers of the reference as each particle sees it.

    Returns
    -------
    (n,) tensor
        The contrasts.
    """
    usual = 0.5 / CONTRAST**2
    return ((inner + usual) / (expected + usual)).clamp(min=LEAST_CONTRAST)


def at_contrast(inner: torch.Tensor, expected: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
    """Log likelihood (n,), nats, of particles over that of noise alone, at a contrast of each (n,).

    Parameters
    ----------
    inner, expected : (n,) tensors
        As of :func:`suited_contrast`.
    contrast : (n,) tensor
        The contrast of each.

    Returns
    -------
    (n,) tensor
        Nats.
    """
    return 2 * contrast * inner - contrast.square() * expected - 0.5 / CONTRAST**2 * (contrast - 1).square()


def with_contrast(inner: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """The same, each at the contrast that suits it best.

    Parameters
    ----------
    inner, expected : (n,) tensors
        As of :func:`suited_contrast`.

    Returns
    -------
    (n,) tensor
        Nats.
    """
    return at_contrast(inner, expected, suited_contrast(inner, expected))
