"""How well an aligned particle fits the average of others, and how well aligned noise does.

The score is a correlation within the particle's disc: neighbours have no part in it. Ice, carbon and lumps of
contamination are loud at low frequencies, where they resemble any particle: the coarsest rings are left out, and a ring
in which a particle is louder than noise and the average together counts the less for it.
"""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.state import State
from scipion_udl.imaging.fourier import transform

COARSE = 1.0  # periods in the radius of the disc: what is coarser is left out, ice and carbon look alike in it
LOUD = 0.5  # power of how much louder a ring is than expected, by which it counts the less
ROUNDS = 2  # of refinement that noise gets after its search, as particles do
LEAST = 8  # Fourier pixels: the band of a search for noise is no narrower, and no wider than that of particles


class ParticleScores:
    """Scores of particles and of noise.

    refiner: of the particles; references: averages to compare with; member: (N,) which of them each particle is
    compared with, one that it is not part of.
    """

    def __init__(self, refiner: Refiner, references: list[Reference], member: np.ndarray) -> None:
        self.refiner, self.references, self.member = refiner, references, member
        self.prepared, self.band = refiner.prepared, refiner.band
        self.mask = self.prepared.disc.mask
        self._noise = self.band.ring_count * float(self.mask.square().mean())  # power per ring of noise in the disc
        self._first = max(1, round(COARSE * self.prepared.box / self.prepared.disc.radius))

    @torch.no_grad()
    def measure(self, state: State, indices: np.ndarray, stage: str = "scores") -> None:
        """Write the scores of particles where they lie into a state. Shared by the processes of a group.

        Parameters
        ----------
        state : State
            With their poses; takes the scores, -1 to 1.
        indices : (n,) int array
            The particles, from 0.
        stage : str, optional
            What the pass is called in reports.
        """
        device = self.band.device
        for part, coefficients in self.prepared.chunks(self.prepared.reader.own(indices), stage):
            seen, power = self._apply_ctf(part, coefficients)
            angle, shift = (torch.from_numpy(v[part]).to(device) for v in (state.angle, state.shift))
            for number, reference in enumerate(self.references):
                own = np.flatnonzero(self.member[part] == number)
                if not len(own):
                    continue
                at = torch.from_numpy(own).to(device)
                q = power if power is None else power[at]
                state.score[part[own]] = self._scores(seen[at], q, angle[at], shift[at], reference).cpu().numpy()
        self.prepared.reader.make_known([state.score], indices)

    @torch.no_grad()
    def of_noise(self, indices: np.ndarray, seed: int) -> np.ndarray:
        """Scores of white noise that was aligned: searched for over all angles, and refined.

        Parameters
        ----------
        indices : (n,) int array
            Particles, from 0, whose CTF the images of noise have, one each.
        seed : int
            By which pixels are drawn, whatever the device.

        Returns
        -------
        (n,) array
            From -1 to 1.
        """
        prepared, band, reference = self.prepared, self.band, self.references[0]
        reach = min(max(int((reference.ring_weight > 0).sum()), LEAST), self.refiner.coarse_band.k_max)
        searcher = Refiner(prepared, band, self.refiner.max_shift, reach, self.refiner.bound)
        generator, found = torch.Generator().manual_seed(seed), [np.zeros(0)]
        for start in range(0, len(indices), prepared.reader.chunk):
            part = indices[start : start + prepared.reader.chunk]
            white = torch.randn(len(part), prepared.box, prepared.box, generator=generator).to(band.device)
            coefficients = torch.fft.rfft2(torch.fft.ifftshift(white, dim=(-2, -1)), norm="ortho")
            seen, power = self._apply_ctf(part, coefficients)
            angle, shift = searcher.find(seen, reference), torch.zeros(len(part), 2, dtype=torch.float64)
            inside = band.crop(seen)
            loud = band.ring_totals(inside.abs().square())
            for _ in range(ROUNDS):
                match = self.refiner.match(inside, power, loud, angle, reference, reference)
                angle, shift = match.angle.double(), match.shift.double()
            found.append(self._scores(seen, power, angle, shift, reference).cpu().numpy())
        return np.concatenate(found)

    def _apply_ctf(self, part: np.ndarray, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(coefficients (n, box, box//2 + 1) times the CTF of the particles ``part``, its square per ring (n,
        k_max + 1), None for 1)."""
        found = self.prepared.ctf_and_factor(part)
        if found is None:
            return coefficients, None
        ctf, factor = found
        return coefficients * factor, self.band.ring_means(self.band.crop(ctf).square())

    def _scores(
        self,
        seen: torch.Tensor,
        power: torch.Tensor | None,
        angle: torch.Tensor,
        shift: torch.Tensor,
        reference: Reference,
    ) -> torch.Tensor:
        """Scores (n,) of coefficients (n, box, box//2 + 1), times their CTF, of poses angle (n,) degrees and shift
        (n, 2) working pixels; power: see :meth:`_apply_ctf`."""
        band, weight = self.band, reference.ring_weight.float().clone()
        if bool((weight[self._first :] > 0).any()):
            weight[: self._first] = 0
        image = band.of_images(transform(seen, self.prepared.box, angle, shift) * self.mask)
        own = band.ring_totals(image.real.square() + image.imag.square())
        both = band.ring_totals((image * reference.average.conj()).real)
        known = band.ring_sums(reference.average.abs().square()).float()
        q = torch.ones_like(own) if power is None else power
        expected = q * (self._noise + known)
        weight = weight * (own / expected.clamp(min=1e-12)).clamp(min=1).pow(-LOUD)
        return (weight * both).sum(1) / ((weight * own).sum(1) * (weight * q * known).sum(1)).sqrt().clamp(min=1e-12)
