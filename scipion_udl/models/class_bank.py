"""The class network: a bank of learned templates, each compared with a particle in every orientation and shift.

One equivariant layer over polar Fourier samples (imaging/polar_samples.py). Turning a particle turns the answer, moving
it moves the answer; what is learned is the templates, jointly over all classes: each particle is to be reconstructed
by the template of its class, in its pose, seen through its CTF (the joint term of JUDL; Chen, Feng, Shen
2023, class by class). For templates that objective has a closed-form step, which classification/em.py takes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from scipion_udl.models.contrast import at_contrast, suited_contrast
from scipion_udl.models.network import Network

MOST_ANGLES = 1024  # more directions than any box has use for
TILE = 1 << 18  # values of the correlations that are worked on at a time: they stay in the processor's cache


class Compared(NamedTuple):
    """What n particles are to c classes: gain (n, c), the log likelihood (nats) of the best pose over that of noise
    alone, at the contrast that suits the particle, contrast (n, c), 1 for that of the template; inner (n, c), their
    inner product; place (n, c), number of that pose's shift; turn (n, c), its angle in steps of 360 / turns degrees."""

    gain: torch.Tensor
    place: torch.Tensor
    rotation: torch.Tensor
    contrast: torch.Tensor
    inner: torch.Tensor

    @classmethod
    def of(cls, inner: torch.Tensor, expected: torch.Tensor, place: torch.Tensor, rotation: torch.Tensor) -> Compared:
        """From the inner product of each particle with each template in the best pose, and its power as they see it,
        all (n, c).

        Parameters
        ----------
        inner, expected : (n, c) tensors
            Inner products and powers.
        place, rotation : (n, c) int tensors
            The shift and the orientation of the best pose.

        Returns
        -------
        Compared
            The same, with the contrast and the log likelihood.
        """
        contrast = suited_contrast(inner, expected)
        return cls(at_contrast(inner, expected, contrast), place, rotation, contrast, inner)


class ClassBank(Network):
    """K templates as angular coefficients.

    classes: K; rings, orders: of the coefficients; angles: directions over 180 degrees that they were made of.
    """

    members: torch.Tensor
    signal: torch.Tensor

    def __init__(self, classes: int, rings: int, orders: int, angles: int) -> None:
        super().__init__()
        if not 0 < orders <= angles <= MOST_ANGLES:
            raise ValueError(f"{orders} orders of {angles} angles")
        self.config = {"classes": classes, "rings": rings, "orders": orders, "angles": angles}
        self.template = nn.Parameter(torch.zeros(classes, rings, orders, 2))
        # Particles of each class among those that taught, and the mean signal of a particle per ring over its noise.
        self.register_buffer("members", torch.zeros(classes))
        self.register_buffer("signal", torch.ones(rings))

    @property
    def complex(self) -> torch.Tensor:
        """The templates (K, rings, orders), complex64."""
        return torch.view_as_complex(self.template.detach())

    def set(self, templates: torch.Tensor) -> None:
        """Put complex templates (K, rings, orders) in their place.

        Parameters
        ----------
        templates : (K, rings, orders) complex tensor
            One for each class.
        """
        self.template.data = torch.view_as_real(templates.to(torch.complex64)).contiguous()

    def limited(self, rings: int, orders: int) -> ClassBank:
        """The same templates seen up to a Fourier ring, in their lowest angular orders.

        Parameters
        ----------
        rings : int
            Fourier rings.
        orders : int
            Angular orders.

        Returns
        -------
        ClassBank
            A bank of that size.
        """
        few = ClassBank(**self.config | {"rings": rings, "orders": orders}).to(self.template.device)
        few.set(self.complex[:, :rings, :orders])
        few.members, few.signal = self.members.clone(), self.signal[:rings].clone()
        return few

    def rotations(self) -> int:
        """Orientations that are looked at over all angles.

        Returns
        -------
        int
            How many.
        """
        return 2 * self.config["angles"] if self.config["rings"] > 10 else self.config["angles"]

    def forward(self, coefficients: torch.Tensor, ctf: torch.Tensor) -> Compared:
        """Compare particles with all classes.

        coefficients: (n, shifts, rings, orders) of the particles times their transfer, at every shift; transfer:
        (n, rings), its square.

        Parameters
        ----------
        coefficients : (n, shifts, rings, orders) complex tensor
            Of the particles times their CTF, at every shift.
        ctf : (n, rings) tensor
            The square of the CTF.

        Returns
        -------
        Compared
            Of n particles and all classes.
        """
        templates = self.complex
        n, shifts = coefficients.shape[:2]
        penalty = ctf @ self._powers().T
        kernel = templates.conj().permute(2, 1, 0).resolve_conj().contiguous()
        rotations, count = self.rotations(), len(templates)
        step = max(1, TILE // (shifts * rotations * count))
        found = [
            self._best(coefficients[start : start + step], kernel, rotations, shifts) for start in range(0, n, step)
        ]
        best, place, rotation = (torch.cat(parts) for parts in zip(*found))
        return Compared.of(best, penalty, place, rotation)

    def each(self, coefficients: torch.Tensor, ctf: torch.Tensor, which: torch.Tensor) -> Compared:
        """Compare each particle with classes of its own.

        which: (n, c), numbers of the classes; coefficients: (n, c, shifts, rings, orders), at shifts that differ from
        class to class; ctf: as before.

        Parameters
        ----------
        coefficients : (n, c, shifts, rings, orders) complex tensor
            As before, at the shifts of each class.
        ctf : (n, rings) tensor
            The square of the CTF.
        which : (n, c) int tensor
            The classes of each particle.

        Returns
        -------
        Compared
            Of n particles and c classes each.
        """
        kernel, rotations = self.complex.conj().resolve_conj()[which], self.rotations()
        products = torch.einsum("ncsro,ncro->ncso", coefficients, kernel)
        values = torch.fft.irfft(products, n=rotations, norm="forward")
        best, place = values.flatten(2).max(-1)
        penalty = torch.einsum("nr,ncr->nc", ctf, self._powers()[which])
        return Compared.of(best, penalty, place // rotations, place % rotations)

    def _powers(self) -> torch.Tensor:
        """Power of the templates per ring (K, rings)."""
        weight = torch.full((self.config["orders"],), 2.0, device=self.template.device)
        weight[0] = 1.0
        return self.template.detach().square().sum(-1) @ weight

    @staticmethod
    def _best(
        coefficients: torch.Tensor, kernel: torch.Tensor, rotations: int, shifts: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n, count = len(coefficients), kernel.shape[-1]
        flat = coefficients.flatten(0, 1).permute(2, 0, 1)
        products = torch.bmm(flat, kernel).permute(1, 2, 0)  # (n * shifts, classes, orders)
        values = torch.fft.irfft(products, n=rotations, norm="forward").view(n, shifts, count, rotations)
        highest = values.amax(-1)
        best, place = highest.max(1)
        index = place[:, None, :, None].expand(n, 1, count, rotations)
        rotation = values.gather(1, index)[:, 0].argmax(-1)
        return best, place, rotation
