"""Particles as the alignment sees them: normalised, whitened, Fourier cropped to a working box; chunk by chunk.

One look through the set (:meth:`PreparedParticles.scan`) measures what preparation needs; afterwards every pass reads
each particle once (reader.py), and nothing of the size of the set is kept. Where several processes share a run, each
reads its own part.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import cast

import numpy as np
import torch

from scipion_udl.compute.context import Context
from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.compute.log import Say
from scipion_udl.constants import FINEST_RING, SMALLEST_BOX, WORKING_BOX
from scipion_udl.errors import UdlError
from scipion_udl.imaging.ctf import ParticleCtf
from scipion_udl.imaging.filaments import Filaments
from scipion_udl.imaging.fourier import mirrored
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.source import Source
from scipion_udl.messages import message
from scipion_udl.particles.background import Background
from scipion_udl.particles.disc import ParticleDisc
from scipion_udl.particles.duplicates import duplicates_of
from scipion_udl.particles.extent import matter_kernel
from scipion_udl.particles.name_order import ranks
from scipion_udl.particles.reader import ChunkReader, HeldCoefficients
from scipion_udl.particles.scan import DISC, Scan, find_extent, look_through, mean_ctfs
from scipion_udl.particles.whitening import Whitening

BEYOND = 0.1  # of the box: so far beyond the particle's disc its background begins, or at DISC


class PreparedParticles:
    """The particles of a source, prepared on a device.

    source: where they come from; device; chunk: particles at a time; mask_radius: of the disc that holds the particle,
    pixels of the source (None: what the particles themselves tell, see :mod:`.extent`); context: who is told of passes
    over all particles, and shares them (None: nobody): among several processes, :meth:`scan` and ``duplicates_of`` are
    collective. Raises UdlError for a box below SMALLEST_BOX.

    ``box`` is the working box, ``scale`` the pixels of the source in a pixel of it. ``reader``: reads them as they are,
    ``disc``: about the particle, ``whitening``: of their noise, once they were scanned. ``ctfs``: their CTFs,
    where these are known and to be made use of; ``ring_limit``: the Fourier ring beyond which nothing is compared, None
    for no limit; ``low_ring``: that within which nothing is, 0 for no limit; ``mirrored``: (N,) bool, which particles
    are mirrored before anything is done with them, None for none; ``poses``: given ones, in which classes are sought
    without looking for others, None where poses are looked for; ``filaments``: how their tubes lie, where they are
    segments of filaments.
    """

    def __init__(
        self,
        source: Source,
        device: torch.device,
        chunk: int | None = None,
        mask_radius: float | None = None,
        context: Context | None = None,
    ) -> None:
        if source.box < SMALLEST_BOX:
            raise UdlError(message("box_too_small", path=source.path, box=source.box, least=SMALLEST_BOX))
        self.source, self.device = source, device
        self.reader = ChunkReader(source, device, chunk, context)
        self.box = min(WORKING_BOX, source.box - source.box % 2) if source.box > WORKING_BOX else source.box
        self.scale = source.box / self.box
        self.disc = ParticleDisc(source.box, self.box, device, mask_radius)
        self.ctfs: ParticleCtf | None = None
        self.ignores_ctf = False  # whether the user says that the table's defocus is not to be made use of
        self.ring_limit: int | None = None
        self.low_ring = 0
        self.poses: Poses | None = None
        self.filaments: Filaments | None = None
        self.mirrored: np.ndarray | None = None
        self._scan: Scan | None = None
        self._whitening: Whitening | None = None
        self._held: HeldCoefficients | None = None

    def __len__(self) -> int:
        return len(self.source)

    @property
    def group(self) -> ProcessGroup:
        """The processes that share passes over all particles."""
        return self.reader.group

    @property
    def say(self) -> Say:
        """Told a line of what is found in them."""
        return self.reader.context.say

    def part(self, indices: np.ndarray) -> PreparedParticles:
        """Some particles as a set of their own, with the noise and all else that :meth:`scan` found in the whole set.

        Parameters
        ----------
        indices : (n,) int array
            The particles, from 0.

        Returns
        -------
        PreparedParticles
            n of them, of the same files.
        """
        found, other = self.statistics, copy.copy(self)
        other.__dict__.pop("duplicates_of", None)
        other._held = None
        other.source = self.source.subset(indices)
        other.reader = self.reader.of(other.source)
        other.disc = copy.copy(self.disc)
        other.mirrored = None if self.mirrored is None else self.mirrored[indices]
        other.poses = None if self.poses is None else self.poses[indices]
        other.filaments = None if self.filaments is None else self.filaments[indices]
        other.ctfs = None if self.ctfs is None else self.ctfs.subset(indices)
        rows = ("mean", "slope", "std", "blank", "hot", "matter", "loudness", "images")
        other._scan = replace(found, **{name: getattr(found, name)[indices] for name in rows})
        return other

    # What was found in them

    def scan(self, given: torch.Tensor | None = None, loud_limit: float | None = None) -> Scan:
        """Read every particle once and measure background, noise spectrum and blank images.

        Before, where nobody gave a mask radius, it is found out on some of them how far they reach.

        Parameters
        ----------
        given : (D//2 + 1,) tensor, optional
            Power per ring of the noise that is to be taken instead of what these particles have: of the set that they
            come to; then nothing but constant images is no error.
        loud_limit : float, optional
            Of the loudness, of that set, likewise.

        Returns
        -------
        Scan
            What was found; :attr:`statistics` gives it again.

        Raises
        ------
        UdlError
            Where all images are constant, or one has values too large to be computed with (the source raises it for
            NaN, inf and truncated files).
        """
        kernel, disc, ctfs = None, self.disc, mean_ctfs(self)
        if disc.radius_from in ("box", "given"):
            extent, variance, profile = self.group.on_rank0(lambda: find_extent(self, ctfs))
            if extent.found and disc.radius_from == "box":
                disc.mask_radius, disc.radius_from = extent.radius / self.scale, "data"
            disc.clear_radius = variance.clear_radius(disc.mask_radius * self.scale)
            kernel = matter_kernel(profile, disc.mask_radius * self.scale) if extent.found else None
        box, radius = self.source.box, disc.mask_radius * self.scale
        # Fringes of the CTF, and particles off centre, reach beyond the disc.
        self._background = Background(box, min(radius + BEYOND * box, DISC * box), self.device)
        self._scan = look_through(self, self._background, radius, ctfs, given, kernel, loud_limit)
        self._whitening = Whitening(self._scan.noise, box, self.box, self.device)
        if self.low_ring:
            self._whitening = self._whitening.without_rings(self.low_ring)
        return self._scan

    @property
    def statistics(self) -> Scan:
        """The result of :meth:`scan`."""
        return self.scan() if self._scan is None else self._scan

    @property
    def whitening(self) -> Whitening:
        """What makes the noise of the set white; see :meth:`scan`."""
        if self._whitening is None:
            self.scan()
        return cast(Whitening, self._whitening)

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
    def duplicates_of(self) -> np.ndarray:
        """For each particle the index (from 0) of the first that is the same image; its own where it is new."""
        found = self.statistics
        return self.group.on_rank0(lambda: duplicates_of(self.source, found.mean, found.std, found.blank))

    @property
    def counted(self) -> np.ndarray:
        """Which particles count where halves are compared, (N,) bool: those with an image, each image once."""
        return ~self.statistics.blank & (self.duplicates_of == np.arange(len(self)))

    def subset(self, count: int, seed: int) -> np.ndarray:
        """Some typical particles, chosen by their names and the seed, whatever the order of the items.

        Parameters
        ----------
        count : int
            So many at most.
        seed : int
            Another one chooses others.

        Returns
        -------
        int array
            Their indices, from 0.
        """
        typical = self.typical
        return typical[np.argsort(ranks(self.source.names, seed)[typical], kind="stable")[:count]]

    # What is compared

    @property
    def k_max(self) -> int:
        """The finest Fourier ring of the working box that particles are compared up to."""
        return self.within(round(FINEST_RING * self.box))

    def within(self, ring: int) -> int:
        """A Fourier ring, or ``ring_limit`` where that is less.

        Parameters
        ----------
        ring : int
            Fourier pixels.

        Returns
        -------
        int
            Fourier pixels.
        """
        return ring if self.ring_limit is None else min(ring, self.ring_limit)

    def chunks(self, indices: np.ndarray, stage: str) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """The particles' whitened coefficients, chunk by chunk.

        Parameters
        ----------
        indices : (N,) int array
            The particles, from 0.
        stage : str
            What the pass is called in reports.

        Yields
        ------
        part : (n,) int array
            Some of ``indices``, in their order.
        coefficients : (n, box, box//2 + 1) complex tensor
            Theirs, of the working box.
        """
        held = None if self._held is None else self._held.at(indices)
        if self._held is not None and held is not None:
            for part, rows in zip(self.reader.parts(indices), held.split(self.reader.chunk)):
                yield part, self.apply_mirror(part, self._held.coefficients[rows])
            return
        for part, images in self.reader.chunks(indices, stage):
            yield part, self.apply_mirror(part, self.whitening.of_normal(self.normalised(part, images)))

    def normalised(self, part: np.ndarray, images: torch.Tensor) -> torch.Tensor:
        """Images as everything sees them: their background at 0, its noise of deviation 1.

        The background, a plane, is taken off; pixels that stick out are replaced.

        Parameters
        ----------
        part : (n,) int array
            The particles, from 0.
        images : (n, D, D) float32 tensor
            As they are in the source.

        Returns
        -------
        (n, D, D) float32 tensor
            The normalised ones.
        """
        found = self.statistics
        return self._background.levelled(images, *found.levels(part, self.device), found.hot[part])[0]

    def all(
        self, indices: np.ndarray, stage: str, keep: Callable[[np.ndarray, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """What is made of each chunk, in one tensor: for bounded subsets.

        Parameters
        ----------
        indices : (N,) int array
            The particles, from 0.
        stage : str
            What the pass is called in reports.
        keep : callable
            Given indices (n,) and coefficients (n, box, box//2 + 1), makes a tensor (n, ...) of them.

        Returns
        -------
        (N, ...) tensor
            In the order of ``indices``.
        """
        out, start = torch.empty(0), 0
        for part, coefficients in self.chunks(indices, stage):
            kept = keep(part, coefficients)
            if not start:  # filled in place: stacking at the end would need the memory twice
                out = kept.new_empty(len(indices), *kept.shape[1:])
            out[start : start + len(part)] = kept
            start += len(part)
        return out

    def apply_mirror(self, indices: np.ndarray, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients, those of mirrored particles mirrored.

        Parameters
        ----------
        indices : (n,) int array
            The particles, from 0.
        coefficients : (n, box, box//2 + 1) tensor
            What belongs to them.

        Returns
        -------
        (n, box, box//2 + 1) tensor
            Of the same particles.
        """
        if self.mirrored is None:
            return coefficients
        which = torch.from_numpy(self.mirrored[indices]).to(coefficients.device)
        return torch.where(which[:, None, None], mirrored(coefficients), coefficients)

    def ctf(self, indices: np.ndarray) -> torch.Tensor | None:
        """The CTF of particles in the working box.

        Parameters
        ----------
        indices : (n,) int array
            The particles, from 0.

        Returns
        -------
        (n, box, box//2 + 1) tensor or None
            None where it is not known, or not made use of.
        """
        if self.ctfs is None or self.ctfs.mode == "none":
            return None
        held = None if self._held is None or self._held.ctf is None else self._held.at(indices)
        if self._held is not None and self._held.ctf is not None and held is not None:
            return self.apply_mirror(indices, self._held.ctf[held])
        return self.apply_mirror(indices, self.ctfs.evaluate(indices, self.box, self.device))

    def apply_ctf(self, indices: np.ndarray, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients of particles, each times its CTF where that is known.

        Parameters
        ----------
        indices : (n,) int array
            The particles, from 0.
        coefficients : (n, box, box//2 + 1) complex tensor
            Theirs.

        Returns
        -------
        (n, box, box//2 + 1) complex tensor
            Multiplied by what :meth:`ctf_and_factor` gives.
        """
        found = self.ctf_and_factor(indices)
        return coefficients if found is None else coefficients * found[1]

    def ctf_and_factor(self, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The CTF of particles, and what their coefficients are multiplied by.

        Parameters
        ----------
        indices : (n,) array
            The particles, from 0.

        Returns
        -------
        two (n, box, box//2 + 1) tensors, or None
            As of :meth:`ctf` and of :meth:`.ParticleCtf.factor`; None where the CTF is not known.
        """
        ctf = self.ctf(indices)
        if ctf is None or self.ctfs is None:
            return None
        return ctf, self.ctfs.factor(indices, ctf, self.box)
