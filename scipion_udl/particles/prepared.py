"""Particles as the alignment sees them: normalised, whitened, Fourier cropped to a working box; chunk by chunk.

One look through the set (:meth:`PreparedParticles.scan`) measures what preparation needs; afterwards every pass reads
each particle once, one chunk ahead of the computation, and nothing of the size of the set is kept. Where several
processes share a run (distributed.py), each reads its own part.
"""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from scipion_udl.compute.device import Upload
from scipion_udl.compute.distributed import Ranks
from scipion_udl.constants import FINEST_RING, SMALLEST_BOX, WORKING_BOX
from scipion_udl.errors import UdlError
from scipion_udl.imaging.ctf import ContrastTransfer
from scipion_udl.imaging.fourier import mirrored, radii, resize, soft_disc, to_fourier
from scipion_udl.io.particles import ParticleSource
from scipion_udl.particles.background import Background
from scipion_udl.particles.duplicates import originals
from scipion_udl.particles.extent import matter_kernel
from scipion_udl.particles.scan import DISC, Scan, find_extent, look_through

CHUNK = 64
BEYOND = 0.1  # of the box: so far beyond the particle's disc its background begins, or at DISC
TIGHT = 0.97  # of the particle's radius: neighbours that begin earlier cut no more off it
GPU_CHUNK, GPU_PIXELS = 512, 2**25  # a GPU is kept busy by more at a time; particles and pixels at most


class PreparedParticles:
    """The particles of a source, prepared on a device.

    source: what :func:`scipion_udl.io.particles.open_particles` gives; device; chunk: particles at a time; mask_radius:
    of the disc that holds the particle, pixels of the source (None: what the particles themselves tell, see
    :mod:`.extent`); ``radius_from`` tells where it comes from (a key of DIAMETER_FROM). ``box`` is the working box,
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
        self.clear_radius = float("inf")  # pixels of the source, from the centre, at which neighbours begin
        self.contrast: ContrastTransfer | None = None
        self.ignores_ctf = False  # whether the user says that the table's defocus is not to be made use of
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
        rows = ("mean", "slope", "std", "blank", "hot", "matter", "loudness", "images")
        other._scan = replace(found, **{name: getattr(found, name)[indices] for name in rows})
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

    @property
    def typical(self) -> np.ndarray:
        """Indices (from 0) of the usable particles that others can learn from: all but loud ones, where that leaves
        any."""
        found = self.statistics
        return np.flatnonzero(~found.odd) if (~found.odd).any() else self.usable

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
        return soft_disc(self.box, self.disc_radius, self.edge, self.device)

    @property
    def edge(self) -> float:
        """Over how many working pixels the disc about the particle falls off."""
        return max(4.0, 0.06 * self.box)

    @property
    def disc_radius(self) -> float:
        """Of the disc about a particle in register, working pixels: the particle's own, or less, so that its soft edge
        ends where neighbours begin."""
        return min(self.mask_radius, self._free_radius)

    @property
    def window_radius(self) -> float:
        """Of the disc that particles are seen through before they are centred, working pixels: nearly the whole box,
        or as much as the user gave, but free of neighbours."""
        return min(self.mask_radius if self.radius_from in ("given", "run") else DISC * self.box, self._free_radius)

    @property
    def _free_radius(self) -> float:
        return max(TIGHT * self.mask_radius, self.clear_radius / self.scale) - self.edge / 2

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
        for part, images in self.raw_chunks(indices, stage):
            yield part, self.in_hand(part, self._whitened(self.normalised(part, images)))

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
        """At most ``count`` typical particles, chosen by their names and the seed, whatever the order of the items."""
        typical = self.typical
        return typical[np.argsort(self.ranks(seed)[typical], kind="stable")[:count]]

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

    def normalised(self, part: np.ndarray, images: torch.Tensor) -> torch.Tensor:
        """Images (n, D, D) of the particles ``part`` as everything sees them: their background, a plane, at 0, its
        noise of deviation 1, pixels that stick out replaced."""
        found = self.statistics
        mean, slope, std = (self._column(values[part]) for values in (found.mean, found.slope, found.std))
        return self._background.levelled(images, mean, slope, std)[0]

    def whiten(self, images: torch.Tensor, mean: np.ndarray, std: np.ndarray) -> torch.Tensor:
        """Coefficients (n, box, box//2 + 1) of the working box of images (n, D, D) with this background, (n,) each,
        their noise made white: of averages, say."""
        return self._whitened((images - self._column(mean)[:, None, None]) / self._column(std)[:, None, None])

    def _whitened(self, images: torch.Tensor) -> torch.Tensor:
        return resize(to_fourier(images) * self._filter, self.source.box, self.box)

    def _column(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)

    def scan(self, given: torch.Tensor | None = None, loud_limit: float | None = None) -> Scan:
        """Read every particle once and measure background, noise spectrum and blank images; before, where nobody gave
        a mask radius, find out on some of them how far they reach.

        given: power per ring (D//2 + 1,) of the noise that is to be taken instead of what these particles have: of the
        set that they come to; then nothing but constant images is no error. loud_limit: of that set, likewise. Raises
        UdlError where all images are constant (the source raises it for NaN, inf and truncated files).
        """
        kernel = None
        if self.radius_from in ("box", "given"):
            extent, variance, profile = self.team.by_first(lambda: find_extent(self))
            if extent.found and self.radius_from == "box":
                self.mask_radius, self.radius_from = extent.radius / self.scale, "data"
            self.clear_radius = variance.clear_radius(self.mask_radius * self.scale)
            kernel = matter_kernel(profile, self.mask_radius * self.scale) if extent.found else None
        box = self.source.box  # fringes of the contrast transfer, and particles off centre, reach beyond the disc
        self._background = Background(box, min(self.mask_radius * self.scale + BEYOND * box, DISC * box), self.device)
        self._scan = look_through(self, self._background, self.mask_radius * self.scale, given, kernel, loud_limit)
        ring = radii(box, self.device).round().long().clamp(max=box // 2)
        self._filter = _whitening(self._scan.noise)[ring]
        return self._scan


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


def _whitening(noise: torch.Tensor) -> torch.Tensor:
    """The filter per ring that makes the noise white: 1 / sqrt of its smoothed power, at most 100 times its least."""
    # The mean and a ramp were taken off where the noise is measured: what rings 0 and 1 hold is too little.
    first = torch.maximum(noise[1:2], noise[2:3] * (noise[2:3] / noise[3:4].clamp(min=1e-12)).clamp(1, 2))
    padded = torch.cat([first, first, first, noise[2:], noise[-1:]])
    smooth = padded.unfold(0, 3, 1).mean(-1)
    floor = 1e-4 * smooth.max()
    return smooth.clamp(min=float(floor) or 1e-12).rsqrt()
