"""How far two averages agree: Fourier ring correlation, weights made of it, and the resolution that may be claimed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional

from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import radii, to_fourier, to_images
from scipion_udl.messages import Message, message

LEAST = 4
SMOOTH = 2  # rings to either side, over which a weak agreement is averaged
CLAIM = 0.143  # half-set FRC at which resolution is claimed (Rosenthal and Henderson 2003)
CAUTION = {3: 1.5, 1: 0.5}  # rings to either side that the FRC is averaged over: standard deviations taken off


def ring_correlation(band: Band, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Fourier ring correlation per ring (k_max + 1,), float64, of two bands; ring 0 is 0.

    Parameters
    ----------
    band : Band
        That of both.
    a, b : (2 k_max + 1, k_max + 1) complex tensors
        Two images as coefficients of the band.

    Returns
    -------
    (k_max + 1,) float64 tensor
        From -1 to 1.
    """
    cross = band.ring_sums(a.real * b.real + a.imag * b.imag)
    power = band.ring_sums(a.abs().pow(2)) * band.ring_sums(b.abs().pow(2))
    return cross / power.sqrt().clamp(min=1e-30)


def of_more(frc: torch.Tensor, factor: float) -> torch.Tensor:
    """What the FRC of two halves would be if each had ``factor`` times as many particles (same shape).

    With 2, the share of signal in the average of both halves: its Wiener weight.

    Parameters
    ----------
    frc : tensor
        The FRC of halves.
    factor : float
        How many times as many particles.

    Returns
    -------
    tensor of that shape
        From 0 to 1.
    """
    f = frc.clamp(0, 1)
    return factor * f / (1 + (factor - 1) * f)


