"""The first look through a set: how far its particles reach, their backgrounds, and the spectrum of their noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.errors import UdlError
from scipion_udl.imaging.fourier import radii, soft_disc, to_fourier
from scipion_udl.io.defocus import sampled_defocus
from scipion_udl.io.source import Source
from scipion_udl.messages import Message, message
from scipion_udl.particles.background import Background
from scipion_udl.particles.disc import ParticleDisc
from scipion_udl.particles.extent import LARGEST as DISC
from scipion_udl.particles.extent import Extent, VarianceProfile, extent_of
from scipion_udl.particles.known import image_digests
from scipion_udl.particles.loudness import Loudness, loud_limit
from scipion_udl.particles.name_order import ranks
from scipion_udl.particles.polarity import Polarity, RadialProfile
from scipion_udl.particles.polarity_groups import GroupProfiles
from scipion_udl.particles.reader import ChunkReader

PROFILE = 1024  # particles that tell how far they reach, at most
LISTEN = 2048  # particles that the spectrum of the noise is measured on, at most
LARGEST = 1e34  # grey value of an image: its Fourier coefficients and sums of many stay within single precision
MASKED = 0.1  # a background with less than this part of the expected noise was masked away and says nothing of it
LOUDER = 3.0  # standard errors by which the background has to be louder than what is beside the mean in the disc


class RawParticles(Protocol):
    """The particles of a set as a look through it needs them; see :class:`.prepared.PreparedParticles`."""

    source: Source
    device: torch.device
    reader: ChunkReader
    disc: ParticleDisc
    ignores_ctf: bool

    def __len__(self) -> int: ...


@dataclass
class Scan:
    """What one look through a set found.

    mean, std: (N,) of each particle's background (outside of the disc), mean at the origin of the image; slope: (N, 2)
    its rise per pixel towards +x and +y; blank: (N,) bool, constant images; hot: (N,) how many pixels stuck out and are
    replaced; matter: (N,) how much of the particle each image shows, in its rotational average, 1 for the mean of the
    set, NaN where the set shows none (:func:`scipion_udl.particles.extent.matter_kernel`); loudness: (N,) of what lies
    in the disc (loudness.py), loud_limit: above which it is no particle, infinity for none; noise: (rings,) power of
    the noise per Fourier ring of the particle's box, 1 for white noise; polarity: whether particles are bright or
    dark, told by ``heard`` of them; images: numbers (N,) int64 of the images, see
    :func:`scipion_udl.particles.known.image_digests`; opposite: the sentence on stacks,
    optics groups or images of opposite polarity, None where none was seen.
    """

    mean: np.ndarray
    slope: np.ndarray
    std: np.ndarray
    blank: np.ndarray
    hot: np.ndarray
    matter: np.ndarray
    loudness: np.ndarray
    noise: torch.Tensor
    polarity: Polarity
    heard: int
    images: np.ndarray
    opposite: Message | None = None
    loud_limit: float = np.inf

    def levels(self, rows: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The backgrounds of some images, as :meth:`Background.levelled` takes them.

        Parameters
        ----------
        rows : (n,) int array
            The images, from 0.
        device : torch.device
            Where they are wanted.

        Returns
        -------
        mean, slope, std : (n,), (n, 2) and (n,) float32 tensors
            On the device.
        """
        found = (values[rows].astype(np.float32) for values in (self.mean, self.slope, self.std))
        mean, slope, std = (torch.from_numpy(values).to(device) for values in found)
        return mean, slope, std

    @property
    def loud(self) -> np.ndarray:
        """Which images are far louder than particles are, (N,) bool."""
        return ~self.blank & (self.loudness > self.loud_limit)

    @property
    def odd(self) -> np.ndarray:
        """Which images are constant or loud, and so no particle whatever they score, (N,) bool."""
        return self.blank | self.loud


def find_extent(
    prepared: RawParticles, ctfs: Mapping[str, np.ndarray]
) -> tuple[Extent, VarianceProfile, RadialProfile]:
    """How far particles reach, and the profiles that tell it and where their neighbours begin.

    PROFILE of them at most are looked at; which ones does not depend on their order.

    Parameters
    ----------
    prepared : RawParticles
        Those of the set.
    ctfs : dict of str to (129,) array
        What :func:`mean_ctfs` gives of them.

    Returns
    -------
    extent : Extent
        The disc that holds a particle.
    variance : VarianceProfile
        How much particles differ, by the distance from the centre.
    profile : RadialProfile
        Their rotational mean.
    """
    box, device = prepared.source.box, prepared.device
    background, profile = Background(box, DISC * box, device), RadialProfile(box, device)
    variance = VarianceProfile(box, device)
    chosen = np.sort(np.argsort(ranks(prepared.source.names, 0), kind="stable")[:PROFILE])
    for _, images in prepared.reader.chunks(chosen, "extent of the particles"):
        levels = background.measure(images)
        normal, _ = background.levelled(images, levels.mean, levels.slope, levels.std)
        normal = normal[~levels.flat & (levels.peak <= LARGEST)]
        profile.add(normal)
        variance.add(normal)
    return extent_of(profile, ctfs), variance, profile


