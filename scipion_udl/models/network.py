"""What all networks have in common, whatever they see."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn


class TellsRotations(Protocol):
    """What tells how particles are rotated: a network, or one of its views."""

    def rotations(self, spectra: torch.Tensor) -> torch.Tensor:
        """How particles are rotated.

        Parameters
        ----------
        spectra : (N, ...) tensor
            The network's input of each particle.

        Returns
        -------
        (N,) tensor
            Degrees, modulo 180.
        """


class Network(nn.Module):
    """A network whose arguments its model file tells. ``config``: these, by name, as JSON has them."""

    config: dict[str, Any]
