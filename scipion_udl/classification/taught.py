"""What particles have taught the templates of classes so far, so that more can teach them without the first."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from scipion_udl.models.class_bank import ClassBank


@dataclass
class Taught:
    """Sums over the particles of K classes so far, as a round of learning makes them (:class:`.em.Step`).

    total: (K, rings, orders) complex, aligned particles, each times its CTF and contrast; ctf: (K, rings), the
    squares of both; count: (K,) particles.
    """

    total: torch.Tensor
    ctf: torch.Tensor
    count: torch.Tensor

    @classmethod
    def of(cls, bank: ClassBank, ctf: torch.Tensor) -> Taught:
        """What has made the templates of a bank.

        Parameters
        ----------
        bank : ClassBank
            With the number of particles that each class was taught by.
        ctf : (rings,) tensor
            Squared CTF of these, the mean.

        Returns
        -------
        Taught
            Of which the same templates follow.
        """
        power = bank.members[:, None] * ctf.to(bank.members.device)
        return cls(bank.complex * (power + 1 / bank.signal)[..., None], power, bank.members.clone())

    def with_new(self, more: int) -> Taught:
        """The same with further classes, which nothing has taught yet.

        Parameters
        ----------
        more : int
            How many.

        Returns
        -------
        Taught
            The new ones come last.
        """
        added = [torch.cat([one, one.new_zeros(more, *one.shape[1:])]) for one in (self.total, self.ctf, self.count)]
        return Taught(*added)
