"""How far off the centre of its box a particle may lie (``--max-shift``), and what keeps the search to it.

For a pose (R, t) a particle's centre lies R^T (c - t) off the centre of its box, where c is the place of the particle
in the average: the average need not lie in the middle of its box. So it is the distance between t and c that has a
limit. Working pixels throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.imaging.band import ShiftMaps

MANY = 0.02  # of the particles at the limit: more than lie there where they are in register
# Noise has its highest correlation near the rim that often: share times the radius in working pixels, measured at 4 and
# 10 (0.42, 0.14); and how much more there must be where halves agree on nothing.
BY_CHANCE, MORE = 1.7, 0.1
KNOWN = 8  # particles whose shifts tell where in its box the average lies
AT = 1e-3  # working pixels from the limit: such a particle was stopped there
_DIAGONAL = 0.71  # half the diagonal between two whole shifts


@dataclass
class ShiftLimit:
    """The disc that shifts t lie in. radius; centre: c (2,), x and y in the frame of the average, None where it is not
    known yet: then the disc is about 0; along: how far they may go along x in that frame, about 0, None for as far as
    the disc: of segments of filaments, whose axis is x there."""

    radius: float
    centre: torch.Tensor | None = None
    along: float | None = None

    def inside(self, maps: ShiftMaps, base: torch.Tensor) -> torch.Tensor | None:
        """Which shifts of maps lie within the limit.

        Parameters
        ----------
        maps : ShiftMaps
            Of S by S shifts in the frames of the particles.
        base : (n,) tensor
            Degrees that the particles are rotated by.

        Returns
        -------
        (n, S, S) bool tensor or None
            None for those of the maps.
        """
        if self.centre is None and self.along is None:
            return None
        x, y = (0 * base, 0 * base) if self.centre is None else self._centres(base).unbind(-1)
        square = (maps.shifts[None, :, None] - y[:, None, None]) ** 2 + (maps.shifts - x[:, None, None]) ** 2
        within = square <= (self.radius + _DIAGONAL) ** 2
        if self.along is None:
            return within
        radians = torch.deg2rad(base)[:, None, None]
        place = torch.cos(radians) * maps.shifts - torch.sin(radians) * maps.shifts[None, :, None]
        return within & (place.abs() <= self.along + _DIAGONAL) & maps.inside

    def kept(self, shift: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Shifts, those beyond the limit brought to its rim.

        Parameters
        ----------
        shift : (n, 2) tensor
            Working pixels, in the frames of the particles.
        base : (n,) tensor
            Degrees that the particles are rotated by.

        Returns
        -------
        (n, 2) tensor
            Working pixels, in the same frames.
        """
        centre = 0.0 if self.centre is None else self._centres(base)
        if self.along is not None:
            place, axis = _along(shift, base)
            shift = shift + (place.clamp(-self.along, self.along) - place) * axis
        off = shift - centre
        return centre + off * (self.radius / off.norm(dim=-1, keepdim=True).clamp(min=1e-6)).clamp(max=1)

    def reached(self, shift: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Which shifts lie at the rim of the limit.

        Parameters
        ----------
        shift : (n, 2) tensor
            Working pixels, in the frames of the particles.
        base : (n,) tensor
            Degrees that the particles are rotated by.

        Returns
        -------
        (n,) bool tensor
            True at the rim.
        """
        centre = 0.0 if self.centre is None else self._centres(base)
        off = shift - centre
        if self.along is not None:  # along the axis some always lie at the limit, which a larger one would not change
            place, axis = _along(off, base)
            off = off - place * axis
        return off.norm(dim=-1) >= self.radius - AT

    def _centres(self, base: torch.Tensor) -> torch.Tensor:
        """R(-base) c, (n, 2), where c is known."""
        if self.centre is None:
            raise ValueError("nobody knows yet where the average lies")
        radians = torch.deg2rad(base).to(self.centre.dtype)
        (x, y), cos, sin = self.centre, torch.cos(radians), torch.sin(radians)
        return torch.stack([cos * x + sin * y, cos * y - sin * x], -1)


def _along(shift: torch.Tensor, base: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How far shifts (n, 2) go along the average's x (n, 1), and that axis (n, 2) in the frames of the particles, which
    are rotated by ``base`` (n,) degrees."""
    radians = torch.deg2rad(base)
    axis = torch.stack([torch.cos(radians), -torch.sin(radians)], -1).to(shift.dtype)
    return (shift * axis).sum(-1, keepdim=True), axis


def centre_of(shift: np.ndarray) -> np.ndarray | None:
    """Where in its box the average lies, by the shifts of its particles, which lie about it on all sides.

    Parameters
    ----------
    shift : (n, 2) array
        Working pixels; zeros of particles that have none yet.

    Returns
    -------
    (2,) array or None
        x and y, working pixels; None where too few particles have a shift yet.
    """
    known = shift[(shift != 0).any(1)]
    return known.mean(0) if len(known) >= KNOWN else None


def is_too_small(share: float, radius: float, signal: bool | None) -> bool:
    """Whether a limit of shifts is too small for the particles.

    Parameters
    ----------
    share : float
        Of the particles at the limit, 0 to 1.
    radius : float
        The limit, working pixels.
    signal : bool or None
        Whether halves of the particles agree on something; where they may be noise, many lie at any limit.

    Returns
    -------
    bool
        True where it is.
    """
    return share > (MANY if signal else min(BY_CHANCE / max(radius, 1e-6), 1 - 2 * MORE) + MORE)
