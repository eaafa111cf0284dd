"""The working resolution: nothing finer, or coarser, than the user allows is compared, in training, first average and
refinement."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TypeVar, cast

import torch

from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.messages import Message, message
from scipion_udl.particles.prepared import PreparedParticles

LEAST = 8  # Fourier pixels, below which there is too little to align by
Seen = TypeVar("Seen", bound=SpectraSettings | SpectrumImageSettings)


def limit_resolution(particles: PreparedParticles, limit: float | None) -> Message | None:
    """Have nothing finer than a limit compared.

    Parameters
    ----------
    particles : PreparedParticles
        Whose ``ring_limit`` is set.
    limit : float or None
        A, None for no limit.

    Returns
    -------
    Message or None
        A sentence for the user where that changes nothing.

    Raises
    ------
    UdlError
        Where the pixel size is not known, and for a limit that leaves fewer than LEAST Fourier pixels.
    """
    if limit is None:
        return None
    source = particles.source
    if not source.pixel_size_known:
        raise UdlError(message("finest_without_pixel_size"))
    field = source.box * source.pixel_size
    ring = math.floor(field / limit + 1e-6)
    if ring < LEAST:
        raise UdlError(
            message(
                "finest_too_coarse", finest=limit, pixels=ring, field=field, most=math.floor(10 * field / LEAST) / 10
            )
        )
    if ring >= particles.k_max:
        return message("finest_without_effect", finest=limit, limit=field / particles.k_max)
    particles.ring_limit = ring
    return None


def limit_low_resolution(particles: PreparedParticles, limit: float | None) -> Message | None:
    """Have nothing coarser than a limit compared.

    Parameters
    ----------
    particles : PreparedParticles
        Whose ``low_ring`` is set; not scanned yet.
    limit : float or None
        A, None for no limit.

    Returns
    -------
    Message or None
        A sentence for the user where that changes nothing.

    Raises
    ------
    UdlError
        Where the pixel size is not known, and for a limit that leaves fewer than LEAST Fourier pixels.
    """
    if limit is None:
        return None
    source = particles.source
    if not source.pixel_size_known:
        raise UdlError(message("coarsest_without_pixel_size"))
    field = source.box * source.pixel_size
    ring = round(field / limit)
    if particles.k_max - ring < LEAST:
        least = math.ceil(10 * field / max(particles.k_max - LEAST, 1)) / 10
        raise UdlError(message("coarsest_too_fine", value=limit, pixels=max(particles.k_max - ring, 0), least=least))
    if ring < 1:
        return message("coarsest_without_effect", value=limit, field=field)
    particles.low_ring = ring
    return None


@dataclass(frozen=True)
class BoundedSpectra(SpectraSettings):
    """Polar spectra that hold nothing (0) beyond ``ring_limit``, for a network that was trained to see more."""

    ring_limit: int = 0

    def of(self, coefficients: torch.Tensor, box: int) -> torch.Tensor:
        spectra = super().of(coefficients, box)
        spectra[:, max(self.ring_limit - self.r_min + 1, 0) :] = 0
        return spectra


def bounded(inputs: Seen, ring_limit: int | None) -> Seen:
    """A network's input, of the same shape, that knows nothing beyond a Fourier ring.

    Parameters
    ----------
    inputs : SpectraSettings or SpectrumImageSettings
        What makes the input.
    ring_limit : int or None
        The ring, None for no limit.

    Returns
    -------
    SpectraSettings or SpectrumImageSettings
        As ``inputs``, bounded.
    """
    if ring_limit is None or inputs.r_max <= ring_limit or isinstance(inputs, BoundedSpectra):
        return inputs
    if isinstance(inputs, SpectrumImageSettings):
        return cast(Seen, replace(inputs, r_max=ring_limit))
    return cast(Seen, BoundedSpectra(**asdict(inputs), ring_limit=ring_limit))
