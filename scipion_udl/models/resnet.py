"""The siamese pair network of the paper: what is the rotation between two images, regressed from their log spectra.

After Chen, Feng, Shen, J. Struct. Biol. 215 (2023) 107940: a mask module, residual features with shared weights for
both images, their concatenation, linear layers, an angle. Turns are in degrees modulo 180 (an amplitude spectrum does
not tell an image from the same rotated by 180 degrees), positive where a positive pose angle turns (clockwise with row
0 on top).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from scipion_udl.models.heads import AngleHead, circular_mean
from scipion_udl.models.mask import MaskModule
from scipion_udl.models.network import Network
from scipion_udl.models.precision import low_precision

PUBLISHED_WIDTHS = (32, 64, 128, 256, 512, 1024, 2048)
PUBLISHED_HIDDEN = (2000, 2000)
PUBLISHED_MASK = (4, 8, 16, 32)
NARROW_WIDTHS = (16, 32, 64, 64)
NARROW_HIDDEN = (128,)
NARROW_MASK = (4, 8)
PERIOD = 180.0
TOGETHER = 64  # spectra at a time where nothing is learned of them
REFERENCES = 8  # images that a trained network measures the rotation of a particle against


class Bottleneck(nn.Module):
    """A bottleneck residual block (He et al., CVPR 2016) and a 2 x 2 max pooling: (N, before, S, S) to (N, after,
    S / 2, S / 2)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        middle = max(1, after // 4)
        self.way = nn.Sequential(
            nn.Conv2d(before, middle, 1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, middle, 3, padding=1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.short = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """The block's output.

        Parameters
        ----------
        maps : (N, before, S, S) tensor
            The block's input.

        Returns
        -------
        (N, after, S / 2, S / 2) tensor
            Its output.
        """
        return nn.functional.max_pool2d(torch.relu(self.way(maps) + self.short(maps)), 2)


class PairNetwork(Network):
    """The angle between two log spectra; and, against a few images that it keeps, the rotation of one.

    size: pixels of a side of the spectra; widths: channels of the residual blocks, each of which halves the image;
    hidden: widths of the linear layers; mask: channels of the mask module, none for no mask. head: "degrees", features
    of both images concatenated and one angle (as published); "circular", the same as a point on a circle;
    "difference", an angle of each image by the same layers, and the difference of both: what UDL asks for holds then
    wherever these angles turn with their images, and no bias is left.
    Raises UdlError for another head, ValueError where the image cannot be halved as often as there are widths.
    """

    references: torch.Tensor
    reference_turns: torch.Tensor
    bias: torch.Tensor

    def __init__(
        self,
        size: int = 128,
        widths: Sequence[int] = PUBLISHED_WIDTHS,
        hidden: Sequence[int] = PUBLISHED_HIDDEN,
        mask: Sequence[int] = PUBLISHED_MASK,
        head: str = "degrees",
    ) -> None:
        super().__init__()
        self.config = {
            "size": size, "widths": list(widths), "hidden": list(hidden), "mask": list(mask), "head": head
        }  # fmt: skip
        left = size >> len(widths)
        if left < 1 or size % (1 << len(widths)):
            raise ValueError(
                f"{len(widths)} blocks halve an image of {size} pixels too often, which must be a multiple of "
                f"{1 << len(widths)}"
            )
        self.mask = MaskModule(mask) if len(mask) else None
        self.blocks = nn.Sequential(*(Bottleneck(a, b) for a, b in zip((1, *widths), widths)))
        features, self.of_each = widths[-1] * left * left, head == "difference"
        if self.of_each:
            self.head = AngleHead(features, hidden, "circular", PERIOD)
        else:
            self.head = AngleHead(2 * features, hidden, head, PERIOD)
        # What makes angles of pairs turns of single particles (set_references): images, their rotations, and g(I, I).
        self.register_buffer("references", torch.zeros(REFERENCES, 1, size, size))
        self.register_buffer("reference_turns", torch.zeros(REFERENCES))
        self.register_buffer("bias", torch.zeros(()))

    def features(self, spectra: torch.Tensor) -> torch.Tensor:
        """What the network knows of single spectra (N, 1, S, S), (N, F).

        Parameters
        ----------
        spectra : (N, 1, S, S) tensor
            Spectra.

        Returns
        -------
        (N, F) tensor
            The features.
        """
        spectra = spectra.to(memory_format=torch.channels_last)  # half the time, on CPU and GPU alike
        with low_precision(self, spectra.device):
            if self.mask is not None:
                spectra = spectra * self.mask(spectra)
            return self.blocks(spectra).flatten(1).float()

    def describe(self, spectra: torch.Tensor) -> torch.Tensor:
        """The same of any number of spectra, some at a time: for evaluation mode, where none depends on the others.

        Parameters
        ----------
        spectra : (N, 1, S, S) tensor
            Spectra.

        Returns
        -------
        (N, F) tensor
            The features.
        """
        return torch.cat([self.features(part) for part in spectra.split(TOGETHER)])

    def between(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """The rotation of the first less that of the second and a constant (N,), degrees, of their features (N, F).

        Parameters
        ----------
        first, second : (N, F) tensors
            Features of both.

        Returns
        -------
        (N,) tensor
            Degrees.
        """
        if self.of_each:
            rotations = self.head(torch.cat([first, second]))
            return rotations[: len(first)] - rotations[len(first) :]
        return self.head(torch.cat([first, second], -1))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """g(I0, I1) (N,): the same of spectra (N, 1, S, S).

        Parameters
        ----------
        first, second : (N, 1, S, S) tensors
            Spectra of both.

        Returns
        -------
        (N,) tensor
            Degrees.
        """
        return self.between(self.features(first), self.features(second))

    @torch.no_grad()
    def set_references(self, spectra: torch.Tensor) -> None:
        """Keep the first REFERENCES of ``spectra`` (N, 1, S, S) to measure turns against, and find the bias of all:
        g(I, I) must be 0. An error of a reference's own rotation is one constant in the rotations of all particles.

        Parameters
        ----------
        spectra : (N, 1, S, S) tensor
            Spectra.
        """
        chosen = torch.arange(REFERENCES, device=spectra.device) % len(spectra)
        self.references.copy_(spectra[chosen])
        known = self.describe(spectra)
        self.bias.copy_(circular_mean(self.between(known, known), 0, PERIOD))
        kept = self.features(self.references)
        self.reference_turns.copy_(self.between(kept, kept[:1].expand_as(kept)) - self.bias)

    def rotations(self, spectra: torch.Tensor) -> torch.Tensor:
        """Turn (N,) in degrees, modulo 180, of spectra (N, 1, S, S): the mean over the references.

        Parameters
        ----------
        spectra : (N, 1, S, S) tensor
            Spectra.

        Returns
        -------
        (N,) tensor
            Degrees.
        """
        mine, theirs = self.describe(spectra), self.features(self.references)
        pairs = mine[:, None].expand(-1, len(theirs), -1).flatten(0, 1)
        angle = self.between(pairs, theirs.repeat(len(mine), 1)).view(len(mine), -1)
        return circular_mean(angle - self.bias + self.reference_turns, 1, PERIOD)
