"""Particles as the alignment sees them: normalised, whitened, Fourier cropped to a working box; chunk by chunk.

One look through the set (:meth:`PreparedParticles.scan`) measures what preparation needs; afterwards every pass reads
each particle once, one chunk ahead of the computation, and nothing of the size of the set is kept. Where several
processes share a run (ranks.py), each reads its own part.
"""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from scipion_udl.alignment.copies import originals
from scipion_udl.alignment.ctf import ContrastTransfer
from scipion_udl.alignment.device import Upload
from scipion_udl.alignment.fourier import mirrored, radii, resize, soft_disc, to_fourier
from scipion_udl.alignment.known import image_digests
from scipion_udl.alignment.polarity import Polarity, RadialProfile, sampled_defocus
from scipion_udl.alignment.polarity_groups import GroupProfiles
from scipion_udl.alignment.ranks import Ranks
from scipion_udl.constants import FINEST_RING, SMALLEST_BOX, WORKING_BOX
from scipion_udl.errors import UdlError
from scipion_udl.io.defocus import Defocus
from scipion_udl.io.particles import ParticleSource

CHUNK = 64
GPU_CHUNK, GPU_PIXELS = 512, 2**25  # a GPU is kept busy by more at a time; particles and pixels at most
DISC = 0.47  # radius of the disc about the particle, parts of the box, where nobody gave one
LISTEN = 2048  # particles that the spectrum of the noise is measured on, at most
LARGEST = 1e34  # grey value of an image: its Fourier coefficients and sums of many stay within single precision
MASKED = 0.1  # a background with less than this part of the expected noise was masked away and says nothing of it


@dataclass
class Scan:
    """What one look through a set found.

    mean, std: (N,) of each particle's background (outside of the disc); blank: (N,) bool, constant images;
    noise: (rings,) power of the background per Fourier ring of the particle's box, 1 for white noise;
    polarity: whether particles are bright or dark, told by ``heard`` of them; images: numbers (N,) int64 of the images,
    see :func:`scipion_udl.alignment.known.image_digests`; opposite: the sentence on stacks or optics groups of opposite
    polarity, None where none was seen.
    """

    mean: np.ndarray
    std: np.ndarray
    blank: np.ndarray
    noise: torch.Tensor
    polarity: Polarity
    heard: int
    images: np.ndarray
    opposite: str | None = None


