"""What a network is trained for: the loss of a batch, by UDL and JUDL, of each kind of network.

UDL turns two images by known amounts and asks that the network's answer changes by just that; JUDL asks that particles,
once rotated by what the network says, resemble each other. Chen, Feng, Shen, J. Struct. Biol. 215 (2023) 107940.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import nn

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.compute.gradients import share_statistics, total_with_gradient
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.models.autoencoder import Autoencoder
from scipion_udl.models.matching import MatchingNetwork
from scipion_udl.models.network import TellsRotations
from scipion_udl.models.polar_network import rotate_spectra
from scipion_udl.models.resnet import PairNetwork
from scipion_udl.training.losses import (
    absolute_difference_loss,
    difference_loss,
    joint_loss,
    range_hinge,
    reconstruction_loss,
)
from scipion_udl.training.presets import Preset

POOL = 256  # inputs that the bias is taken of


Net = TypeVar("Net")  # the networks that an objective is for


class Agreeing(TellsRotations, Protocol):
    """A network that JUDL trains: ``agreement`` (radii,) weighs the radii of its input."""

    agreement: torch.Tensor


class Objective(Generic[Net]):
    """The loss of a network's training.

    method: judl or udl; preset: its settings; ``extra``: what is trained with the network and is not part of it;
    ``parts``: in how many a batch goes through the network, one after the other, where memory is short.
    """

    def __init__(self, method: str, preset: Preset) -> None:
        self.method, self.preset, self.extra, self.group, self.parts = method, preset, nn.Module(), ProcessGroup(), 1

    def share_among(self, network: nn.Module, group: ProcessGroup) -> None:
        """Share the work on every batch among processes, which all come to the same loss.

        Parameters
        ----------
        network : torch.nn.Module
            What is trained; its batch norms share their statistics from now on.
        group : ProcessGroup
            The processes.
        """
        self.group = group
        share_statistics(network, group)

    def begin(self, known: torch.Tensor) -> None:
        """Take note of inputs that are the same whenever this training is begun or continued.

        Parameters
        ----------
        known : (N, ...) tensor
            These inputs.
        """

    def loss(self, network: Net, batch: torch.Tensor, generator: torch.Generator, epoch: int) -> torch.Tensor:
        """The loss of a batch.

        Parameters
        ----------
        network : Net
            What is trained.
        batch : (N, ...) tensor
            Its inputs.
        generator : torch.Generator
            Draws all that is random; on the CPU.
        epoch : int
            From 1.

        Returns
        -------
        () tensor
            To be made small, with gradients.
        """
        raise NotImplementedError

    def validation(self, network: Net, held_out: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The loss that tells epochs apart: the same in all of them.

        Parameters
        ----------
        network : Net
            What is trained, in evaluation mode.
        held_out : (N, ...) tensor
            Inputs that are not learned from.
        generator : torch.Generator
            Draws all that is random, with the same seed in every epoch; on the CPU.

        Returns
        -------
        () tensor
            The lower the better.
        """
        raise NotImplementedError

    def finish(self, network: Net, known: torch.Tensor) -> None:
        """Whatever a network (in evaluation mode) needs to be used once it is trained, from inputs that it knows.

        Parameters
        ----------
        network : Net
            In evaluation mode; changed in place.
        known : (N, ...) tensor
            The inputs.
        """

    def rotations(self, network: Net, inputs: torch.Tensor) -> torch.Tensor:
        """How inputs are rotated, by what the network says.

        Parameters
        ----------
        network : Net
            What is trained.
        inputs : (N, ...) tensor
            Inputs as they are trained on.

        Returns
        -------
        (N,) tensor
            Degrees, modulo 180.
        """
        return cast(TellsRotations, network).rotations(inputs)

    def facts(self) -> dict:
        """What the model's card is to say of it, besides the method.

        Returns
        -------
        dict
            By their names in the card; empty where there is nothing to say.
        """
        return {}

    def over_group(self, work: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
        """Work on a batch row by row, each process its part; all have all of it.

        Parameters
        ----------
        work : callable
            Makes rows (n, ...) of rows (n, ...) of each input.
        *inputs : (N, ...) tensors
            The same on all processes.

        Returns
        -------
        (N, ...) tensor
            What ``work`` makes of all rows; gradients flow through it.
        """
        count = len(inputs[0])
        if self.group.size == 1 or count < self.group.size:
            return self._in_parts(work, *inputs)
        own = torch.from_numpy(self.group.share(np.arange(count))).to(inputs[0].device)
        mine = self._in_parts(work, *(values[own] for values in inputs))
        return total_with_gradient(mine.new_zeros(count, *mine.shape[1:]).index_copy(0, own, mine), self.group)

    def _in_parts(self, work: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
        """``work`` of inputs (N, ...), ``parts`` one after the other: of each the result alone is kept, and the rest is
        computed anew where gradients go back. So gradients are those of the whole, whatever the loss makes of it."""
        if self.parts == 1:
            return work(*inputs)
        from torch.utils.checkpoint import checkpoint  # takes its time to load, and is hardly ever needed

        size = -(-len(inputs[0]) // self.parts)
        pieces = zip(*(values.split(size) for values in inputs))
        return torch.cat([checkpoint(work, *part, use_reentrant=False, preserve_rng_state=False) for part in pieces])

    def rotation_range(self, epoch: int, most: float) -> float:
        """The span of the rotations of UDL in an epoch: small ones are learned first.

        Parameters
        ----------
        epoch : int
            From 1.
        most : float
            What it is never above, degrees.

        Returns
        -------
        float
            Degrees.
        """
        return min(most, self.preset.rotation_range + self.preset.growth * (epoch - 1))


def pair_loss(
    preset: Preset,
    network: PairNetwork | MatchingNetwork,
    before: torch.Tensor,
    after: torch.Tensor,
    applied: torch.Tensor,
    period: float,
) -> torch.Tensor:
    """The UDL term of a network of pairs. The hinge of the published loss is for answers that may be of any size.

    Parameters
    ----------
    preset : Recipe
        Whether the loss is the published one.
    network : PairNetwork or MatchingNetwork
        What has answered.
    before, after : (N,) tensors
        Its answers before and after turns, degrees.
    applied : (N,) tensor
        The differences of these turns, degrees.
    period : float
        Degrees.

    Returns
    -------
    () tensor
        1 - cos on average, or, as published, degrees.
    """
    if not preset.absolute:
        return difference_loss(after - before, applied, period)
    loss = absolute_difference_loss(after - before, applied, period)
    return loss + range_hinge(before) + range_hinge(after) if network.head.head == "degrees" else loss


class PolarObjective(Objective[TellsRotations]):
    """For networks of polar spectra: batches are (N, radii, angles). The loss is the UDL term or, of JUDL, the
    joint term, under random rotations."""

    def loss(
        self, network: TellsRotations, batch: torch.Tensor, generator: torch.Generator, epoch: int
    ) -> torch.Tensor:
        return self._loss(network, batch, generator, self.rotation_range(epoch, 180.0))

    def validation(self, network: TellsRotations, held_out: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self._loss(network, held_out, generator, 180.0)

    def _loss(
        self, network: TellsRotations, spectra: torch.Tensor, generator: torch.Generator, rotation_range: float
    ) -> torch.Tensor:
        angle = torch.rand(2, len(spectra), generator=generator).to(spectra.device)
        if self.method == "judl":
            rotated = rotate_spectra(spectra, angle[0] * 180)
            return joint_loss(rotated, self.over_group(network.rotations, rotated), cast(Agreeing, network).agreement)
        angle = (angle - 0.5) * rotation_range
        deviation = self.preset.noise * spectra.std()

        def rotations(copy: torch.Tensor) -> torch.Tensor:
            noise = torch.randn(copy.shape, generator=generator).to(copy.device)
            return self.over_group(network.rotations, copy + deviation * noise)

        first, second = spectra, spectra.roll(1, 0)
        before = rotations(first) - rotations(second)
        after = rotations(rotate_spectra(first, angle[0])) - rotations(rotate_spectra(second, angle[1]))
        return difference_loss(after - before, angle[0] - angle[1])


class PairObjective(Objective[PairNetwork]):
    """For the siamese network of two spectra: batches are fine spectra (N, F, F) (see spectrum_images.py).

    Every particle is looked at twice, rotated by two angles, and paired with ``preset.rounds`` others of its batch; its
    features are computed once a look. The loss is the mean of the UDL term over these pairs, to which JUDL adds the
    joint term with its weight, and for validation how far the aligned spectra differ. The bias of the answers is taken
    of POOL spectra that are compared with themselves.
    """

    def __init__(self, method: str, preset: Preset, spectra: SpectrumImageSettings) -> None:
        super().__init__(method, preset)
        self.spectra = spectra
        self.reference: torch.Tensor | None = None
        if method == "judl" and preset.joint == "autoencoder":
            self.extra = Autoencoder()

    def share_among(self, network: nn.Module, group: ProcessGroup) -> None:
        """Share the features of a batch; all processes compare the features of all of it.

        Parameters
        ----------
        network : torch.nn.Module
            What is trained.
        group : ProcessGroup
            The processes.
        """
        super().share_among(network, group)
        share_statistics(cast(PairNetwork, network).head, ProcessGroup())

    def begin(self, known: torch.Tensor) -> None:
        """Keep a particle that all batches are brought into register with.

        JUDL brings them into register with one and the same: an autoencoder would have to know every orientation
        otherwise, and then reconstructs whatever it is given.

        Parameters
        ----------
        known : (N, F, F) tensor
            Fine spectra, of which the first is kept.
        """
        if self.method == "judl":
            self.reference = self.spectra.rotated(known[:1])

    def loss(self, network: PairNetwork, batch: torch.Tensor, generator: torch.Generator, epoch: int) -> torch.Tensor:
        preset = self.preset
        angles = torch.rand(2, len(batch), generator=generator).to(batch.device)
        start, rotation = angles[0] * 360, (angles[1] - 0.5) * self.rotation_range(epoch, 360.0)
        looks = [self._copies(batch, angle, generator) for angle in (start, start + rotation)]
        if self.reference is not None:
            looks.append(self.reference)
        before, after, *reference = self.over_group(network.features, torch.cat(looks)).split(len(batch))
        total = batch.new_zeros(())
        for k in range(1, preset.rounds + 1):
            first, second = (network.between(features, features.roll(k, 0)) for features in (before, after))
            total = total + pair_loss(self.preset, network, first, second, rotation - rotation.roll(k, 0), 180.0)
        total = total / preset.rounds
        if self.method == "judl":
            weight = preset.joint_weight + preset.joint_growth * epoch
            total = total + weight * self._joint(network, batch, start, before, *reference)
        return total

    def _copies(self, batch: torch.Tensor, angle: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        copies = self.spectra.rotated(batch, angle)
        if self.preset.noise:
            noise = torch.randn(copies.shape, generator=generator).to(copies.device)
            copies = copies + self.preset.noise * copies.std() * noise * self.spectra.inside(copies.device)
        return copies

    def _joint(
        self,
        network: PairNetwork,
        batch: torch.Tensor,
        start: torch.Tensor,
        features: torch.Tensor,
        reference: torch.Tensor,
    ) -> torch.Tensor:
        """The error of reconstructing spectra that the network has brought into register with the reference."""
        rotations = network.between(features, reference.expand_as(features))
        aligned = self.spectra.rotated(batch, start - rotations)
        if isinstance(self.extra, Autoencoder):
            return nn.functional.mse_loss(self.extra(aligned), aligned)
        return reconstruction_loss(aligned)

    def validation(self, network: PairNetwork, held_out: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        angle = torch.rand(len(held_out), generator=generator).to(held_out.device) * 360
        before, after = (network.describe(self.spectra.rotated(held_out, a)) for a in (0 * angle, angle))
        change = network.between(after, after.roll(1, 0)) - network.between(before, before.roll(1, 0))
        loss = difference_loss(change, angle - angle.roll(1, 0))
        if self.method == "judl":
            rotations = network.between(before, before[:1].expand_as(before))
            loss = loss + reconstruction_loss(self.spectra.rotated(held_out, -rotations))
        return loss

    def facts(self) -> dict:
        """What reconstructed the aligned particles, if anything.

        Returns
        -------
        dict
            ``joint`` ("mean" or "autoencoder") for JUDL; empty for UDL.
        """
        return {"joint": self.preset.joint} if self.method == "judl" else {}

    def finish(self, network: PairNetwork, known: torch.Tensor) -> None:
        network.set_references(self.spectra.rotated(known[:POOL]))

    def rotations(self, network: PairNetwork, inputs: torch.Tensor) -> torch.Tensor:
        return network.rotations(self.spectra.rotated(inputs))
