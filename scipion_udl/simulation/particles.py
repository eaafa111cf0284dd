"""Synthetic particles with known poses: a template, rotated, shifted, seen through the CTF, in noise.

Every particle is drawn from (seed, its number) alone, so it is the same whatever is simulated before it or with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, rotations
from scipion_udl.messages import message
from scipion_udl.simulation.ctf import CtfSettings, simulated_ctf
from scipion_udl.simulation.phantoms import BlobTemplate
from scipion_udl.simulation.ssnr import SsnrChange
from scipion_udl.simulation.templates import ImageTemplate


@dataclass
class Simulation:
    """N particles of one template.

    template: BlobTemplate or ImageTemplate, which gives the box; count: N; snr: variance of the CTF-filtered noise-free
    particle over the whole box / noise variance (inf: no noise); pixel_size: angstrom; max_shift: the particle lies up
    to this many pixels off the centre in x and in y, by whole pixels unless ``subpixel``; ctf: None for none; ssnr:
    noise that is not white (snr remains that of the white noise it is made of), None for white.
    Raises UdlError for values that make no particles.
    """

    template: BlobTemplate | ImageTemplate
    count: int
    snr: float
    pixel_size: float
    max_shift: float = 10.0
    subpixel: bool = False
    ctf: CtfSettings | None = None
    seed: int = 1
    ssnr: SsnrChange | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UdlError(message("no_particles_to_simulate", count=self.count))
        if not self.snr > 0:
            raise UdlError(message("snr_not_positive", snr=self.snr))
        if not 0 <= self.max_shift < self.box / 2:
            raise UdlError(message("patch_shifts_too_large", max_shift=self.max_shift, box=self.box))
        if not (np.isfinite(self.pixel_size) and self.pixel_size > 0):
            raise UdlError(message("pixel_size_not_a_number", value=self.pixel_size))
        if self.ctf and not 0 < self.ctf.defocus[0] <= self.ctf.defocus[1]:
            raise UdlError(message("defocus_range"))
        if self.seed < 0:
            raise UdlError(message("seed_not_whole", seed=self.seed))
        if self.ssnr:
            if np.isinf(self.snr):
                raise UdlError(message("ssnr_without_noise", value=self.ssnr))
            self.ssnr.check(self.box, self.pixel_size)
        draws = np.array([self._random(k).random(4) for k in range(self.count)])
        angle = draws[:, 0] * 360.0 - 180.0
        off = (2 * draws[:, 1:3] - 1) * self.max_shift
        if not self.subpixel:
            reach = int(self.max_shift)
            off = np.floor(draws[:, 1:3] * (2 * reach + 1)) - reach
        # The particle's origin lies at ``off`` in the image; the pose must bring it to the template's: R off + t = 0.
        self._poses = Poses(angle, -np.einsum("nij,nj->ni", rotations(angle), off))
        low, high = self.ctf.defocus if self.ctf else (0.0, 0.0)
        self._defocus = low + draws[:, 3] * (high - low)

    @property
    def box(self) -> int:
        """Pixels of a side."""
        return self.template.box

    @property
    def poses(self) -> Poses:
        """The true poses (N,): each takes its particle to the template."""
        return self._poses

    @property
    def defocus(self) -> np.ndarray:
        """The defocus of each particle in micrometers of underfocus, float64 (N,); 0 without a CTF."""
        return self._defocus

    def _random(self, k: int, purpose: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, k, purpose])

    def project(self, indices: np.ndarray) -> np.ndarray:
        """The particles without CTF and noise.

        Parameters
        ----------
        indices : (n,) int array
            From 0.

        Returns
        -------
        (n, box, box) float32 array
        """
        return self.show(indices, self._poses[indices])

    def show(self, indices: np.ndarray, poses: Poses) -> np.ndarray:
        """What particles show, in other poses.

        Parameters
        ----------
        indices : (n,) int array
            From 0.
        poses : Poses
            n.

        Returns
        -------
        (n, box, box) float32 array
        """
        return self.template.sample(poses)

    def others(self, draws: np.ndarray, poses: Poses) -> np.ndarray:
        """More of what the set shows.

        Parameters
        ----------
        draws : (n, 4) array
            Uniform from 0 to 1, say from where each is seen (of one view: nothing).
        poses : Poses
            n.

        Returns
        -------
        (n, box, box) float32 array
        """
        return self.template.sample(poses)

    def clean(self, indices: np.ndarray) -> np.ndarray:
        """The particles without noise, CTF applied.

        Parameters
        ----------
        indices : (n,) int array
            From 0.

        Returns
        -------
        (n, box, box) float32 array
        """
        indices = np.asarray(indices, np.int64)
        images = self.project(indices)
        if self.ctf is None:
            return images
        spectra = fft.rfft2(images) * simulated_ctf(self.ctf, self._defocus[indices], self.box, self.pixel_size)
        return fft.irfft2(spectra, s=images.shape[1:])

    def signal(self, indices: np.ndarray) -> np.ndarray:
        """The particles as they are below the noise: of variance SNR.

        Parameters
        ----------
        indices : (n,) int array
            From 0.

        Returns
        -------
        (n, box, box) float32 array
            Of variance 1 without noise (SNR inf).
        """
        images = self.clean(indices)
        deviation = images.std(axis=(1, 2), dtype=np.float64)
        scale = (1.0 if np.isinf(self.snr) else np.sqrt(self.snr)) / np.maximum(deviation, 1e-30)
        images *= scale[:, None, None].astype(np.float32)
        return images

    def add_noise(self, images: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Put the noise of particles on top of images.

        It is white, Gaussian, of mean 0 and variance 1 (then changed by ``ssnr``); none where the SNR is inf.

        Parameters
        ----------
        images : (n, box, box) array
        indices : (n,) int array
            The particles, from 0.

        Returns
        -------
        (n, box, box) array
            A new one.
        """
        if np.isinf(self.snr):
            return images.copy()
        white = [self._random(int(k), 1).standard_normal(images.shape[1:], np.float32) for k in indices]
        added = np.stack(white) if white else np.zeros_like(images)
        return images + (self.ssnr.apply(added, self.pixel_size) if self.ssnr else added)

    def images(self, indices: np.ndarray) -> np.ndarray:
        """The particles with their noise: :meth:`signal` and what :meth:`add_noise` adds.

        Parameters
        ----------
        indices : (n,) int array
            From 0.

        Returns
        -------
        (n, box, box) float32 array
        """
        return self.add_noise(self.signal(indices), indices)


