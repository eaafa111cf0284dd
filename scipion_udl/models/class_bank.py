"""The class network: a bank of learned templates, each compared with a particle in every orientation and shift.

One equivariant layer over polar Fourier samples (imaging/polar_samples.py). Turning a particle turns the answer, moving
it moves the answer; what is learned is the templates, jointly over all classes: each particle is to be reconstructed
by the template of its class, in its pose, seen through its CTF (the joint term of JUDL; Chen, Feng, Shen
2023, class by class). For templates that objective has a closed-form step, which classification/em.py takes.
"""

from __future__ import annotations

import math
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
    inner product; place (n, c), number of that pose's shift; rotation (n, c), its angle in steps of 360 / rotations
    degrees."""

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
    ``upright``: whether particles are compared in one orientation alone, as they are; not kept in a model file.
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
        self.upright = False

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
        few.upright = self.upright
        return few

    def chosen(self, which: torch.Tensor) -> ClassBank:
        """Some of the templates.

        Parameters
        ----------
        which : (k,) int64 tensor
            Numbers of those that are wanted, from 0.

        Returns
        -------
        ClassBank
            In the order of ``which``; a copy.
        """
        few = ClassBank(**self.config | {"classes": len(which)}).to(self.template.device)
        few.set(self.complex[which.to(self.template.device)])
        few.members, few.signal = self.members[which.to(self.members.device)].clone(), self.signal.clone()
        few.upright = self.upright
        return few

    def free(self) -> ClassBank:
        """The same templates, to be compared in all orientations.

        Returns
        -------
        ClassBank
            A bank of its own.
        """
        other = self.limited(self.config["rings"], self.config["orders"])
        other.upright = False
        return other

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
        place = self._highest(coefficients, self.rotations()).max(1).indices
        best = coefficients[torch.arange(len(place), device=place.device)[:, None], place]
        inner, rotation = self._turned(torch.einsum("nkro,kro->nko", best, self.complex.conj()))
        return Compared.of(inner, ctf @ self._powers().T, place, rotation)

    def glance(self, coefficients: torch.Tensor, ctf: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compare particles with all classes, in as few orientations as their orders need.

        Parameters
        ----------
        coefficients, ctf : tensors
            As of :meth:`forward`.

        Returns
        -------
        (n, K) tensor
            The gain, as of :class:`Compared`; mostly a little less, for no orientation fits quite.
        (n, K) int64 tensor
            The place: number of the shift.
        """
        inner, place = self._highest(coefficients, 2 * self.config["orders"]).max(1)
        expected = ctf @ self._powers().T
        return at_contrast(inner, expected, suited_contrast(inner, expected)), place

    def each(self, coefficients: torch.Tensor, ctf: torch.Tensor, which: torch.Tensor) -> Compared:
        """Compare each particle with classes of its own.

        Parameters
        ----------
        coefficients : (n, c, shifts, rings, orders) complex tensor
            As before, at the shifts of each class; (n, 1, shifts, rings, orders) where they are the same for all.
        ctf : (n, rings) tensor
            The square of the CTF.
        which : (n, c) int tensor
            The classes of each particle.

        Returns
        -------
        Compared
            Of n particles and c classes each.
        """
        products = torch.einsum("ncsro,ncro->ncso", coefficients, self.complex.conj().resolve_conj()[which])
        cos, sin = self._turns(self.rotations())
        place = (products.real @ cos.T).add_((products.imag @ sin.T).abs_()).amax(-1).argmax(-1)
        own = place[..., None, None].expand(*place.shape, 1, products.shape[-1])
        best, rotation = self._turned(products.gather(2, own)[:, :, 0])
        penalty = torch.einsum("nr,ncr->nc", ctf, self._powers()[which])
        return Compared.of(best, penalty, place, rotation)

    def _turned(self, products: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The highest inner product over orientations, and its number, (n, c) each, of products (n, c, orders)."""
        if self.upright:
            best = 2 * products.real.sum(-1) - products[..., 0].real
            return best, torch.zeros_like(best, dtype=torch.int64)
        best, rotation = torch.fft.irfft(products, n=self.rotations(), norm="forward").max(-1)
        return best, rotation

    def _turns(self, rotations: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What the real and imaginary parts of the orders are multiplied with for orientations over half a circle
        (rotations // 2 + 1, orders), which give the cosine and the sine part: the sum of the two is the product in
        one of these orientations, and their difference that in the opposite one."""
        device, orders = self.template.device, self.config["orders"]
        count = 1 if self.upright else rotations // 2 + 1  # of an upright bank no other is looked at
        angle = torch.arange(count, device=device) * (2 * math.pi / rotations)
        phase = angle[:, None] * torch.arange(orders, device=device)
        cos, sin = 2 * phase.cos(), 2 * phase.sin()
        cos[:, 0] = 1.0
        return cos, sin

    def _highest(self, coefficients: torch.Tensor, rotations: int) -> torch.Tensor:
        """The inner product (n, shifts, K) with each class in the best of so many orientations (an even number)."""
        n, shifts = coefficients.shape[:2]
        own = torch.view_as_real(coefficients.flatten(0, 1).permute(2, 0, 1)).flatten(2)
        templates = self.complex.permute(2, 1, 0)  # orders first; real and imaginary parts of rings side by side
        kernels = [torch.view_as_real(one).movedim(-1, 2).flatten(1, 2) for one in (templates, 1j * templates)]
        cos, sin = self._turns(rotations)
        step = max(1, TILE // (len(cos) * len(self.template)))
        found = []
        for part in own.split(step, 1):
            real, imaginary = (torch.bmm(part, kernel).flatten(1) for kernel in kernels)
            # Of two opposite orientations the better one has the sine part with its sign turned to plus.
            found.append((cos @ real).add_((sin @ imaginary).abs_()).amax(0))
        return torch.cat(found).view(n, shifts, -1)

    def _powers(self) -> torch.Tensor:
        """Power of the templates per ring (K, rings)."""
        weight = torch.full((self.config["orders"],), 2.0, device=self.template.device)
        weight[0] = 1.0
        return self.template.detach().square().sum(-1) @ weight
