"""Molecules (see :mod:`scipion_udl.simulation.molecules`) that are given as maps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft, ndimage

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.messages import message
from scipion_udl.simulation.molecules import view_matrices
from scipion_udl.simulation.templates import fourier_resize, round_window

# How much finer than its own the frequencies of a map are sampled before splines read between the samples.
_OVERSAMPLING = 2
# Samples beyond the edge of what is read: there the splines have forgotten how their ends were dealt with.
_MARGIN = 8


class MapMolecule:
    """A molecule given as a map. Its projections are slices through its Fourier transform.

    volume: (D, D, D), [z, y, x], any scale; box: pixels of the particles (the field of view stays, so voxels grow or
    shrink). The mean of its faces is taken away, what lies outside the inscribed sphere is faded out, and frequencies
    beyond 0.5 per pixel are left out. Between the samples of the transform, oversampled twice, cubic splines are read:
    for a molecule of half the box the error is 0.05 % of a projection's deviation (2 % where reading is linear), and
    more where it reaches the edge (tests/simulation/test_molecules.py). Raises UdlError for a constant map, or a box
    below 8.
    """

    def __init__(self, volume: np.ndarray, box: int) -> None:
        if box < 8:
            raise UdlError(message("simulated_box_too_small", box=box))
        volume = np.asarray(volume, np.float32)
        volume = volume - face_mean(volume)
        if volume.std() <= 1e-6 * (np.abs(volume).max() + 1e-30):
            raise UdlError(message("map_constant"))
        self.box = int(box)
        self._volume = round_window(fourier_resize(volume, self.box))
        self._real, self._imaginary = _fine_transform(self._volume)

    def volume(self) -> np.ndarray:
        """The density that is projected.

        Returns
        -------
        (box, box, box) float32 array
            [z, y, x].
        """
        return self._volume

    def project(self, directions: np.ndarray, poses: Poses) -> np.ndarray:
        """The particles of some directions and poses.

        Parameters
        ----------
        directions : (N, 3) array
            Unit vectors (see :mod:`scipion_udl.simulation.molecules`).
        poses : Poses
            N, each takes its particle to the canonical projection.

        Returns
        -------
        (N, box, box) float32 array
        """
        out = np.empty((len(poses), self.box, self.box), np.float32)
        for image, view, pose in zip(out, view_matrices(directions), to_matrices(poses)):
            image[:] = self._particle(view, pose)
        return out

    def _particle(self, view: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """One particle; view: E (3, 3); pose: its matrix (3, 3)."""
        rotation, shift = pose[:2, :2], pose[:2, 2]
        # What is shifted out of the image must not come in again on its other side.
        period = 16 * int(np.ceil((self.box + np.abs(rotation.T @ shift).max()) / 16))
        plane, inside = _half_plane(period)
        values = self._slice(view[:2].T @ rotation @ plane)
        # A point at c in the projection is at turn^T (c - shift) in the particle; its origin goes to period//2.
        place = period // 2 - rotation.T @ shift
        values *= np.exp(-2j * np.pi * (place @ plane)).astype(np.complex64)
        spectrum = np.zeros(inside.shape, np.complex64)
        spectrum[inside] = values
        first = period // 2 - self.box // 2
        return fft.irfft2(spectrum, s=(period, period))[first : first + self.box, first : first + self.box]

    def _slice(self, frequency: np.ndarray) -> np.ndarray:
        """The transform at ``frequency`` (3, n), x, y, z in cycles per pixel, complex64 (n,)."""
        other = frequency[0] < 0  # the half that is not kept: the conjugate of the opposite frequency
        frequency = np.where(other, -frequency, frequency)
        across = self._real.shape[0] // 2
        where = frequency[::-1] * (_OVERSAMPLING * self.box) + np.array([[across], [across], [_MARGIN]])
        values = np.empty(where.shape[1], np.complex64)
        for part, half in ((self._real, values.real), (self._imaginary, values.imag)):
            half[:] = ndimage.map_coordinates(part, where, np.float32, order=3, prefilter=False)
        values.imag[other] *= -1
        return values


@lru_cache(maxsize=8)
def _half_plane(period: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (x, y), float64 (2, n), below 0.5 per pixel, of rfft2 of (period, period), and their places in it."""
    x, y = np.meshgrid(fft.rfftfreq(period), fft.fftfreq(period))
    inside = np.hypot(x, y) < 0.5
    return np.stack([x[inside], y[inside]]), inside


def face_mean(volume: np.ndarray) -> float:
    """The mean density on the six faces of a map.

    Parameters
    ----------
    volume : (D, D, D) array

    Returns
    -------
    float
    """
    faces = [np.take(volume, end, axis) for axis in range(3) for end in (0, -1)]
    return float(np.mean([face.mean(dtype=np.float64) for face in faces]))


def _fine_transform(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spline coefficients of the real and the imaginary part of the map's transform, float32, [z, y, x].

    The transform is sampled ``_OVERSAMPLING`` times finer than the map's own frequencies, about its origin: that is in
    the middle in z and y, and at ``_MARGIN`` in x, where only the half from 0 on is kept.
    """
    box, fine = len(volume), _OVERSAMPLING * len(volume)
    padded = np.zeros((fine,) * 3, np.float32)
    place = (np.arange(box) - box // 2) % fine  # the origin comes to 0
    padded[np.ix_(place, place, place)] = volume
    half = fft.rfftn(padded)
    del padded
    return _coefficients(half.real, 1), _coefficients(half.imag, -1)


def _coefficients(part: np.ndarray, parity: int) -> np.ndarray:
    """Spline coefficients of one part of a transform (n, n, n // 2 + 1) as rfftn gives it, with margins; parity: of the
    part, F(-k) = parity F(k)."""
    fine = len(part)
    across = np.arange(-(fine // 2) - _MARGIN, fine // 2 + _MARGIN + 1)
    along = range(-_MARGIN, fine // 2 + _MARGIN + 1)
    out = np.empty((len(across), len(across), len(along)), np.float32)
    for column, x in enumerate(along):
        x = x - fine if x > fine // 2 else x  # the transform repeats itself
        rows = (across if x >= 0 else -across) % fine
        out[:, :, column] = part[:, :, abs(x)][np.ix_(rows, rows)] * (1 if x >= 0 else parity)
    return ndimage.spline_filter(out, order=3, output=out)
