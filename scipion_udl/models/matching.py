"""The feature matching network: the rotation between two natural images, from where their features agree.

After Rocco, Arandjelovic, Sivic (CVPR 2017) and Zeng and Xu (CVPR 2020), as Chen, Feng, Shen (2023) take it for
photographs: shared convolutional features, every place of the one image compared with every place of the other in both
orders, and an angle regressed from these maps. A rotation of one image moves the agreement about the middle, a shift
moves it straight, so the network can tell them apart; unlike the amplitude spectrum it knows angles modulo 360 degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

from scipion_udl.imaging.fourier import resize, soft_disc, to_fourier, to_images, transform
from scipion_udl.models.heads import AngleHead, circular_mean
from scipion_udl.models.network import Network
from scipion_udl.models.precision import low_precision

_TOGETHER = 64  # images at a time where all are looked at
GRID = 8  # places along a side at which features are compared
PUBLISHED: dict[str, Any] = {
    "channels": (32, 64, 128, 256),
    "squeeze": (128, 64),
    "hidden": (2000, 2000),
    "head": "degrees",
}
NARROW: dict[str, Any] = {"channels": (16, 32, 64), "squeeze": (64, 32), "hidden": (128,), "head": "circular"}


def correlation_map(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """How well each place of ``second`` agrees with all places of ``first``, (N, G * G, G, G).

    first, second: features (N, C, G, G). Entry [n, k, i, j] is the cosine of the feature vectors of ``first`` at place
    k = row * G + column and of ``second`` at (i, j); negative ones are 0, and what is left is scaled to unit length
    over k, so that a place that fits many others counts for little (Rocco et al. 2017).

    Parameters
    ----------
    first, second : (N, C, G, G) tensors
        Features of both images.

    Returns
    -------
    (N, G * G, G, G) tensor
        From 0 to 1.
    """
    n, _, rows, columns = first.shape
    a = functional.normalize(first.flatten(2), dim=1)
    b = functional.normalize(second.flatten(2), dim=1)
    agreement = torch.bmm(a.transpose(1, 2), b).clamp(min=0)
    return functional.normalize(agreement, dim=1).view(n, rows * columns, *second.shape[2:])


def working_images(images: torch.Tensor, box: int) -> torch.Tensor:
    """What the network gets of images (N, D, D): Fourier cropped to its box, (N, 1, box, box), grey values kept.

    Parameters
    ----------
    images : (N, D, D) tensor
        Images.
    box : int
        Side of the box, pixels.

    Returns
    -------
    (N, 1, box, box) tensor
        The input.
    """
    size = images.shape[-1]
    if size == box:
        return images[:, None]
    return to_images(resize(to_fourier(images), size, box), box)[:, None] * (box / size)


class MatchingNetwork(Network):
    """g(I0, I1): the pose angle that brings the second image onto the first, up to a bias common to all pairs.

    Turning the first by a and the second by b changes it by a - b (UDL, modulo 360); that is all that training needs.
    What is left is the bias, the answer to twice the same image, to be taken off (:mod:`scipion_udl.jobs.align_pairs`).

    box: pixels of the images; channels: of the feature blocks, which halve the map until it has ``grid`` places a side;
    squeeze: channels of the two convolutions on the correlation maps; hidden: widths of the linear layers before the
    last; head: "degrees" (published) or "circular", see :class:`AngleHead`. The images are brought to mean 0 and
    deviation 1 within a soft disc about pixel box//2, and are 0 beyond it: corners tell nothing that turns with the
    image. Batch norm uses running statistics in evaluation mode, so no pair depends on its batch.
    """

    period = 360.0
    disc: torch.Tensor
    bias: torch.Tensor

    def __init__(
        self,
        box: int,
        channels: Sequence[int] = NARROW["channels"],
        squeeze: Sequence[int] = NARROW["squeeze"],
        hidden: Sequence[int] = NARROW["hidden"],
        head: str = NARROW["head"],
        grid: int = GRID,
    ) -> None:
        super().__init__()
        self.config = {
            "box": box,
            "channels": list(channels),
            "squeeze": list(squeeze),
            "hidden": list(hidden),
            "head": head,
            "grid": grid,
        }
        self.register_buffer("disc", soft_disc(box, 0.47 * box, max(2.0, 0.06 * box)), persistent=False)
        self.features = _features(box, channels, grid)
        blocks, before = [], 2 * grid * grid
        for width in squeeze:
            blocks += _block(before, width)
            before = width
        self.squeeze = nn.Sequential(*blocks, nn.Flatten())
        self.head = AngleHead(before * grid * grid, hidden, head, self.period)
        self.register_buffer("bias", torch.zeros(()))

    def describe(self, images: torch.Tensor) -> torch.Tensor:
        """Features (N, C, grid, grid) of images (N, 1, box, box).

        Parameters
        ----------
        images : (N, 1, box, box) tensor
            Images.

        Returns
        -------
        (N, C, grid, grid) tensor
            Their features.
        """
        weight = self.disc / self.disc.sum()
        images = images - (images * weight).sum((-2, -1), keepdim=True)
        deviation = (images.square() * weight).sum((-2, -1), keepdim=True).sqrt()
        with low_precision(self, images.device):
            return self.features(images * self.disc / deviation.clamp(min=1e-6)).float()

    def compare(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Angles (N,) in degrees from features (N, C, grid, grid) of both images.

        Parameters
        ----------
        first, second : (N, C, grid, grid) tensors
            Features of both images.

        Returns
        -------
        (N,) tensor
            Degrees.
        """
        return self.head(self.squeeze(torch.cat([correlation_map(first, second), correlation_map(second, first)], 1)))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """g(first, second), (N,) degrees, of images (N, 1, box, box).

        Parameters
        ----------
        first, second : (N, 1, box, box) tensors
            Both images.

        Returns
        -------
        (N,) tensor
            Degrees.
        """
        both = self.describe(torch.cat([first, second]))
        return self.compare(*both.chunk(2))

    @torch.no_grad()
    def set_bias(self, images: torch.Tensor) -> None:
        """Find the bias: what the answers to twice the same image, of images (N, 1, box, box), are all off by.

        One of the two is rotated by known amounts all around the circle. A free output in degrees has to jump by 360
        somewhere, and answers nonsense there: were that at the same angle, copies that are not rotated would tell
        nothing else.

        Parameters
        ----------
        images : (N, 1, box, box) tensor
            Images.
        """
        box, off = images.shape[-1], []
        for part in images.split(_TOGETHER):
            coefficients, known = to_fourier(part[:, 0]), self.describe(part)
            for rotation in torch.arange(0, 360, 45.0, device=images.device):
                copies = transform(coefficients, box, rotation.expand(len(part)))[:, None]
                off.append(self.compare(self.describe(copies), known) - rotation)
        self.bias.copy_(circular_mean(torch.cat(off).double(), 0, self.period))

    def angles(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """The pose angles (N,), degrees, that bring ``second`` onto ``first``, images (N, D, D) of any box D.

        Parameters
        ----------
        first, second : (N, D, D) tensors
            Both images.

        Returns
        -------
        (N,) tensor
            Degrees, clockwise with row 0 on top.
        """
        box = self.config["box"]
        return self(working_images(first, box), working_images(second, box)) - self.bias


def _features(box: int, channels: Sequence[int], grid: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    size, before = box, 1
    for width in channels:
        layers += _block(before, width)
        before = width
        if size >= 2 * grid:
            layers.append(nn.MaxPool2d(2))
            size //= 2
    if size != grid:
        layers.append(nn.AdaptiveAvgPool2d(grid))
    return nn.Sequential(*layers)


def _block(before: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
