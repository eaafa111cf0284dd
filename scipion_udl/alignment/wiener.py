"""What of an average is signal: Wiener weights by ring, apart for what is two-fold symmetric in it, and by place.

A nearly two-fold view differs from itself rotated by 180 degrees in a few details only. What the average shows of that
difference is mostly noise, though the average as a whole may be all but free of it; and it decides which way round each
particle lies. So the part of an average that a rotation by 180 degrees about its centre leaves as it is, and the part
that it turns into its negative, are weighted each by what two halves agree on in it; the latter, where that helps,
place by place as well.
"""

from __future__ import annotations

import math

import torch

from scipion_udl.imaging.band import Band, ShiftMaps
from scipion_udl.imaging.blur import gaussian_blur
from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.half_set_frc import frc_weights, of_more, over_rings, ring_correlation

NEAR = 0.1  # of the box: how far a rotation by 180 degrees about the centre may move a view that is nearly two-fold
LOCAL = 0.025  # of the box: standard deviation of the window in which local power is measured
CAUTION = 1.5  # times the mean noise power: what a place must exceed to count as more than noise


def flip_centre(maps: ShiftMaps, image: torch.Tensor) -> torch.Tensor:
    """The point about which a rotation by 180 degrees changes an image least.

    Not far from the origin: an asymmetric view has no such point, and any would do.

    Parameters
    ----------
    maps : ShiftMaps
        In which it is looked for.
    image : (band) complex tensor
        The image.

    Returns
    -------
    (2,) float32 tensor
        x and y in pixels.
    """
    near = maps.shifts[:, None] ** 2 + maps.shifts[None] ** 2 <= (NEAR * maps.box) ** 2
    likeness = maps.correlate(image.conj(), image).masked_fill(~near, -torch.inf)
    place, size = int(likeness.argmax()), len(maps.shifts)
    # Turned by 180 degrees about the origin and moved by t it fits best: the centre is t / 2.
    return torch.stack([maps.shifts[place % size], maps.shifts[place // size]]) / 2


class WienerFilter:
    """Weights for averages like two halves of a set.

    halves: two averages (bands) in one frame, independent of each other; centre: about which a rotation by 180 degrees
    changes them least (2,), None for the origin; local: weigh the antisymmetric part place by place, too.
    """

    def __init__(
        self, band: Band, halves: list[torch.Tensor], centre: torch.Tensor | None = None, local: bool = False
    ) -> None:
        self.band, self.centre, self.local = band, centre, local
        first, second = (self._to_centre(half) for half in halves)
        self.even = ring_correlation(band, _even(first), _even(second))
        self.odd = ring_correlation(band, _odd(first), _odd(second))
        self.whole = ring_correlation(band, *halves)
        self._noise = _odd(first - second) / 2

    def __call__(self, average: torch.Tensor, share: float) -> torch.Tensor:
        """An average (band) in the halves' frame, weighted; share: how many times the particles of a half it holds."""
        centred = self._to_centre(average)
        per_ring = frc_weights(of_more(self.even, share))
        even = _even(centred) * self.band.spread(per_ring)
        weight = self._odd_weight(per_ring > 0, share)
        odd = _odd(centred) * weight
        if self.local:
            odd = self._by_place(odd, self._noise * weight * math.sqrt(2 / share))
        return even + odd if self.centre is None else self.band.shifted(even + odd, self.centre)

    def weight(self, share: float) -> torch.Tensor:
        """Wiener weight of an average as a whole.

        Parameters
        ----------
        share : float
            How many times the particles of a half it holds.

        Returns
        -------
        (k_max + 1,) tensor
            Per ring, 0 to 1.
        """
        return frc_weights(of_more(self.whole, share))

    def _odd_weight(self, within: torch.Tensor, share: float) -> torch.Tensor:
        """The antisymmetric part's weight, laid out over the band: it may be weak in some rings and come back."""
        agreed = over_rings(self.odd, self.band.ring_count.double())
        return self.band.spread(of_more(agreed, share) * within)

    def _to_centre(self, image: torch.Tensor) -> torch.Tensor:
        return image if self.centre is None else self.band.shifted(image, -self.centre)

    def _by_place(self, part: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """A part (band), weighted in every place by how far its power there exceeds that of its noise (band)."""
        band = self.band
        image, beside = band.images(part), band.images(noise)
        sigma = max(1.0, LOCAL * band.box)
        power = gaussian_blur(image.square(), sigma).clamp(min=1e-30)
        level = beside.square()[soft_disc(band.box, 0.4 * band.box, 1.0, band.device) > 0.5].mean()
        return band.of_images(image * (1 - CAUTION * level / power).clamp(min=0))


def _even(band: torch.Tensor) -> torch.Tensor:
    return band.real.to(band.dtype)


def _odd(band: torch.Tensor) -> torch.Tensor:
    return 1j * band.imag
