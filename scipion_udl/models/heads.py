"""The last layers of the pair networks: from the features of a pair to the rotation between its two images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from scipion_udl.errors import UdlError
from scipion_udl.messages import message

HEADS = ("degrees", "circular")
STEADY = 0.02  # how fast the middle of the circle that angles are counted about may follow the batches


def circular_mean(degrees: torch.Tensor, dim: int, period: float) -> torch.Tensor:
    """The mean of angles that count modulo ``period`` degrees along a dimension, within half a period of 0.

    Parameters
    ----------
    degrees : tensor
        Angles.
    dim : int
        The dimension.
    period : float
        Degrees.

    Returns
    -------
    tensor
        Degrees, without that dimension.
    """
    phase = degrees * (2 * torch.pi / period)
    return torch.atan2(phase.sin().mean(dim), phase.cos().mean(dim)) * (period / (2 * torch.pi))


class AngleHead(nn.Module):
    """Linear layers with ReLU between them, and one angle as their output.

    features: F, the length of the input; hidden: widths of the layers before the last; head: "degrees", one output
    that is the angle itself, of any size (Chen, Feng, Shen 2023), or "circular", two outputs that are its cosine and
    sine, so that no angle is farther from another than half the period; period: 360, or 180 where the input cannot
    tell an angle from the one 180 degrees off. Batch norm spreads the answers of the circular head (running statistics
    in evaluation mode). Raises UdlError for another head.
    """

    def __init__(
        self, features: int, hidden: Sequence[int] = (2000, 2000), head: str = "degrees", period: float = 360.0
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise UdlError(message("no_such_head", head=head, known=", ".join(HEADS)))
        self.head, self.period = head, float(period)
        widths = [features, *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        last = nn.Linear(widths[-1], 1 if head == "degrees" else 2)
        layers.append(last)
        if head == "circular":
            # A fresh network answers nearly the same for all: the difference loss hardly moves it from there. Spread
            # around the circle, its answers differ from the first step on. It takes off any bias, whose gradient would
            # be nothing but rounding: Adam makes steps of full length of that, which the running mean follows too late.
            nn.init.zeros_(last.bias)
            last.bias.requires_grad_(False)
            layers.append(nn.BatchNorm1d(2, affine=False, momentum=STEADY))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Angles (N,) in degrees of features (N, F); the circular head's lie within half a period of 0.

        Parameters
        ----------
        features : (N, F) tensor
            Features.

        Returns
        -------
        (N,) tensor
            Degrees.
        """
        out = self.layers(features)
        if self.head == "degrees":
            return out[:, 0]
        # the small number keeps the gradient finite where both outputs vanish
        return torch.rad2deg(torch.atan2(out[:, 1], out[:, 0] + 1e-12)) * (self.period / 360.0)
