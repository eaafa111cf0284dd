"""An average to align to: in all orientations, with its slopes, and how well noise lets a particle fit it."""

from __future__ import annotations

from functools import cached_property

import torch

from scipion_udl.imaging.band import Band
from scipion_udl.imaging.orientations import Orientations, ring_normals, rotated_band


class Reference:
    """An average to align to.

    average: the masked mean (band), its CTF taken out where that is known; weight: Wiener weight per ring
    (k_max + 1,); weighted: the average as particles are compared with it (band), None for the average times its weight;
    difference: what is believed of the average minus itself rotated by 180 degrees (band), which the log odds rest on;
    None for all of it.
    """

    def __init__(
        self,
        band: Band,
        average: torch.Tensor,
        weight: torch.Tensor,
        weighted: torch.Tensor | None = None,
        difference: torch.Tensor | None = None,
    ) -> None:
        self.band, self.average, self.ring_weight, self.difference = band, average, weight, difference
        self.weighted = average * band.spread(weight) if weighted is None else weighted

    @cached_property
    def orientations(self) -> Orientations:
        """The weighted average in all orientations."""
        return Orientations(self.band, self.weighted)

    @cached_property
    def differences(self) -> Orientations | None:
        """The believed difference in all orientations."""
        if self.difference is None:
            return None
        return Orientations(self.band, self.difference)

    @cached_property
    def normals(self) -> torch.Tensor:
        """What a small move costs per ring, weighted, (k_max + 1, 3, 3): see :func:`ring_normals`."""
        normals = ring_normals(self.band, self.average) * self.ring_weight[:, None, None].float()
        # An image that looks the same moved or rotated (a stripe, a ring) has a singular system: then nothing is moved.
        total = normals.sum(0)
        slight = torch.eye(3, device=self.band.device) * (1e-6 * total.trace() + 1e-12) / len(normals)
        return normals + slight

    @cached_property
    def powers(self) -> torch.Tensor:
        """Weighted power per ring (k_max + 1,), float32."""
        return (self.band.ring_sums(self.average.abs().pow(2)) * self.ring_weight.double()).float()

    @cached_property
    def weighted_powers(self) -> torch.Tensor:
        """Power of the weighted average per ring (k_max + 1,), float32: of what particles are expected to show, where
        the weight is that of a Wiener filter."""
        return self.band.ring_sums(self.weighted.abs().pow(2)).float()

    def expected_errors(self, ctf: torch.Tensor | None = None) -> tuple[float, float]:
        """Standard deviation of angle and shift that noise of variance 1 leaves a particle with (the Cramer-Rao bound).

        Parameters
        ----------
        ctf : (k_max + 1,) tensor, optional
            The particle's squared CTF per ring, None for 1.

        Returns
        -------
        rotation : float
            Degrees.
        move : float
            Working pixels, of the shift along an axis.
        """
        normals = self.normals if ctf is None else self.normals * ctf[:, None, None]
        variances = torch.linalg.inv(2 * normals.sum(0).double()).diagonal()
        return float(variances[2].clamp(min=0).sqrt()), float(variances[:2].mean().clamp(min=0).sqrt())

    def rotated(self, angles: torch.Tensor) -> torch.Tensor:
        """The weighted reference with poses applied.

        Parameters
        ----------
        angles : (A,) tensor
            Degrees.

        Returns
        -------
        (A, band) complex tensor
            The rotated ones.
        """
        return rotated_band(self.band, self.weighted, angles)
