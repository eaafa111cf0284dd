"""The disc that holds a particle: how far it reaches, by whom that is told, and where neighbours begin."""

from __future__ import annotations

import copy

import torch

from scipion_udl.imaging.fourier import soft_band, soft_disc
from scipion_udl.particles.extent import LARGEST

TIGHT = 0.97  # of the particle's radius: neighbours that begin earlier cut no more off it


class ParticleDisc:
    """The disc about the particles of a set, in their working box.

    source_box, box: pixels of the input and of the working box; radius: of the particle, pixels of the input, None
    where nobody says it. ``mask_radius``: the same in the working box; ``radius_from`` tells where it comes from (a key
    of DIAMETER_FROM); ``tube_radius``: half the width of the band along x that holds a filament, working pixels, None
    for what is no filament; ``clear_radius``: pixels of the input, from the centre, at which neighbours begin;
    ``edge``: over how many working pixels the disc falls off.
    """

    def __init__(self, source_box: int, box: int, device: torch.device, radius: float | None) -> None:
        self.box, self.scale, self.device = box, source_box / box, device
        self.edge = max(4.0, 0.06 * box)
        self.mask_radius = (radius or LARGEST * source_box) / self.scale
        self.radius_from = "given" if radius else "box"
        self.clear_radius = float("inf")
        self.tube_radius: float | None = None

    def in_box(self, box: int) -> ParticleDisc:
        """The same disc in another working box.

        Parameters
        ----------
        box : int
            Of the other, pixels.

        Returns
        -------
        ParticleDisc
            Its radii in pixels of that box.
        """
        other = copy.copy(self)
        other.box, other.scale = box, self.scale * self.box / box
        other.mask_radius, other.edge = (v * box / self.box for v in (self.mask_radius, self.edge))
        other.tube_radius = None if self.tube_radius is None else self.tube_radius * box / self.box
        return other

    @property
    def mask(self) -> torch.Tensor:
        """The soft disc about a particle in register, (box, box); of a filament what a band along x has of it."""
        disc = soft_disc(self.box, self.radius, self.edge, self.device)
        return (
            disc if self.tube_radius is None else disc * soft_band(self.box, self.tube_radius, self.edge, self.device)
        )

    @property
    def radius(self) -> float:
        """Of the disc about a particle in register: the particle's own, or less, so that its soft edge ends where
        neighbours begin."""
        return min(self.mask_radius, self._free_radius)

    @property
    def window_radius(self) -> float:
        """Of the disc that particles are seen through before they are centred: nearly the whole box, or as much as the
        user gave, but free of neighbours."""
        told = self.radius_from in ("given", "run")
        return min(self.mask_radius if told else LARGEST * self.box, self._free_radius)

    @property
    def _free_radius(self) -> float:
        return max(TIGHT * self.mask_radius, self.clear_radius / self.scale) - self.edge / 2
