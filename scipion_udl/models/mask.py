"""The mask module: what of its input a network looks at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class MaskModule(nn.Module):
    """A weight between 0 and 1 for every pixel of an image, learned with the network behind it.

    3 x 3 convolutions with batch normalisation and ReLU, the last one with a sigmoid; the input is multiplied with what
    comes out. After the content-aware mask of Zhang et al., ECCV 2020, as Chen, Feng, Shen (J. Struct. Biol. 215, 2023,
    107940) use it. channels: of the layers between.
    """

    def __init__(self, channels: Sequence[int] = (4, 8, 16, 32)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *channels), (*channels, 1)):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers[-1] = nn.Sigmoid()
        self.layers = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Weights (N, 1, S, S), 0 to 1, of images (N, 1, S, S).

        Parameters
        ----------
        images : (N, 1, S, S) tensor
            Images.

        Returns
        -------
        (N, 1, S, S) tensor
            From 0 to 1.
        """
        return self.layers(images)
