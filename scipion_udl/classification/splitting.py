"""Classes that hold two views are split, at the cost of those that are needed least.

What a class is worth is how much worse its particles would be explained by the next best class of each. What a split is
worth is how much better two templates in place of one explain its particles, none of them by a template that it is part
of itself: two templates always fit noise better than one.
"""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.classification.class_search import Comparer, Samples
from scipion_udl.compute.distributed import ProcessGroup

MOST = 256  # particles of a class that a split is tried on
LEAST = 12  # particles that a class must have to be split
ROUNDS = 5  # of the two templates of a split
WORTH = 0.6  # times what is lost: what a split must gain (a loss is overestimated: a class fits its own noise, too)
AT_ONCE = 0.1  # of the classes may be exchanged at a time


class Split:
    """Two templates in place of one.

    aligned: (n, rings, orders) particles in the class's frame, times their CTF and their contrast; ctf: (n,
    rings), the square of both;
    prior: (rings,) one over the expected power of a template; weight: (orders,). ``gain``: nats, of the n particles
    together; ``templates``: (2, rings, orders).
    """

    def __init__(self, aligned: torch.Tensor, ctf: torch.Tensor, prior: torch.Tensor, weight: torch.Tensor) -> None:
        self.aligned, self.ctf, self.prior, self.weight = aligned, ctf, prior, weight
        n = len(aligned)
        alone = self._of_others(torch.ones(n, 1, device=weight.device))[:, 0]
        member = self._first()
        for _ in range(ROUNDS):
            found = self._of_others(member)
            member = torch.nn.functional.one_hot(found.argmax(1), 2).float()
            if member.sum(0).min() < 2:
                break
        kept = member.sum(0).min() >= max(2, LEAST / 4)
        self.gain = float((found.amax(1) - alone).sum()) if kept else 0.0
        total = torch.einsum("nro,nk->kro", aligned, member.to(aligned.dtype))
        self.templates = total / (member.T @ ctf + prior)[..., None]

    def _of_others(self, member: torch.Tensor) -> torch.Tensor:
        """Log likelihood (n, k) of each particle by the template of each of k groups (member: (n, k), 0 or 1), the
        particle itself left out of it."""
        aligned, ctf = self.aligned, self.ctf
        out = []
        for own in member.unbind(1):
            total = torch.einsum("nro,n->ro", aligned, own.to(aligned.dtype))
            others = total - aligned * own[:, None, None]
            power = own @ ctf + self.prior - ctf * own[:, None]
            template = others / power[..., None]
            product = (aligned.conj() * template).real @ self.weight
            strength = template.abs().square() @ self.weight
            out.append((2 * product - ctf * strength).sum(-1))
        return torch.stack(out, 1)

    def _first(self) -> torch.Tensor:
        """Two groups (n, 2) by the sign of what the particles differ in most."""
        mean = self.aligned.sum(0) / (self.ctf.sum(0) + self.prior)[:, None]
        rest = (self.aligned - self.ctf[..., None] * mean) * self.weight.sqrt()
        rest = torch.view_as_real(rest).flatten(1)
        first = torch.linalg.eigh(rest @ rest.T)[1][:, -1] > 0
        return torch.nn.functional.one_hot(first.long(), 2).float()


def exchanged(
    comparer: Comparer,
    samples: Samples,
    rows: torch.Tensor,
    label: torch.Tensor,
    angle: torch.Tensor,
    contrast: torch.Tensor,
    worth: torch.Tensor,
    spared: torch.Tensor,
    group: ProcessGroup | None = None,
) -> list[tuple[int, int]]:
    """Split the classes of the comparer's bank that gain most by it, in place; those needed least are given up.

    Parameters
    ----------
    comparer : Comparer
        Whose bank is changed.
    samples : Samples
        The particles.
    rows, label : (n,) int64 tensors
        Which of them, and their classes, from 0.
    angle : (n,) tensor
        Their pose angles, degrees.
    contrast : (n,) tensor
        How strongly they show what the class does.
    worth : (K,) tensor
        Nats lost without a class.
    spared : (K,) bool tensor
        Classes that are not split.
    group : ProcessGroup, optional
        Processes that all have the same of all this, and try classes of their own each.

    Returns
    -------
    list of (int, int)
        (split, given up) of each.
    """
    bank, splits, group = comparer.bank, {}, group or ProcessGroup()
    tried = (~spared).nonzero()[:, 0].tolist()
    for k in [tried[one] for one in group.deal(np.bincount(label, minlength=len(spared))[tried])]:
        own = (label == k).nonzero()[:, 0]
        if len(own) >= LEAST:
            some = own[:MOST]
            split = _split_of(comparer, samples, rows[some], angle[some], contrast[some])
            splits[k] = split.gain * len(own) / len(some), split.templates
    splits = {k: split for one in group.gather_all(splits) for k, split in one.items()}
    templates, worth, done = bank.complex.clone(), worth.clone(), []
    for k in sorted(splits, key=lambda k: -splits[k][0])[: max(1, int(AT_ONCE * len(templates)))]:
        worth[k] = torch.inf
        loser = int(worth.argmin())
        if splits[k][0] < WORTH * float(worth[loser]) or not splits[k][0] > 0:
            break
        templates[k], templates[loser] = splits[k][1]
        worth[loser] = torch.inf
        done.append((k, loser))
    bank.set(templates)
    return done


def _split_of(
    comparer: Comparer, samples: Samples, rows: torch.Tensor, angle: torch.Tensor, contrast: torch.Tensor
) -> Split:
    """What becomes of a class of these particles (n,); arguments as of :func:`exchanged`."""
    prior = 1 / comparer.bank.signal
    aligned = comparer.aligned(samples, rows, samples.centre[rows].to(prior.device), angle.to(prior.device))
    ctf, strength = samples.ctf[rows, : comparer.rings].to(prior.device), contrast.to(prior.device)
    aligned, ctf = aligned * strength[:, None, None], ctf * strength.square()[:, None]
    return Split(aligned, ctf, prior, comparer.transform.weight)
