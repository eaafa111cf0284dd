"""The physical limit: an exhaustive search of every particle against the TRUE template, seen through its CTF.

A particle is x = s C T(theta, o) + white noise: the template T rotated by theta with its origin at o, cut to the box,
and the particle's CTF C, which template.mrc, the defocus and the B-factor of particles.star give exactly. The pose of
highest likelihood is the one that maximises <C x, T(theta, o)>, for its norm is the same in all poses.

1. All angles in steps of 1 degree x all shifts in whole pixels up to --max-shift (15: 1.5 times what the particles
   are shifted), by FFT at full resolution, in a box so large that nothing comes in again on the other side.
2. The best --candidates (8) local maxima are refined to the top of the likelihood: at the angles of a fine set, half
   a degree apart, it and its derivatives by the shift are computed exactly; between these angles it is read by a
   windowed sinc, for it holds no harmonics of the angle that the fine set does not resolve. Angles are compared
   in steps of 0.05 degrees at the end, with a parabola through the best three; shifts are solved for.
3. The best of the refined candidates is the pose.

A finer grid and more candidates (0.5 degrees, 32) find the same poses, at SNR 0.003 too; with 2 degrees 2 % of the
particles there end on a lower maximum.

python -m benchmarks.methods.oracle DATA OUT [--threads N] [--max-shift PX] [--candidates K] [--step DEGREES]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import fft, ndimage

from benchmarks.methods.common import Ctf, arguments, chunks, read_particles, write_poses
from scipion_udl.imaging.poses import Poses, rotations
from scipion_udl.io.images import read_image
from scipion_udl.simulation.templates import fourier_resize, grid

# Angles of the fine set over half a turn (the other half is its complex conjugate), and how many of them on either side
# the windowed sinc reads.
_FINE = 360
_REACH = 6
_OVERSAMPLING = 4
# (range, step) in degrees in which the angle is refined, one round after the other.
_ROUNDS = ((1.25, 0.25), (0.3, 0.05), (0.1, 0.05))
# A shift moves by no more than this in a round, in pixels: as far as its expansion to second order is good for.
_LONGEST = 0.8


@dataclass
class Bank:
    """The template at all angles of the fine set, in Fourier space.

    spectra: float32 (_FINE, 2 F), real and imaginary parts at F frequencies of a half plane; the angle of row k is
    k * 180 / _FINE degrees. frequency: (F, 2), x and y, cycles per pixel; place: (F,), where they lie in an rfft2 of
    (side, side); weight: (F,), 2 where a frequency stands for its opposite too.
    """

    spectra: torch.Tensor
    frequency: torch.Tensor
    place: torch.Tensor
    weight: torch.Tensor
    side: int

    @property
    def norm(self) -> float:
        """The template's length, the same at all angles."""
        power = self.spectra[0].view(-1, 2).square().sum(1)
        return float((power * self.weight).sum().sqrt())


