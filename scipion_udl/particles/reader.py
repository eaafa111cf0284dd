"""Images read chunk by chunk, one chunk ahead of what is done with them; several processes share a pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from scipion_udl.compute.context import Context, Report
from scipion_udl.compute.device import Upload
from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.imaging.fourier import resize
from scipion_udl.io.source import Source

CHUNK = 64
GPU_CHUNK, GPU_PIXELS = 512, 2**25  # a GPU is kept busy by more at a time; particles and pixels at most


class ChunkReader:
    """Reads the particles of a source onto a device.

    chunk: particles at a time, None for what suits the device; no result depends on it. context: who shares passes over
    all particles and is told of them, None for nobody.
    """

    def __init__(
        self,
        source: Source,
        device: torch.device,
        chunk: int | None = None,
        context: Context | None = None,
    ) -> None:
        self.source, self.device, self.context = source, device, context or Context()
        self.chunk = chunk or _automatic_chunk(source.box, device)
        self._upload = Upload(device)

    def of(self, source: Source) -> ChunkReader:
        """A reader that reads another source in the same way.

        Parameters
        ----------
        source : Source
            The other.

        Returns
        -------
        ChunkReader
            Of that.
        """
        other = copy.copy(self)
        other.source = source
        return other

    @property
    def group(self) -> ProcessGroup:
        """The processes that share passes over all particles."""
        return self.context.group

    def told_to(self, report: Report) -> ChunkReader:
        """A reader that reads the same, and reports to somebody else.

        Parameters
        ----------
        report : callable
            Told (stage, done, total).

        Returns
        -------
        ChunkReader
            Of the same source.
        """
        other = copy.copy(self)
        other.context = replace(self.context, report=report)
        return other

    def chunks(
        self, indices: np.ndarray, stage: str, look: Callable[[np.ndarray, np.ndarray], None] | None = None
    ) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Images of particles as they are, chunk by chunk.

        Parameters
        ----------
        indices : (N,) int array
            The particles, from 0.
        stage : str
            What the pass is called in reports.
        look : callable, optional
            Called by the reading thread with the indices and images (arrays) of each chunk, float32, as they come from
            the source.

        Yields
        ------
        part : (n,) int array
            Some of ``indices``, in their order.
        images : (n, D, D) float32 tensor
            Theirs, on the device.
        """
        parts = self.parts(indices)
        done = 0
        with ThreadPoolExecutor(1) as reader:
            ahead = [reader.submit(self._read, part, look) for part in parts[:1]]
            for number, part in enumerate(parts, 1):
                images = self._upload.finish(*ahead.pop().result())
                ahead += [reader.submit(self._read, following, look) for following in parts[number : number + 1]]
                yield part, images
                done += len(part)
                self.context.report(stage, done, len(indices))

    def parts(self, indices: np.ndarray) -> list[np.ndarray]:
        """Indices in pieces of at most a chunk.

        Parameters
        ----------
        indices : (n,) int array
            The particles, from 0.

        Returns
        -------
        list of int arrays
            In their order.
        """
        return [indices[i : i + self.chunk] for i in range(0, len(indices), self.chunk)]

    def own(self, indices: np.ndarray) -> np.ndarray:
        """This process's part of the particles of a pass; all of them where it works alone.

        Parameters
        ----------
        indices : (n,) int array
            The particles, from 0.

        Returns
        -------
        int array
            Some of them.
        """
        return self.group.share(indices, self._unit)

    def make_known(self, arrays: Sequence[np.ndarray], indices: np.ndarray) -> None:
        """Bring the rows together, in place, that every process has written in a pass over its part. Collective.

        Parameters
        ----------
        arrays : sequence of (N, ...) arrays
            A row a particle.
        indices : (n,) int array
            The particles of the pass, of all processes, from 0.
        """
        self.group.gather_rows(arrays, indices, self._unit)

    @property
    def _unit(self) -> int:
        return min(self.chunk, CHUNK)

    def _read(
        self, part: np.ndarray, look: Callable[[np.ndarray, np.ndarray], None] | None
    ) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        images = self.source.read(part)
        if look is not None:
            look(part, images)
        return self._upload.begin(images)


class HeldCoefficients:
    """What chunks of a set give, kept in memory.

    row: (N,) where each particle is, -1 for those that are not kept; coefficients: (n, box, box//2 + 1) whitened, none
    of them mirrored; ctf: likewise, None for none.
    """

    def __init__(self, row: np.ndarray, coefficients: torch.Tensor, ctf: torch.Tensor | None) -> None:
        self.row, self.coefficients, self.ctf = row, coefficients, ctf

    def in_box(self, box: int, smaller: int) -> HeldCoefficients:
        """The same in a smaller box.

        Parameters
        ----------
        box, smaller : int
            Pixels, as they are and as they are to be.

        Returns
        -------
        HeldCoefficients
            Of the same particles.
        """
        ctf = None if self.ctf is None else resize(self.ctf, box, smaller)
        return HeldCoefficients(self.row, resize(self.coefficients, box, smaller), ctf)

    def at(self, part: np.ndarray) -> torch.Tensor | None:
        """Where particles are kept.

        Parameters
        ----------
        part : (n,) int array
            The particles, from 0.

        Returns
        -------
        (n,) int64 tensor or None
            Rows of the coefficients; None where any of them is not kept.
        """
        rows = self.row[part]
        return None if (rows < 0).any() else torch.from_numpy(rows).to(self.coefficients.device)


def _automatic_chunk(box: int, device: torch.device) -> int:
    """Particles of ``box`` pixels to hold at a time."""
    return CHUNK if device.type == "cpu" else max(CHUNK, min(GPU_CHUNK, GPU_PIXELS // box**2))
