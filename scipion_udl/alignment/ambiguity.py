"""Which way round? What two halves confirm of the difference between an average and itself rotated by 180 degrees.

The odds between two candidates of a particle rest on that difference alone. In a (nearly) two-fold view it is mostly
nothing. So it counts, ring by ring, by what two halves that never saw each other's average agree on.
"""

from __future__ import annotations

import torch

from scipion_udl.imaging.band import Band, ShiftMaps, peaks
from scipion_udl.imaging.half_set_frc import frc_weights, over_rings, ring_correlation

EVIDENCE = 3.0  # standard deviations of noise that the agreement of the halves' differences must exceed


def flip_difference(band: Band, maps: ShiftMaps, average: torch.Tensor) -> torch.Tensor:
    """An average minus itself rotated by 180 degrees about the point where that changes it least.

    Parameters
    ----------
    band : Band
        That of the average.
    maps : ShiftMaps
        In which the point is looked for.
    average : (band) complex tensor
        The average.

    Returns
    -------
    (band) complex tensor
        The difference.
    """
    shift, _ = peaks(maps, maps.correlate(average.conj(), average)[None])
    return average - band.shifted(average.conj(), shift[0])


def confirmed_rings(band: Band, maps: ShiftMaps, averages: list[torch.Tensor]) -> torch.Tensor:
    """How much of the difference between an average and itself rotated by 180 degrees two halves confirm.

    Parameters
    ----------
    band : Band
        That of the averages.
    maps : ShiftMaps
        In which the centre is looked for.
    averages : list of (band) complex tensors
        Of two halves, aligned apart from each other and then brought into one frame.

    Returns
    -------
    (band) tensor
        Weights 0 to 1; all 0 where their agreement is within EVIDENCE of chance, and so no way round is better than the
        other.
    """
    total = (averages[0] + averages[1]) / 2
    shift, _ = peaks(maps, maps.correlate(total.conj(), total)[None])
    first, second = (average - band.shifted(average.conj(), shift[0]) for average in averages)
    agreement = ring_correlation(band, first, second)
    count = band.ring_sums(torch.ones_like(band.radius))
    reach = frc_weights(ring_correlation(band, *averages))
    # Half of the coefficients are free: the difference is antisymmetric about its centre.
    chance = ((reach * count).pow(2) / (count / 2).clamp(min=1)).sum().sqrt()
    if float((reach * count * agreement).sum()) < EVIDENCE * float(chance):
        return torch.zeros_like(band.disc)
    return band.spread(over_rings(agreement, count).clamp(0, 1) * (reach > 0))
