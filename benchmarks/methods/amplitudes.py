"""Multi-reference alignment of amplitude spectra: views sorted without phases, as plainly as it can be done.

Polar log amplitude spectra (those that networks of one view are given) are blind to shifts. K templates are compared
with every particle in all rotations over 180 degrees, by Fourier transform along the angle; each particle goes to the
template nearest to it, and the mean of its rotated members takes the place of each template. Of several starts the one
whose templates lie nearest to their particles is taken. Templates start as particles, each drawn among those that the
ones before are farthest from; a template without particles takes the particle that fits its own worst.

python -m benchmarks.methods.amplitudes TABLE OUT.star CLASSES [--threads N]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.many_views.particles import write_classes
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.particles.prepared import PreparedParticles

STARTS, ROUNDS = 3, 25
CHUNK = 256  # particles compared at a time


def sort_spectra(
    spectra: torch.Tensor, classes: int, starts: int = STARTS, rounds: int = ROUNDS, seed: int = 1
) -> np.ndarray:
    """The class, from 0, of each of N polar spectra (N, radii, angles) over 180 degrees, int64 (N,)."""
    waves = torch.fft.rfft(spectra) / spectra.shape[-1] ** 0.5
    tried = []
    for number in range(starts):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        tried.append(_rounds(waves, _spread_start(waves, classes, generator), rounds, spectra.shape[-1]))
    return min(tried, key=lambda one: one[0])[1].numpy()


def _spread_start(waves: torch.Tensor, classes: int, generator: torch.Generator) -> torch.Tensor:
    """Particles as templates (K, radii, orders), drawn by their squared distance from the nearest one before."""
    chosen = [int(torch.randint(len(waves), (1,), generator=generator))]
    nearest = torch.full((len(waves),), torch.inf)
    while len(chosen) < classes:
        distance, _, _ = _compared(waves, waves[chosen[-1:]], 2 * (waves.shape[-1] - 1))
        nearest = torch.minimum(nearest, distance)
        nearest[chosen] = 0
        chosen.append(int(torch.multinomial(nearest.clamp(min=0) + 1e-12, 1, generator=generator)))
    return waves[chosen].clone()


def _rounds(waves: torch.Tensor, templates: torch.Tensor, rounds: int, angles: int) -> tuple[float, torch.Tensor]:
    """(mean squared distance of a particle from its template, the template of each (N,)) after the last round."""
    label = torch.full((len(waves),), -1)
    order = torch.arange(waves.shape[-1])
    for _ in range(rounds):
        distance, found, rotation = _compared(waves, templates, angles)
        if torch.equal(found, label):
            break
        label = found
        phase = (2 * torch.pi / angles) * rotation[:, None] * order
        rotated = waves * torch.polar(torch.ones_like(phase), phase)[:, None]
        sums = torch.zeros_like(templates).index_add_(0, label, rotated)
        count = torch.bincount(label, minlength=len(templates))
        templates = sums / count.clamp(min=1)[:, None, None]
        lost = (count == 0).nonzero()[:, 0]
        templates[lost] = waves[distance.topk(len(lost)).indices]
    return float(distance.double().mean()), label


def _compared(
    waves: torch.Tensor, templates: torch.Tensor, angles: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each of n particles (n, radii, orders) its squared distance from the nearest template, which that is, and by
    how many steps of 180 / angles degrees it has to be rotated back to lie as the template does, (n,) each."""
    weight = torch.full((waves.shape[-1],), 2.0)
    weight[0], weight[-1] = 1.0, 2.0 - (angles % 2 == 0)
    strength = (templates.abs().square() * weight).sum((1, 2))
    kernel = templates.permute(2, 1, 0).contiguous()
    out = []
    for part in waves.split(CHUNK):
        product = torch.bmm(part.conj().permute(2, 0, 1).contiguous(), kernel).permute(1, 2, 0)
        # the value at turn s is the sum over angles of particle(a) template(a - s)
        values = torch.fft.irfft(product.conj(), n=angles, norm="forward")
        best, rotation = values.max(-1)
        own = (part.abs().square() * weight).sum((1, 2))
        distance, label = (own[:, None] + strength - 2 * best).min(1)
        out.append((distance, label, rotation.gather(1, label[:, None])[:, 0]))
    return tuple(torch.cat(parts) for parts in zip(*out))


def spectra_of(source: ParticleSource) -> torch.Tensor:
    """Polar log amplitude spectra (N, radii, angles) of all particles."""
    particles = PreparedParticles(source, torch.device("cpu"))
    settings = SpectraSettings.for_box(particles.box)
    chunks = particles.chunks(np.arange(len(source)), "spectra")
    return torch.cat([settings.of(coefficients, particles.box) for _, coefficients in chunks])


def main() -> None:
    """Sort the particles of a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path, help="STAR file that is written")
    parser.add_argument("classes", type=int)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    source = open_particles(str(args.table))
    write_classes(args.out, source.names, sort_spectra(spectra_of(source), args.classes))


if __name__ == "__main__":
    main()
