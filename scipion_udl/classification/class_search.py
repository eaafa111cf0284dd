"""Particles against the classes: every class, every orientation, and a range of shifts; or from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from scipion_udl.compute.threads import side_by_side
from scipion_udl.imaging.polar_samples import AngularTransform, PolarSampling
from scipion_udl.models.class_bank import ClassBank, Compared

FINEST_STEP, COARSEST_STEP = 1.0, 4.0  # working pixels between two shifts
STEP = 32.0  # of a band of one Fourier pixel, in a box of 128
TOGETHER = 32  # particles whose coefficients are held at a time
FEW = 8  # the same where each has shifts of its own for every class
COARSE = 8  # rings in which all classes are looked at with all shifts
LIKELY = 8  # classes of a particle that are looked at in all rings, at most


@dataclass
class Samples:
    """Polar samples of n particles.

    values: (n, rings, angles) complex64, times their CTF; ctf: its square (n, rings); power: mean
    power of a particle per ring (n, rings) before that, in units of the noise; centre: (n, 2) by which the particles
    have to be moved (x, y, working pixels) as far as that is known, and known: (n,) bool where it is.
    """

    values: torch.Tensor
    ctf: torch.Tensor
    power: torch.Tensor
    centre: torch.Tensor
    known: torch.Tensor

    def __len__(self) -> int:
        return len(self.values)

    def signal(self) -> torch.Tensor:
        """Mean power of the signal per ring, the transfer taken out.

        Returns
        -------
        (rings,) tensor
            In units of the noise; below 0 where there is less power than that of noise.
        """
        ctf = self.ctf.mean(0).clamp(min=1e-6)
        return (self.power.mean(0) - 1) / ctf


def step_of(box: int, rings: int) -> float:
    """How far apart the shifts lie that are looked at.

    Parameters
    ----------
    box : int
        Working pixels of a side.
    rings : int
        Fourier pixels of the band.

    Returns
    -------
    float
        Working pixels.
    """
    scale = box / 128
    return scale * min(max(STEP / rings, FINEST_STEP), COARSEST_STEP)


class Comparer:
    """Compares particles with a bank's classes.

    bank; sampling; search_range: how far off centre particles lie along either axis, working pixels. ``near``: (9, 2)
    shifts about one that is known, and what samples are multiplied with to be moved by them.
    """

    def __init__(self, bank: ClassBank, sampling: PolarSampling, search_range: float) -> None:
        self.bank, self.rings = bank, bank.config["rings"]
        device = bank.template.device
        self.transform = AngularTransform(sampling, self.rings, device)
        self.step = step_of(sampling.box, self.rings)
        count = math.ceil(search_range / self.step)
        axis = torch.arange(-count, count + 1, device=device) * self.step
        self.grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1)
        self._grid_waves = self.transform.waves(self.grid)
        near = torch.tensor([-self.step, 0.0, self.step], device=device)
        self.near = torch.stack(torch.meshgrid(near, near, indexing="xy"), -1).flatten(0, 1)
        self.near_waves = self.transform.waves(self.near)

    def chunks(
        self, samples: Samples, rows: torch.Tensor, near: bool
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, Compared]]:
        """Compare particles with all classes, chunk by chunk.

        Parameters
        ----------
        samples : Samples
            The particles.
        rows : (N,) int64 tensor
            Which of them.
        near : bool
            Whether to look only about the shift that is known.

        Yields
        ------
        (n,) int64 tensor, (n, shifts, 2) tensor, Compared
            Rows of a chunk, the shifts that were looked at (x, y, working pixels), and what came of it.
        """
        parts = rows.split(TOGETHER)
        for part, found in zip(parts, side_by_side(lambda one: self.one(samples, one, near), parts, self.near.device)):
            yield part, *found

    def one(self, samples: Samples, part: torch.Tensor, near: bool) -> tuple[torch.Tensor, Compared]:
        """Compare one chunk of particles with all classes.

        Parameters
        ----------
        samples : Samples
            The particles.
        part : (n,) int64 tensor
            Which of them.
        near : bool
            Whether to look only about the shift that is known.

        Returns
        -------
        (n, shifts, 2) tensor
            The shifts that were looked at, x and y in working pixels.
        Compared
            What came of it.
        """
        device = self.near.device
        known = samples.centre[part][:, None].to(device)
        shifts = self.near + known if near else self.grid.expand(len(part), -1, -1)
        waves = self.transform.waves(shifts) if near else self._grid_waves
        values = samples.values[part, : self.rings].to(device)
        coefficients = self.transform.forward(values[:, None] * waves)
        return shifts, self.bank(coefficients, samples.ctf[part, : self.rings].to(device))

    def angle(self, rotation: torch.Tensor) -> torch.Tensor:
        """Pose angles of the steps of a :class:`Compared`.

        Parameters
        ----------
        rotation : int tensor
            Steps, of any shape.

        Returns
        -------
        tensor of that shape
            Degrees.
        """
        return rotation * (-360.0 / self.bank.rotations())

    def aligned(self, samples: Samples, rows: torch.Tensor, shift: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        """Coefficients of particles, moved and then rotated.

        Parameters
        ----------
        samples : Samples
            The particles.
        rows : (n,) int64 tensor
            Which of them.
        shift : (n, 2) tensor
            Moved by it, x and y in working pixels.
        angle : (n,) tensor
            Pose angles, degrees.

        Returns
        -------
        (n, rings, orders) complex tensor
            As templates are.
        """
        values = samples.values[rows, : self.rings].to(self.near.device) * self.transform.waves(shift)
        return self.transform.rotated(self.transform.forward(values), angle)


@dataclass
class Likely:
    """Of n particles the c classes each that are likely, the best one first.

    which: (n, c) numbers of classes; gain: (n, c) log likelihood over that of noise, nats; shift: (n, c, 2) before
    turning, working pixels; angle: (n, c) of the pose, degrees.
    """

    which: torch.Tensor
    gain: torch.Tensor
    shift: torch.Tensor
    angle: torch.Tensor


class Finder:
    """Finds the likely classes of particles: all classes, orientations and shifts in the coarse rings, and in all rings
    those that do best there, about the shifts that they have there.

    bank, sampling, reach: as of :class:`Comparer`; count: so many classes of each particle.
    """

    def __init__(self, bank: ClassBank, sampling: PolarSampling, search_range: float, count: int = LIKELY) -> None:
        self.coarse = Comparer(seen_up_to(bank, sampling, COARSE), sampling, search_range)
        self.fine = Comparer(bank, sampling, search_range)
        self.count = min(count, bank.config["classes"])

    def chunks(self, samples: Samples) -> Iterator[tuple[torch.Tensor, Likely]]:
        """Find the likely classes of all samples, chunk by chunk.

        Parameters
        ----------
        samples : Samples
            The particles.

        Yields
        ------
        (n,) int64 tensor, Likely
            Rows of a chunk, and what is likely of them.
        """
        parts = torch.arange(len(samples), device=samples.values.device).split(TOGETHER)
        return zip(parts, side_by_side(lambda part: self._found(samples, part), parts, self.fine.near.device))

    def _found(self, samples: Samples, part: torch.Tensor) -> Likely:
        shifts, found = self.coarse.one(samples, part, False)
        which = found.gain.topk(self.count, 1).indices
        place = found.place.gather(1, which)
        shift = shifts[torch.arange(len(part), device=which.device)[:, None], place]
        return self._sharpened(samples, part, which, shift)

    def power(self, samples: Samples, rows: torch.Tensor) -> torch.Tensor:
        """Power of particles in all rings.

        Parameters
        ----------
        samples : Samples
            The particles.
        rows : (n,) int64 tensor
            Which of them.

        Returns
        -------
        (n,) tensor
            In units of their gains.
        """
        fine = self.fine
        return samples.power[rows, : fine.rings] @ fine.transform.root.square()

    def _sharpened(self, samples: Samples, rows: torch.Tensor, which: torch.Tensor, shift: torch.Tensor) -> Likely:
        """The classes ``which`` (n, c) in all rings, about ``shift`` (n, c, 2)."""
        found = [self._looked_at(samples, *parts) for parts in zip(*(v.split(FEW) for v in (rows, which, shift)))]
        gain, moved, rotation = (torch.cat(parts) for parts in zip(*found))
        order = gain.argsort(dim=1, descending=True, stable=True)
        moved = moved.gather(1, order[..., None].expand(-1, -1, 2))
        which, gain, rotation = (v.gather(1, order) for v in (which, gain, rotation))
        return Likely(which, gain, moved, self.fine.angle(rotation))

    def _looked_at(
        self, samples: Samples, rows: torch.Tensor, which: torch.Tensor, shift: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.fine
        values = samples.values[rows, : fine.rings].to(shift.device)
        values = values[:, None] * fine.transform.waves(shift)
        coefficients = fine.transform.forward(values[:, :, None] * fine.near_waves)
        ctf = samples.ctf[rows, : fine.rings].to(shift.device)
        found = fine.bank.each(coefficients, ctf, which)
        return found.gain, shift + fine.near[found.place], found.rotation


def seen_up_to(bank: ClassBank, sampling: PolarSampling, rings: int) -> ClassBank:
    """The templates as far as a Fourier ring, in the angular orders that are there.

    Parameters
    ----------
    bank : ClassBank
        The templates.
    sampling : PolarSampling
        How particles are sampled for them.
    rings : int
        The last ring; no more than the bank has are taken.

    Returns
    -------
    ClassBank
        A bank of these rings.
    """
    rings = min(rings, bank.config["rings"])
    return bank.limited(rings, min(AngularTransform(sampling, rings).orders, bank.config["orders"]))


def moved_templates(transform: AngularTransform, templates: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Move templates.

    Parameters
    ----------
    transform : AngularTransform
        Between samples and angular orders.
    templates : (K, rings, orders) complex tensor
        The templates.
    shift : (K, 2) tensor
        Moved by it, x and y in working pixels.

    Returns
    -------
    (K, rings, orders) complex tensor
        The same, moved.
    """
    return transform.forward(transform.backward(templates) * transform.waves(shift))
