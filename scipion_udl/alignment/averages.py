"""Averages in the full box: the last pass over the particles."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.imaging.fourier import radii, to_fourier, to_images, transform
from scipion_udl.imaging.half_set_frc import frc_weights, of_more
from scipion_udl.imaging.poses import Poses
from scipion_udl.particles.prepared import PreparedParticles

LEAST_CTF = 0.1  # of the largest squared CTF: rings that show less are not made louder than that


@dataclass
class Averages:
    """Images (D, D) float32. before: plain mean of the particles as they came, blank ones left out; all: plain mean of
    all aligned particles; halves: means by the halves' own poses (None
    without) of particles brought to one background and one noise, the medians of the set, each image counted once;
    where CTF is made use of, each particle weighs by its own. corrected: the mean of both halves with the
    mean CTF taken out, None where none is made use of. sums: what the halves were made of, None without."""

    before: np.ndarray
    all: np.ndarray
    halves: tuple[np.ndarray, np.ndarray] | None
    corrected: np.ndarray | None = None
    sums: HalfSums | None = None

    @property
    def both(self) -> tuple[tuple[np.ndarray, np.ndarray], HalfSums]:
        """The halves, and what they were made of. Raises ValueError where there are none."""
        if self.halves is None or self.sums is None:
            raise ValueError("these averages have no halves")
        return self.halves, self.sums


def apply_poses(
    images: torch.Tensor, fill: torch.Tensor, poses: Poses, ctf: torch.Tensor | None = None
) -> torch.Tensor:
    """Images with poses applied.

    Parameters
    ----------
    images : (n, D, D) tensor
        The images.
    fill : (n,) tensor
        What comes from outside of the box of each.
    poses : Poses
        n of them; shifts in pixels of the images.
    ctf : (n, D, D//2 + 1) tensor, optional
        What the images are multiplied by in Fourier space before.

    Returns
    -------
    (n, D, D) tensor
        The aligned ones; an image that stays where it is comes out as it was, unless there is a CTF.
    """
    box, device = images.shape[-1], images.device
    if poses.mirror.any():  # M R p + t = M (R p + M t): turn, shift, and mirror about pixel D//2 at the end
        sign = np.where(poses.mirror, -1.0, 1.0)
        first = Poses(poses.angle, poses.shift * np.stack([sign, np.ones(len(sign))], -1))
        rotated = apply_poses(images, fill, first, ctf)
        columns = (2 * (box // 2) - torch.arange(box, device=device)) % box
        which = torch.from_numpy(poses.mirror).to(device)
        return torch.where(which[:, None, None], rotated[..., columns], rotated)
    fill = fill[:, None, None]
    angle = torch.from_numpy(poses.angle).to(device)
    shift = torch.from_numpy(poses.shift).to(device)
    coefficients = to_fourier(images - fill)
    moved = transform(coefficients if ctf is None else coefficients * ctf, box, angle, shift) + fill
    if ctf is not None:
        return moved
    still = (angle == 0) & (shift == 0).all(1)  # nothing to do: not even the Nyquist frequency is touched
    return torch.where(still[:, None, None], images, moved)


@dataclass
class HalfFacts:
    """What the averages of two halves are of, which more particles can be added to by.

    counts: particles of each; power: (2, D) float64, sums of squared CTFs per ring, None where no CTF was made use of;
    background, noise: grey value and standard deviation that particles were brought to.
    """

    counts: list[int]
    power: np.ndarray | None
    background: float
    noise: float


class HalfSums:
    """Sums of two halves, through the particles' CTF where it is made use of. background, noise: what
    all particles are brought to, mean and standard deviation of the pixels beside the particle."""

    def __init__(self, prepared: PreparedParticles, background: float, noise: float) -> None:
        self.box, device = prepared.source.box, prepared.device
        self.background, self.noise = background, noise
        ctfs = prepared.ctfs
        self.ctfs = None if ctfs is None or ctfs.mode == "none" else ctfs
        self.total = torch.zeros(2, self.box, self.box, dtype=torch.float64, device=device)
        self.power = torch.zeros(2, self.box, dtype=torch.float64, device=device)  # squared CTFs per ring
        self.count = [0, 0]
        self.ring = radii(self.box, device).round().long()
        self.ring_count = torch.bincount(self.ring.flatten(), minlength=self.box).clamp(min=1)

    def ctf(self, part: np.ndarray) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """What particles are multiplied by before they are aligned, and their CTF.

        Parameters
        ----------
        part : (n,) int array
            The particles, from 0.

        Returns
        -------
        factor, ctf : (n, D, D//2 + 1) tensors or None
            None both where CTF is not made use of.
        """
        if self.ctfs is None:
            return None, None
        ctf = self.ctfs.evaluate(part, self.box, self.total.device)
        return self.ctfs.factor(part, ctf, self.box, raw=True), ctf

    def add(self, half: int, images: torch.Tensor, ctf: torch.Tensor | None) -> None:
        """Add aligned images.

        Parameters
        ----------
        half : int
            0 or 1.
        images : (n, D, D) tensor
            Normalised ones, times their factor.
        ctf : (n, D, D//2 + 1) tensor or None
            Theirs, None for none.
        """
        self.total[half] += images.double().sum(0) * self.noise
        self.count[half] += len(images)
        if ctf is not None:
            self.power[half].index_add_(0, self.ring.flatten(), ctf.square().sum(0).double().flatten())

    def over(self, group: ProcessGroup) -> None:
        """Add up what all processes of a group have.

        Parameters
        ----------
        group : ProcessGroup
            The processes; collective.
        """
        self.total, self.power = group.total(self.total), group.total(self.power)
        self.count = group.total(torch.tensor(self.count)).tolist()

    def mean(self, halves: list[int]) -> torch.Tensor:
        """The mean of one half or both, without its background: as the microscope shows it on the whole.

        Parameters
        ----------
        halves : list of int
            Which, 0 or 1.

        Returns
        -------
        (D, D) float64 tensor
            In grey levels.
        """
        total = self.total[halves].sum(0)
        if self.ctfs is None:
            return total / max(sum(self.count[half] for half in halves), 1)
        return to_images(to_fourier(total) / self._divisor(halves)[self.ring], self.box)

    def _divisor(self, halves: list[int]) -> torch.Tensor:
        """What a sum is divided by per ring, (box,) float64: rings that show too little are not made louder."""
        power = self.power[halves].sum(0) / self.ring_count
        return power.clamp(min=LEAST_CTF * float(power.max()) or 1.0)

    def add_means(self, images: Sequence[np.ndarray], count: Sequence[int], power: np.ndarray | None) -> None:
        """Add what other particles came to, of the same background and noise.

        Parameters
        ----------
        images : sequence of (D, D) arrays
            The means of their halves.
        count : sequence of int
            Particles of each half.
        power : (2, D) array or None
            Their squared CTFs per ring, None without CTF.
        """
        other = copy.copy(self)
        if power is not None:
            other.power = torch.from_numpy(power).to(self.total.device)
        for half, image in enumerate(images):
            mean = torch.from_numpy(image).to(self.total.device).double() - self.background
            if power is None:
                self.total[half] += mean * count[half]
            else:
                self.total[half] += to_images(to_fourier(mean) * other._divisor([half])[self.ring], self.box)
            self.count[half] += count[half]
        if power is not None:
            self.power = self.power + other.power

    def facts(self) -> HalfFacts:
        """What the means of the halves are of.

        Returns
        -------
        HalfFacts
            Copies.
        """
        power = None if self.ctfs is None else self.power.cpu().numpy().copy()
        return HalfFacts([int(one) for one in self.count], power, self.background, self.noise)

    def images(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The means of the halves, on the background.

        Returns
        -------
        first, second : (D, D) float32 arrays
            Of either half.
        corrected : (D, D) float32 array or None
            Of both with the mean CTF taken out, None where none is made use of.
        """
        whole = self.corrected()
        return self._image(self.mean([0])), self._image(self.mean([1])), None if whole is None else self._image(whole)

    def _image(self, mean: torch.Tensor) -> np.ndarray:
        return (mean + self.background).float().cpu().numpy()

    def corrected(self) -> torch.Tensor | None:
        """The mean of both halves, without its background, with the mean CTF taken out of it.

        Rings of which little is transferred stay weak, or they would show their noise alone.

        Returns
        -------
        (D, D) float64 tensor or None
            None where no CTF is made use of.
        """
        if self.ctfs is None:
            return None
        level = self.ctfs.level(self.box, self.total.device)
        gain = level / (level.square() + LEAST_CTF * level.square().max())
        gain = gain[self.ring.clamp(max=len(gain) - 1)]
        return to_images(to_fourier(self.mean([0, 1])) * gain, self.box)


def average_particles(
    prepared: PreparedParticles,
    poses: Poses,
    half_poses: Poses | None,
    half: np.ndarray,
    keep: Callable[[np.ndarray], None] | None = None,
    scale: tuple[float, float] | None = None,
) -> Averages:
    """One pass over all particles in the full box, shared by the processes of a group.

    The halves are what a resolution is claimed by, so that neither a few bright particles may carry them nor one image
    that the set names twice. Where CTF is made use of (in a plain mean signed ones cancel), each particle
    is multiplied by its own, relative to the mean of all, and the sum is divided by that of the squared ones.

    Parameters
    ----------
    prepared : PreparedParticles
        N particles.
    poses, half_poses : Poses
        N of all together and of halves that never saw each other's average (None without), shifts in pixels of the
        input.
    half : (N,) int array
        0 or 1.
    keep : callable, optional
        Given the aligned images (n, D, D) chunk by chunk, in the order of the set; of a group, each process gets those
        of its own part, so that a stack as a whole is for the first alone (:meth:`ProcessGroup.on_rank0`).
    scale : two floats, optional
        Background and noise to bring particles to, where these are not the medians of the set.

    Returns
    -------
    Averages
        Without halves where there are no ``half_poses``.
    """
    box, device, n = prepared.source.box, prepared.device, len(prepared)
    mean, std, blank = prepared.statistics.mean, prepared.statistics.std, prepared.statistics.blank
    counted_half = np.where(prepared.counted, half, -1)
    background, noise = scale or (float(np.median(v if blank.all() else v[~blank])) for v in (mean, std))
    before, total = torch.zeros(2, box, box, dtype=torch.float64, device=device)
    sums = HalfSums(prepared, background, noise)
    for part, images in prepared.reader.chunks(prepared.reader.own(np.arange(n)), "averages"):
        fill = torch.from_numpy(mean[part].astype(np.float32)).to(device)
        aligned = apply_poses(images, fill, poses[part])
        before += images[torch.from_numpy(~blank[part]).to(device)].double().sum(0)
        total += aligned.double().sum(0)
        if keep:
            keep(aligned.cpu().numpy())
        if half_poses is not None:
            _add_halves(sums, prepared, part, images, half_poses[part], counted_half[part])
    counts = (max(int((~blank).sum()), 1), n)
    plain = [(prepared.group.total(s) / c).float().cpu().numpy() for s, c in zip((before, total), counts)]
    if half_poses is None:
        return Averages(plain[0], plain[1], None)
    sums.over(prepared.group)
    first, second, corrected = sums.images()
    return Averages(plain[0], plain[1], (first, second), corrected, sums)


def _add_halves(
    sums: HalfSums, prepared: PreparedParticles, part: np.ndarray, images: torch.Tensor, poses: Poses, half: np.ndarray
) -> None:
    """Add images (n, D, D) of the particles ``part`` (n,), aligned by poses (n,), to the half (n,) of each: 0 or 1, -1
    for none."""
    factor, ctf = sums.ctf(part)
    own = apply_poses(prepared.normalised(part, images), images.new_zeros(len(part)), poses, factor)
    for number in (0, 1):
        rows = torch.from_numpy(np.flatnonzero(half == number)).to(images.device)
        sums.add(number, own[rows], None if ctf is None else ctf[rows])


def weighted_average(average: np.ndarray, frc: np.ndarray, background: float, initial_lowpass: float) -> np.ndarray:
    """An average with every Fourier ring weighted by what the half-set FRC says of the average of both halves.

    Parameters
    ----------
    average : (D, D) array
        The average.
    frc : (K,) array
        Of the halves, per ring.
    background : float
        Its grey level, which stays.
    initial_lowpass : float
        Fourier ring up to which the FRC proves nothing: these rings are kept.

    Returns
    -------
    (D, D) float32 array
        The weighted one.
    """
    box = average.shape[-1]
    per_ring = torch.zeros(box, dtype=torch.float64)
    per_ring[: len(frc)] = frc_weights(of_more(torch.from_numpy(frc), 2), floor=0.25)
    per_ring[: max(int(initial_lowpass), 4)] = 1
    coefficients = to_fourier(torch.from_numpy(average - background).double())
    ring = radii(box).round().long()
    return (to_images(coefficients * per_ring[ring], box) + background).float().numpy()
