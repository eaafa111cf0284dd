"""The convolutional autoencoder of the published joint term: what resembles each other is easy to reconstruct."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Autoencoder(nn.Module):
    """Images (N, 1, S, S) through a narrow code and back; S must be a multiple of 2 ** len(channels).

    channels: of the encoder's layers, each of which halves the image; the decoder goes the same way back. After Chen,
    Feng, Shen, J. Struct. Biol. 215 (2023) 107940 (1-2-4-8 channels).
    """

    halved = 8  # what S must be a multiple of, with the published channels

    def __init__(self, channels: Sequence[int] = (2, 4, 8)) -> None:
        super().__init__()
        ways = list(zip((1, *channels), channels))
        down: list[nn.Module] = []
        for before, after in ways:
            down += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        up: list[nn.Module] = []
        for before, after in reversed(ways):
            up += [nn.ConvTranspose2d(after, before, 4, stride=2, padding=1), nn.ReLU()]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up[:-1])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The images as they come out of the code, (N, 1, S, S).

        Parameters
        ----------
        images : (N, 1, S, S) tensor
            Images.

        Returns
        -------
        (N, 1, S, S) tensor
            What the code keeps of them.
        """
        return self.decoder(self.encoder(images))
