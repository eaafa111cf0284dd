"""How the tubes of segments of filaments lie, for those that are compared at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.imaging.filaments import Filaments


@dataclass
class Tubes:
    """How the tubes of n segments lie: psi (n,), degrees, and way (n,), as of :class:`Filaments`; reach: how far angles
    go from psi, degrees."""

    psi: torch.Tensor
    way: torch.Tensor
    reach: float

    @classmethod
    def of(cls, filaments: Filaments, rows: np.ndarray, device: torch.device) -> Tubes:
        """Those of some segments.

        Parameters
        ----------
        filaments : Filaments
            Of all of them.
        rows : (n,) int array
            Which, from 0.
        device : torch.device
            Where the tensors are to lie.

        Returns
        -------
        Tubes
            Of n segments.
        """
        psi, way = (torch.from_numpy(values[rows]).to(device) for values in (filaments.psi, filaments.way))
        return cls(psi, way, filaments.reach)

    def held(self, base: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which segments have their way round decided for them.

        Parameters
        ----------
        base : (n,) tensor
            Degrees of the orientations that they are compared with.
        other : (n,) bool tensor
            Which were rotated by 180 degrees for that already.

        Returns
        -------
        (n,) bool tensor
            Those that have.
        (n,) bool tensor
            Those that are to be rotated by 180 degrees, or once more, to lie that way.
        """
        forward = torch.remainder(base - self.psi + 90, 360) < 180
        return self.way != 0, (self.way > 0) ^ forward ^ other

    def kept(self, angle: torch.Tensor) -> torch.Tensor:
        """Angles near the priors.

        Parameters
        ----------
        angle : (n,) tensor
            Degrees.

        Returns
        -------
        (n,) tensor
            Degrees: those too far from psi, either way round, brought to the nearest that is not.
        """
        off = torch.remainder(angle - self.psi + 90, 180) - 90
        return (angle - off + off.clamp(-self.reach, self.reach)).to(angle.dtype)
