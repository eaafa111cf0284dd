"""Polar correlation with the first particle: the plainest way there is, and the fastest.

The amplitude spectra of the particles (zero-padded to twice the box, the mean of each ring removed) on a polar grid,
correlated along the angle with that of the first particle, give each particle's angle modulo 180 degrees. Turned by
this angle and by 180 more, it is correlated with the first particle (both low-passed), which gives the shift, and the
higher peak says which of the two it is.

python -m benchmarks.methods.polar DATA OUT [--threads N]
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from benchmarks.methods.common import arguments, chunks, read_particles, rotation, write_poses
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.simulation.templates import grid

_ANGLES = 360  # over 180 degrees
_BAND = (2 / 128, 26 / 128)  # per pixel
_RADII = 24
_LOW_PASS = 0.1  # per pixel, of the correlation that gives the shift


def polar_spectrum(image: np.ndarray) -> np.ndarray:
    """The amplitude spectrum of an image (D, D) over (radius, angle from 0 to 180 degrees), less each ring's mean."""
    box = len(image)
    amplitude = np.abs(fft.fftshift(fft.fft2(image, s=(2 * box, 2 * box))))
    angle = np.pi * np.arange(_ANGLES) / _ANGLES
    radius = np.linspace(*_BAND, _RADII)[:, None] * 2 * box
    places = np.stack([radius * np.sin(angle), radius * np.cos(angle)]) + box
    rings = ndimage.map_coordinates(amplitude, places, order=1)
    return rings - rings.mean(1, keepdims=True)


def spectrum_angle(rings: np.ndarray, first: np.ndarray) -> float:
    """The angle in degrees, modulo 180, that turns a particle onto the first; both as :func:`polar_spectrum`."""
    # sum over alpha of rings(alpha) first(alpha + angle), by its Fourier transform
    correlation = fft.irfft((fft.rfft(rings).conj() * fft.rfft(first)).sum(0), _ANGLES)
    best = int(correlation.argmax())
    left, middle, right = correlation[np.arange(best - 1, best + 2) % _ANGLES]
    return (best + 0.5 * (left - right) / (left - 2 * middle + right)) * 180.0 / _ANGLES


def shift_onto(rotated: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, float]:
    """The shift (x, y) in pixels that brings a rotated particle onto the first, and the correlation there.

    first: its rfft2, low-passed.
    """
    box = len(rotated)
    plane = fft.irfft2(fft.rfft2(rotated).conj() * first, s=(box, box))
    y, x = np.unravel_index(plane.argmax(), plane.shape)
    shift = []
    for line, place in ((plane[y], x), (plane[:, x], y)):
        left, middle, right = line[np.arange(place - 1, place + 2) % box]
        at = place + 0.5 * (left - right) / (left - 2 * middle + right)
        shift.append(at - box if at > box / 2 else at)
    return np.array(shift), float(plane[y, x])


def main() -> None:
    """Run the method."""
    args = arguments(__doc__)
    source = read_particles(args.data)
    box = source.box
    image = source.read(np.array([0]))[0]
    first_rings = polar_spectrum(image)
    frequency2 = fft.fftfreq(box)[:, None] ** 2 + fft.rfftfreq(box) ** 2
    window = np.hypot(*grid(box)) < box / 2
    first = fft.rfft2((image - image.mean()) * window) * np.exp(-0.5 * frequency2 / _LOW_PASS**2)
    angle, shift = np.empty(len(source)), np.empty((len(source), 2))
    for indices in chunks(len(source)):
        for k, particle in zip(indices, source.read(indices)):
            half = spectrum_angle(polar_spectrum(particle), first_rings)
            tries = []
            for candidate in (half, half + 180.0):
                rotated = rotation(particle, to_matrices(Poses(candidate))[0])
                tries.append((*shift_onto(rotated, first), candidate))
            shift[k], _, angle[k] = max(tries, key=lambda one: one[1])
    write_poses(args.out, source, Poses(angle, shift))


if __name__ == "__main__":
    main()