def mean_ctfs(prepared: RawParticles) -> dict[str, np.ndarray]:
    """The CTFs that the rotational mean of the particles may have been seen through.

    Parameters
    ----------
    prepared : RawParticles
        Those of the set, whatever their order.

    Returns
    -------
    dict of str to (129,) array
        Of some of the particles, by their names, as of :meth:`RadialProfile.mean_ctfs`.
    """
    source = prepared.source
    rows = np.argsort(ranks(prepared.source.names, 0), kind="stable")
    defocus = None if prepared.ignores_ctf else sampled_defocus(source, rows)
    return RadialProfile(source.box).mean_ctfs(source.pixel_size if source.pixel_size_known else None, defocus)


class NoiseMeter:
    """Sums of what the spectrum of the noise is told by: power of the background outside of the disc, and of what the
    particles are inside of it beside their common mean.

    Where neighbours crowd the background it is louder than the noise in the particle's disc; where particles differ in
    view or angle, the disc is louder. Each is more than noise alone, so the lower of both is nearer to it.
    """

    def __init__(self, background: Background, radius: float) -> None:
        self.outside, self.box = background.outside, background.box
        device = self.outside.device
        self.disc = soft_disc(self.box, max(min(radius, self.box / 2 - 2), 1.0), max(2.0, 0.04 * self.box), device)
        self.ring = radii(self.box, device).round().long().clamp(max=self.box // 2).flatten()
        self.sums = torch.zeros(2, self.box // 2 + 1, dtype=torch.float64, device=device)
        self.mean = torch.zeros(self.box, self.box // 2 + 1, dtype=torch.complex128, device=device)
        self.count = 0

    def add(self, images: torch.Tensor) -> None:
        """Add images.

        Parameters
        ----------
        images : (n, D, D) tensor
            Normalised ones.
        """
        inside = to_fourier(images * self.disc)
        for row, values in enumerate((to_fourier(images * self.outside), inside)):
            # In double precision, so that the sum does not depend on how many are held at a time.
            power = values.abs().pow(2).sum(0, dtype=torch.float64)
            self.sums[row].index_add_(0, self.ring, power.flatten())
        self.mean += inside.sum(0, dtype=torch.complex128)
        self.count += len(images)

    def spectrum(self) -> torch.Tensor:
        """The spectrum of the noise.

        Returns
        -------
        (D//2 + 1,) float32 tensor
            Power per ring, 1 for white noise of deviation 1.
        """
        n = max(self.count, 1)
        counts = torch.bincount(self.ring, minlength=self.box // 2 + 1)
        outside, inside = self.sums / counts / n
        common = torch.zeros_like(inside).index_add_(0, self.ring, (self.mean / n).abs().square().flatten()) / counts
        outside = outside / self.outside.double().square().mean()
        if outside[1:].mean() < MASKED:
            return torch.ones_like(outside).float()
        if n < 2:
            return outside.float()
        share = self.disc.double().square().mean()
        inside = (inside - common).clamp(min=0) * (n / (n - 1)) / share
        error = LOUDER / (counts * share * n).clamp(min=1).sqrt()
        louder = inside < outside * (1 - error)
        return torch.where(louder, inside, outside).float()


def look_through(
    prepared: RawParticles,
    background: Background,
    radius: float,
    ctfs: Mapping[str, np.ndarray],
    given: torch.Tensor | None,
    kernel: torch.Tensor | None = None,
    limit: float | None = None,
) -> Scan:
    """Read every particle once; see :meth:`PreparedParticles.scan`.

    Parameters
    ----------
    prepared : RawParticles
        N particles.
    background : Background
        What measures and takes off their backgrounds.
    radius : float
        Of the particle's disc, pixels.
    ctfs : dict of str to (129,) array
        What :func:`mean_ctfs` gives of them.
    given : (D//2 + 1,) tensor or None
        Power of the noise per ring that is taken instead of theirs; then nothing but constant images is no error.
    kernel : (D, D) tensor, optional
        What tells how much of the particle an image shows, None where the set does not show it.
    limit : float, optional
        Of the loudness, None for that of these particles.

    Returns
    -------
    Scan
        What was found.

    Raises
    ------
    UdlError
        Where all images are constant, or one has values beyond LARGEST.
    """
    heard = _Heard(prepared, background, radius)
    mean, slope, std, blank, hot, matter, loudness, digests = _read(prepared, background, radius, kernel, heard)
    heard.add_up(prepared.reader.group)
    if blank.all() and given is None:
        raise UdlError(message("all_constant", count=len(prepared), path=prepared.source.path))
    meter, profile = heard.meter, heard.profile
    noise = meter.spectrum() if given is None else given.to(meter.sums.device).float()
    known = radius if prepared.disc.radius_from in ("given", "data") else None
    opposite = heard.groups.opposite(profile, ctfs, known) if given is None else None
    count = max(meter.count, 1)
    limit = loud_limit(loudness[~blank]) if limit is None else limit
    polarity = profile.decide(ctfs, known)
    return Scan(mean, slope, std, blank, hot, matter, loudness, noise, polarity, count, digests, opposite, limit)


class _Heard:
    """What some of the particles add up to, which tell the noise and the polarity of all."""

    def __init__(self, prepared: RawParticles, background: Background, radius: float) -> None:
        source, device = prepared.source, prepared.device
        self.meter, self.profile = NoiseMeter(background, radius), RadialProfile(source.box, device)
        # A few thousand particles tell the noise; which ones does not depend on their order.
        self.chosen = np.zeros(len(prepared), bool)
        self.chosen[np.argsort(ranks(source.names, 0), kind="stable")[:LISTEN]] = True
        self.groups = GroupProfiles(source, len(self.profile.sums), self.chosen, device)

    def add(self, part: np.ndarray, images: torch.Tensor, flat: torch.Tensor) -> None:
        """Take in those of normalised images (n, D, D) of the particles ``part`` (n,) that were chosen; flat: (n,)
        bool, the constant ones, which say nothing."""
        those = ~flat & torch.from_numpy(self.chosen[part]).to(images.device)
        if those.any():
            self.meter.add(images[those])
            self.groups.add(part[those.cpu().numpy()], self.profile.add(images[those]))

    def add_up(self, group: ProcessGroup) -> None:
        """Put the sums over the processes of a run in the place of this one's; collective."""
        meter = self.meter
        meter.sums = group.total(meter.sums)
        meter.mean = torch.view_as_complex(group.total(torch.view_as_real(meter.mean)))
        meter.count = int(group.total(torch.tensor([meter.count], dtype=torch.float64)))
        self.profile.add_up(group)
        self.groups.add_up(group)


def _read(
    prepared: RawParticles, background: Background, radius: float, kernel: torch.Tensor | None, heard: _Heard
) -> list[np.ndarray]:
    """mean, slope, std, blank, hot, matter, loudness and images as of :class:`Scan`, of all N particles; ``heard`` is
    shown all that this process reads. Shared by the processes of a group."""
    n = len(prepared)
    mean, slope, std, hot = np.zeros(n), np.zeros((n, 2)), np.ones(n), np.zeros(n, np.int64)
    blank, matter, loudness = np.zeros(n, bool), np.full(n, np.nan), np.zeros(n)
    disc = Loudness(prepared.source.box, radius, prepared.device)
    digests = np.zeros(n, np.int64)

    def look(part: np.ndarray, images: np.ndarray) -> None:
        digests[part] = image_digests(images)

    for part, images in prepared.reader.chunks(prepared.reader.own(np.arange(n)), "reading", look):
        levels = background.measure(images)
        large = (levels.peak > LARGEST).nonzero()[:, 0]
        if len(large):
            what = too_large(prepared.source, int(part[int(large[0])]))
            raise UdlError(message("values_too_large", path=prepared.source.path, what=what))
        mean[part], slope[part], std[part], blank[part], _ = levels.numpy()
        normal, count = background.levelled(images, levels.mean, levels.slope, levels.std)
        hot[part] = torch.where(levels.flat, 0, count).cpu().numpy()
        loudness[part] = disc.measure(normal).cpu().numpy()
        if kernel is not None:
            matter[part] = (normal.flatten(1) @ kernel.flatten()).double().cpu().numpy()
        heard.add(part, normal, levels.flat)
    found = [mean, slope, std, blank, hot, matter, loudness, digests]
    prepared.reader.make_known(found, np.arange(n))
    return found


def too_large(source: Source, item: int) -> Message:
    """What is wrong with an item whose peak exceeds LARGEST.

    Parameters
    ----------
    source : Source
        The particles.
    item : int
        From 0.

    Returns
    -------
    Message
        Names item and image.
    """
    return message("values_beyond_camera", item=item + 1, name=source.names[item], most=LARGEST)
