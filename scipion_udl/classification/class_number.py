"""How many classes the particles tell apart: as many as explain particles better that have not taught them."""

from __future__ import annotations

import math

import torch

from scipion_udl.classification.class_search import LIKELY, Finder
from scipion_udl.classification.class_seeding import best_start
from scipion_udl.classification.em import ClassFit
from scipion_udl.compute.log import Say
from scipion_udl.constants import FEWEST_CLASSES, MOST_FOUND
from scipion_udl.models.class_bank import ClassBank

HELD_OUT = 5  # one of so many particles teaches nothing, and judges
LEAST_TAUGHT = 20  # particles a class that teach: with fewer an average shows little, whatever the likelihood says
SURE = 2.0  # standard errors by which more classes must explain the particles better


def classes_told_apart(class_fit: ClassFit, log: Say) -> int:
    """The number of classes beyond which more do not explain particles better that have not taught.

    It is doubled as long as that helps, at the resolution of the first two levels. What is judged by is the likelihood
    of a held-out particle, whichever of the classes it is of; of two numbers the same particles are compared.

    Parameters
    ----------
    class_fit : ClassFit
        What teaches; its samples know nothing afterwards.
    log : Say
        Told of each number.

    Returns
    -------
    int
        From FEWEST_CLASSES to one for LEAST_TAUGHT of the samples, MOST_FOUND at most.
    """
    rows = torch.arange(len(class_fit.samples))
    held = rows[::HELD_OUT]
    teach = rows[rows % HELD_OUT != 0]
    most = max(FEWEST_CLASSES, min(len(teach) // LEAST_TAUGHT, MOST_FOUND))
    best, known = FEWEST_CLASSES, _held_out(class_fit, FEWEST_CLASSES, teach, held, log)
    while best < most:
        number = min(2 * best, most)
        new = _held_out(class_fit, number, teach, held, log)
        if not is_better(new, known):
            break
        best, known = number, new
    class_fit.history.clear()
    class_fit.samples.known[:] = False
    class_fit.best[:] = -1
    return best


def is_better(new: torch.Tensor, known: torch.Tensor) -> bool:
    """Whether particles are surely explained better, by SURE standard errors of the mean difference.

    Parameters
    ----------
    new, known : (n,) tensors
        Log likelihoods of the same particles, nats.

    Returns
    -------
    bool
        For fewer than two particles never.
    """
    gained = (new - known).double()
    if len(gained) < 2:
        return False
    return float(gained.mean()) > SURE * float(gained.std()) / math.sqrt(len(gained))


def _held_out(class_fit: ClassFit, classes: int, teach: torch.Tensor, held: torch.Tensor, log: Say) -> torch.Tensor:
    """The log likelihoods of the particles ``held`` (n,) in classes that the particles ``teach`` have taught."""
    bank: ClassBank = best_start(class_fit, classes, teach, 1, lambda *_said, **_how: None)
    for rings in class_fit.levels()[:2]:
        bank = class_fit.widened(bank, rings)
        class_fit.level(bank, teach)
    finder = Finder(bank, class_fit.sampling, class_fit.search_range, LIKELY)
    found = torch.cat([torch.logsumexp(likely.gain, 1) for _, likely in finder.chunks(class_fit.samples, held)]).cpu()
    found = found - math.log(classes)
    log(f"{classes} classes: held-out log likelihood {float(found.mean()):.2f} a particle", detail=True)
    return found
