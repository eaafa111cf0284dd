"""Training of the matching network: pairs of natural images, UDL over all angles.

The two images of a pair show the same from unknown turns and shifts. Turned once more by known angles, the network's
answer must change by their difference, modulo 360 (Chen, Feng, Shen 2023); what the true rotation is, nobody says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from scipion_udl.errors import UdlError
from scipion_udl.imaging.fourier import to_fourier, transform
from scipion_udl.messages import message
from scipion_udl.models.matching import MatchingNetwork, working_images
from scipion_udl.particles.name_order import ranks
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.training.datasets import IN_MEMORY, READ, Samples, TensorSamples
from scipion_udl.training.losses import difference_loss
from scipion_udl.training.objectives import POOL, Objective, pair_loss

TOGETHER = 64  # pairs at a time where nothing is learned of them
WORKING_BOX = 32  # pixels that the network gets, where nobody asks for more


class MatchingObjective(Objective[MatchingNetwork]):
    """For the matching network: batches are pairs of working images, (N, 2, S, S). Only UDL trains it.

    Both images are rotated at random, then by up to half the range more; angles are modulo 360 degrees. The bias of the
    answers is taken of POOL images that are compared with themselves.
    """

    def loss(
        self, network: MatchingNetwork, batch: torch.Tensor, generator: torch.Generator, epoch: int
    ) -> torch.Tensor:
        angles = torch.rand(2, 2, len(batch), generator=generator).to(batch.device)
        start, rotation = angles[0] * 360, (angles[1] - 0.5) * self.rotation_range(epoch, 360.0)
        before, after = self._answers(network, batch, [start, start + rotation], generator)
        return pair_loss(self.preset, network, before, after, rotation[0] - rotation[1], 360.0)

    def validation(self, network: MatchingNetwork, held_out: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rotation = torch.rand(2, len(held_out), generator=generator).to(held_out.device) * 360
        parts = [
            self._answers(network, pairs, [torch.zeros_like(part), part], None)
            for pairs, part in zip(held_out.split(TOGETHER), rotation.split(TOGETHER, 1))
        ]
        before, after = (torch.cat(answers) for answers in zip(*parts))
        return difference_loss(after - before, rotation[0] - rotation[1], 360.0)

    def _answers(
        self,
        network: MatchingNetwork,
        pairs: torch.Tensor,
        looks: Sequence[torch.Tensor],
        generator: torch.Generator | None,
    ) -> list[torch.Tensor]:
        """g of the pairs, (N,) each, with their images rotated by each of ``looks``, (2, N) degrees."""
        box = pairs.shape[-1]
        coefficients = to_fourier(pairs)
        sides = []
        for side in range(2):  # all first images, then all second ones
            copies = torch.cat([transform(coefficients[:, side], box, angle[side]) for angle in looks])
            if generator is not None and self.preset.noise:
                noise = torch.randn(copies.shape, generator=generator).to(copies.device)
                copies = copies + self.preset.noise * copies.std((-2, -1), keepdim=True) * noise
            sides.append(copies[:, None])
        return list(self.over_group(network, *sides).chunk(len(looks)))

    def finish(self, network: MatchingNetwork, known: torch.Tensor) -> None:
        network.set_bias(known[:POOL].flatten(0, 1)[:, None])

    def rotations(self, network: MatchingNetwork, inputs: torch.Tensor) -> torch.Tensor:
        return network.angles(inputs[:, 0], inputs[:, 1])


class PairSamples(Samples):
    """Pairs of images, read from their files whenever they are wanted. pairs: (M, 2) items, from 0, of ``particles``;
    box: of the working images."""

    def __init__(self, particles: PreparedParticles, pairs: np.ndarray, box: int) -> None:
        self._particles, self._pairs, self._box = particles, pairs, box
        super().__init__(self._read(pairs[:READ]), len(pairs))

    def batches(self, parts: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The pairs of each part.

        Parameters
        ----------
        parts : sequence of (n,) int64 tensors
            Numbers of the pairs of each batch, from 0.

        Yields
        ------
        (n, 2, box, box) tensor
            Working images of one part.
        """
        return (self._read(self._pairs[part.cpu().numpy()]) for part in parts)

    def _read(self, pairs: np.ndarray) -> torch.Tensor:
        out = torch.empty(2 * len(pairs), self._box, self._box, device=self._particles.device)
        done = 0
        for part, images in self._particles.reader.chunks(pairs.reshape(-1), "pairs"):
            out[done : done + len(part)] = working_images(images, self._box)[:, 0]
            done += len(part)
        return out.view(len(pairs), 2, self._box, self._box)


def working_box(box: int) -> int:
    """The box of the working images of particles: even, WORKING_BOX at most.

    Parameters
    ----------
    box : int
        Of the particles, px.

    Returns
    -------
    int
        Px.
    """
    return min(WORKING_BOX, box - box % 2)


def pair_items(particles: PreparedParticles, count: int, seed: int) -> np.ndarray:
    """Pairs of items 2k-1 and 2k of a set, chosen by the seed; none with a constant image.

    Parameters
    ----------
    particles : PreparedParticles
        The set, one image of a pair after the other.
    count : int
        How many pairs there may be.
    seed : int
        Which of them, where there are more.

    Returns
    -------
    (M, 2) int array
        The items of each pair, from 0.

    Raises
    ------
    UdlError
        For an odd number of items, and where no pair is left.
    """
    if len(particles) % 2:
        raise UdlError(message("training_pairs_odd", path=particles.source.path, count=len(particles)))
    pairs = np.arange(len(particles)).reshape(-1, 2)
    pairs = pairs[~particles.statistics.blank[pairs].any(1)]
    if not len(pairs):
        raise UdlError(message("no_training_pair", path=particles.source.path))
    return pairs[np.argsort(ranks(particles.source.names, seed)[pairs[:, 0]], kind="stable")[:count]]


def pair_samples(particles: PreparedParticles, pairs: np.ndarray, box: int) -> Samples:
    """The working images of pairs: in memory if they fit into IN_MEMORY bytes, read anew otherwise.

    Parameters
    ----------
    particles : PreparedParticles
        The set.
    pairs : (M, 2) int array
        The items of each pair, from 0.
    box : int
        Of the working images, px.

    Returns
    -------
    Samples
        M inputs (2, box, box).
    """
    samples = PairSamples(particles, pairs, box)
    if 8 * box * box * len(pairs) > IN_MEMORY:
        return samples
    return TensorSamples(samples.known if len(pairs) <= READ else samples._read(pairs))