def over_rings(agreement: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Agreement per ring (k_max + 1,) averaged over SMOOTH rings to either side, each by its ``count`` of
    coefficients.

    Parameters
    ----------
    agreement : (k_max + 1,) tensor
        A value for each ring.
    count : (k_max + 1,) tensor
        Coefficients of each ring.

    Returns
    -------
    (k_max + 1,) tensor
        The averages.
    """

    def around(values: torch.Tensor) -> torch.Tensor:
        return functional.pad(values, (SMOOTH, SMOOTH)).unfold(0, 2 * SMOOTH + 1, 1).sum(-1)

    return around(agreement * count) / around(count).clamp(min=1)


def frc_weights(frc: torch.Tensor, floor: float = 0.1) -> torch.Tensor:
    """Wiener weights per ring of an average, of the FRC that it would have with another one like it: smoothed over
    three rings; 0 from where it first falls below ``floor``. The innermost LEAST rings always count a little, so
    that there is something to align to.

    Parameters
    ----------
    frc : (rings,) tensor
        The FRC.
    floor : float, optional
        Below which nothing counts any more.

    Returns
    -------
    (rings,) tensor
        From 0 to 1.
    """
    f = frc.clone()
    f[0] = f[1]
    smooth = functional.avg_pool1d(functional.pad(f[None, None], (1, 1), mode="replicate"), 3, 1)[0, 0].clamp(0, 1)
    low = (smooth < floor).nonzero()[:, 0]
    low = low[low > 2]
    if len(low):
        smooth[int(low[0]) :] = 0
    smooth[1 : LEAST + 1] = smooth[1 : LEAST + 1].clamp(min=floor)
    return smooth


def image_frc(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """FRC per ring (D//2,), float64, of two masked images (D, D).

    The background, the mean outside of the mask, is taken off, for a constant would agree with itself. The mask mixes
    rings: where the power falls steeply (low-passed images), strong rings that agree show in weak ones far away. So the
    FRC is taken of the images as they are and once more with all rings brought to one power, and the lower of the two
    counts in every ring; that filter alone would bring in what lies outside of the mask.

    Parameters
    ----------
    a, b : (D, D) tensors
        Two images.
    mask : (D, D) tensor
        From 0 to 1.

    Returns
    -------
    (D//2,) float64 array
        The FRC of each ring.
    """
    box = a.shape[-1]
    ring = radii(box, a.device).round().long()
    weight = torch.ones_like(ring, dtype=torch.float64)
    weight[:, 0] = 0.5
    if box % 2 == 0:
        weight[:, -1] = 0.5

    def rings(values: torch.Tensor) -> torch.Tensor:
        sums = torch.zeros(int(ring.max()) + 1, dtype=torch.float64, device=a.device)
        return sums.index_add_(0, ring.flatten(), (values * weight).flatten())

    images = [image.double() - _background(image, mask) for image in (a, b)]
    images = [image / image.std().clamp(min=1e-300) for image in images]  # units may be anything, 1e-20 too
    first, second = (to_fourier(image).abs() ** 2 for image in images)
    power = rings(first + second) / rings(torch.ones_like(weight)).clamp(min=0.5)
    flatten = power.clamp(min=float(power.max()) * 1e-24 or 1e-300).rsqrt()[ring]
    flat = [to_images(to_fourier(image) * flatten, box) for image in images]

    def masked_frc(pair: list[torch.Tensor]) -> torch.Tensor:
        fa, fb = (to_fourier((image - _background(image, mask)) * mask) for image in pair)
        return rings((fa * fb.conj()).real) / (rings(fa.abs() ** 2) * rings(fb.abs() ** 2)).sqrt().clamp(min=1e-30)

    return torch.minimum(masked_frc(images), masked_frc(flat))[: box // 2].cpu().numpy()


def _background(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    outside = 1 - mask.double()
    return (image.double() * outside).sum() / outside.sum() if outside.sum() > 0 else image.double().mean()


@dataclass
class ResolutionEstimate:
    """What the half-set FRC allows to say.

    signal: whether the halves agree on anything they did not share, None where that was not asked; resolution:
    angstrom, None where none is claimed; note: the sentence for the user; sure: the expected share of particles whose
    angle is right (angular_accuracy.py), None where that was not asked; picked: whether no more is seen in the
    particles than picking with a template makes of noise (fit.py).
    """

    signal: bool | None
    resolution: float | None
    note: Message
    sure: float | None = None
    picked: bool = False


def independent_coefficients(rings: np.ndarray, box: int, mask_radius: float) -> np.ndarray:
    """How many coefficients of each Fourier ring (pixels) are independent in images masked to a disc of
    ``mask_radius`` pixels, float64: those of half the ring, times the disc's share of the box.

    Parameters
    ----------
    rings : (n,) array
        Radii of rings, Fourier pixels.
    box : int
        Side of the box, pixels.
    mask_radius : float
        Pixels.

    Returns
    -------
    (n,) float64 array
        How many of each ring, 1 at least.
    """
    return np.maximum(np.pi * rings * (np.pi * mask_radius**2 / box**2), 1.0)


def cautious_frc(frc: np.ndarray, independent: np.ndarray) -> np.ndarray:
    """What an FRC (rings,) is at least, ring by ring, (rings,) float64.

    The FRC of single rings jitters, by (1 - FRC^2) / sqrt(n) of n independent coefficients, so that where it first
    falls below a threshold is left to chance: that alone made 5 of 34 claims more than 5 % too good, and others 18 %
    too poor. Averages over neighbouring rings jitter less, and taking off some of what is left errs to the safe side:
    the lower counts of CAUTION's averages, a wide one, and a narrow one for curves that fall steeply or dip.

    Parameters
    ----------
    frc : (rings,) array
        The FRC.
    independent : (rings,) array
        Independent coefficients of each ring.

    Returns
    -------
    (rings,) float64 array
        The FRC less its scatter.
    """
    lowest = np.full(len(frc), np.inf)
    for reach, deviations in CAUTION.items():
        total, count = (
            np.convolve(values, np.ones(2 * reach + 1))[reach : reach + len(frc)]  # at the ends over what is there
            for values in (frc * independent, independent)
        )
        mean = total / count
        lowest = np.minimum(lowest, mean - deviations * (1 - mean.clip(0, 1) ** 2) / np.sqrt(count))
    return lowest


def estimate_resolution(
    frc: np.ndarray,
    box: int,
    pixel_size: float,
    initial_lowpass: float,
    mask_radius: float,
    ring_limit: int | None = None,
) -> ResolutionEstimate:
    """The resolution that two halves support.

    frc: per ring, of averages refined apart from each other; initial_lowpass: the Fourier ring (pixels) up to which the
    halves had a common start, where agreement proves nothing; mask_radius: pixels. A common signal is one whose FRC
    beyond the shared rings stays clear of what noise gives: the mean of the next rings against its standard deviation,
    the number of independent coefficients in the masked area counted. The resolution is where the cautious FRC of the
    rings beyond the shared ones (:func:`cautious_frc`) falls to CLAIM, but no finer than ``ring_limit``, beyond
    which nothing was compared (None: no limit); that they agree there too is all the better.

    Parameters
    ----------
    frc : (rings,) array
        Of halves that were refined apart.
    box : int
        Side of the box, pixels.
    pixel_size : float
        Angstrom.
    initial_lowpass : float
        The ring up to which the halves had a common start, Fourier pixels.
    mask_radius : float
        Pixels.
    ring_limit : int, optional
        The ring beyond which nothing was compared, Fourier pixels.

    Returns
    -------
    ResolutionEstimate
        The resolution, or why none is claimed.
    """
    first = int(np.ceil(initial_lowpass)) + 2  # the mask mixes neighbouring rings
    beyond = np.asarray(frc, np.float64)[first:]
    if not len(beyond):
        return ResolutionEstimate(None, None, message("claim_box_too_small"))
    if not np.isfinite(beyond).all():
        return ResolutionEstimate(None, None, message("claim_without_numbers"))
    independent = independent_coefficients(np.arange(first, len(frc)), box, mask_radius)
    near = slice(0, 4)
    score = float((beyond[near] * independent[near]).sum() / np.sqrt(independent[near].sum()))
    limit = box * pixel_size / max(initial_lowpass, 1e-9)
    if score < 4 or beyond[near].mean() < CLAIM:
        return ResolutionEstimate(False, None, message("no_signal", limit=limit))
    ring = first + _falls_to(cautious_frc(beyond, independent), CLAIM)
    beyond_limit = ring_limit is not None and ring > ring_limit
    resolution = box * pixel_size / (ring_limit if ring_limit is not None and beyond_limit else ring)
    code = "resolution_at_limit" if beyond_limit else "resolution_claimed"
    note = message(code, level=CLAIM, resolution=resolution, start=limit)
    return ResolutionEstimate(True, float(resolution), note)


def measured_crossing(frc: np.ndarray, field: float) -> float:
    """Where the FRC of two halves falls to CLAIM, as measured: no claim, for what they had in common counts.

    Parameters
    ----------
    frc : (rings,) array
        From ring 0.
    field : float
        Box x pixel size, angstrom.

    Returns
    -------
    float
        Angstrom; NaN where the FRC is not known.
    """
    curve = np.asarray(frc, np.float64)[1:]
    if not len(curve) or not np.isfinite(curve).all():
        return float("nan")
    return float(field / (1 + _falls_to(curve, CLAIM)))


def _falls_to(curve: np.ndarray, level: float) -> float:
    """The place in a curve, between points by a straight line, where it first falls to ``level``; its end if never."""
    below = np.flatnonzero(curve < level)
    if not len(below):
        return len(curve) - 1.0
    place = int(below[0])
    if place == 0:
        return 0.0
    high, low = curve[place - 1], curve[place]
    return place - 1 + float((high - level) / max(high - low, 1e-9))
