"""The CTF of every particle, on the Fourier coefficients that alignment works with (through torch-ctf)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch_grid_utils import fftfreq_grid

from scipion_udl.imaging.defocus import Defocus
from scipion_udl.imaging.fourier import radii

MODES = ("table", "flipped", "signed", "none")
SAMPLE = 256  # particles that the mean CTF is taken of
LEAST_LEVEL = 1e-2  # of the largest: rings that hardly any particle shows are not made louder than that
PEAK = 0.9  # of the highest mean CTF: up to this ring all particles show the same sign


class ParticleCtf:
    """Contrast transfer functions of N particles.

    defocus: what they are made of; field: side of the box, angstrom; mode: "table" (each image as its table says:
    phases flipped, so that its CTF is the absolute value, or not; multiplied by its CTF already), "flipped"
    or "signed" (all images so, whatever the table says), or "none" (every CTF is 1: the particles are taken as
    they are); levels: by box what :meth:`level` gives, of another set that transfers are to be relative to, and share:
    its :attr:`share`; box: of the images, pixels, which only images that were multiplied need.
    """

    def __init__(
        self,
        defocus: Defocus,
        field: float,
        mode: str = "flipped",
        levels: dict[int, torch.Tensor] | None = None,
        share: float | None = None,
        box: int | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"{mode} is none of {', '.join(MODES)}")
        if mode == "table" and defocus.flipped is None:
            raise ValueError("the table does not say whether phases were flipped")
        self.defocus, self.field, self.mode, self.box = defocus, field, mode, box
        self._levels: dict[int, torch.Tensor] = dict(levels or {})
        self._share, self._whole = share, self

    @property
    def flipped(self) -> np.ndarray:
        """Which images' phases are taken to have been flipped, (N,) bool."""
        if self.mode == "table" and self.defocus.flipped is not None:
            return self.defocus.flipped
        return np.full(len(self.defocus.known), self.mode == "flipped")

    @property
    def premultiplied(self) -> np.ndarray:
        """Which images are taken to have been multiplied by their CTF, (N,) bool."""
        return self.defocus.premultiplied & (self.mode == "table")

    @property
    def share(self) -> float:
        """What part of the set (0 to 1) was multiplied by its CTF: so the noise is that was made white."""
        whole = self._whole
        return float(whole.premultiplied.mean()) if whole._share is None else whole._share

    def evaluate(
        self, indices: np.ndarray, box: int, device: torch.device | str = "cpu", rotation: np.ndarray | None = None
    ) -> torch.Tensor:
        """The CTF (n, box, box//2 + 1), float32, of particles ``indices`` for half-plane coefficients, relative to
        the root mean square of all particles' in every Fourier ring.

        With it an average is the particle as the microscope shows it on the whole. Without, the lowest rings, of which
        little is transferred, would be made up to tenfold louder with their noise, and a mask would spread that noise
        over the others. The sign is positive at the lowest frequencies. A particle whose defocus is not known has the
        CTF 1; where phases were not flipped, only up to the ring in which the mean CTF peaks: beyond it
        nobody knows its sign.

        Parameters
        ----------
        indices : (n,) int array
            Which particles, from 0.
        box : int
            Side of the box, pixels.
        device : torch.device or str, optional
            Where the result lies.
        rotation : (n,) array, optional
            Pose angles, degrees, of particles that were rotated.

        Returns
        -------
        (n, box, box//2 + 1) float32 tensor
            The relative CTF of each.
        """
        if self.mode == "none":
            return torch.ones(len(indices), box, box // 2 + 1, device=device)
        values = self.absolute(indices, box, device, rotation) / self._level(box, device)
        known = self.defocus.known[indices]
        if known.all():
            return values
        inner = (_rings(box, device) <= self.peak(box, device)).float()
        phase_flipped = torch.from_numpy(self.flipped[indices]).to(device)[:, None, None]
        return torch.where(_marked(known, device), values, torch.where(phase_flipped, torch.ones_like(inner), inner))

    def absolute(
        self, indices: np.ndarray, box: int, device: torch.device | str = "cpu", rotation: np.ndarray | None = None
    ) -> torch.Tensor:
        """The CTF itself, -1 to 1, (n, box, box//2 + 1) float32, positive at the lowest frequencies.

        Parameters
        ----------
        indices : (n,) int array
            Which particles, from 0.
        box : int
            Side of the box, pixels.
        device : torch.device or str, optional
            Where the result lies.
        rotation : (n,) array, optional
            Pose angles, degrees, of particles that were rotated.

        Returns
        -------
        (n, box, box//2 + 1) float32 tensor
            The CTF of each; its absolute value where phases were flipped.
        """
        if self.mode == "none":
            return torch.ones(len(indices), box, box // 2 + 1, device=device)
        defocus = self.defocus.rows(indices)
        if rotation is not None:  # a positive pose angle turns from x towards y, as the defocus angle counts
            defocus = replace(defocus, angle=defocus.angle + rotation)
        values = evaluate_ctf(defocus, box, self.field / box, device)
        flipped = self.flipped[indices]
        if not flipped.any():
            return values
        return values.abs() if flipped.all() else torch.where(_marked(flipped, device), values.abs(), values)

    def factor(self, indices: np.ndarray, ctf: torch.Tensor, box: int, raw: bool = False) -> torch.Tensor:
        """What coefficients of particles are multiplied by where they are matched with an average or added to one:
        ``ctf`` as :meth:`evaluate` gives it, (n, box, box//2 + 1), but for images that were multiplied already.

        Those already hold CTF times signal, and noise that passed the CTF, too. Divided by the level they are
        just what the others are once multiplied. Where the noise of the whole set was made white, that has been done
        to them; ``raw`` says that it was not.

        Parameters
        ----------
        indices : (n,) int array
            Which particles, from 0.
        ctf : (n, box, box//2 + 1) tensor
            Their CTF, of :meth:`evaluate`.
        box : int
            Side of the box, pixels.
        raw : bool, optional
            Whether the noise of the set was not made white.

        Returns
        -------
        (n, box, box//2 + 1) tensor
            The factors.
        """
        share = self.share
        if not share:
            return ctf
        device = ctf.device
        level, mean = self._level(box, device), self._mean_square(device)
        white = torch.ones_like(level) if raw else (share * level.square() / mean + 1 - share).sqrt()
        own = white * mean**0.5 / level
        return torch.where(_marked(self.premultiplied[indices], device), own, ctf * white)

    def _mean_square(self, device: torch.device | str) -> float:
        """The mean over the whole image of the squared level: what noise is left of an image that was multiplied."""
        box = self._whole.box
        if box is None:
            raise ValueError("images that were multiplied by their CTF need the box that they have")
        weight = torch.full((box, box // 2 + 1), 2.0, device=device)
        weight[:, 0] = 1
        return float((self._level(box, device).square() * weight).sum() / weight.sum())

    def level(self, box: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """Root mean square of the signed CTF per Fourier ring (box//2 + 1,), of at most SAMPLE of the particles of
        the whole set, the same whatever their order.

        Parameters
        ----------
        box : int
            Side of the box, pixels.
        device : torch.device or str, optional
            Where the result lies.

        Returns
        -------
        (box//2 + 1,) float64 tensor
            The level of each Fourier ring.
        """
        if self._whole is not self:
            return self._whole.level(box, device)
        if box not in self._levels:
            order = np.lexsort((self.defocus.angle, self.defocus.defocus_v, self.defocus.defocus_u))
            order = order[self.defocus.known[order]]
            chosen = order[np.linspace(0, len(order) - 1, min(SAMPLE, len(order))).round().astype(int)]
            ring, total = _rings(box, device), torch.zeros(box, dtype=torch.float64, device=device)
            for part in np.array_split(chosen, -(-len(chosen) // 64)):
                values = evaluate_ctf(self.defocus.rows(part), box, self.field / box, device)
                total.index_add_(0, ring.flatten(), values.square().sum(0).double().flatten())
            count = torch.bincount(ring.flatten(), minlength=box)[: box // 2 + 1]
            self._levels[box] = (total[: box // 2 + 1] / count / len(chosen)).sqrt()
        return self._levels[box].to(device)

    def peak(self, box: int, device: torch.device | str = "cpu") -> int:
        """The ring of the first peak of the mean CTF: up to it all particles show the same sign.

        Parameters
        ----------
        box : int
            Side of the box, pixels.
        device : torch.device or str, optional
            Where the result lies.

        Returns
        -------
        int
            The ring, Fourier pixels.
        """
        level = self.level(box, device)
        return int((level > PEAK * level.max()).nonzero()[0])

    def _level(self, box: int, device: torch.device | str) -> torch.Tensor:
        level = self.level(box, device)
        level = level.clamp(min=LEAST_LEVEL * float(level.max()))
        return level[_rings(box, device).clamp(max=box // 2)].float()

    def subset(self, indices: np.ndarray) -> ParticleCtf:
        """The CTF of the particles ``indices`` alone, relative to the same level.

        Parameters
        ----------
        indices : (n,) int array
            Which particles, from 0.

        Returns
        -------
        ParticleCtf
            That of these.
        """
        return self._like(self.defocus.rows(indices), self.mode)

    def with_mode(self, mode: str) -> ParticleCtf:
        """The same particles, their images taken another way.

        Parameters
        ----------
        mode : str
            A mode of this class.

        Returns
        -------
        ParticleCtf
            Of the same particles.
        """
        return self._like(self.defocus, mode)

    def _like(self, defocus: Defocus, mode: str) -> ParticleCtf:
        other = ParticleCtf(defocus, self.field, mode)
        other._whole = self._whole
        return other


def _marked(which: np.ndarray, device: torch.device | str) -> torch.Tensor:
    return torch.from_numpy(which).to(device)[:, None, None]


def _rings(box: int, device: torch.device | str) -> torch.Tensor:
    return radii(box, device).round().long()


def evaluate_ctf(defocus: Defocus, box: int, pixel_size: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """The signed CTF with its envelope, (N, box, box//2 + 1) float32, positive at the lowest frequencies.

    pixel_size: angstrom. The phase is that of the weak-phase approximation with amplitude contrast as RELION and
    CTFFIND write it; the defocus angle counts from x towards y (down), in degrees.

    Parameters
    ----------
    defocus : Defocus
        Of N particles.
    box : int
        Side of the box, pixels.
    pixel_size : float
        Angstrom.
    device : torch.device or str, optional
        Where the result lies.

    Returns
    -------
    (N, box, box//2 + 1) float32 tensor
        The signed CTF of each.
    """
    from torch_ctf import calculate_ctf_2d

    def column(values: np.ndarray, scale: float = 1.0) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.float64) * scale, dtype=torch.float32, device=device)

    def common(values: np.ndarray) -> float | torch.Tensor:
        same = len(values) == 0 or (values == values[0]).all()
        return float(values[0]) if same and len(values) else column(values)

    mean, half = (defocus.defocus_u + defocus.defocus_v) / 2, (defocus.defocus_u - defocus.defocus_v) / 2
    round_beam = not half.any()
    # torch-ctf wants the larger defocus first: where the smaller is, the angle is that of the other axis.
    angle, half = np.where(half < 0, defocus.angle + 90, defocus.angle), np.abs(half)
    values = calculate_ctf_2d(
        defocus=column(mean, 1e-4),
        astigmatism=0.0 if round_beam else column(half, 1e-4),
        astigmatism_angle=0.0 if round_beam else column(angle),
        voltage=common(defocus.voltage),
        spherical_aberration=common(defocus.cs),
        amplitude_contrast=common(defocus.amplitude_contrast),
        phase_shift=common(defocus.phase_shift),
        pixel_size=pixel_size,
        image_shape=(box, box),
        rfft=True,
        fftshift=False,
    )
    values = torch.where(values[:, :1, :1] < 0, -values, values)
    if defocus.b_factor.any():
        frequency = fftfreq_grid((box, box), rfft=True, spacing=pixel_size, device=torch.device(device))
        square = frequency.square().sum(-1)
        values = values * torch.exp(-0.25 * column(defocus.b_factor)[:, None, None] * square)
    return values
