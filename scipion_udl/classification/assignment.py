"""The pass over all particles: which class each is in, and how it lies there. Also what noise alone would look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.classification.class_search import Comparer, Finder, Samples
from scipion_udl.classification.samples import sampled
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.imaging.poses import Poses, rotations, wrap
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.particles.prepared import PreparedParticles

NOISE = 256  # images of noise alone that are compared with the classes
DEVIATIONS = 4.0  # by which the particles of a class must fit better than noise does


@dataclass
class Sorted:
    """Of N particles: label (N,) the class from 0; poses (N,), shifts in pixels of the input; gain (N,): log likelihood
    over that of noise alone, nats; score (N,): what share of its amplitude the template explains, 0 to 1, about the
    correlation with it. Blank images have pose 0, gain 0 and score 0; their class means nothing.

    likely (N, C): the classes that are likely, the best first, and odds (N, C): how much less so than the best, nats;
    angle (N, C) and shift (N, C, 2): the pose in each of them; given: poses that were not looked for, and stand for all
    of these.
    """

    label: np.ndarray
    gain: np.ndarray
    score: np.ndarray
    likely: np.ndarray
    odds: np.ndarray
    angle: np.ndarray
    shift: np.ndarray
    given: Poses | None = None

    @classmethod
    def nothing(cls, count: int, classes: int, likely: int) -> Sorted:
        """Of particles of which nothing is known.

        Parameters
        ----------
        count : int
            N, how many particles.
        classes : int
            How many classes there are; all particles are in the last.
        likely : int
            C, how many classes of each particle are kept.

        Returns
        -------
        Sorted
            Pose 0, gain 0, score 0; the first of the likely classes is certain.
        """
        last = np.full((count, likely), classes - 1)
        odds = np.full((count, likely), np.inf)
        odds[:, 0] = 0
        angle, shift = np.zeros((count, likely)), np.zeros((count, likely, 2))
        return cls(last[:, 0].copy(), np.zeros(count), np.zeros(count), last, odds, angle, shift)

    @property
    def place(self) -> np.ndarray:
        """Where the class of each particle stands among its likely ones, (N,)."""
        return (self.likely == self.label[:, None]).argmax(1)

    @property
    def certainty(self) -> np.ndarray:
        """The probability of the class of each particle among its likely ones, (N,), 0 to 1."""
        return 1 / np.exp(-self.odds + self.odds[np.arange(len(self.label)), self.place][:, None]).sum(1)

    @property
    def poses(self) -> Poses:
        """Poses of the particles in their classes."""
        if self.given is not None:
            return self.given
        at = np.arange(len(self.label)), self.place
        return Poses(self.angle[at], self.shift[at])


def sort_particles(
    prepared: PreparedParticles, bank: ClassBank, sampling: PolarSampling, search_range: float
) -> Sorted:
    """Put every particle into the class that explains it best; each by itself, whatever the others are. Shared by the
    processes of a group.

    Parameters
    ----------
    prepared : PreparedParticles
        The particles.
    bank : ClassBank
        The classes.
    sampling : PolarSampling
        How particles are sampled for the network.
    search_range : float
        How far off centre particles lie along either axis, working pixels.

    Returns
    -------
    Sorted
        Of all particles; poses in pixels of the input.
    """
    finder = Finder(bank, sampling, search_range)
    out = Sorted.nothing(len(prepared), bank.config["classes"], finder.count)
    for part, samples in sampled(prepared, sampling, prepared.reader.own(prepared.usable), "sorting"):
        for rows, found in finder.chunks(samples, torch.arange(len(part))):
            at = part[rows.cpu().numpy()]
            angle, moved = (v.double().cpu().numpy() for v in (found.angle, found.shift))
            # The particle is moved first, then rotated; a pose turns first.
            out.shift[at] = np.einsum("ncij,ncj->nci", rotations(angle), moved) * prepared.scale
            out.angle[at] = wrap(angle)
            out.likely[at], gain = found.which.cpu().numpy(), found.gain.double().cpu().numpy()
            out.label[at], out.gain[at], out.odds[at] = out.likely[at, 0], gain[:, 0], gain[:, :1] - gain
            share = found.gain[:, 0] / finder.power(samples, rows).clamp(min=1e-12)
            out.score[at] = share.clamp(0, 1).sqrt().double().cpu().numpy()
    prepared.reader.make_known([value for value in vars(out).values() if value is not None], prepared.usable)
    out.given = prepared.poses
    return out


def like_noise(
    bank: ClassBank, sampling: PolarSampling, search_range: float, ctf: torch.Tensor, sorted_: Sorted, seed: int
) -> np.ndarray:
    """Which classes hold particles that fit no better than noise fits the same classes.

    A particle that taught is part of its template, and fits it the better for it: by so much more it has to.

    Parameters
    ----------
    bank : ClassBank
        The classes.
    sampling : PolarSampling
        How particles are sampled for the network.
    search_range : float
        How far off centre particles lie along either axis, working pixels.
    ctf : (n, rings) tensor
        Squared CTF of some particles, which the noise images are given.
    sorted_ : Sorted
        The particles in the classes.
    seed : int
        Of the noise images.

    Returns
    -------
    (K,) bool array
        True for a class of noise.
    """
    generator = torch.Generator().manual_seed(seed)
    device = bank.template.device
    box = sampling.small
    pixels = torch.randn(NOISE, box, box, generator=generator).to(device)
    coefficients = torch.fft.rfft2(torch.fft.ifftshift(pixels, dim=(-2, -1)), norm="ortho")
    small = PolarSampling(box, sampling.rings, sampling.angles, sampling.mask)
    own = ctf[torch.arange(NOISE) % len(ctf)].to(device)
    values = small.of(coefficients) * own.sqrt()[..., None]
    still = torch.zeros(NOISE, 2, device=device)
    noise = Samples(values, own, own, still, torch.zeros(NOISE, dtype=torch.bool))
    finder = Finder(bank, sampling, search_range)
    best = torch.cat([found.gain[:, 0] for _, found in finder.chunks(noise, torch.arange(NOISE))]).double()
    limit = float(best.mean() + DEVIATIONS * best.std())
    count = bank.config["classes"]
    medians = [np.median(sorted_.gain[sorted_.label == k]) if (sorted_.label == k).any() else 0.0 for k in range(count)]
    return np.array(medians) < limit + own_part(finder.fine, ctf)


def own_part(comparer: Comparer, ctf: torch.Tensor) -> np.ndarray:
    """What noise alone gains by having been one of those that made a template.

    Parameters
    ----------
    comparer : Comparer
        Of K templates.
    ctf : (n, rings) tensor
        Squared CTF of some particles.

    Returns
    -------
    (K,) float64 array
        Nats a particle.
    """
    bank = comparer.bank
    own = ctf[:, : comparer.rings].mean(0).to(bank.signal.device)
    share = own / (bank.members[:, None] * own + 1 / bank.signal)  # of the template
    return torch.where(bank.members > 0, 2 * share @ comparer.transform.root.square(), 0.0).double().cpu().numpy()