def rotated(template: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """The template (D, D) as a particle of each angle (degrees, (n,)) shows it: out(p) = template(R p), (n, D, D).

    Read from a four times finer copy (zero-padded spectrum) by cubic splines: correct to 1e-4.
    """
    box = len(template)
    padded = np.pad(np.asarray(template, np.float64), 4)
    fine = _OVERSAMPLING * len(padded)
    spline = ndimage.spline_filter(fourier_resize(padded, fine), order=3)
    points = grid(box).reshape(2, -1)
    out = np.empty((len(angles), box, box), np.float32)
    for image, matrix in zip(out, rotations(angles)):
        where = (matrix @ points)[::-1] * _OVERSAMPLING + fine // 2
        image[:] = ndimage.map_coordinates(spline, where, order=3, prefilter=False, mode="constant").reshape(box, box)
    return out


def spectra_of(images: np.ndarray, side: int) -> np.ndarray:
    """rfft2 of images (n, D, D) in a box of ``side`` pixels, their origin at pixel 0; complex64 as rfft2."""
    box = images.shape[-1]
    padded = np.zeros((len(images), side, side), np.float32)
    padded[:, :box, :box] = images
    return fft.rfft2(np.roll(padded, (-(box // 2), -(box // 2)), (1, 2)))


def make_bank(template: np.ndarray, side: int) -> Bank:
    """The bank of a template (D, D) for correlations in a box of ``side`` pixels."""
    fx, fy = np.meshgrid(np.fft.rfftfreq(side), np.fft.fftfreq(side))
    place = np.flatnonzero(np.hypot(fx, fy) < 0.5)  # a template that turns holds nothing beyond
    frequency = np.stack([fx.ravel(), fy.ravel()], -1)[place]
    spectra = torch.empty(_FINE, 2 * len(place))
    angles = np.arange(_FINE) * 180.0 / _FINE
    for rows in chunks(_FINE):
        part = spectra_of(rotated(template, angles[rows]), side).reshape(len(rows), -1)[:, place]
        spectra[rows] = torch.from_numpy(np.ascontiguousarray(part)).view(torch.float32).reshape(len(rows), -1)
    weight = np.where(frequency[:, 0] > 0, 2.0, 1.0)
    return Bank(
        spectra, torch.tensor(frequency, dtype=torch.float32), torch.from_numpy(place),
        torch.tensor(weight, dtype=torch.float32), side,
    )  # fmt: skip


def coarse_bank(bank: Bank, step: int) -> torch.Tensor:
    """Every ``step``-th angle of the full circle as the conjugate of an rfft2, complex64 (n, side, side//2 + 1)."""
    half = bank.spectra[::step]
    full = torch.zeros(2 * len(half), bank.side * (bank.side // 2 + 1), dtype=torch.complex64)
    values = torch.view_as_complex(half.reshape(len(half), -1, 2))
    full[: len(half), bank.place] = values.conj()
    full[len(half) :, bank.place] = values
    return full.reshape(-1, bank.side, bank.side // 2 + 1)


def best_of_grid(
    spectrum: torch.Tensor, coarse: torch.Tensor, reach: int, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``count`` highest local maxima over all angles of ``coarse`` and all whole shifts up to ``reach``.

    spectrum: complex64 (side, side//2+1). Returns rows of ``coarse``, int64 (count,), and shifts (x, y) in pixels,
    float32 (count, 2), of the template's origin in the particle.
    """
    side = coarse.shape[1]
    scores = torch.fft.irfft2(coarse * spectrum, s=(side, side))
    scores = torch.cat([scores[:, -reach:], scores[:, : reach + 1]], 1)
    scores = torch.cat([scores[:, :, -reach:], scores[:, :, : reach + 1]], 2)
    around = torch.cat([scores[-1:], scores, scores[:1]])
    peak = torch.nn.functional.max_pool3d(around[None], 3, 1, (0, 1, 1))[0]
    scores[scores < peak] = -torch.inf
    index = scores.flatten().topk(count).indices
    width = 2 * reach + 1
    shift = torch.stack([index % width, index // width % width], -1) - reach
    return index // width**2, shift.float()


def _kernel(distance: torch.Tensor) -> torch.Tensor:
    """The windowed sinc at distances in steps of the fine set."""
    window = torch.special.i0(8.0 * torch.sqrt((1 - (distance / _REACH) ** 2).clamp(min=0)))
    window = window / torch.special.i0(torch.tensor(8.0))
    return torch.sinc(distance) * torch.where(distance.abs() < _REACH, window, torch.zeros(()))


def refine(
    bank: Bank, spectrum: torch.Tensor, angle: torch.Tensor, shift: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Candidates brought to the top of the likelihood.

    spectrum: complex64 (F,), the particle times its CTF at the bank's frequencies, weighted. angle: (K,) degrees;
    shift: (K, 2) pixels. Returns angle (float64), shift, and score (K,).
    """
    angle = angle.double()
    for reach, step in _ROUNDS:
        rotations, score, slope, curvature = _expand(bank, spectrum, angle, shift, reach, step)
        move = -torch.linalg.solve(_negative_definite(curvature), slope)
        length = move.norm(dim=-1, keepdim=True)
        move = move * (_LONGEST / length.clamp(min=_LONGEST))
        height = score + (move * slope).sum(-1) + 0.5 * torch.einsum("kai,kaij,kaj->ka", move, curvature, move)
        best = height[:, 1:-1].argmax(1) + 1
        row = torch.arange(len(angle))
        left, middle, right = (height[row, best + d].double() for d in (-1, 0, 1))
        bend = left - 2 * middle + right
        between = torch.where(bend < 0, 0.5 * (left - right) / bend.clamp(max=-1e-30), torch.zeros_like(bend))
        angle = angle + (rotations[best] + between.clamp(-0.5, 0.5)) * step
        shift = shift + move[row, best]
    return angle, shift, middle


def _expand(
    bank: Bank, spectrum: torch.Tensor, angle: torch.Tensor, shift: torch.Tensor, reach: float, step: float
) -> tuple[torch.Tensor, ...]:
    """The likelihood about each candidate at angles within ``reach`` degrees, ``step`` apart, expanded in its shift.

    Returns turns (A,), the angles in steps off each candidate's own; score (K, A), slope (K, A, 2) and curvature
    (K, A, 2, 2) by the shift.
    """
    fine = 180.0 / _FINE
    rotations = torch.arange(-round(reach / step), round(reach / step) + 1, dtype=torch.float64)
    first = torch.floor((angle - reach) / fine).long() - _REACH + 1
    rows = first[:, None] + torch.arange(int(np.ceil(2 * reach / fine)) + 2 * _REACH)
    want = (angle[:, None] + rotations * step) / fine
    kernel = _kernel(want[:, :, None] - rows[:, None, :]).float()  # (K, A, J)
    waves = 2 * np.pi * bank.frequency  # radians per pixel
    phase = shift @ waves.T
    moved = spectrum * torch.polar(torch.ones_like(phase), phase)  # (K, F)
    wx, wy = waves[:, 0], waves[:, 1]
    factors = torch.stack([torch.ones_like(wx) + 0j, 1j * wx, 1j * wy, -wx * wx + 0j, -wx * wy + 0j, -wy * wy + 0j])
    terms = torch.view_as_real(moved[:, None] * factors).flatten(2)  # (K, 6, 2F)
    templates = bank.spectra[rows % _FINE]  # (K, J, 2F)
    values = torch.einsum("ktf,kjf->ktj", terms, templates)
    # Half a turn on, a spectrum is its complex conjugate.
    conjugate = (rows // _FINE) % 2 == 1
    if conjugate.any():
        swapped = torch.view_as_real(moved[:, None] * factors).mul(torch.tensor([1.0, -1.0])).flatten(2)
        values = torch.where(conjugate[:, None], torch.einsum("ktf,kjf->ktj", swapped, templates), values)
    s, sx, sy, sxx, sxy, syy = torch.einsum("ktj,kaj->tka", values, kernel)
    slope = torch.stack([sx, sy], -1)
    return rotations, s, slope, torch.stack([torch.stack([sxx, sxy], -1), torch.stack([sxy, syy], -1)], -2)


def _negative_definite(curvature: torch.Tensor) -> torch.Tensor:
    """The matrices (..., 2, 2) with eigenvalues made negative, so that a step by them leads upwards."""
    values, vectors = torch.linalg.eigh(curvature)
    values = -values.abs().clamp(min=1e-6 * float(values.abs().max()))
    return vectors @ (values[..., None] * vectors.mT)


def find_poses(data: Path, max_shift: int, candidates: int, step: int) -> tuple[Poses, object]:
    """The poses (N,) of the particles of a case, and the particles. ``step``: of the grid, in half degrees."""
    source = read_particles(data)
    ctf = Ctf(source)
    template = read_image(str(data / "template.mrc"))[0]
    side = fft.next_fast_len(source.box + max_shift, real=True)
    side += side % 2
    bank = make_bank(template, side)
    coarse = coarse_bank(bank, step)
    angles, origins = [], []
    for indices in chunks(len(source)):
        seen = fft.irfft2(fft.rfft2(source.read(indices)) * ctf(indices), s=(source.box, source.box))
        for spectrum in torch.from_numpy(spectra_of(seen, side)):
            row, shift = best_of_grid(spectrum, coarse, max_shift, candidates)
            inside = spectrum.flatten()[bank.place] * bank.weight
            angle, shift, score = refine(bank, inside, row * step * 180.0 / _FINE, shift)
            best = int(score.argmax())
            angles.append(float(angle[best]))
            origins.append(shift[best].numpy())
    angle = np.array(angles)
    # The particle's origin lies at ``origin``: the pose turns by the angle and brings it to the template's.
    return Poses(angle, -np.einsum("nij,nj->ni", rotations(angle), np.array(origins, np.float64))), source


def main() -> None:
    """Run the method."""
    args = arguments(
        __doc__,
        [
            ("--max-shift", {"type": int, "default": 15, "metavar": "PX", "help": "of the search (15)"}),
            ("--candidates", {"type": int, "default": 8, "metavar": "K", "help": "maxima that are refined (8)"}),
            ("--step", {"type": float, "default": 1.0, "metavar": "DEGREES", "help": "of the grid (1)"}),
        ],
    )
    poses, source = find_poses(args.data, args.max_shift, args.candidates, round(args.step * _FINE / 180.0))
    write_poses(args.out, source, poses)


if __name__ == "__main__":
    main()
