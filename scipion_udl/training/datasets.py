"""What a training looks at: tensors in memory, or particles that are read anew in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from scipion_udl.particles.prepared import PreparedParticles

HELD_OUT = 0.2  # share of what a training looks at
HELD_AT_MOST = 512
IN_MEMORY = 256 << 20  # bytes: what a training holds at most
READ = 1024  # particles of a training that are held where the others are read anew


class Samples:
    """N inputs of a training; ``known``: a tensor of the first of them, which is held. ``view``: (N,) int64, of inputs
    of several views the number (from 0) of each one's, None of one view; ``held_out``: how many of the first inputs are
    not to be learned from, None where that is open."""

    def __init__(self, known: torch.Tensor, count: int) -> None:
        self.known, self._count = known, count
        self.view: torch.Tensor | None = None
        self.held_out: int | None = None

    def __len__(self) -> int:
        return self._count

    def batches(self, parts: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The inputs of each part, one batch after the other.

        Parameters
        ----------
        parts : sequence of (n,) int64 tensors
            Numbers of the inputs of each batch, from 0.

        Yields
        ------
        (n, ...) tensor
            The inputs of one part.

        Raises
        ------
        NotImplementedError
            Always: a subclass says where they come from.
        """
        raise NotImplementedError


class TensorSamples(Samples):
    """All in memory: a tensor (N, ...)."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__(values, len(values))

    def batches(self, parts: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The rows of each part.

        Parameters
        ----------
        parts : sequence of (n,) int64 tensors
            Numbers of the inputs of each batch, from 0.

        Yields
        ------
        (n, ...) tensor
            The inputs of one part.
        """
        return (self.known[part.to(self.known.device)] for part in parts)


class ViewSamples(TensorSamples):
    """Inputs of several views, in memory: ``share`` of each view's come first, as what is held out, at most ``most`` of
    all. views: a tensor (n, ...) for each. ``order``: (N,), where each input stood in all views one after the other."""

    def __init__(self, views: Sequence[torch.Tensor], share: float, most: int) -> None:
        counts = [len(inputs) for inputs in views]
        held = [max(2, min(round(share * count), most // len(counts))) for count in counts]
        place = torch.cat([torch.arange(count) for count in counts])
        view = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        inner = place >= torch.tensor(held)[view]
        self.order = torch.argsort(inner.long(), stable=True)
        super().__init__(torch.cat(list(views))[self.order.to(views[0].device)])
        self.view, self.held_out = view[self.order], sum(held)


class ParticleSamples(Samples):
    """Particles ``indices`` of a set, read from their files whenever they are wanted, so that memory does not grow with
    them; read: makes the input (n, ...) of (indices, whitened coefficients)."""

    def __init__(
        self,
        particles: PreparedParticles,
        indices: np.ndarray,
        read: Callable[[np.ndarray, torch.Tensor], torch.Tensor],
    ) -> None:
        super().__init__(particles.all(indices[:READ], "spectra", read), len(indices))
        self._particles, self._indices, self._read = particles, indices, read

    def batches(self, parts: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The inputs of each part; the next ones are read while a batch is worked on.

        Parameters
        ----------
        parts : sequence of (n,) int64 tensors
            Numbers of the inputs of each batch, from 0, within the indices of this training.

        Yields
        ------
        (n, ...) tensor
            The inputs of one part.
        """
        if not len(parts):
            return
        sizes = [len(part) for part in parts]
        wanted = self._indices[torch.cat(list(parts)).cpu().numpy()]
        waiting: list[torch.Tensor] = []
        for chunk, coefficients in self._particles.chunks(wanted, "training"):
            waiting.append(self._read(chunk, coefficients))
            while sizes and sum(map(len, waiting)) >= sizes[0]:
                held = torch.cat(waiting)
                yield held[: sizes[0]]
                waiting = [held[sizes.pop(0) :]]


def particle_samples(
    particles: PreparedParticles,
    indices: np.ndarray,
    read: Callable[[np.ndarray, torch.Tensor], torch.Tensor],
) -> Samples:
    """The inputs of some particles: in memory if they fit into IN_MEMORY bytes, read anew otherwise.

    Parameters
    ----------
    particles : PreparedParticles
        The set.
    indices : (N,) int array
        Which of them, from 0.
    read : callable
        Makes the input (n, ...) of (indices, whitened coefficients).

    Returns
    -------
    Samples
        N inputs.
    """
    probe = particles.all(indices[:1], "spectra", read)
    if probe.numel() * probe.element_size() * len(indices) <= IN_MEMORY:
        return TensorSamples(particles.all(indices, "spectra", read))
    return ParticleSamples(particles, indices, read)
