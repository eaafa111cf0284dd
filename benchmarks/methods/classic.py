"""Classic reference-free alignment: exhaustive rotations x FFT shifts of every particle against the running average.

1. In a Fourier-cropped box of half the pixels, from each of three particles picked at random as first reference (low
   pass at 0.05 per pixel): 10 rounds over all angles in steps of 5 degrees. The start with the highest mean
   correlation goes on, 6 rounds in steps of 2 degrees.
2. At full resolution: 2 rounds over all angles in steps of 2 degrees, then 3 rounds within 3 degrees of each
   particle's angle in steps of 0.5 degrees; angle and shift by parabolas through the highest correlation.

After each round the particles are averaged anew, the average is weighted ring by ring with 2 FRC / (1 + FRC) of its
even and odd particles, masked by a soft disc, and centred so that the mean shift of the particles is 0. Shifts are
searched up to 15 pixels (twice as far in the first round, as a particle picked at random is off centre itself).

python -m benchmarks.methods.classic DATA OUT [--threads N] [--max-shift PX] [--starts K] [--seed K]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft

from benchmarks.methods.common import arguments, chunks, read_particles, rotation, write_poses
from scipion_udl.imaging.poses import Poses, rotations, to_matrices
from scipion_udl.simulation.templates import fourier_resize, grid

_LOW_PASS = 0.05  # per pixel of the input, on the first reference
_MASK = 0.42  # radius in parts of the box
_COARSE, _MIDDLE, _FINE = 5.0, 2.0, 0.5  # degrees
_NEAR = 3.0  # degrees


@dataclass
class Particles:
    """N particles in one box. read: indices -> float32 (n, box, box); scale: pixels of the input per pixel."""

    read: Callable[[np.ndarray], np.ndarray]
    count: int
    box: int
    scale: float

    def spectra(self, indices: np.ndarray) -> torch.Tensor:
        """Their rfft2, complex64 (n, box, box//2 + 1)."""
        return torch.from_numpy(fft.rfft2(self.read(indices)))


def averages(particles: Particles, poses: Poses) -> tuple[np.ndarray, np.ndarray]:
    """The means of the even and of the odd particles under ``poses`` (shifts in pixels of these), (box, box) each."""
    halves = np.zeros((2, particles.box, particles.box))
    matrices = to_matrices(poses)
    for indices in chunks(particles.count):
        for k, image in zip(indices, particles.read(indices)):
            halves[k % 2] += rotation(image, matrices[k])
    return halves[0] / max(1, (particles.count + 1) // 2), halves[1] / max(1, particles.count // 2)


def soft_disc(box: int) -> np.ndarray:
    """1 within the mask, 0 outside, falling by a cosine over 6 % of the box."""
    ramp = np.clip((np.hypot(*grid(box)) / box - _MASK) / 0.06, 0, 1)
    return 0.5 + 0.5 * np.cos(np.pi * ramp)


def reference(halves: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The mean of two half averages, weighted by their FRC and masked, (box, box)."""
    box = len(halves[0])
    disc = soft_disc(box)
    a, b = (np.fft.rfft2(half * disc) for half in halves)
    ring = np.rint(np.hypot(np.fft.fftfreq(box)[:, None], np.fft.rfftfreq(box)) * box).astype(int)
    cross, power_a, power_b = (
        np.bincount(ring.ravel(), values.ravel()) for values in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
    )
    frc = cross / np.sqrt(np.maximum(power_a * power_b, 1e-30))
    frc = np.convolve(np.pad(frc, 1, mode="edge"), (0.25, 0.5, 0.25), "valid")
    weight = np.clip(2 * frc / (1 + np.maximum(frc, 0)), 0, 1)
    weight[box // 2 :] = 0
    weight[0] = 0  # the mean of the image tells no pose
    return np.fft.irfft2(0.5 * (a + b) * weight[ring], s=(box, box)) * disc


def first_reference(image: np.ndarray, scale: float) -> np.ndarray:
    """One particle as a reference: low-passed and masked."""
    box = len(image)
    frequency = np.hypot(np.fft.fftfreq(box)[:, None], np.fft.rfftfreq(box)) / scale
    smooth = np.fft.irfft2(np.fft.rfft2(image) * np.exp(-0.5 * (frequency / _LOW_PASS) ** 2), s=image.shape)
    disc = soft_disc(box)
    return (smooth - (smooth * disc).sum() / disc.sum()) * disc


def turned_spectra(image: np.ndarray, step: float) -> torch.Tensor:
    """The conjugate rfft2 of a reference as particles of all angles show it, ``step`` degrees apart, complex64."""
    box = len(image)
    angles = np.arange(round(360 / step)) * step
    out = np.empty((len(angles), box, box // 2 + 1), np.complex64)
    back = np.exp(-2j * np.pi * (box // 2) * (np.fft.fftfreq(box)[:, None] + np.fft.rfftfreq(box)))
    for spectrum, matrix in zip(out, to_matrices(Poses(-angles))):
        spectrum[:] = (np.fft.rfft2(rotation(image, matrix)) / back).conj()
    # The phase moves the reference's origin to pixel 0, so that correlations peak at the particle's origin.
    return torch.from_numpy(out)


def _peak(values: torch.Tensor) -> float:
    """Where, from -0.5 to 0.5, the parabola through three values has its top, the second being the highest."""
    left, middle, right = (float(value) for value in values)
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def match(
    spectrum: torch.Tensor, bank: torch.Tensor, rows: torch.Tensor, reach: int
) -> tuple[float, np.ndarray, float]:
    """The best angle, in rows of the bank (a fraction of them too), and the particle's origin (x, y, from pixel 0).

    rows: which of the bank to look at, in order; reach: largest shift from the centre in pixels. The third value is
    the correlation.
    """
    side = bank.shape[1]
    whole = len(rows) == len(bank)
    scores = torch.fft.irfft2((bank if whole else bank[rows]) * spectrum, s=(side, side))
    low, high = side // 2 - reach, side // 2 + reach + 1
    inside = scores[:, low:high, low:high]
    heights = inside.amax((1, 2))
    best = int(heights.argmax())
    index = int(inside[best].argmax())
    y, x = index // (high - low) + low, index % (high - low) + low
    near = np.array([best - 1, best, best + 1])
    near = near % len(rows) if whole else near
    turn_by = _peak(heights[near]) if near[0] >= 0 and near[2] < len(rows) else 0.0
    plane = scores[best]
    dx = _peak(plane[y, [x - 1, x, (x + 1) % side]])
    dy = _peak(plane[[y - 1, y, (y + 1) % side], x])
    return float(rows[best]) + turn_by, np.array([x + dx, y + dy]), float(heights[best])


def align(
    particles: Particles, image: np.ndarray, step: float, max_shift: float, near: np.ndarray | None = None
) -> tuple[Poses, float]:
    """All particles against one reference: poses (shifts in pixels of these particles, of mean 0), mean correlation.

    near: angles (N,) in degrees about which to search; None: the full circle.
    """
    bank = turned_spectra(image, step)
    n = len(bank)
    reach = min(int(np.ceil(max_shift / particles.scale)), particles.box // 2 - 1)
    around = torch.arange(-round(_NEAR / step), round(_NEAR / step) + 1)
    angle, origin, height = np.empty(particles.count), np.empty((particles.count, 2)), 0.0
    for indices in chunks(particles.count):
        for k, spectrum in zip(indices, particles.spectra(indices)):
            rows = torch.arange(n) if near is None else (around + round(near[k] / step)) % n
            row, origin[k], score = match(spectrum, bank, rows, reach)
            angle[k] = row * step
            height += score
    shift = -np.einsum("nij,nj->ni", rotations(angle), origin - particles.box // 2)
    return Poses(angle, shift - shift.mean(0)), height / particles.count / np.linalg.norm(image)


def from_start(particles: Particles, start: int, max_shift: float, rounds: int) -> tuple[Poses, float]:
    """Poses from rounds over all angles that begin with particle ``start`` as the reference; last correlation."""
    image = first_reference(particles.read(np.array([start]))[0], particles.scale)
    for turn_number in range(rounds):
        poses, height = align(particles, image, _COARSE, max_shift * (2 if turn_number == 0 else 1))
        image = reference(averages(particles, poses))
    return poses, height


def main() -> None:
    """Run the method."""
    args = arguments(
        __doc__,
        [
            ("--max-shift", {"type": float, "default": 15.0, "metavar": "PX", "help": "of the search (15)"}),
            ("--starts", {"type": int, "default": 3, "metavar": "K", "help": "first references tried (3)"}),
            ("--seed", {"type": int, "default": 1, "metavar": "K", "help": "for the choice of these (1)"}),
        ],
    )
    source = read_particles(args.data)
    half = max(32, source.box // 4 * 2)
    cropped = np.empty((len(source), half, half), np.float32)
    for indices in chunks(len(source)):
        for k, image in zip(indices, source.read(indices)):
            cropped[k] = fourier_resize(image, half)
    small = Particles(lambda indices: cropped[indices], len(source), half, source.box / half)
    full = Particles(source.read, len(source), source.box, 1.0)
    picks = np.random.default_rng(args.seed).choice(len(source), min(args.starts, len(source)), replace=False)
    tries = [from_start(small, int(pick), args.max_shift, 10) for pick in picks]
    poses = max(tries, key=lambda one: one[1])[0]
    for _ in range(6):
        poses, _ = align(small, reference(averages(small, poses)), _MIDDLE, args.max_shift)
    poses = Poses(poses.angle, poses.shift * small.scale)
    for _ in range(2):
        poses, _ = align(full, reference(averages(full, poses)), _MIDDLE, args.max_shift)
    for _ in range(3):
        poses, _ = align(full, reference(averages(full, poses)), _FINE, args.max_shift, poses.angle)
    write_poses(args.out, source, poses)


if __name__ == "__main__":
    main()
