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
        """Mean power of the signal per ring, the CTF taken out.

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

    bank; sampling; search_range: how far off centre particles lie along either axis, working pixels. ``grid``: (n, 2)
    shifts over that range; ``near``: (9, 2) about one that is known, the first one none. Of an upright bank both are
    one shift, none.
    """

    def __init__(self, bank: ClassBank, sampling: PolarSampling, search_range: float) -> None:
        self.bank, self.rings = bank, bank.config["rings"]
        device = bank.template.device
        self.transform = AngularTransform(sampling, self.rings, device)
        self.step = step_of(sampling.box, self.rings)
        count = 0 if bank.upright else math.ceil(search_range / self.step)
        axis = torch.arange(-count, count + 1, device=device) * self.step
        self.grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1)
        near = torch.tensor([0.0] if bank.upright else [0.0, -1.0, 1.0], device=device) * self.step
        self.near = torch.stack(torch.meshgrid(near, near, indexing="xy"), -1).flatten(0, 1)
        self.grid_waves, self.near_waves = (self.transform.waves(shifts) for shifts in (self.grid, self.near))

    def chunks(self, samples: Samples, rows: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Look at particles in all classes, chunk by chunk.

        Parameters
        ----------
        samples : Samples
            The particles.
        rows : (N,) int64 tensor
            Which of them.

        Yields
        ------
        (n, K) tensor, (n, K, 2) tensor
            As of :meth:`glance`, of the particles of a chunk.
        """
        parts = rows.split(TOGETHER)
        yield from side_by_side(lambda one: self.glance(samples, one), parts, self.near.device)

    def glance(self, samples: Samples, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Look at one chunk of particles in all classes, at all shifts and in few orientations.

        Parameters
        ----------
        samples : Samples
            The particles.
        part : (n,) int64 tensor
            Which of them.

        Returns
        -------
        (n, K) tensor
            Gains.
        (n, K, 2) tensor
            The shifts, x and y in working pixels.
        """
        values, ctf = self.seen(samples, part)
        gain, place = self.bank.glance(self.transform.forward(values[:, None] * self.grid_waves), ctf)
        return gain, self.grid[place]

    def seen(self, samples: Samples, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What is compared of particles.

        Parameters
        ----------
        samples : Samples
            The particles.
        part : (n,) int64 tensor
            Which of them.

        Returns
        -------
        (n, rings, directions) complex tensor
            Samples.
        (n, rings) tensor
            The square of their CTF.
        """
        device = self.near.device
        return self.transform.seen(samples.values[part]).to(device), samples.ctf[part, : self.rings].to(device)

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
        values = self.seen(samples, rows)[0] * self.transform.waves(shift)
        return self.transform.rotated(self.transform.forward(values), angle)


@dataclass
class Likely:
    """Of n particles the c classes each that are likely, the best one first.

    which: (n, c) numbers of classes; gain: (n, c) log likelihood over that of noise, nats; shift: (n, c, 2) before
    turning, working pixels; angle: (n, c) of the pose, degrees; contrast: (n, c), 1 for that of the template.
    """

    which: torch.Tensor
    gain: torch.Tensor
    shift: torch.Tensor
    angle: torch.Tensor
    contrast: torch.Tensor


class Finder:
    """Finds the likely classes of particles: all classes at a glance, in few orientations, and then in all orientations
    and about the shifts that they have there those that do best. The glance is at all shifts, in the coarse rings; or
    at the shift that is known.

    bank, sampling, search_range: as of :class:`Comparer`; count: so many classes of each particle; alike: whether a
    particle is thought to lie alike in all of them, as it does in the likeliest.
    """

    def __init__(
        self, bank: ClassBank, sampling: PolarSampling, search_range: float, count: int = LIKELY, alike: bool = False
    ) -> None:
        self.coarse = Comparer(seen_up_to(bank, sampling, COARSE), sampling, search_range)
        self.fine = Comparer(bank, sampling, search_range)
        self.count, self.alike = min(count, bank.config["classes"]), alike

    def chunks(self, samples: Samples, rows: torch.Tensor, near: bool = False) -> Iterator[tuple[torch.Tensor, Likely]]:
        """Find the likely classes of particles, chunk by chunk.

        Parameters
        ----------
        samples : Samples
            The particles.
        rows : (N,) int64 tensor
            Which of them.
        near : bool, optional
            Whether to look only about the shift that is known.

        Yields
        ------
        (n,) int64 tensor, Likely
            Rows of a chunk, and what is likely of them.
        """
        parts, find = rows.split(TOGETHER), self._near if near else self._anywhere
        return zip(parts, side_by_side(lambda part: find(samples, part), parts, self.fine.near.device))

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

    def _near(self, samples: Samples, part: torch.Tensor) -> Likely:
        """About the shift that is known of each."""
        fine = self.fine
        known = samples.centre[part].to(fine.near.device)
        values, ctf = fine.seen(samples, part)
        values = values * fine.transform.waves(known)
        coefficients = fine.transform.forward(values[:, None] * fine.near_waves)
        gain, _ = fine.bank.glance(coefficients[:, :1], ctf)
        which = gain.topk(self.count, 1).indices
        return self._in_order(which, fine.bank.each(coefficients[:, None], ctf, which), known[:, None])

    def _anywhere(self, samples: Samples, part: torch.Tensor) -> Likely:
        """At all shifts."""
        gain, shifts = self.coarse.glance(samples, part)
        which = gain.topk(self.count, 1).indices
        among = which[:, :1] if self.alike else which
        shift = shifts.gather(1, among[..., None].expand(-1, -1, 2))
        found = [self._sharpened(samples, *parts) for parts in zip(*(v.split(FEW) for v in (part, which, shift)))]
        return self._in_order(which, Compared(*map(torch.cat, zip(*found))), shift)

    def _sharpened(self, samples: Samples, rows: torch.Tensor, which: torch.Tensor, shift: torch.Tensor) -> Compared:
        """The classes ``which`` (n, c) in all rings, about ``shift`` (n, c or 1, 2)."""
        fine = self.fine
        values, ctf = fine.seen(samples, rows)
        values = values[:, None] * fine.transform.waves(shift)
        return fine.bank.each(fine.transform.forward(values[:, :, None] * fine.near_waves), ctf, which)

    def _in_order(self, which: torch.Tensor, found: Compared, shift: torch.Tensor) -> Likely:
        """What was found about ``shift`` (n, c or 1, 2) of the classes ``which`` (n, c), the best one first."""
        order = found.gain.argsort(dim=1, descending=True, stable=True)
        moved = (shift + self.fine.near[found.place]).gather(1, order[..., None].expand(-1, -1, 2))
        values = which, found.gain, self.fine.angle(found.rotation), found.contrast
        which, gain, angle, contrast = (value.gather(1, order) for value in values)
        return Likely(which, gain, moved, angle, contrast)


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
    if rings == bank.config["rings"]:
        return bank
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
