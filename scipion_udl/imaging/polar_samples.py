"""Particles on a polar grid of Fourier space, phases included: what the class network sees of them.

Turning a particle shifts its samples along the angle, moving it multiplies them by a wave; so all orientations are
compared by one Fourier transform along the angle and every shift by one product. Samples are complex (N, rings,
angles): ring i is the Fourier radius i + 1 in pixels of the working box, angle j the direction j * 180 / angles degrees
from +x towards +y. The other half circle holds their conjugates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from scipion_udl.imaging.band import Band
from scipion_udl.imaging.fourier import resize, soft_disc, to_images
from scipion_udl.imaging.polar_spectra import less_background
from scipion_udl.imaging.poses import Poses, mirrored_first

# Particles that are worked on at a time, always: how numbers are rounded depends on it, and from the last digit on the
# network would learn something else.
TOGETHER = 32
# Directions over 180 degrees for each ring that is used, at least: nothing within the disc, moved by up to a seventh of
# the box, then turns so fast along a ring that it would be taken for one of the orders.
ENOUGH = 3.2
EDGE = 0.06  # width of the soft edge of the disc about the particle, parts of the box


@dataclass(frozen=True)
class PolarSampling:
    """How the plane is sampled.

    box: the working box whose Fourier pixels count (pixels); rings: Fourier radii 1 to ``rings``; angles: directions
    over 180 degrees; mask: radius of the disc about the particle as a part of the box.
    """

    box: int = 128
    rings: int = 16
    angles: int = 64
    mask: float = 0.47

    @property
    def small(self) -> int:
        """The box that holds the band: the particles are Fourier cropped to it first (pixels)."""
        return min(self.box - self.box % 2, 2 * (self.rings + 4))

    @property
    def independent(self) -> float:
        """The share of the Fourier coefficients of the box that are independent of each other: the disc leaves fewer
        pixels that see noise."""
        disc = _disc(self).double()
        return float(disc.square().sum().square() / (disc.numel() * disc.pow(4).sum()))

    def of(self, coefficients: torch.Tensor, ctf: torch.Tensor | None = None) -> torch.Tensor:
        """Samples (N, rings, angles), complex64, of whitened coefficients (N, box, box//2 + 1): noise has variance 1.

        ctf: what images are to be multiplied by for their CTF, in the small box (N, small, small//2 + 1), None for
        nothing. Where it is negative, phases are flipped before the disc cuts the particle out: the fringes of the
        particle come back into it, and those of its neighbours leave it.

        Parameters
        ----------
        coefficients : (N, box, box//2 + 1) complex tensor
            Of whitened particles.
        ctf : (N, small, small//2 + 1) tensor, optional
            Their CTF in the small box.

        Returns
        -------
        (N, rings, angles) complex64 tensor
            The samples.
        """
        cropped, n = resize(coefficients, self.box, self.small), len(coefficients)
        if ctf is not None:
            cropped = torch.where(ctf < 0, -cropped, cropped)
        cropped = torch.nn.functional.pad(cropped, (0, 0, 0, 0, 0, -n % TOGETHER))
        return torch.cat([self._of(block) for block in cropped.split(TOGETHER)])[:n]

    def _of(self, cropped: torch.Tensor) -> torch.Tensor:
        """The same of coefficients (TOGETHER, small, small//2 + 1) of the small box."""
        device = cropped.device
        disc = _disc(self, device)
        images = to_images(cropped, self.small)
        images = (less_background(images, disc) * disc).flatten(1)
        real, imaginary = (images @ part for part in _waves(self, device))
        return torch.complex(real, imaginary).view(-1, self.rings, self.angles)

    def posed(self, values: torch.Tensor, poses: Poses, scale: float) -> torch.Tensor:
        """Samples of particles with their poses applied.

        Parameters
        ----------
        values : (N, rings, angles) complex tensor
            As of :meth:`of`.
        poses : Poses
            N of them: mirrored where they say so, rotated by the angle, then shifted.
        scale : float
            Pixels of the shifts in a working pixel.

        Returns
        -------
        (N, rings, angles) complex tensor
            Of the aligned particles.
        """
        device, first, count = values.device, mirrored_first(poses), 2 * self.angles
        circle = torch.cat([values, values.conj()], -1)
        if poses.mirror.any():  # x becomes -x: what the direction t shows is that of 180 - t before
            over = circle[..., (self.angles - torch.arange(count, device=device)) % count]
            which = torch.from_numpy(poses.mirror).to(device)[:, None, None]
            circle = torch.where(which, over, circle)
        order = torch.fft.fftfreq(count, 1 / count, device=device)
        angle, shift = (torch.from_numpy(v).to(device, torch.float32) for v in (first.angle, first.shift / scale))
        phase = torch.deg2rad(angle)[:, None, None] * -order
        circle = torch.fft.ifft(torch.fft.fft(circle) * torch.polar(torch.ones_like(phase), phase))
        theta = torch.arange(self.angles, device=device) * (math.pi / self.angles)
        radius = torch.arange(1, self.rings + 1, device=device)[:, None]
        along = shift[:, 0, None, None] * (radius * theta.cos()) + shift[:, 1, None, None] * (radius * theta.sin())
        along = along * (-2 * math.pi / self.box)
        return circle[..., : self.angles] * torch.polar(torch.ones_like(along), along)

    def of_rings(self, values: torch.Tensor) -> torch.Tensor:
        """Means over rings (N, rings) of real values (N, small, small//2 + 1) over the half plane of the small box.

        Parameters
        ----------
        values : (N, small, small//2 + 1) tensor
            Real values.

        Returns
        -------
        (N, rings) tensor
            The mean of each ring.
        """
        band = Band(self.small, self.rings, values.device)
        return band.ring_means(band.crop(values))[:, 1:]


@lru_cache(maxsize=4)
def _disc(sampling: PolarSampling, device: torch.device | str = "cpu") -> torch.Tensor:
    """The disc about the particle in the small box (small, small)."""
    small = sampling.small
    return soft_disc(small, sampling.mask * small, max(2.0, EDGE * small), device)


@lru_cache(maxsize=4)
def _waves(sampling: PolarSampling, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imaginary part of what pixels (small^2) are multiplied with to give samples (rings x angles)."""
    small = sampling.small
    axis = torch.arange(small, dtype=torch.float64) - small // 2
    theta = torch.arange(sampling.angles, dtype=torch.float64) * (math.pi / sampling.angles)
    radius = torch.arange(1, sampling.rings + 1, dtype=torch.float64)[:, None]
    kx, ky = (radius * theta.cos()).flatten(), (radius * theta.sin()).flatten()
    phase = axis[:, None, None] * ky + axis[None, :, None] * kx
    phase = phase.view(small * small, -1) * (-2 * math.pi / small)
    scale = 1 / (small * float(_disc(sampling).pow(2).mean().sqrt()))
    return (phase.cos() * scale).float().to(device), (phase.sin() * scale).float().to(device)


class AngularTransform:
    """Between samples along the angle and their angular orders.

    sampling; rings: the first so many are used, and of the directions every second, fourth ... where they suffice for
    the orders (:meth:`seen`). The coefficient of order m is the mean over 360 degrees of the
    samples times exp(-i m angle), times the root of (pi radius), and of the share that is independent, so that
    sums over orders and rings count every independent Fourier coefficient of a half plane once: :attr:`weight` is that
    of each order, for the negative ones are left out. A particle rotated by a pose angle a has coefficients times
    exp(-i m a).
    """

    def __init__(self, sampling: PolarSampling, rings: int, device: torch.device | str = "cpu") -> None:
        self.sampling, self.rings, self.device = sampling, rings, torch.device(device)
        angles, self._every = sampling.angles, 1
        self.orders = min(2 * rings + 2, angles)
        while angles % (2 * self._every) == 0 and angles // (2 * self._every) >= max(ENOUGH * rings, self.orders):
            self._every *= 2
        theta = torch.arange(0, angles, self._every, device=device) * (math.pi / angles)
        order = torch.arange(self.orders, device=device)
        self._order = order
        wave = theta[:, None] * order
        # The half circle that is not sampled holds conjugates, so that even orders see real parts, odd ones the others.
        cos, sin = wave.cos() / len(theta), -wave.sin() / len(theta)
        even = (order % 2 == 0).float()
        from_real, from_imaginary = torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)
        parts = [from_real * even[:, None], from_imaginary * (1 - even)[:, None]]
        self._forward = torch.stack(parts, 1).flatten(0, 1).flatten(1)  # (directions x 2, orders x 2)
        self._back = torch.polar(torch.ones_like(wave.T), wave.T)
        self._sign = 1 - 2 * (order % 2).float()
        radius = torch.arange(1, rings + 1, device=device)
        self.root = (math.pi * sampling.independent * radius).sqrt()
        self.weight = torch.where(order == 0, 1.0, 2.0)
        self._kx, self._ky = (radius[:, None] * f for f in (theta.cos(), theta.sin()))

    def seen(self, samples: torch.Tensor) -> torch.Tensor:
        """Of all samples those that the orders need.

        Parameters
        ----------
        samples : (..., rings or more, angles of the sampling) complex tensor
            Samples over half a circle.

        Returns
        -------
        (..., rings, directions) complex tensor
            A view of them.
        """
        return samples[..., : self.rings, :: self._every]

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Coefficients (..., rings, orders) of samples (..., rings, directions).

        Parameters
        ----------
        samples : (..., rings, directions) complex tensor
            Samples over half a circle, those that :meth:`seen` leaves.

        Returns
        -------
        (..., rings, orders) complex tensor
            The coefficients.
        """
        # One product, half of it with zeros, is faster than one with each part, which would have to be copied out.
        out = torch.view_as_real(samples.resolve_conj()).flatten(-2) @ self._forward
        return torch.view_as_complex(out.unflatten(-1, (self.orders, 2))).mul_(self.root[:, None])

    def backward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Samples (..., rings, directions) of coefficients (..., rings, orders).

        Parameters
        ----------
        coefficients : (..., rings, orders) complex tensor
            Coefficients.

        Returns
        -------
        (..., rings, directions) complex tensor
            The samples, those that :meth:`seen` leaves.
        """
        c = coefficients / self.root[:, None]
        mirror = c[..., 1:].conj() * self._sign[1:]
        return c @ self._back + mirror @ self._back[1:].conj()

    def images(self, coefficients: torch.Tensor) -> torch.Tensor:
        """What has these coefficients, in real space.

        Parameters
        ----------
        coefficients : (n, rings, orders) complex tensor
            Coefficients.

        Returns
        -------
        (n, small, small) float32 tensor
            Images of the sampling's small box, origin at pixel small // 2, content as in particles with row 0 on top;
            their mean is 0. A particle comes out as it is within the disc, but for what is finer than the last ring.
        """
        small = self.sampling.small
        axis = (torch.arange(small, device=self.device) - small // 2) * (2 * math.pi / small)
        ring = torch.arange(1, self.rings + 1, device=self.device)[:, None]
        # Of a ring each sample stands for its share of the area, and for the conjugate on the other half circle.
        area = 2 * math.pi * ring / self._kx.shape[1] / (small * small)
        disc = float(_disc(self.sampling).pow(2).mean().sqrt())
        samples = (self.backward(coefficients) * (area * small * disc)).flatten(-2)
        rows = torch.polar(torch.ones(()).to(axis), axis[:, None] * self._ky.flatten())
        columns = torch.polar(torch.ones(()).to(axis), axis[:, None] * self._kx.flatten())
        return torch.stack([((rows * one) @ columns.T).real for one in samples])

    def waves(self, shift: torch.Tensor) -> torch.Tensor:
        """What samples are multiplied with to move a particle by ``shift`` (..., 2), x and y in working pixels,
        (..., rings, directions).

        Parameters
        ----------
        shift : (..., 2) tensor
            x and y, working pixels.

        Returns
        -------
        (..., rings, directions) complex tensor
            The factors of the samples that :meth:`seen` leaves.
        """
        phase = shift[..., 0, None, None] * self._kx + shift[..., 1, None, None] * self._ky
        phase = phase * (-2 * math.pi / self.sampling.box)
        return torch.polar(torch.ones_like(phase), phase)

    def rotated(self, coefficients: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        """Coefficients (N, rings, orders) of particles with pose angles (N,), degrees, applied.

        Parameters
        ----------
        coefficients : (N, rings, orders) complex tensor
            Of N particles.
        angle : (N,) tensor
            Pose angles, degrees.

        Returns
        -------
        (N, rings, orders) complex tensor
            Of the rotated particles.
        """
        phase = torch.deg2rad(angle)[:, None] * -self._order
        return coefficients * torch.polar(torch.ones_like(phase), phase)[:, None]

    def mirrored(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients of the mirror image (x becomes -x) of what (..., rings, orders) are those of.

        Parameters
        ----------
        coefficients : (..., rings, orders) complex tensor
            Coefficients.

        Returns
        -------
        (..., rings, orders) complex tensor
            Of the mirrored particles.
        """
        # The angle t becomes 180 - t, and the samples there are the conjugates of those at -t.
        return coefficients.conj()