def chunks(count: int, size: int) -> list[np.ndarray]:
    """The numbers 0 to count - 1 in chunks.

    Parameters
    ----------
    count, size : int
        ``size`` numbers a chunk, fewer in the last.

    Returns
    -------
    list of int array
    """
    return [np.arange(first, min(count, first + size)) for first in range(0, count, size)]


def noise(count: int, box: int, seed: int = 1, coloured: bool = False) -> np.ndarray:
    """Images without any particle: Gaussian noise of mean 0 and variance 1.

    Parameters
    ----------
    count : int
    box : int
        Pixels.
    seed : int, optional
    coloured : bool, optional
        Amplitudes fall with frequency as those of ice and carbon do (and stay the same in all directions).

    Returns
    -------
    (count, box, box) float32 array
    """
    out = np.empty((count, box, box), np.float32)
    frequency = np.hypot(np.fft.fftfreq(box)[:, None], np.fft.rfftfreq(box)[None])
    shape = 1.0 / (1.0 + (frequency / 0.05) ** 2) + 0.3
    for k, image in enumerate(out):
        image[:] = np.random.default_rng([seed, k, 2]).standard_normal((box, box), np.float32)
        if coloured:
            image[:] = fft.irfft2(fft.rfft2(image) * shape, s=image.shape)
            image -= image.mean()
            image /= image.std()
    return out