class PreparedParticles:
    """The particles of a source, prepared on a device.

    source: what :func:`scipion_udl.io.particles.open_particles` gives; device; chunk: particles at a time; mask_radius:
    of the disc that holds the particle, pixels of the source (None: DISC of the box); ``radius_from`` tells where it
    comes from (a key of diameter.WORDS). ``box`` is the working box,
    ``scale`` the pixels of the source in a pixel of it. ``contrast``: the particles' contrast transfer, where it is
    known and to be made use of; ``finest``: the Fourier ring beyond which nothing is compared, None for no limit;
    ``mirrored``: (N,) bool, which particles are mirrored before anything is done with them, None for none.
    Progress is told to ``report`` (stage, done, total). ``team``: the processes that share the passes over all
    particles (None: this one alone); then :meth:`scan` and ``originals`` are collective.
    Raises UdlError for a box below SMALLEST_BOX.
    """

    def __init__(
        self,
        source: ParticleSource,
        device: torch.device,
        chunk: int | None = None,
        mask_radius: float | None = None,
        report: Callable[[str, int, int], None] | None = None,
        team: Ranks | None = None,
    ) -> None:
        if source.box < SMALLEST_BOX:
            raise UdlError(f"{source.path}: a box of {source.box} px is too small; {SMALLEST_BOX} or more are needed.")
        self.source, self.device, self.team = source, device, team or Ranks()
        self.chunk = chunk or _automatic_chunk(source.box, device)
        self.box = min(WORKING_BOX, source.box - source.box % 2) if source.box > WORKING_BOX else source.box
        self.scale = source.box / self.box
        self.mask_radius = (mask_radius or DISC * source.box) / self.scale
        self.radius_from = "given" if mask_radius else "box"
        self.contrast: ContrastTransfer | None = None
        self.finest: int | None = None
        self.mirrored: np.ndarray | None = None
        self.report = report or (lambda stage, done, total: None)
        self._scan: Scan | None = None
        self._filter: torch.Tensor | None = None
        self._upload = Upload(device)

    def __len__(self) -> int:
        return len(self.source)

    def part(self, indices: np.ndarray) -> PreparedParticles:
        """The particles ``indices`` (from 0) as a set of their own: of the same files, with the noise and all else that
        :meth:`scan` found in the whole set."""
        found, other = self.statistics, copy.copy(self)
        other.__dict__.pop("originals", None)
        other.source = self.source.subset(indices)
        other.mirrored = None if self.mirrored is None else self.mirrored[indices]
        other.contrast = None if self.contrast is None else self.contrast.subset(indices)
        own = {name: getattr(found, name)[indices] for name in ("mean", "std", "blank", "images")}
        other._scan = replace(found, **own)
        return other

    @property
    def statistics(self) -> Scan:
        """The result of :meth:`scan`."""
        if self._scan is None:
            self.scan()
        return self._scan

    @property
    def k_max(self) -> int:
        """The finest Fourier ring of the working box that particles are compared up to."""
        return self.within(round(FINEST_RING * self.box))

    def within(self, ring: int) -> int:
        """A Fourier ring, or ``finest`` where that is less."""
        return ring if self.finest is None else min(ring, self.finest)

    @property
    def usable(self) -> np.ndarray:
        """Indices (from 0) of the particles that are not blank."""
        return np.flatnonzero(~self.statistics.blank)

    @cached_property
    def originals(self) -> np.ndarray:
        """For each particle the index (from 0) of the first that is the same image; its own where it is new."""
        found = self.statistics
        return self.team.by_first(lambda: originals(self.source, found.mean, found.std, found.blank))

    @property
    def counted(self) -> np.ndarray:
        """Which particles count where halves are compared, (N,) bool: those with an image, each image once."""
        return ~self.statistics.blank & (self.originals == np.arange(len(self)))

    @property
    def mask(self) -> torch.Tensor:
        """The soft disc about the particle in the working box, (box, box)."""
        return soft_disc(self.box, self.mask_radius, max(4.0, 0.06 * self.box), self.device)

    def own(self, indices: np.ndarray) -> np.ndarray:
        """This process's part of the particles ``indices`` of a pass; all of them where it works alone."""
        return self.team.share(indices, self._unit)

    def make_known(self, arrays: Sequence[np.ndarray], indices: np.ndarray) -> None:
        """Bring the rows that every process has written in a pass over its part of ``indices`` together, in place;
        arrays: (N, ...), a row a particle."""
        self.team.gather_rows(arrays, indices, self._unit)

    @property
    def _unit(self) -> int:
        return min(self.chunk, CHUNK)

    def raw_chunks(
        self, indices: np.ndarray, stage: str, look: Callable[[np.ndarray, np.ndarray], None] | None = None
    ) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """(indices, images (n, D, D) on the device) over ``indices`` in their order, read one chunk ahead. look: called
        by the reader with the indices and images, float32, as they come from the file."""
        parts = [indices[i : i + self.chunk] for i in range(0, len(indices), self.chunk)]
        done = 0
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, parts[0], look) if parts else None
            for number, part in enumerate(parts):
                images = self._upload.finish(*ahead.result())
                if number + 1 < len(parts):
                    ahead = reader.submit(self._read, parts[number + 1], look)
                yield part, images
                done += len(part)
                self.report(stage, done, len(indices))

    def _read(
        self, part: np.ndarray, look: Callable[[np.ndarray, np.ndarray], None] | None
    ) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        images = self.source.read(part)
        if look is not None:
            look(part, images)
        return self._upload.begin(images)

    def chunks(self, indices: np.ndarray, stage: str) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """(indices, whitened coefficients (n, box, box//2 + 1) of the working box) over ``indices``."""
        statistics = self.statistics
        for part, images in self.raw_chunks(indices, stage):
            yield part, self.in_hand(part, self.whiten(images, statistics.mean[part], statistics.std[part]))

    def in_hand(self, indices: np.ndarray, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients (n, box, box//2 + 1) that belong to particles, those of mirrored ones mirrored."""
        if self.mirrored is None:
            return coefficients
        which = torch.from_numpy(self.mirrored[indices]).to(coefficients.device)
        return torch.where(which[:, None, None], mirrored(coefficients), coefficients)

    def take_contrast(self, mode: str) -> None:
        """Take the particles' contrast transfer, where it is known, in this mode from now on."""
        if self.contrast is not None and self.contrast.mode != mode:
            self.contrast = self.contrast.with_mode(mode)

    def transfer(self, indices: np.ndarray) -> torch.Tensor | None:
        """The contrast transfer (n, box, box//2 + 1) of particles in the working box; None where it is not known."""
        if self.contrast is None or self.contrast.mode == "none":
            return None
        return self.in_hand(indices, self.contrast.evaluate(indices, self.box, self.device))

    def through_transfer(self, indices: np.ndarray, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients (n, box, box//2 + 1) of particles, each times its contrast transfer where that is known."""
        transfer = self.transfer(indices)
        if transfer is None:
            return coefficients
        return coefficients * self.contrast.factor(indices, transfer, self.box)

    def all(
        self, indices: np.ndarray, stage: str, keep: Callable[[np.ndarray, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """What ``keep`` makes of (indices, coefficients) of each chunk, in one tensor: for bounded subsets."""
        out = None
        start = 0
        for part, coefficients in self.chunks(indices, stage):
            kept = keep(part, coefficients)
            if out is None:  # filled in place: stacking at the end would need the memory twice
                out = kept.new_empty(len(indices), *kept.shape[1:])
            out[start : start + len(part)] = kept
            start += len(part)
        return out

    def subset(self, count: int, seed: int) -> np.ndarray:
        """At most ``count`` usable particles, chosen by their names and the seed, whatever the order of the items."""
        usable = self.usable
        return usable[np.argsort(self.ranks(seed)[usable], kind="stable")[:count]]

    def ranks(self, seed: int) -> np.ndarray:
        """A pseudo-random number (uint64) for every particle that depends on its image name and the seed alone."""
        names = [_short(name) for name in self.source.names]
        times = Counter(names)
        if len(times) < len(names):  # stacks of one name in several folders: there the folder counts
            names = [whole if times[name] > 1 else name for name, whole in zip(names, self.source.names)]
        return _numbers(names, seed)

    def halves_by_name(self) -> np.ndarray:
        """0 or 1 for every particle, int64 (N,), by its image name alone: whatever else is in the set."""
        return (_numbers([_short(name) for name in self.source.names], 0) % 2).astype(np.int64)

    def whiten(self, images: torch.Tensor, mean: np.ndarray, std: np.ndarray) -> torch.Tensor:
        """Coefficients (n, box, box//2 + 1) of the working box of images (n, D, D) with this background, (n,) each,
        their noise made white."""
        mean, std = (torch.from_numpy(v.astype(np.float32)).to(self.device)[:, None, None] for v in (mean, std))
        coefficients = to_fourier((images - mean) / std)
        return resize(coefficients * self._filter, self.source.box, self.box)

    def scan(self, given: torch.Tensor | None = None) -> Scan:
        """Read every particle once and measure background, noise spectrum and blank images.

        given: power per ring (D//2 + 1,) of the noise that is to be taken instead of what these particles have: of the
        set that they come to; then nothing but constant images is no error. Raises UdlError where all images are
        constant (the source raises it for NaN, inf and truncated files).
        """
        d, n = self.source.box, len(self)
        disc = soft_disc(d, min(self.mask_radius * self.scale, d / 2 - 2), max(2.0, 0.04 * d), self.device)
        outside = 1 - disc
        mean, std, blank = np.zeros(n), np.ones(n), np.zeros(n, bool)
        ring = radii(d, self.device).round().long().clamp(max=d // 2)
        noise = torch.zeros(d // 2 + 1, dtype=torch.float64, device=self.device)
        profile = RadialProfile(d, self.device)
        groups = GroupProfiles(self.source, len(profile.sums), self.device)
        listen = np.zeros(n, bool)  # a few thousand particles tell the noise; which ones does not depend on their order
        listen[np.argsort(self.ranks(0), kind="stable")[:LISTEN]] = True
        seen = np.zeros(n, np.int64)

        def look(part: np.ndarray, images: np.ndarray) -> None:
            seen[part] = image_digests(images)

        for part, images in self.raw_chunks(self.own(np.arange(n)), "reading", look):
            m, s, flat, peak = background(images, outside)
            large = (peak > LARGEST).nonzero()[:, 0]
            if len(large):
                raise UdlError(f"{self.source.path}: {too_large(self.source, int(part[int(large[0])]))}.")
            m, s = m[:, None, None], s[:, None, None]
            good = ~flat
            mean[part], std[part] = m.flatten().cpu().numpy(), s.flatten().cpu().numpy()
            blank[part] = flat.cpu().numpy()
            those = good & torch.from_numpy(listen[part]).to(self.device)
            if not those.any():
                continue
            normal = ((images - m) / s)[those]
            # In double precision, so that the sum does not depend on how many are held at a time.
            power = to_fourier(normal * outside).abs().pow(2).sum(0, dtype=torch.float64)
            noise += torch.zeros_like(noise).index_add_(0, ring.flatten(), power.flatten())
            groups.add(part[those.cpu().numpy()], profile.add(normal))
        self.make_known([mean, std, blank, seen], np.arange(n))
        noise = self.team.total(noise)
        profile.add_up(self.team)
        groups.add_up(self.team)
        heard = int(profile.count)
        if blank.all() and given is None:
            raise UdlError(f"All {n} images of {self.source.path} are constant: there is nothing to align.")
        counts = torch.bincount(ring.flatten(), minlength=d // 2 + 1)
        noise = (noise / counts / max(heard, 1) / outside.pow(2).mean()).float()
        if noise[1:].mean() < MASKED:
            noise = torch.ones_like(noise)
        noise = noise if given is None else given.to(noise)
        model = self._profile_model()
        opposite = groups.opposite(profile, *model) if given is None else None
        self._scan = Scan(mean, std, blank, noise, profile.decide(*model), heard, seen, opposite)
        self._filter = _whitening(noise)[ring]
        return self._scan

    def _profile_model(self) -> tuple[float | None, Defocus | None, float | None]:
        """What the polarity is decided with: pixel size, the defocus of particles that do not depend on their order,
        and the radius; None where they are not known."""
        size = self.source.pixel_size if self.source.pixel_size_known else None
        rows = np.argsort(self.ranks(0), kind="stable")
        radius = self.mask_radius * self.scale if self.radius_from == "given" else None
        return size, sampled_defocus(self.source, rows), radius


def _automatic_chunk(box: int, device: torch.device) -> int:
    """Particles of ``box`` pixels to hold at a time."""
    return CHUNK if device.type == "cpu" else max(CHUNK, min(GPU_CHUNK, GPU_PIXELS // box**2))


def _short(name: str) -> str:
    """An image name without its folders: what stays when a project is moved."""
    number, _, file = name.rpartition("@")
    return f"{number.lstrip('0')}@{file.rsplit('/', 1)[-1]}"


def _numbers(names: Sequence[str], seed: int) -> np.ndarray:
    """A pseudo-random number (uint64) for every name."""
    digests = (hashlib.blake2b(f"{seed}:{name}".encode(errors="surrogateescape"), digest_size=8) for name in names)
    return np.array([int.from_bytes(digest.digest(), "big") for digest in digests], np.uint64)


def too_large(source: ParticleSource, item: int) -> str:
    """What is wrong with an item (from 0) whose peak exceeds LARGEST."""
    return (
        f"item {item + 1}, {source.names[item]}, holds values beyond {LARGEST:g}, which no camera counts: leave it "
        "out, or bring the images to a smaller scale"
    )


def background(images: torch.Tensor, outside: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Mean and standard deviation (n,) of the pixels outside of the disc, which images are constant (n, bool), and the
    largest value of each (n,), its sign left out.

    images: (n, D, D); outside: (D, D), 1 outside of the disc about the particle, 0 inside.
    """
    # Squares of very large or tiny values leave single precision. A unit that is a power of two changes nothing else.
    peak = images.abs().amax((-2, -1))
    exponent = torch.frexp(peak).exponent.clamp(-120, 120)
    unit = torch.ldexp(torch.ones_like(images[:, 0, 0]), exponent)
    images = images / unit[:, None, None]
    whole = images.std((-2, -1))
    flat = whole <= 1e-6 * (peak / unit)
    mean = (images * outside).sum((-2, -1)) / outside.sum()
    std = ((images - mean[:, None, None]).pow(2) * outside).sum((-2, -1)).div(outside.sum()).sqrt()
    # A background that was masked to a constant says nothing of the noise; then the whole image must.
    std = torch.where(std < 0.05 * whole, whole, std)
    return mean * unit, torch.where(flat, torch.ones_like(std), std * unit), flat, peak


def _whitening(noise: torch.Tensor) -> torch.Tensor:
    """The filter per ring that makes the noise white: 1 / sqrt of its smoothed power, at most 100 times its least."""
    # Ring 0 knows only the mean, which was taken off: ring 1 stands in for it.
    padded = torch.cat([noise[1:2], noise[1:2], noise[1:], noise[-1:]])
    smooth = padded.unfold(0, 3, 1).mean(-1)
    floor = 1e-4 * smooth.max()
    return smooth.clamp(min=float(floor) or 1e-12).rsqrt()
