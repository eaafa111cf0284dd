"""A view and its mirror image mixed in one set: which particles are mirrored?

Molecules that lie on the film face up and face down show mirror images of one view. Particles that are flagged are read
mirrored (prepared.py), so that everything else aligns one view; their poses get the mirror at the end.

1. In polar spectra, blind to shifts, mirroring is a change of sign of the angle. Two halves of a bounded subset are
   each fitted with a template and, for every particle, the hand that fits better. Only where what tells the hands apart
   is the same in both halves, which knew nothing of each other, there are two mirror images to be told.
2. Once everything is aligned, each particle is looked for in both mirror images against the average of the half that it
   is not in, over all angles; where flags change, all is aligned again.

Either way both halves come to know of each other, which particles are mirrored; so neither looks at anything finer than
what the halves share anyway, and nothing coarser than that is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.alignment.aligner import Alignment
from scipion_udl.alignment.averages import Averages
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.state import State
from scipion_udl.alignment.wiener import WienerFilter
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.messages import Message, message
from scipion_udl.models.polar_network import refine_angles
from scipion_udl.particles.prepared import PreparedParticles

LOOK = 2048  # particles that the spectra are fitted on, at most
FEWEST = 16  # particles, for two halves to say anything
STARTS, FIT_ROUNDS = 6, 40
SURE = 0.9  # share of the particles of which two halves must say the same; of images of noise they do of up to 0.8
RING = 12  # Fourier pixels: the spectra are compared up to here
TOLERANCE = 0.002  # share of the particles: fewer that are mirrored or no longer are not worth another alignment
ROUNDS = 2  # alignments after the first, at most


@dataclass
class MirrorFit:
    """A template of spectra, complex (radii, orders of the angle), and which particles (n,) fit it mirrored."""

    template: torch.Tensor
    mirrored: torch.Tensor
    power: float


def decide_mirror(particles: PreparedParticles, seed: int) -> np.ndarray | None:
    """Which particles of one view are mirrored, by their amplitude spectra: the fewer of the two mirror images.

    Shared by the processes of a group, which all call it.

    Parameters
    ----------
    particles : PreparedParticles
        N particles.
    seed : int
        Of what is looked at.

    Returns
    -------
    (N,) bool array or None
        None where the hands cannot be told apart.
    """
    subset, settings, stage = particles.subset(LOOK, seed), _settings(particles), "mirrored particles"
    if len(subset) < 2 * FEWEST:
        particles.say(f"{len(subset)} particles are too few to tell which are mirrored")
        return None

    def fitted() -> tuple[torch.Tensor, float]:
        data = particles.all(
            subset, "mirrored particles", lambda part, values: torch.fft.rfft(settings.of(values, particles.box))
        )
        fits = [fit_mirrored(half, seed) for half in (data[::2], data[1::2])]
        both, weight = joined(fits[0].template, fits[1].template, settings.angles)
        both = both * weight[:, None]
        flags, _ = _better_mirrored(data, both, settings.angles)
        return both.mean(0), float((flags[:, 0] == flags[:, 1]).float().mean())

    template, agreement = particles.group.on_rank0(fitted)
    particles.say(
        f"Mirrored or not, by their spectra: two independent halves agree on {agreement:.1%} of the particles"
    )
    if agreement < SURE:
        return None
    mirrored = np.zeros(len(particles), bool)
    usable = particles.usable
    for part, coefficients in particles.chunks(particles.reader.own(usable), stage):
        data = torch.fft.rfft(settings.of(coefficients, particles.box))
        mirrored[part] = _better_mirrored(data, template[None], settings.angles)[0][:, 0].cpu().numpy()
    particles.reader.make_known([mirrored], usable)
    if mirrored[usable].mean() > 0.5:
        mirrored[usable] = ~mirrored[usable]
    return mirrored


def _settings(particles: PreparedParticles) -> SpectraSettings:
    settings = SpectraSettings.for_box(particles.box)
    reach = particles.within(min(settings.r_max, RING))
    return SpectraSettings(settings.box, settings.r_min, reach, settings.angles, settings.mask)


def fit_mirrored(data: torch.Tensor, seed: int) -> MirrorFit:
    """Fit one template to spectra of a view and of its mirror image.

    Each round turns and mirrors every spectrum as it fits best and takes the mean; the best of a few single particles
    as starts, by the power of the mean (see template_init.py).

    Parameters
    ----------
    data : (n, radii, orders) complex tensor
        Fourier transforms of polar spectra along the angle.
    seed : int
        Of the particles to start from.

    Returns
    -------
    MirrorFit
        The template and which particles fit it mirrored.
    """
    bins = 2 * (data.shape[-1] - 1)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data), generator=generator)[: min(STARTS, len(data))].to(data.device)
    templates = data[chosen].clone()
    order = torch.arange(data.shape[-1], device=data.device)
    known = None
    for _ in range(FIT_ROUNDS):
        mirrored, rotations = _better_mirrored(data, templates, bins)
        phase = torch.polar(torch.ones((), device=data.device), rotations[..., None] * order * (torch.pi / 90))
        templates = torch.stack(
            [(_apply_mirror(data, mirrored[:, s]) * phase[:, s, None]).mean(0) for s in range(len(chosen))]
        )
        if known is not None and torch.equal(known, mirrored):
            break
        known = mirrored
    power = templates.abs().square().sum((1, 2))
    best = int(power.argmax())
    return MirrorFit(templates[best], mirrored[:, best], float(power[best]))


def _apply_mirror(data: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
    """Transformed spectra (n, radii, orders), those flagged (n,) mirrored: angle a becomes -a."""
    return torch.where(mirrored[:, None, None], data.conj(), data)


def _better_mirrored(data: torch.Tensor, templates: torch.Tensor, bins: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(whether each spectrum fits each template better mirrored (n, s), its rotation then (n, s), modulo 180)."""
    both = [torch.einsum("nrm,srm->nsm", one, templates.conj()) for one in (data, data.conj())]
    both = [torch.fft.irfft(product, n=bins) for product in both]
    mirrored = both[1].amax(-1) > both[0].amax(-1)
    best = torch.where(mirrored[..., None], both[1], both[0])
    return mirrored, refine_angles(best.flatten(0, 1)).view(mirrored.shape)


def joined(first: torch.Tensor, second: torch.Tensor, bins: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two templates, the second rotated and mirrored onto the first, and how far they agree.

    Parameters
    ----------
    first, second : (radii, orders) complex tensors
        The templates.
    bins : int
        Angles over 180 degrees.

    Returns
    -------
    both : (2, radii, orders) complex tensor
        In one frame.
    weight : (radii,) tensor
        How much each radius counts, 0 to 1, by their agreement.
    """
    mirrored, rotation = _better_mirrored(second[None], first[None], bins)
    second = _rotated(_apply_mirror(second[None], mirrored[:, 0])[0], rotation[0, 0])
    order = torch.full((first.shape[-1],), 2.0, device=first.device)
    order[0] = order[-1] = 1

    def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return ((a * b.conj()).real * order).sum(-1)

    agree = (dot(first, second) / (dot(first, first) * dot(second, second)).sqrt().clamp(min=1e-12)).clamp(0, 1)
    return torch.stack([first, second]), 2 * agree / (1 + agree)


def _rotated(template: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """A template (radii, orders) brought back by a rotation (degrees)."""
    order = torch.arange(template.shape[-1], device=template.device)
    return template * torch.polar(torch.ones((), device=template.device), rotation * order * (torch.pi / 90))


def share_mirrored(flags: np.ndarray, used: np.ndarray) -> Message:
    """The sentence for the user on how many particles are mirrored.

    Parameters
    ----------
    flags : (N,) bool array
        Which are.
    used : int array
        The particles that count, from 0.

    Returns
    -------
    Message
        With count and share.
    """
    return message("mirrored", count=int(flags[used].sum()), total=len(used), share=flags[used].mean())


@torch.no_grad()
def decide_again(
    particles: PreparedParticles, alignment: Alignment, averages: Averages, max_shift: float
) -> np.ndarray:
    """Which particles are mirrored, judged in real space. Shared by the processes of a group.

    Each is looked for in both mirror images, over all angles, against the average of the half that it is not in, up to
    the ring that the halves share.

    Parameters
    ----------
    particles : PreparedParticles
        N particles.
    alignment : Alignment
        Theirs.
    averages : Averages
        Theirs, with halves.
    max_shift : float
        Pixels of the input.

    Returns
    -------
    (N,) bool array
        True for mirrored ones.
    """
    band = Band(particles.box, min(particles.k_max, int(alignment.initial_lowpass)), particles.device)
    refiner = Refiner(particles, band, max_shift / particles.scale, band.k_max)
    half = alignment.half
    references = _references(particles, averages, band)
    usable = particles.usable
    before = np.zeros(len(particles), bool) if particles.mirrored is None else particles.mirrored
    scores = []
    for which, flags in (("as they are", before), ("mirrored", ~before)):
        particles.mirrored = flags
        state = State.start(np.zeros(len(particles)))
        refiner.search(state, references, 1 - half, f"mirror images, {which}", usable)
        for number in (1, 2):
            refiner.iterate(state, references, 1 - half, f"mirror images, {which}, round {number}", usable)
        scores.append(state.score)
    particles.mirrored = before
    changed = scores[1] > scores[0]
    share = changed[usable].mean()
    particles.say(f"Compared as they are and mirrored: {share:.1%} of {len(usable)} particles fit better the other way")
    return before ^ changed


def _references(particles: PreparedParticles, averages: Averages, band: Band) -> list[Reference]:
    """The halves' averages, as particles are compared with them."""
    found = particles.statistics
    background, noise = (np.full(2, np.median(v[~found.blank])) for v in (found.mean, found.std))
    images = torch.from_numpy(np.stack(averages.both[0])).to(particles.device)
    halves = [
        band.masked(half, particles.disc.mask) for half in band.crop(particles.whitening.of(images, background, noise))
    ]
    weight = WienerFilter(band, halves).weight(1)
    return [Reference(band, half, weight) for half in halves]
